//! The control path of a connection without CM: a TCP connection that says all in its first lines, and then only ends.

use std::io::{ErrorKind, Read as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use super::hello::{Hello, VERSION, send};
use super::states::{Q_KEY, establish};
use crate::deadline::Deadline;
use crate::device::{Device, Port};
use crate::endpoint::EndpointBuilder;
use crate::error::{Error, Result};
use crate::qp::{QueuePair, ServiceType};
use crate::transport::{ConnectParams, Link};
use crate::work_queue::WorkQueue;

/// A queue pair on the device that has the stream's local address, in INIT: RECVs may be posted.
pub(super) fn work_queue(stream: &TcpStream, builder: &EndpointBuilder) -> Result<(WorkQueue, Port)> {
    let local = stream.local_addr().map_err(set_up)?;
    stream.set_nonblocking(true).map_err(set_up)?;
    let made = [ServiceType::Rc, ServiceType::Uc, ServiceType::Ud];
    let service = builder.demand_service(&made, "ibv_create_qp")?;
    let (device, port) = Device::with_address(local.ip())?;
    let create = |pd, cq, capacity: &_| QueuePair::create_as(service, &pd, cq, capacity, None);
    let work = builder.build(&device, create)?;
    work.qp().to_init(&port, Q_KEY)?;
    Ok((work, port))
}

/// Names the connection that could not be set up.
pub(super) fn set_up(error: std::io::Error) -> Error {
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

impl TcpLink {
    /// A link over `stream`, which is non-blocking; a server's has read the client's line, `peer`.
    pub(super) fn new(stream: TcpStream, port: Port, peer: Option<Hello>) -> Self {
        Self { stream, port, peer }
    }
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
        let ours = parameters(work.qp(), &self.port, params, self.port.mtu_bytes.min(theirs.mtu))?;
        establish(work, &self.port, &ours, theirs, params)?;
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
pub(super) fn parameters(
    qp: &QueuePair,
    port: &Port,
    params: &ConnectParams,
    mtu_limit: u32,
) -> Result<Hello> {
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
        private_data: hex::encode(&params.private_data),
    })
}

fn random_psn() -> u32 {
    use std::hash::{BuildHasher as _, RandomState};
    // 24 bits.
    RandomState::new().hash_one(()) as u32 & 0xff_ffff
}
