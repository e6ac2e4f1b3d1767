//! Connections without CM: queue pair parameters exchanged over TCP, and the queue pair brought into its states by hand.
//!
//! As CM does with REQ and REP, but in the open, and with two parameters that CM chooses itself: the starting PSN and the
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
mod link;
mod listener;
mod states;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use self::hello::{RefusalLine, from_hex, parse, receive, send};
use self::link::{TcpLink, parameters, set_up, work_queue};
use self::listener::TcpTransportListener;
use self::states::establish;
use super::{ConnectParams, ConnectTarget, Listener, Prepare, Transport};
use crate::cm_event::RejectReason;
use crate::deadline::Deadline;
use crate::endpoint::{Endpoint, EndpointBuilder};
use crate::error::{Error, Result};

/// Connections without CM, whose parameters are exchanged over TCP.
#[derive(Clone, Copy, Debug)]
pub struct Tcp;

impl Transport for Tcp {
    fn listen(&self, address: SocketAddr) -> Result<Box<dyn Listener>> {
        Ok(Box::new(TcpTransportListener::bind(address)?))
    }

    fn connect(
        &self,
        target: &ConnectTarget,
        params: &ConnectParams,
        builder: &EndpointBuilder,
        prepare: Prepare<'_>,
        deadline: &Deadline,
    ) -> Result<(Endpoint, Vec<u8>)> {
        let peer = target.server;
        let stream = connect_stream(peer, deadline)?;
        let (work, port) = work_queue(&stream, builder)?;
        let ours = parameters(work.qp(), &port, params, port.mtu_bytes)?;
        let link_stream = stream.try_clone().map_err(set_up)?;
        let link = TcpLink::new(link_stream, port.clone(), None);
        let mut endpoint = Endpoint::new(work, Box::new(link));
        prepare(&mut endpoint)?;

        send(&stream, &ours)?;
        let line = receive(&stream, &format!("{peer} to answer with its parameters"), deadline)?;
        if let Ok(refusal) = serde_json::from_str::<RefusalLine>(&line) {
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
        establish(endpoint.work_mut(), &port, &ours, &theirs, params)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_without_a_listener_and_a_passed_deadline_are_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = ConnectTarget { server: listener.local_addr().unwrap(), source: None };
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
}
