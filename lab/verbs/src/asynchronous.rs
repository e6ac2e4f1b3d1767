//! Endpoints for tokio: waits that let other tasks run, over the descriptors of completion channel and link.
//!
//! tokio, because most programs that await have it; of it only its reactor (`net`) and its timer (`time`). What is posted
//! is posted at once and never waits. A wait that is dropped loses nothing: completions stay with their endpoint.

use std::future::poll_fn;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::batch::BatchCompletion;
use crate::completion::Completion;
use crate::deadline::Deadline;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::work_request::{RegionRange, SendRequest};

/// An endpoint whose waits are awaited. It is used within the runtime that it was made in.
#[derive(Debug)]
pub struct AsyncEndpoint {
    // Before the endpoint: copies of its descriptors, which leave the reactor first.
    watched: Vec<AsyncFd<OwnedFd>>,
    endpoint: Endpoint,
}

impl AsyncEndpoint {
    /// Registers an endpoint's descriptors with tokio's reactor.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`] if the system has no descriptor left, or the reactor refuses it.
    ///
    /// # Panics
    ///
    /// Outside of a runtime, or in one without I/O.
    pub fn new(endpoint: Endpoint) -> Result<Self> {
        let watch = |fd: BorrowedFd<'_>| {
            let copy = fd.try_clone_to_owned()?;
            // SAFETY: the copy is an open descriptor of our own, which the registration owns from here on: it stays the same and
            // open until it was deregistered.
            let watched = unsafe { AsyncFd::register_with_interest(copy, Interest::READABLE) };
            Ok(watched?)
        };
        let watched = endpoint.descriptors().map(watch).collect::<std::io::Result<_>>();
        Ok(Self { watched: watched.map_err(Error::Poll)?, endpoint })
    }

    /// The endpoint, for all that does not wait: registering, posting, polling.
    pub fn endpoint(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    /// Takes the endpoint out of the reactor.
    #[must_use]
    pub fn into_inner(self) -> Endpoint {
        self.endpoint
    }

    /// Posts a work request to the send queue; returns its identifier for [`AsyncEndpoint::wait`].
    ///
    /// # Errors
    ///
    /// Errors of [`Endpoint::post_send`].
    pub fn post_send(&mut self, request: SendRequest) -> Result<u64> {
        self.endpoint.post_send(request)
    }

    /// Posts a RECV; returns its identifier for [`AsyncEndpoint::wait`].
    ///
    /// # Errors
    ///
    /// Errors of [`Endpoint::post_recv`].
    pub fn post_recv(&mut self, local: Option<RegionRange>) -> Result<u64> {
        self.endpoint.post_recv(local)
    }

    /// Posts `request` and awaits its completion.
    ///
    /// # Errors
    ///
    /// Errors of [`AsyncEndpoint::post_send`] and [`AsyncEndpoint::wait`].
    pub async fn execute(&mut self, request: SendRequest, deadline: &Deadline) -> Result<Completion> {
        let wr_id = self.post_send(request)?;
        self.wait(wr_id, deadline).await
    }

    /// Awaits the completion of a posted work request and returns it if it is a success.
    ///
    /// # Errors
    ///
    /// Errors of [`Endpoint::wait`]. After an error status the queue pair is in the error state; after the deadline it
    /// stays in its state, and the completion can be awaited again.
    pub async fn wait(&mut self, wr_id: u64, deadline: &Deadline) -> Result<Completion> {
        let awaited = self.endpoint.work().awaited(wr_id);
        let completion = self.until(&awaited, deadline, |endpoint| endpoint.try_completion(wr_id)).await?;
        let result = completion.into_result();
        if result.is_err() {
            // The device does it within milliseconds.
            self.endpoint.work_mut().flush();
        }
        result
    }

    /// Awaits completions of list-posted requests, as [`Endpoint::wait_batch`] waits for them.
    ///
    /// # Errors
    ///
    /// Errors of [`Endpoint::wait_batch`].
    pub async fn wait_batch(&mut self, into: &mut [BatchCompletion], deadline: &Deadline) -> Result<usize> {
        let look = |endpoint: &mut Endpoint| {
            let count = endpoint.work_mut().poll_batch(into)?;
            Ok((count > 0).then_some(count))
        };
        self.until("completions", deadline, look).await
    }

    /// Awaits that the peer ends the connection, and answers it.
    ///
    /// # Errors
    ///
    /// Errors of [`Endpoint::wait_disconnected`].
    pub async fn disconnected(&mut self, deadline: &Deadline) -> Result<()> {
        let awaited = "the peer to disconnect (DISCONNECTED)";
        let look = |endpoint: &mut Endpoint| Ok(endpoint.peer_has_left()?.then_some(()));
        self.until(awaited, deadline, look).await?;
        // It has come: this waits no more.
        self.endpoint.wait_disconnected(deadline)
    }

    /// Looks, and sleeps between two looks, until `look` finds something or the peer has left and it does not.
    async fn until<T>(
        &mut self,
        awaited: &str,
        deadline: &Deadline,
        mut look: impl FnMut(&mut Endpoint) -> Result<Option<T>>,
    ) -> Result<T> {
        loop {
            if let Some(found) = look(&mut self.endpoint)? {
                return Ok(found);
            }
            self.endpoint.qp().cq().req_notify()?;
            // What came between the look and the request makes no event.
            if let Some(found) = look(&mut self.endpoint)? {
                return Ok(found);
            }
            let has_left = self.endpoint.peer_has_left()?;
            if let Some(found) = look(&mut self.endpoint)? {
                return Ok(found);
            }
            let last = Deadline::after(crate::endpoint::LAST_COMPLETION_LIMIT);
            let is_readable = self.readable(if has_left { &last } else { deadline }).await?;
            match (is_readable, has_left) {
                (true, _) => self.endpoint.qp().take_events()?,
                (false, true) => return Err(Error::Disconnected { awaited: awaited.to_owned() }),
                (false, false) => return Err(Error::timeout(awaited, deadline)),
            }
        }
    }

    /// Sleeps until a descriptor is readable; false if the deadline passed first.
    async fn readable(&mut self, deadline: &Deadline) -> Result<bool> {
        let any = poll_fn(|context| self.poll_readable(context));
        match deadline.remaining() {
            None => any.await.map(|()| true),
            Some(left) => match tokio::time::timeout(left, any).await {
                Ok(readable) => readable.map(|()| true),
                Err(_) => Ok(false),
            },
        }
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut is_ready = false;
        for watched in &self.watched {
            if let Poll::Ready(guard) = watched.poll_read_ready(context) {
                // Looked at next: what is there is taken until nothing is left, and then the reactor tells anew.
                guard.map_err(Error::Poll)?.clear_ready();
                is_ready = true;
            }
        }
        if is_ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}
