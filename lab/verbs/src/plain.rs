//! Connections without CM: queue pair parameters exchanged over TCP, and the queue pair brought into its states by hand.
//!
//! It is what CM does with REQ and REP, in the open, and with what CM does not let one choose: the starting PSN and the
//! path MTU. Each side sends one line, a JSON object and a newline, the client first:
//!
//! ```text
//! {"version":1,"qpn":17,"psn":16777214,"gid":"::ffff:198.51.100.2","mtu":1024,"reads":1,"rnr_retry":7,"private_data":""}
//! {"version":1,"qpn":17,"psn":4711,"gid":"::ffff:198.51.100.1","mtu":1024,"reads":1,"rnr_retry":7,"private_data":"00007f…"}
//! ```
//!
//! or, from a server that refuses, `{"version":1,"reject":"REASON"}`. `mtu` is the path MTU in bytes, as the client
//! proposes and the server decides; `reads` the READs and atomics that a side may have outstanding; `rnr_retry` how often
//! the *peer* sends again when a side has no RECV posted, as in CM; `private_data` in hexadecimal what REQ or REP would
//! carry. Nothing follows: the end of the stream is what DREQ and DREP are to CM.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdma_sys::{ibv_access_flags, ibv_ah_attr, ibv_gid, ibv_qp_attr_mask, ibv_qp_state};
use serde::{Deserialize, Serialize};

use crate::builders::QueuePairBuilder;
use crate::connection::{ConnectParams, Target};
use crate::deadline::Deadline;
use crate::device::{Device, OpenDevice, Port};
use crate::error::{Error, RejectReason, Result};
use crate::link::Link;
use crate::ops::Endpoint;
use crate::qp::{self, QueuePair};
use crate::sys;

/// The only version of the exchange.
const VERSION: u32 = 1;
/// The longest line that is read, in bytes.
const LONGEST_LINE: usize = 4096;
/// How long a client may take to send its line once it is connected.
const LINE_LIMIT: Duration = Duration::from_secs(2);
/// The most clients that may be connected and have not sent their line; others wait in the kernel.
const MOST_SILENT: usize = 64;
/// What CM's REQ says on rxe of Linux 6.1, and is patient: 4.096 us times two to the power of 19 are 2.15 s.
const ACK_TIMEOUT: u8 = 19;
/// Code of the shortest time a requester waits after an RNR NAK, 0.64 ms.
const MIN_RNR_TIMER: u8 = 12;

/// What a side says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Hello {
    version: u32,
    qpn: u32,
    psn: u32,
    gid: Ipv6Addr,
    mtu: u32,
    reads: u8,
    rnr_retry: u8,
    private_data: String,
}

/// What a server says instead of accepting.
#[derive(Debug, Serialize, Deserialize)]
struct Refusal {
    version: u32,
    reject: String,
}

/// The TCP connection of two queue pairs, and what its first lines said.
#[derive(Debug)]
pub(crate) struct TcpLink {
    /// Silent from then on until its end.
    stream: TcpStream,
    port: Port,
    peer: Option<Hello>,
}

impl TcpLink {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether the stream has ended; any other trouble with it is the peer's leave as well.
    pub(crate) fn peer_left(&self) -> bool {
        let mut bytes = [0; 64];
        match (&self.stream).read(&mut bytes) {
            Ok(0) => true,
            Ok(count) => {
                tracing::warn!("ignored {count} bytes that the peer sent after its parameters");
                false
            }
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// Ends this side of the stream.
    pub(crate) fn leave(&self) {
        // It fails if the peer has closed already, which then needs no telling.
        let _ = self.stream.shutdown(Shutdown::Write);
        tracing::debug!("shutdown: this side of the TCP connection");
    }
}

/// Connects to `target` within `deadline`; returns the endpoint with the server's private data.
///
/// `prepare` is called on the endpoint before anything is sent: the place to post RECVs.
///
/// # Errors
///
/// [`Error::Rejected`] if nobody listens or the server refuses; [`Error::Tcp`], [`Error::Timeout`], [`Error::Parameters`],
/// [`Error::NoDevice`], [`Error::Verb`], and what `prepare` says.
pub fn connect(
    target: &Target,
    params: &ConnectParams,
    builder: &QueuePairBuilder,
    prepare: impl FnOnce(&mut Endpoint) -> Result<()>,
    deadline: &Deadline,
) -> Result<(Endpoint, Vec<u8>)> {
    let peer = target.server;
    let awaited = || format!("{peer} to accept a TCP connection");
    let left = deadline.remaining().unwrap_or(Duration::MAX);
    if left.is_zero() {
        return Err(Error::timeout(awaited(), deadline));
    }
    let stream = TcpStream::connect_timeout(&peer, left).map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => Error::Rejected {
            peer: peer.to_string(),
            reason: RejectReason::InvalidServiceId,
            text: None,
            server_program: target.server_program.clone(),
        },
        ErrorKind::TimedOut => Error::timeout(awaited(), deadline),
        _ => Error::tcp(format!("connect to {peer}"), error),
    })?;
    let mut endpoint = endpoint(stream, None, builder)?;
    prepare(&mut endpoint)?;

    let Link::Tcp(link) = endpoint.link() else { unreachable!("it was made with one") };
    let ours = hello(endpoint.qp(), &link.port, params, link.port.mtu_bytes)?;
    send(&link.stream, &ours)?;
    let line = receive(&link.stream, &format!("{peer} to answer with its parameters"), deadline)?;
    if let Ok(refusal) = serde_json::from_str::<Refusal>(&line) {
        return Err(Error::Rejected {
            peer: peer.to_string(),
            reason: RejectReason::ConsumerDefined,
            text: Some(refusal.reject),
            server_program: target.server_program.clone(),
        });
    }
    let theirs = parse(&line)?;
    if theirs.mtu > ours.mtu {
        return Err(Error::Parameters(format!(
            "the server chose a path MTU of {} bytes, {} were proposed",
            theirs.mtu, ours.mtu
        )));
    }
    establish(endpoint.qp(), &link.port, &ours, &theirs, params)?;
    endpoint.qp().log_attributes();
    let private_data = from_hex(&theirs.private_data)?;
    endpoint.set_peer_qp_num(Some(theirs.qpn));
    Ok((endpoint, private_data))
}

/// Brings the queue pair into its states and tells the client, which may send as soon as it knows.
pub(crate) fn accept(qp: &QueuePair, link: &TcpLink, params: &ConnectParams) -> Result<()> {
    let Some(theirs) = &link.peer else {
        unreachable!("only a server accepts, and it has read the client's line")
    };
    let ours = hello(qp, &link.port, params, link.port.mtu_bytes.min(theirs.mtu))?;
    establish(qp, &link.port, &ours, theirs, params)?;
    send(&link.stream, &ours)
}

/// Waits for TCP connections on an address.
#[derive(Debug)]
pub struct Listener {
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

impl Listener {
    /// Binds `address` and listens on it.
    ///
    /// # Errors
    ///
    /// [`Error::Tcp`].
    pub fn bind(address: SocketAddr) -> Result<Self> {
        let failed = |error| Error::tcp(format!("listen on {address}"), error);
        let socket = TcpListener::bind(address).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address, silent: Mutex::default() })
    }

    /// The address it listens on, with the port the system chose if none was given.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the next client that sends its parameters, whoever connected before it and says nothing.
    ///
    /// # Errors
    ///
    /// Of one client, after which the next call serves the others: [`Error::Disconnected`], [`Error::Parameters`],
    /// [`Error::Timeout`] if it is silent for 2 s. Of all: [`Error::Timeout`] at `deadline`, [`Error::Tcp`].
    pub fn next_request(&self, deadline: &Deadline) -> Result<ConnectRequest> {
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

/// The request that a client's line is.
fn request(stream: TcpStream, peer: SocketAddr, line: &str) -> Result<ConnectRequest> {
    let understood = parse(line).and_then(|theirs| Ok((from_hex(&theirs.private_data)?, theirs)));
    if let Err(error) = &understood {
        // It is not owed an answer, but a newer version of these programs would show it.
        let _ = refuse(&stream, &error.to_string());
    }
    let (private_data, theirs) = understood?;
    Ok(ConnectRequest { stream, peer, theirs, private_data })
}

/// A client's request to connect, not answered yet. Dropping it ends the client's wait.
#[derive(Debug)]
pub struct ConnectRequest {
    stream: TcpStream,
    peer: SocketAddr,
    theirs: Hello,
    private_data: Vec<u8>,
}

impl ConnectRequest {
    /// Who asks.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The client's private data.
    #[must_use]
    pub fn private_data(&self) -> &[u8] {
        &self.private_data
    }

    /// READs and atomics that the client means to have outstanding here.
    #[must_use]
    pub fn reads_at_once(&self) -> u8 {
        self.theirs.reads
    }

    /// Makes the endpoint of the connection, to be accepted when memory and RECVs are ready.
    ///
    /// # Errors
    ///
    /// [`Error::NoDevice`], [`Error::Tcp`]; [`Error::Verb`] naming `ibv_open_device`, `ibv_alloc_pd`,
    /// `ibv_create_comp_channel`, `ibv_create_cq`, `ibv_create_qp` or `ibv_modify_qp`.
    pub fn into_endpoint(self, builder: &QueuePairBuilder) -> Result<Endpoint> {
        let number = self.theirs.qpn;
        let mut endpoint = endpoint(self.stream, Some(self.theirs), builder)?;
        endpoint.set_peer_qp_num(Some(number));
        Ok(endpoint)
    }

    /// Refuses the client, telling it `reason`.
    ///
    /// # Errors
    ///
    /// [`Error::Tcp`].
    pub fn reject(self, reason: &str) -> Result<()> {
        refuse(&self.stream, reason)
    }
}

/// An endpoint on the device that has the stream's local address, its queue pair in INIT: RECVs may be posted.
fn endpoint(stream: TcpStream, peer: Option<Hello>, builder: &QueuePairBuilder) -> Result<Endpoint> {
    let failed = |error| Error::tcp("set up the TCP connection", error);
    let local = stream.local_addr().map_err(failed)?;
    stream.set_nonblocking(true).map_err(failed)?;
    let (device, port) = OpenDevice::with_address(local.ip())?;
    let qp = builder.build(Device::Open(Arc::new(device)))?;
    initialise(&qp, &port)?;
    let link = Link::Tcp(TcpLink { stream, port, peer });
    Ok(Endpoint::new(qp, link, builder.observer_of_completions()))
}

/// What this side says of itself, with a path MTU of at most `mtu_limit` bytes.
fn hello(qp: &QueuePair, port: &Port, params: &ConnectParams, mtu_limit: u32) -> Result<Hello> {
    let mtu = params.path_mtu_bytes.unwrap_or(mtu_limit);
    if mtu > mtu_limit {
        return Err(Error::Parameters(format!(
            "a path MTU of {mtu} bytes was asked for, the two ports have at most {mtu_limit}"
        )));
    }
    Ok(Hello {
        version: VERSION,
        qpn: qp.number(),
        psn: params.psn.unwrap_or_else(random_psn),
        gid: port.gid,
        mtu,
        reads: params.initiator_depth,
        rnr_retry: params.rnr_retry_count,
        private_data: to_hex(&params.private_data),
    })
}

fn initialise(qp: &QueuePair, port: &Port) -> Result<()> {
    let mut attr = qp::no_attributes();
    attr.qp_state = ibv_qp_state::IBV_QPS_INIT;
    attr.port_num = port.number;
    let access = ibv_access_flags::IBV_ACCESS_REMOTE_WRITE
        | ibv_access_flags::IBV_ACCESS_REMOTE_READ
        | ibv_access_flags::IBV_ACCESS_REMOTE_ATOMIC;
    attr.qp_access_flags = access.0;
    let mask = ibv_qp_attr_mask::IBV_QP_STATE
        | ibv_qp_attr_mask::IBV_QP_PKEY_INDEX
        | ibv_qp_attr_mask::IBV_QP_PORT
        | ibv_qp_attr_mask::IBV_QP_ACCESS_FLAGS;
    qp.modify(attr, mask, "INIT")
}

/// Ready to receive, then ready to send.
fn establish(
    qp: &QueuePair,
    port: &Port,
    ours: &Hello,
    theirs: &Hello,
    params: &ConnectParams,
) -> Result<()> {
    let mut attr = qp::no_attributes();
    attr.qp_state = ibv_qp_state::IBV_QPS_RTR;
    attr.path_mtu = ours.mtu.min(theirs.mtu).ilog2() - 7;
    attr.dest_qp_num = theirs.qpn;
    attr.rq_psn = theirs.psn;
    attr.max_dest_rd_atomic = params.responder_resources;
    attr.min_rnr_timer = MIN_RNR_TIMER;
    attr.ah_attr = address_of(port, theirs.gid);
    let mask = ibv_qp_attr_mask::IBV_QP_STATE
        | ibv_qp_attr_mask::IBV_QP_AV
        | ibv_qp_attr_mask::IBV_QP_PATH_MTU
        | ibv_qp_attr_mask::IBV_QP_DEST_QPN
        | ibv_qp_attr_mask::IBV_QP_RQ_PSN
        | ibv_qp_attr_mask::IBV_QP_MAX_DEST_RD_ATOMIC
        | ibv_qp_attr_mask::IBV_QP_MIN_RNR_TIMER;
    qp.modify(attr, mask, "RTR")?;

    let mut attr = qp::no_attributes();
    attr.qp_state = ibv_qp_state::IBV_QPS_RTS;
    attr.sq_psn = ours.psn;
    attr.timeout = params.ack_timeout.unwrap_or(ACK_TIMEOUT);
    attr.retry_cnt = params.retry_count;
    attr.rnr_retry = theirs.rnr_retry;
    attr.max_rd_atomic = params.initiator_depth;
    let mask = ibv_qp_attr_mask::IBV_QP_STATE
        | ibv_qp_attr_mask::IBV_QP_SQ_PSN
        | ibv_qp_attr_mask::IBV_QP_TIMEOUT
        | ibv_qp_attr_mask::IBV_QP_RETRY_CNT
        | ibv_qp_attr_mask::IBV_QP_RNR_RETRY
        | ibv_qp_attr_mask::IBV_QP_MAX_QP_RD_ATOMIC;
    qp.modify(attr, mask, "RTS")
}

/// The way to `gid` from `port`.
fn address_of(port: &Port, gid: Ipv6Addr) -> ibv_ah_attr {
    /// As CM has it on RoCE.
    const HOP_LIMIT: u8 = 64;
    let mut address = qp::no_attributes().ah_attr;
    address.is_global = 1;
    address.port_num = port.number;
    address.grh.dgid = ibv_gid { raw: gid.octets() };
    address.grh.sgid_index = port.gid_index;
    address.grh.hop_limit = HOP_LIMIT;
    address
}

fn refuse(stream: &TcpStream, reason: &str) -> Result<()> {
    send(stream, &Refusal { version: VERSION, reject: reason.to_owned() })
}

fn send(mut stream: &TcpStream, message: &impl Serialize) -> Result<()> {
    let failed = |error| refused("send the parameters", "the peer to take the parameters", error);
    let mut line = serde_json::to_string(message).map_err(|error| failed(error.into()))?;
    tracing::debug!("send: {line}");
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(failed)
}

/// Waits for one line of a non-blocking stream, without its newline; what follows it stays where it is.
fn receive(stream: &TcpStream, awaited: &str, deadline: &Deadline) -> Result<String> {
    let mut line = Vec::new();
    loop {
        if let Some(line) = read_line(stream, &mut line, awaited)? {
            return Ok(line);
        }
        if !sys::wait_readable(&[stream.as_fd()], deadline)? {
            return Err(Error::timeout(awaited, deadline));
        }
    }
}

/// Reads on in `line` what a non-blocking stream has of it; the line, without its newline, once it is whole.
fn read_line(mut stream: &TcpStream, line: &mut Vec<u8>, awaited: &str) -> Result<Option<String>> {
    let mut byte = [0];
    while line.len() < LONGEST_LINE {
        match stream.read(&mut byte) {
            Ok(0) => return Err(Error::Disconnected { awaited: awaited.to_owned() }),
            Ok(_) if byte == *b"\n" => {
                let line = String::from_utf8_lossy(line).into_owned();
                tracing::debug!("received: {line}");
                return Ok(Some(line));
            }
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(refused("receive the parameters", awaited, error)),
        }
    }
    Err(Error::Parameters(format!("a line of more than {LONGEST_LINE} bytes")))
}

/// A refused read or write as what it is: the peer's leave, or trouble of this host.
fn refused(action: &str, awaited: &str, error: io::Error) -> Error {
    if is_the_peer_s(&error) {
        Error::Disconnected { awaited: awaited.to_owned() }
    } else {
        Error::tcp(action, error)
    }
}

/// Whether the peer, or the way to it, ended the connection.
fn is_the_peer_s(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    )
}

/// Reads a side's parameters and checks that a queue pair can have them.
fn parse(line: &str) -> Result<Hello> {
    let hello: Hello = serde_json::from_str(line).map_err(|error| Error::Parameters(error.to_string()))?;
    let wrong = if hello.version != VERSION {
        format!("version {} is unknown, this program knows version {VERSION}", hello.version)
    } else if hello.qpn > 0xff_ffff || hello.psn > 0xff_ffff {
        "a queue pair number and a PSN have 24 bits".to_owned()
    } else if !matches!(hello.mtu, 256 | 512 | 1024 | 2048 | 4096) {
        format!("a path MTU is 256, 512, 1024, 2048 or 4096 bytes, not {}", hello.mtu)
    } else {
        return Ok(hello);
    };
    Err(Error::Parameters(wrong))
}

/// The address as a table of GIDs has it.
pub(crate) fn gid_of(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(v6, |v4| v4.to_ipv6_mapped()),
    }
}

fn random_psn() -> u32 {
    use std::hash::{BuildHasher as _, RandomState};
    // 24 bits.
    RandomState::new().hash_one(()) as u32 & 0xff_ffff
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    let wrong = || Error::Parameters("private data is not hexadecimal".into());
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err(wrong());
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LINE: &str = r#"{"version":1,"qpn":17,"psn":16777214,"gid":"::ffff:198.51.100.2","mtu":1024,"reads":1,"rnr_retry":7,"private_data":"00ff"}"#;

    #[test]
    fn parameters_are_one_line_of_json() {
        let hello = parse(LINE).unwrap();
        assert_eq!((hello.qpn, hello.psn, hello.mtu), (17, 0xff_fffe, 1024));
        assert_eq!(hello.gid, gid_of("198.51.100.2".parse().unwrap()));
        assert_eq!(from_hex(&hello.private_data).unwrap(), [0, 0xff]);
        assert_eq!(serde_json::to_string(&hello).unwrap(), LINE);
    }

    #[test]
    fn parameters_that_no_queue_pair_can_have_are_refused() {
        for (from, to, named) in [
            ("\"version\":1", "\"version\":2", "version 2 is unknown"),
            ("16777214", "16777216", "24 bits"),
            ("\"mtu\":1024", "\"mtu\":1000", "path MTU"),
            ("\"mtu\":1024,", "", "missing field `mtu`"),
            ("{", "GET / HTTP/1.1", "expected value"),
        ] {
            let error = parse(&LINE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        for text in ["0", "0g", "é"] {
            assert!(from_hex(text).is_err(), "{text}");
        }
    }

    #[test]
    fn line_is_read_up_to_its_end_and_no_further() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        theirs.set_nonblocking(true).unwrap();
        ours.write_all(b"abc\nrest").unwrap();
        let soon = || Deadline::after(Duration::from_secs(5));
        assert_eq!(receive(&theirs, "a line", &soon()).unwrap(), "abc");
        let error = receive(&theirs, "a line", &Deadline::after(Duration::from_millis(50))).unwrap_err();
        assert!(error.to_string().contains("waiting for a line"), "{error}");
        drop(ours);
        assert!(matches!(receive(&theirs, "a line", &soon()), Err(Error::Disconnected { .. })));
    }

    #[test]
    fn silent_clients_keep_nobody_waiting_and_a_reset_is_one_client_s() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
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
        assert_eq!(listener.next_request(&soon()).unwrap().peer(), honest.local_addr().unwrap());
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

    #[test]
    fn path_mtu_codes_are_the_header_s() {
        use rdma_sys::ibv_mtu;
        assert_eq!(256_u32.ilog2() - 7, ibv_mtu::IBV_MTU_256);
        assert_eq!(4096_u32.ilog2() - 7, ibv_mtu::IBV_MTU_4096);
    }
}
