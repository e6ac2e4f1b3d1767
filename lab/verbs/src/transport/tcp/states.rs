//! A queue pair brought into its states by hand: RTR, RTS. Source: `ibv_modify_qp(3)`.

use super::hello::Hello;
use crate::address::address_of;
use crate::device::Port;
use crate::error::Result;
use crate::qp::{QueuePair, ServiceType};
use crate::qp_attributes::no_attributes;
use crate::rdma_sys::{ibv_qp_attr_mask, ibv_qp_state};
use crate::transport::ConnectParams;

/// ACK timeout of CM's REQ on rxe of Linux 6.1, a patient one: 4.096 us times two to the power of 19 are 2.15 s.
const ACK_TIMEOUT: u8 = 19;
/// Code of the shortest time a requester waits after an RNR NAK, 0.64 ms.
const MIN_RNR_TIMER: u8 = 12;

/// Ready to receive, then ready to send.
pub(super) fn establish(
    qp: &QueuePair,
    port: &Port,
    ours: &Hello,
    theirs: &Hello,
    params: &ConnectParams,
) -> Result<()> {
    let mut attr = no_attributes();
    attr.qp_state = ibv_qp_state::IBV_QPS_RTR;
    attr.path_mtu = ours.mtu.min(theirs.mtu).ilog2() - 7;
    attr.dest_qp_num = theirs.qpn;
    attr.rq_psn = theirs.psn;
    attr.ah_attr = address_of(port, theirs.gid);
    let mut mask = ibv_qp_attr_mask::IBV_QP_STATE
        | ibv_qp_attr_mask::IBV_QP_AV
        | ibv_qp_attr_mask::IBV_QP_PATH_MTU
        | ibv_qp_attr_mask::IBV_QP_DEST_QPN
        | ibv_qp_attr_mask::IBV_QP_RQ_PSN;
    let is_reliable = qp.service() == ServiceType::Rc;
    if is_reliable {
        attr.max_dest_rd_atomic = params.responder_resources;
        attr.min_rnr_timer = MIN_RNR_TIMER;
        mask = mask | ibv_qp_attr_mask::IBV_QP_MAX_DEST_RD_ATOMIC | ibv_qp_attr_mask::IBV_QP_MIN_RNR_TIMER;
    }
    qp.modify(attr, mask, "RTR")?;

    let mut attr = no_attributes();
    attr.qp_state = ibv_qp_state::IBV_QPS_RTS;
    attr.sq_psn = ours.psn;
    let mut mask = ibv_qp_attr_mask::IBV_QP_STATE | ibv_qp_attr_mask::IBV_QP_SQ_PSN;
    if is_reliable {
        attr.timeout = params.ack_timeout.unwrap_or(ACK_TIMEOUT);
        attr.retry_cnt = params.retry_count;
        attr.rnr_retry = theirs.rnr_retry;
        attr.max_rd_atomic = params.initiator_depth;
        mask = mask
            | ibv_qp_attr_mask::IBV_QP_TIMEOUT
            | ibv_qp_attr_mask::IBV_QP_RETRY_CNT
            | ibv_qp_attr_mask::IBV_QP_RNR_RETRY
            | ibv_qp_attr_mask::IBV_QP_MAX_QP_RD_ATOMIC;
    }
    qp.modify(attr, mask, "RTS")
}

#[cfg(test)]
mod tests {
    #[test]
    fn path_mtu_codes_are_the_header_s() {
        use rdma_sys::ibv_mtu;
        assert_eq!(256_u32.ilog2() - 7, ibv_mtu::IBV_MTU_256);
        assert_eq!(4096_u32.ilog2() - 7, ibv_mtu::IBV_MTU_4096);
    }
}
