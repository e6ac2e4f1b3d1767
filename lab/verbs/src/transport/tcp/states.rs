//! A queue pair brought into its states by hand: RTR, RTS. Source: `ibv_modify_qp(3)`.

use super::hello::Hello;
use crate::address::AddressHandle;
use crate::batch::{DatagramPath, DatagramTarget};
use crate::device::Port;
use crate::error::Result;
use crate::qp::ServiceType;
use crate::states::{ConnectedPeer, ConnectionTerms};
use crate::transport::ConnectParams;
use crate::work_queue::WorkQueue;

/// ACK timeout of CM's REQ on rxe of Linux 6.1, a patient one: 4.096 us times two to the power of 19 are 2.15 s.
const ACK_TIMEOUT: u8 = 19;

/// Key of datagrams on these connections, on both sides: perftest's.
pub(super) const Q_KEY: u32 = 0x1111_1111;

/// Ready to receive, then ready to send.
pub(super) fn establish(
    work: &mut WorkQueue,
    port: &Port,
    ours: &Hello,
    theirs: &Hello,
    params: &ConnectParams,
) -> Result<()> {
    let mtu_bytes = ours.mtu.min(theirs.mtu);
    if work.qp().service() == ServiceType::Ud {
        work.qp().to_datagrams(ours.psn)?;
        let address = AddressHandle::create(work.qp().pd(), port, theirs.gid)?;
        let address = work.attach_address(&address);
        let target = DatagramTarget { address, qp_num: theirs.qpn, q_key: Q_KEY };
        work.set_datagram_path(DatagramPath { target, mtu_bytes });
        return Ok(());
    }
    let peer = ConnectedPeer {
        gid: theirs.gid,
        qp_num: theirs.qpn,
        psn: theirs.psn,
        reads_at_once: params.responder_resources,
    };
    let terms = ConnectionTerms {
        mtu_bytes,
        initiator_depth: params.initiator_depth,
        ack_timeout: params.ack_timeout.unwrap_or(ACK_TIMEOUT),
        retry_count: params.retry_count,
        rnr_retry: theirs.rnr_retry,
    };
    work.qp().establish(port, &peer, ours.psn, &terms)
}
