//! Work completions as values: opcode and status by the standard's names, and the JSON shape the host side reads.
//!
//! Numbers in, names out; an unknown number stays visible. Source: `ibv_poll_cq(3)`, `infiniband/verbs.h` of rdma-core 44.

use std::fmt;

use serde::Serialize;

use crate::c_enum::c_enum;

c_enum! {
    /// `enum ibv_wc_status`.
    WcStatus {
        /// The operation is done.
        Success = 0 => "SUCCESS",
        /// A local scatter/gather list does not fit the message.
        LocLenErr = 1 => "LOC_LEN_ERR",
        /// The queue pair cannot do this operation.
        LocQpOpErr = 2 => "LOC_QP_OP_ERR",
        /// Of RD queue pairs, which nobody has.
        LocEecOpErr = 3 => "LOC_EEC_OP_ERR",
        /// A local lkey, bound or access flag is wrong.
        LocProtErr = 4 => "LOC_PROT_ERR",
        /// The queue pair left RTS before this work request was done.
        WrFlushErr = 5 => "WR_FLUSH_ERR",
        /// Binding a memory window failed.
        MwBindErr = 6 => "MW_BIND_ERR",
        /// The responder answered with an opcode that does not fit.
        BadRespErr = 7 => "BAD_RESP_ERR",
        /// The responder's own region refused an incoming WRITE with immediate.
        LocAccessErr = 8 => "LOC_ACCESS_ERR",
        /// The responder refused the request as invalid.
        RemInvReqErr = 9 => "REM_INV_REQ_ERR",
        /// The responder refused rkey, bound or access.
        RemAccessErr = 10 => "REM_ACCESS_ERR",
        /// The responder failed to do it.
        RemOpErr = 11 => "REM_OP_ERR",
        /// No acknowledgement after all retries.
        RetryExcErr = 12 => "RETRY_EXC_ERR",
        /// The responder had no RECV posted after all RNR retries.
        RnrRetryExcErr = 13 => "RNR_RETRY_EXC_ERR",
        /// Of RD queue pairs.
        LocRddViolErr = 14 => "LOC_RDD_VIOL_ERR",
        /// Of RD queue pairs.
        RemInvRdReqErr = 15 => "REM_INV_RD_REQ_ERR",
        /// The responder aborted the operation.
        RemAbortErr = 16 => "REM_ABORT_ERR",
        /// Of RD queue pairs.
        InvEecnErr = 17 => "INV_EECN_ERR",
        /// Of RD queue pairs.
        InvEecStateErr = 18 => "INV_EEC_STATE_ERR",
        /// The device failed.
        FatalErr = 19 => "FATAL_ERR",
        /// The response took too long.
        RespTimeoutErr = 20 => "RESP_TIMEOUT_ERR",
        /// Everything else.
        GeneralErr = 21 => "GENERAL_ERR",
        /// Of tag matching.
        TmErr = 22 => "TM_ERR",
        /// Of tag matching.
        TmRndvIncomplete = 23 => "TM_RNDV_INCOMPLETE",
    }
}

impl WcStatus {
    /// Meaning of the status to somebody who has not met it, and what to look at.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Success => "done",
            Self::LocLenErr => "the message does not fit the local buffer",
            Self::LocQpOpErr => {
                "the queue pair cannot do this: on a RECV, the message does not fit its buffer"
            }
            Self::LocProtErr => "local lkey, bounds or access flags are wrong",
            Self::WrFlushErr => "flushed: the queue pair went to the error state first",
            Self::LocAccessErr => "the local region refused an incoming WRITE",
            Self::RemInvReqErr => {
                "the responder refused the request as invalid: check its responder_resources and the message length"
            }
            Self::RemAccessErr => {
                "the responder refused rkey, bounds or access: check address, rkey and access flags"
            }
            Self::RemOpErr => "the responder failed to do it",
            Self::RetryExcErr => "no acknowledgement after all retries: is the peer alive and the link up?",
            Self::RnrRetryExcErr => "the responder had no RECV posted after all RNR retries",
            _ => "see ibv_poll_cq(3)",
        }
    }
}

c_enum! {
    /// `enum ibv_wc_opcode`.
    WcOpcode {
        /// A SEND was sent.
        Send = 0 => "SEND",
        /// A WRITE, with immediate or without, was acknowledged.
        RdmaWrite = 1 => "RDMA_WRITE",
        /// A READ has arrived.
        RdmaRead = 2 => "RDMA_READ",
        /// A CmpSwap was answered.
        CompSwap = 3 => "COMP_SWAP",
        /// A FetchAdd was answered.
        FetchAdd = 4 => "FETCH_ADD",
        /// A memory window was bound.
        BindMw = 5 => "BIND_MW",
        /// An rkey was invalidated.
        LocalInv = 6 => "LOCAL_INV",
        /// A FLUSH was answered.
        Flush = 8 => "FLUSH",
        /// An ATOMIC WRITE was answered.
        AtomicWrite = 9 => "ATOMIC_WRITE",
        /// A SEND was received.
        Recv = 128 => "RECV",
        /// A WRITE with immediate consumed a RECV.
        RecvRdmaWithImm = 129 => "RECV_RDMA_WITH_IMM",
    }
}

c_enum! {
    /// `enum ibv_wr_opcode`: what was posted to a send queue.
    WrOpcode {
        /// WRITE.
        RdmaWrite = 0 => "RDMA_WRITE",
        /// WRITE with immediate.
        RdmaWriteWithImm = 1 => "RDMA_WRITE_WITH_IMM",
        /// SEND.
        Send = 2 => "SEND",
        /// SEND with immediate.
        SendWithImm = 3 => "SEND_WITH_IMM",
        /// READ.
        RdmaRead = 4 => "RDMA_READ",
        /// CmpSwap.
        AtomicCmpAndSwp = 5 => "ATOMIC_CMP_AND_SWP",
        /// FetchAdd.
        AtomicFetchAndAdd = 6 => "ATOMIC_FETCH_AND_ADD",
        /// Invalidation of an rkey of this side.
        LocalInv = 7 => "LOCAL_INV",
        /// Bind of a memory window.
        BindMw = 8 => "BIND_MW",
        /// SEND with Invalidate.
        SendWithInv = 9 => "SEND_WITH_INV",
        /// FLUSH.
        Flush = 14 => "FLUSH",
        /// ATOMIC WRITE.
        AtomicWrite = 15 => "ATOMIC_WRITE",
    }
}

impl WrOpcode {
    /// The opcode its completion carries. A WRITE's is the same with immediate and without.
    #[must_use]
    pub fn completes_as(self) -> WcOpcode {
        match self {
            Self::RdmaWrite | Self::RdmaWriteWithImm => WcOpcode::RdmaWrite,
            Self::Send | Self::SendWithImm | Self::SendWithInv => WcOpcode::Send,
            Self::RdmaRead => WcOpcode::RdmaRead,
            Self::AtomicCmpAndSwp => WcOpcode::CompSwap,
            Self::AtomicFetchAndAdd => WcOpcode::FetchAdd,
            Self::LocalInv => WcOpcode::LocalInv,
            Self::BindMw => WcOpcode::BindMw,
            Self::Flush => WcOpcode::Flush,
            Self::AtomicWrite => WcOpcode::AtomicWrite,
            Self::Unknown(raw) => WcOpcode::Unknown(raw),
        }
    }
}

/// The side of a message completed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CompletionSide {
    /// The work request was on the send queue.
    Requester,
    /// The work request was a RECV.
    Responder,
}

/// One work completion.
///
/// C defines `opcode`, `byte_len` and the immediate only on success, and on a requester not even those for every
/// operation; what is missing is filled from the work request that was posted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Completion {
    /// The side of the message that this is.
    pub side: CompletionSide,
    /// The completion's opcode; on failure the one that success would have had.
    pub opcode: WcOpcode,
    /// The status.
    pub status: WcStatus,
    /// Identifier of the work request, counted from 1 on each queue pair.
    pub wr_id: u64,
    /// Number of the local queue pair, 24 bits.
    pub qp_num: u32,
    /// Number of the peer's queue pair, 24 bits, if CM said it.
    pub peer_qp_num: Option<u32>,
    /// The opcode that was posted to the send queue; `None` for a RECV.
    pub posted: Option<WrOpcode>,
    /// Payload in bytes. Requester: as posted. Responder: as the completion says. Zero on failure.
    pub length_bytes: u32,
    /// The immediate in host order. Requester: as posted. Responder: as the completion says, if its flags say so.
    pub imm: Option<u32>,
    /// The vendor's error code; zero on success.
    pub vendor_err: u32,
    /// The rkey of this side that a SEND with Invalidate of the peer has made invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalidated_rkey: Option<u32>,
}

impl fmt::Display for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "completion wr_id {}: {} {}, {} bytes",
            self.wr_id, self.opcode, self.status, self.length_bytes
        )?;
        if let Some(imm) = self.imm {
            write!(f, ", imm {imm}")?;
        }
        if let Some(rkey) = self.invalidated_rkey {
            write!(f, ", invalidated rkey {rkey:#x}")?;
        }
        write!(f, ", qp {}", self.qp_num)?;
        if self.vendor_err != 0 {
            write!(f, ", vendor_err {:#x}", self.vendor_err)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECV: Completion = Completion {
        side: CompletionSide::Responder,
        opcode: WcOpcode::RecvRdmaWithImm,
        status: WcStatus::Success,
        wr_id: 1,
        qp_num: 17,
        peer_qp_num: Some(18),
        posted: None,
        length_bytes: 22,
        imm: Some(22),
        vendor_err: 0,
        invalidated_rkey: None,
    };

    #[test]
    fn completion_has_the_agreed_json_shape() {
        assert_eq!(
            serde_json::to_string(&RECV).unwrap(),
            r#"{"side":"responder","opcode":"RECV_RDMA_WITH_IMM","status":"SUCCESS","wr_id":1,"qp_num":17,"peer_qp_num":18,"posted":null,"length_bytes":22,"imm":22,"vendor_err":0}"#
        );
    }

    #[test]
    fn a_requester_tells_what_was_posted() {
        let completion = Completion {
            side: CompletionSide::Requester,
            opcode: WrOpcode::RdmaWriteWithImm.completes_as(),
            posted: Some(WrOpcode::RdmaWriteWithImm),
            ..RECV
        };
        let json = serde_json::to_string(&completion).unwrap();
        assert!(json.contains(r#""opcode":"RDMA_WRITE""#), "{json}");
        assert!(json.contains(r#""posted":"RDMA_WRITE_WITH_IMM""#), "{json}");
    }

    #[test]
    fn unknown_values_are_shown() {
        assert_eq!(WcStatus::from_raw(0x1f).to_string(), "UNKNOWN(0x1f)");
        assert_eq!(WcStatus::from_raw(0x1f).raw(), 0x1f);
        assert_eq!(WcOpcode::from_raw(300).to_string(), "UNKNOWN(0x12c)");
    }

    #[test]
    fn known_values_round_trip() {
        for raw in 0..=23 {
            assert_eq!(WcStatus::from_raw(raw).raw(), raw);
            assert!(!matches!(WcStatus::from_raw(raw), WcStatus::Unknown(_)), "{raw}");
        }
    }

    #[cfg(feature = "rdma-core")]
    #[test]
    fn numbers_equal_the_header_s() {
        use rdma_sys::{ibv_wc_opcode, ibv_wc_status, ibv_wr_opcode};
        assert_eq!(WcStatus::RemAccessErr.raw(), ibv_wc_status::IBV_WC_REM_ACCESS_ERR);
        assert_eq!(WcStatus::RnrRetryExcErr.raw(), ibv_wc_status::IBV_WC_RNR_RETRY_EXC_ERR);
        assert_eq!(WcStatus::GeneralErr.raw(), ibv_wc_status::IBV_WC_GENERAL_ERR);
        assert_eq!(WcStatus::TmRndvIncomplete.raw(), ibv_wc_status::IBV_WC_TM_RNDV_INCOMPLETE);
        assert_eq!(WcOpcode::Recv.raw(), ibv_wc_opcode::IBV_WC_RECV);
        assert_eq!(WcOpcode::RecvRdmaWithImm.raw(), ibv_wc_opcode::IBV_WC_RECV_RDMA_WITH_IMM);
        assert_eq!(WcOpcode::FetchAdd.raw(), ibv_wc_opcode::IBV_WC_FETCH_ADD);
        assert_eq!(WcOpcode::LocalInv.raw(), ibv_wc_opcode::IBV_WC_LOCAL_INV);
        assert_eq!(WrOpcode::LocalInv.raw(), ibv_wr_opcode::IBV_WR_LOCAL_INV);
        assert_eq!(WrOpcode::BindMw.raw(), ibv_wr_opcode::IBV_WR_BIND_MW);
        assert_eq!(WrOpcode::SendWithInv.raw(), ibv_wr_opcode::IBV_WR_SEND_WITH_INV);
        assert_eq!(WrOpcode::RdmaRead.raw(), ibv_wr_opcode::IBV_WR_RDMA_READ);
        assert_eq!(WrOpcode::RdmaWriteWithImm.raw(), ibv_wr_opcode::IBV_WR_RDMA_WRITE_WITH_IMM);
        assert_eq!(WrOpcode::AtomicFetchAndAdd.raw(), ibv_wr_opcode::IBV_WR_ATOMIC_FETCH_AND_ADD);
    }
}
