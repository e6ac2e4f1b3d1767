//! Queue pairs brought into their states by hand, of each service. Source: `ibv_modify_qp(3)`, `ibv_create_qp(3)`.

use std::net::Ipv6Addr;

use crate::address::address_of;
use crate::device::Port;
use crate::error::Result;
use crate::mr::{ACCESS_FLUSH_GLOBAL, ACCESS_FLUSH_PERSISTENT};
use crate::qp::{QueuePair, ServiceType};
use crate::qp_attributes::no_attributes;
use crate::rdma_sys::{ibv_access_flags, ibv_qp_attr, ibv_qp_attr_mask, ibv_qp_state};

/// Time without acknowledgement after which a reliable queue pair sends again: 4.096 us times two to the power of 17,
/// 0.54 s.
const ACK_TIMEOUT: u8 = 17;
/// Code of the shortest time a requester waits after an RNR NAK, 0.64 ms.
const MIN_RNR_TIMER: u8 = 12;

/// The other end of a connected queue pair.
#[derive(Clone, Copy, Debug)]
pub struct ConnectedPeer {
    /// Its address.
    pub gid: Ipv6Addr,
    /// Number of its queue pair, 24 bits.
    pub qp_num: u32,
    /// PSN of the first packet that it sends, 24 bits.
    pub psn: u32,
    /// READs and atomics that each side may have outstanding at the other; RC alone.
    pub reads_at_once: u8,
}

/// Terms on which a connected queue pair sends; but for the path MTU, of RC alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionTerms {
    /// Path MTU in bytes, 256 at least.
    pub(crate) mtu_bytes: u32,
    /// READs and atomics of this side that may be outstanding.
    pub(crate) initiator_depth: u8,
    /// Exponent of the ACK timeout.
    pub(crate) ack_timeout: u8,
    /// Retries without an answer.
    pub(crate) retry_count: u8,
    /// Retries behind an RNR NAK; 7 is without end.
    pub(crate) rnr_retry: u8,
}

impl QueuePair {
    /// Moves it from RESET to INIT: RECVs may be posted. `q_key` is that of datagrams that it takes, and of no account to
    /// connected queue pairs, whose peer may WRITE, READ and use atomics as far as a memory region lets it.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`](crate::Error::Verb) naming `ibv_modify_qp`.
    pub fn to_init(&self, port: &Port, q_key: u32) -> Result<()> {
        let mut attr = no_attributes();
        attr.qp_state = ibv_qp_state::IBV_QPS_INIT;
        attr.port_num = port.number;
        let mut mask = ibv_qp_attr_mask::IBV_QP_STATE
            | ibv_qp_attr_mask::IBV_QP_PKEY_INDEX
            | ibv_qp_attr_mask::IBV_QP_PORT;
        let remote_write = ibv_access_flags::IBV_ACCESS_REMOTE_WRITE;
        match self.service() {
            ServiceType::Ud => {
                attr.qkey = q_key;
                mask |= ibv_qp_attr_mask::IBV_QP_QKEY;
                return self.modify(attr, mask, "INIT");
            }
            ServiceType::Uc => attr.qp_access_flags = remote_write.0,
            ServiceType::Rc => {
                let access = remote_write
                    | ibv_access_flags::IBV_ACCESS_REMOTE_READ
                    | ibv_access_flags::IBV_ACCESS_REMOTE_ATOMIC;
                attr.qp_access_flags = access.0 | self.flush_access()?;
            }
        }
        mask |= ibv_qp_attr_mask::IBV_QP_ACCESS_FLAGS;
        self.modify(attr, mask, "INIT")
    }

    /// The access that lets a peer FLUSH, as far as the device has it.
    fn flush_access(&self) -> Result<u32> {
        let has = self.pd().device().abilities()?;
        let global = if has.flush_global { ACCESS_FLUSH_GLOBAL } else { 0 };
        Ok(global | if has.flush_persistent { ACCESS_FLUSH_PERSISTENT } else { 0 })
    }

    /// Moves a connected queue pair from INIT to RTR and RTS: it receives from `peer`, and sends to it from `psn` on, 24
    /// bits. The path MTU is that of `port`.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`](crate::Error::Verb) naming `ibv_modify_qp`: EINVAL before [`QueuePair::to_init`] or for datagrams.
    pub fn connect_to(&self, port: &Port, peer: &ConnectedPeer, psn: u32) -> Result<()> {
        let terms = ConnectionTerms {
            mtu_bytes: port.mtu_bytes.max(256),
            initiator_depth: peer.reads_at_once,
            ack_timeout: ACK_TIMEOUT,
            retry_count: 7,
            rnr_retry: 7,
        };
        self.establish(port, peer, psn, &terms)
    }

    /// The same on these terms, from INIT on.
    pub(crate) fn establish(
        &self,
        port: &Port,
        peer: &ConnectedPeer,
        psn: u32,
        terms: &ConnectionTerms,
    ) -> Result<()> {
        let is_reliable = self.service() == ServiceType::Rc;
        let mut attr = no_attributes();
        attr.qp_state = ibv_qp_state::IBV_QPS_RTR;
        // `enum ibv_mtu`: 1 is 256 bytes, each further one doubles.
        attr.path_mtu = terms.mtu_bytes.ilog2() - 7;
        attr.dest_qp_num = peer.qp_num;
        attr.rq_psn = peer.psn;
        attr.ah_attr = address_of(port, peer.gid);
        let mut mask = ibv_qp_attr_mask::IBV_QP_STATE
            | ibv_qp_attr_mask::IBV_QP_AV
            | ibv_qp_attr_mask::IBV_QP_PATH_MTU
            | ibv_qp_attr_mask::IBV_QP_DEST_QPN
            | ibv_qp_attr_mask::IBV_QP_RQ_PSN;
        if is_reliable {
            attr.max_dest_rd_atomic = peer.reads_at_once;
            attr.min_rnr_timer = MIN_RNR_TIMER;
            mask =
                mask | ibv_qp_attr_mask::IBV_QP_MAX_DEST_RD_ATOMIC | ibv_qp_attr_mask::IBV_QP_MIN_RNR_TIMER;
        }
        self.modify(attr, mask, "RTR")?;
        let (mut attr, mut mask) = ready_to_send(psn);
        if is_reliable {
            attr.timeout = terms.ack_timeout;
            attr.retry_cnt = terms.retry_count;
            attr.rnr_retry = terms.rnr_retry;
            attr.max_rd_atomic = terms.initiator_depth;
            mask = mask
                | ibv_qp_attr_mask::IBV_QP_TIMEOUT
                | ibv_qp_attr_mask::IBV_QP_RETRY_CNT
                | ibv_qp_attr_mask::IBV_QP_RNR_RETRY
                | ibv_qp_attr_mask::IBV_QP_MAX_QP_RD_ATOMIC;
        }
        self.modify(attr, mask, "RTS")
    }

    /// Moves a queue pair of datagrams from INIT to RTR and RTS; it sends from `psn` on, 24 bits.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`](crate::Error::Verb) naming `ibv_modify_qp`: EINVAL before [`QueuePair::to_init`] or for a connected
    /// one.
    pub fn to_datagrams(&self, psn: u32) -> Result<()> {
        let mut attr = no_attributes();
        attr.qp_state = ibv_qp_state::IBV_QPS_RTR;
        self.modify(attr, ibv_qp_attr_mask::IBV_QP_STATE, "RTR")?;
        let (attr, mask) = ready_to_send(psn);
        self.modify(attr, mask, "RTS")
    }
}

fn ready_to_send(psn: u32) -> (ibv_qp_attr, ibv_qp_attr_mask) {
    let mut attr = no_attributes();
    attr.qp_state = ibv_qp_state::IBV_QPS_RTS;
    attr.sq_psn = psn;
    (attr, ibv_qp_attr_mask::IBV_QP_STATE | ibv_qp_attr_mask::IBV_QP_SQ_PSN)
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
