//! Listening over TCP: clients that send their parameters, and those that keep silent beside them.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::hello::{Hello, from_hex, is_the_peer_s, parse, read_line, refuse};
use super::link::{TcpLink, work_queue};
use crate::deadline::Deadline;
use crate::endpoint::{Endpoint, EndpointBuilder};
use crate::error::{Error, Result};
use crate::sys;
use crate::transport::{ConnectRequest, Listener};

/// Limit of a client's sending its line once it is connected.
const LINE_LIMIT: Duration = Duration::from_secs(2);
/// The most clients that may be connected and have not sent their line; others wait in the kernel.
const MOST_SILENT: usize = 64;

/// Listens for TCP connections on an address.
#[derive(Debug)]
pub(super) struct TcpTransportListener {
    socket: TcpListener,
    address: SocketAddr,
    /// The oldest first.
    silent: Mutex<Vec<Silent>>,
}

/// A client that is connected and has not sent its line.
#[derive(Debug)]
struct Silent {
    stream: TcpStream,
    peer: SocketAddr,
    line: Vec<u8>,
    deadline: Deadline,
}

impl Silent {
    /// Reads what has come; the line once it is whole.
    fn read(&mut self) -> Result<Option<String>> {
        let awaited = format!("{} to send its parameters", self.peer);
        match read_line(&self.stream, &mut self.line, &awaited)? {
            None if self.deadline.passed() => Err(Error::timeout(awaited, &self.deadline)),
            read => Ok(read),
        }
    }
}

impl TcpTransportListener {
    /// Binds `address` and listens on it.
    ///
    /// # Errors
    ///
    /// [`Error::Tcp`].
    pub(super) fn bind(address: SocketAddr) -> Result<Self> {
        let failed = |error| Error::tcp(format!("listen on {address}"), error);
        let socket = TcpListener::bind(address).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address, silent: Mutex::default() })
    }

    /// Accepts the connections that are there.
    fn accept_all(&self, silent: &mut Vec<Silent>) -> Result<()> {
        let failed = |error| Error::tcp("accept a connection", error);
        while silent.len() < MOST_SILENT {
            match self.socket.accept() {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(true).map_err(failed)?;
                    let deadline = Deadline::after(LINE_LIMIT);
                    silent.push(Silent { stream, peer, line: Vec::new(), deadline });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // accept(2): what befell one connection is to be treated like EAGAIN.
                Err(error) if error.kind() == ErrorKind::Interrupted || is_the_peer_s(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }
}

impl Listener for TcpTransportListener {
    fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the next client that sends its parameters, whoever connected before it and says nothing.
    fn next_request(&self, deadline: &Deadline) -> Result<Box<dyn ConnectRequest>> {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.accept_all(&mut silent)?;
            let mut read = silent.iter_mut().map(|client| client.read().transpose()).enumerate();
            if let Some((at, line)) = read.find_map(|(at, line)| line.map(|line| (at, line))) {
                let Silent { stream, peer, .. } = silent.remove(at);
                return request(stream, peer, &line?);
            }
            if deadline.passed() {
                return Err(Error::timeout(format!("a client on {} (TCP)", self.address), deadline));
            }
            // The socket stays readable while nobody else is let in.
            let socket = (silent.len() < MOST_SILENT).then(|| self.socket.as_fd());
            let fds: Vec<_> = silent.iter().map(|client| client.stream.as_fd()).chain(socket).collect();
            let limits = silent.iter().map(|client| &client.deadline).chain([deadline]);
            let first = limits.filter_map(Deadline::remaining).min();
            sys::wait_readable(&fds, &first.map_or_else(Deadline::never, Deadline::after))?;
        }
    }
}

/// The request that a client's line is.
fn request(stream: TcpStream, peer: SocketAddr, line: &str) -> Result<Box<dyn ConnectRequest>> {
    let understood = parse(line).and_then(|theirs| Ok((from_hex(&theirs.private_data)?, theirs)));
    if let Err(error) = &understood {
        // It is not owed an answer, but a newer version of these programs would show it.
        let _ = refuse(&stream, &error.to_string());
    }
    let (private_data, theirs) = understood?;
    Ok(Box::new(TcpRequest { stream, peer, theirs, private_data }))
}

/// A client's line, not answered yet. Dropping it ends the client's wait.
#[derive(Debug)]
struct TcpRequest {
    stream: TcpStream,
    peer: SocketAddr,
    theirs: Hello,
    private_data: Vec<u8>,
}

impl ConnectRequest for TcpRequest {
    fn peer(&self) -> Option<SocketAddr> {
        Some(self.peer)
    }

    fn private_data(&self) -> &[u8] {
        &self.private_data
    }

    fn reads_at_once(&self) -> u8 {
        self.theirs.reads
    }

    fn into_endpoint(self: Box<Self>, builder: &EndpointBuilder) -> Result<Endpoint> {
        let number = self.theirs.qpn;
        let (mut work, port) = work_queue(&self.stream, builder)?;
        work.set_peer_qp_num(Some(number));
        let link = TcpLink::new(self.stream, port, Some(self.theirs));
        Ok(Endpoint::new(work, Box::new(link)))
    }

    fn reject(self: Box<Self>, reason: &str) -> Result<()> {
        refuse(&self.stream, reason)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Instant;

    use super::super::hello::tests::LINE;
    use super::*;

    #[test]
    fn silent_clients_keep_nobody_waiting_and_a_reset_is_one_client_s() {
        let listener = TcpTransportListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let connect = || TcpStream::connect(listener.address()).unwrap();
        let soon = || Deadline::after(Duration::from_secs(20));
        let started = Instant::now();
        let mut silent: Vec<_> = (0..5).map(|_| connect()).collect();
        silent[0].write_all(&LINE.as_bytes()[..20]).unwrap();
        let reset = connect();
        rustix::net::sockopt::set_socket_linger(&reset, Some(Duration::ZERO)).unwrap();
        drop(reset);
        let mut honest = connect();
        honest.write_all(format!("{LINE}\n").as_bytes()).unwrap();

        let error = listener.next_request(&soon()).unwrap_err();
        assert!(matches!(error, Error::Disconnected { .. }), "{error}");
        assert_eq!(listener.next_request(&soon()).unwrap().peer(), honest.local_addr().ok());
        assert!(started.elapsed() < LINE_LIMIT, "{:?}", started.elapsed());
        for client in &silent {
            let error = listener.next_request(&soon()).unwrap_err().to_string();
            assert!(error.contains(&client.local_addr().unwrap().to_string()), "{error}");
        }
        // They waited together.
        assert!(started.elapsed() < LINE_LIMIT * 3, "{:?}", started.elapsed());
        let error = listener.next_request(&Deadline::after(Duration::from_millis(20))).unwrap_err();
        assert!(error.to_string().contains("waiting for a client"), "{error}");
    }
}
