//! The way out of the switch to one node: frames are offered to it, and it never keeps whoever offers waiting.
//!
//! A frame is written at once where the socket takes it. What the socket does not take waits in a bounded queue, which a
//! thread of the port's own empties; what the queue does not take is refused. A machine that does not read (its link is
//! down, its QEMU stands still) fills its own queue and stops nobody else.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::net::{SendFlags, send};

/// Most bytes that wait for one port: three times the responses to a READ of 8 MiB at the smallest MTU, as which they
/// come at once.
pub(super) const QUEUE_LIMIT: usize = 32 << 20;

/// Most bytes that the port's thread takes from the queue for one write.
const BATCH: usize = 128 << 10;

/// One node's end of the wire. Dropped, its thread ends and its connection is shut down.
#[derive(Debug)]
pub(super) struct SwitchPort {
    stream: UnixStream,
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Something was put into an empty queue, or the port has closed.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Frames with their lengths before them; the first may be the rest of one.
    frames: VecDeque<Vec<u8>>,
    /// Bytes in `frames` and in the thread's hands.
    bytes: usize,
    is_closed: bool,
}

impl SwitchPort {
    /// The port at this connection.
    ///
    /// # Errors
    ///
    /// The connection cannot be shared with the port's thread.
    pub(super) fn new(stream: UnixStream) -> io::Result<SwitchPort> {
        let (queue, writer) = (Arc::<Queue>::default(), stream.try_clone()?);
        let for_writer = Arc::clone(&queue);
        thread::spawn(move || for_writer.empty_into(writer));
        Ok(SwitchPort { stream, queue })
    }

    /// Forwards a frame, now or from the queue; false where the queue has no room for it.
    pub(super) fn offer(&self, frame: &[u8]) -> bool {
        let mut waiting = self.queue.lock();
        let mut bytes = framed(frame);
        if waiting.bytes == 0 {
            match send(&self.stream, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(written) => drop(bytes.drain(..written)),
                Err(rustix::io::Errno::AGAIN) => {}
                // The machine has gone: its port is about to be closed.
                Err(_) => return true,
            }
            if bytes.is_empty() {
                return true;
            }
        } else if waiting.bytes + bytes.len() > QUEUE_LIMIT {
            return false;
        }
        waiting.bytes += bytes.len();
        waiting.frames.push_back(bytes);
        drop(waiting);
        self.queue.changed.notify_one();
        true
    }

    /// Whether the queue would refuse a frame of this length, in bytes.
    pub(super) fn is_full(&self, length: usize) -> bool {
        let waiting = self.queue.lock();
        waiting.bytes > 0 && waiting.bytes + LENGTH + length > QUEUE_LIMIT
    }
}

impl Drop for SwitchPort {
    fn drop(&mut self) {
        self.queue.lock().is_closed = true;
        self.queue.changed.notify_all();
        // Ends a write that waits for the machine to read.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits, until the port closes or the machine has gone.
    fn empty_into(&self, mut stream: UnixStream) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let mut waiting = self.lock();
            waiting.bytes -= batch.len();
            batch.clear();
            while waiting.frames.is_empty() && !waiting.is_closed {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            if waiting.is_closed {
                return;
            }
            while batch.len() < BATCH
                && let Some(frame) = waiting.frames.pop_front()
            {
                batch.extend_from_slice(&frame);
            }
            drop(waiting);
            if stream.write_all(&batch).is_err() {
                return;
            }
        }
    }
}

/// Bytes of a frame's length, which goes before it.
const LENGTH: usize = 4;

/// A frame as it goes over a port: its length, big endian, then its bytes.
pub(super) fn framed(frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(LENGTH + frame.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(frame);
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn port_that_is_not_read_refuses_once_its_queue_is_full_and_loses_nothing_before() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let port = SwitchPort::new(near).unwrap();
        let started = Instant::now();
        let mut taken = 0_u32;
        while port.offer(&[taken.to_be_bytes(); 8192].concat()) {
            taken += 1;
        }
        assert!(taken as usize * 32768 >= QUEUE_LIMIT - 32768 && port.is_full(32768), "{taken}");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        let mut bytes = vec![0; LENGTH + 32768];
        for number in 0..taken {
            far.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes[..8], [32768_u32.to_be_bytes(), number.to_be_bytes()].concat());
        }
        // What was full takes frames again once it is read.
        let started = Instant::now();
        while port.is_full(32768) || port.queue.lock().bytes > 0 {
            assert!(started.elapsed() < Duration::from_secs(5), "its thread goes on");
            thread::yield_now();
        }
        assert!(port.offer(b"again"));
        far.read_exact(&mut bytes[..9]).unwrap();
        assert_eq!(&bytes[..9], b"\0\0\0\x05again");
    }

    #[test]
    fn dropped_port_ends_its_connection_though_nobody_reads() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let port = SwitchPort::new(near).unwrap();
        while port.offer(&[0; 65536]) {}
        drop(port);
        far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        far.read_to_end(&mut Vec::new()).unwrap();
    }
}
