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

mod hello;
mod listener;

use std::io::{ErrorKind, Read as _};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use self::hello::{Hello, Refusal, VERSION, from_hex, parse, receive, send, to_hex};
use self::listener::TcpTransportListener;
use super::{ConnectParams, Link, Listener, Prepare, Target, Transport};
use crate::cm_event::RejectReason;
use crate::deadline::Deadline;
use crate::device::{Device, Port};
use crate::endpoint::{Endpoint, EndpointBuilder};
use crate::error::{Error, Result};
use crate::qp::{self, QueuePair};
use crate::rdma_sys::{ibv_access_flags, ibv_ah_attr, ibv_gid, ibv_qp_attr_mask, ibv_qp_state};
use crate::work_queue::WorkQueue;

/// What CM's REQ says on rxe of Linux 6.1, and is patient: 4.096 us times two to the power of 19 are 2.15 s.
const ACK_TIMEOUT: u8 = 19;
/// Code of the shortest time a requester waits after an RNR NAK, 0.64 ms.
const MIN_RNR_TIMER: u8 = 12;

/// Connections without CM, whose parameters are exchanged over TCP.
#[derive(Clone, Copy, Debug)]
pub struct Tcp;

impl Transport for Tcp {
    fn listen(&self, address: SocketAddr) -> Result<Box<dyn Listener>> {
        Ok(Box::new(TcpTransportListener::bind(address)?))
    }

    fn connect(
        &self,
        target: &Target,
        params: &ConnectParams,
        builder: &EndpointBuilder,
        prepare: Prepare<'_>,
        deadline: &Deadline,
    ) -> Result<(Endpoint, Vec<u8>)> {
        let peer = target.server;
        let stream = connect_stream(peer, deadline)?;
        let (work, port) = work_queue(&stream, builder)?;
        let ours = hello(work.qp(), &port, params, port.mtu_bytes)?;
        let link_stream = stream.try_clone().map_err(set_up)?;
        let link = TcpLink { stream: link_stream, port: port.clone(), peer: None };
        let mut endpoint = Endpoint::new(work, Box::new(link));
        prepare(&mut endpoint)?;

        send(&stream, &ours)?;
        let line = receive(&stream, &format!("{peer} to answer with its parameters"), deadline)?;
        if let Ok(refusal) = serde_json::from_str::<Refusal>(&line) {
            return Err(Error::Rejected {
                peer: peer.to_string(),
                reason: RejectReason::ConsumerDefined,
                text: Some(refusal.reject),
                hint: None,
            });
        }
        let theirs = parse(&line)?;
        if theirs.mtu > ours.mtu {
            return Err(Error::Parameters(format!(
                "the server chose a path MTU of {} bytes, {} were proposed",
                theirs.mtu, ours.mtu
            )));
        }
        establish(endpoint.qp(), &port, &ours, &theirs, params)?;
        endpoint.qp().log_attributes();
        let private_data = from_hex(&theirs.private_data)?;
        endpoint.work_mut().set_peer_qp_num(Some(theirs.qpn));
        Ok((endpoint, private_data))
    }
}

fn connect_stream(peer: SocketAddr, deadline: &Deadline) -> Result<TcpStream> {
    let awaited = || format!("{peer} to accept a TCP connection");
    let left = deadline.remaining().unwrap_or(Duration::MAX);
    if left.is_zero() {
        return Err(Error::timeout(awaited(), deadline));
    }
    TcpStream::connect_timeout(&peer, left).map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => Error::Rejected {
            peer: peer.to_string(),
            reason: RejectReason::InvalidServiceId,
            text: None,
            hint: None,
        },
        ErrorKind::TimedOut => Error::timeout(awaited(), deadline),
        _ => Error::tcp(format!("connect to {peer}"), error),
    })
}

/// A queue pair on the device that has the stream's local address, in INIT: RECVs may be posted.
fn work_queue(stream: &TcpStream, builder: &EndpointBuilder) -> Result<(WorkQueue, Port)> {
    let local = stream.local_addr().map_err(set_up)?;
    stream.set_nonblocking(true).map_err(set_up)?;
    let (device, port) = Device::with_address(local.ip())?;
    let work = builder.build(&device, |pd, cq, capacity| QueuePair::create(&pd, cq, capacity))?;
    initialise(work.qp(), &port)?;
    Ok((work, port))
}

fn set_up(error: std::io::Error) -> Error {
    Error::tcp("set up the TCP connection", error)
}

/// The TCP connection of two queue pairs, and what its first lines said.
#[derive(Debug)]
pub(super) struct TcpLink {
    /// Silent from then on until its end.
    stream: TcpStream,
    port: Port,
    peer: Option<Hello>,
}

impl AsFd for TcpLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Link for TcpLink {
    /// Brings the queue pair into its states and tells the client, which may send as soon as it knows.
    fn accept(&mut self, work: &mut WorkQueue, params: &ConnectParams, _: &Deadline) -> Result<bool> {
        let Some(theirs) = &self.peer else {
            unreachable!("only a server accepts, and it has read the client's line")
        };
        let qp = work.qp();
        let ours = hello(qp, &self.port, params, self.port.mtu_bytes.min(theirs.mtu))?;
        establish(qp, &self.port, &ours, theirs, params)?;
        send(&self.stream, &ours)?;
        Ok(false)
    }

    /// The end of the stream says it; any other trouble with it is the peer's leave as well.
    fn peer_left(&mut self, _awaited: &str, _deadline: &Deadline) -> Result<bool> {
        let mut bytes = [0; 64];
        match self.stream.read(&mut bytes) {
            Ok(0) => Ok(true),
            Ok(count) => {
                tracing::warn!("ignored {count} bytes that the peer sent after its parameters");
                Ok(false)
            }
            Err(error) => Ok(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)),
        }
    }

    fn disconnect(&mut self, qp: &QueuePair) -> Result<()> {
        // As rdma_disconnect does it: nothing more is sent or received.
        qp.to_error_state()?;
        // It fails if the peer has closed already, which then needs no telling.
        let _ = self.stream.shutdown(Shutdown::Write);
        tracing::debug!("shutdown: this side of the TCP connection");
        Ok(())
    }
}

/// This side's parameters, with a path MTU of at most `mtu_limit` bytes.
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

fn random_psn() -> u32 {
    use std::hash::{BuildHasher as _, RandomState};
    // 24 bits.
    RandomState::new().hash_one(()) as u32 & 0xff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_without_a_listener_and_a_passed_deadline_are_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target { server: listener.local_addr().unwrap(), source: None };
        drop(listener);
        let connect = |limit| {
            let (params, builder) = (ConnectParams::default(), EndpointBuilder::new());
            let deadline = Deadline::after(limit);
            Tcp.connect(&target, &params, &builder, &mut |_| Ok(()), &deadline).unwrap_err()
        };
        let error = connect(Duration::from_secs(5));
        assert!(matches!(error, Error::Rejected { reason: RejectReason::InvalidServiceId, .. }), "{error}");
        let error = connect(Duration::ZERO);
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
    }

    #[test]
    fn path_mtu_codes_are_the_header_s() {
        use rdma_sys::ibv_mtu;
        assert_eq!(256_u32.ilog2() - 7, ibv_mtu::IBV_MTU_256);
        assert_eq!(4096_u32.ilog2() - 7, ibv_mtu::IBV_MTU_4096);
    }
}
