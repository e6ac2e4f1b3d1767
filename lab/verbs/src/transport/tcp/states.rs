//! A queue pair brought into its states by hand: RTR, RTS. Source: `ibv_modify_qp(3)`.

use super::hello::Hello;
use crate::device::Port;
use crate::error::Result;
use crate::qp::QueuePair;
use crate::states::{ConnectedPeer, ConnectionTerms};
use crate::transport::ConnectParams;

/// ACK timeout of CM's REQ on rxe of Linux 6.1, a patient one: 4.096 us times two to the power of 19 are 2.15 s.
const ACK_TIMEOUT: u8 = 19;

/// Ready to receive, then ready to send.
pub(super) fn establish(
    qp: &QueuePair,
    port: &Port,
    ours: &Hello,
    theirs: &Hello,
    params: &ConnectParams,
) -> Result<()> {
    let peer = ConnectedPeer {
        gid: theirs.gid,
        qp_num: theirs.qpn,
        psn: theirs.psn,
        reads_at_once: params.responder_resources,
    };
    let terms = ConnectionTerms {
        mtu_bytes: ours.mtu.min(theirs.mtu),
        initiator_depth: params.initiator_depth,
        ack_timeout: params.ack_timeout.unwrap_or(ACK_TIMEOUT),
        retry_count: params.retry_count,
        rnr_retry: theirs.rnr_retry,
    };
    qp.establish(port, &peer, ours.psn, &terms)
}
