//! Work completions as a device writes them, polled into storage of the caller's. Source: `ibv_poll_cq(3)`.

use std::fmt;
use std::mem;

use crate::completion::{Completion, CompletionSide, WcOpcode, WcStatus, WrOpcode};
use crate::error::Error;
use crate::rdma_sys::{ibv_wc, ibv_wc_flags};

/// Identifiers of work requests posted in lists have this bit: others count from 1.
const BATCH_MARK: u64 = 1 << 63;
/// Identifiers of list-posted requests of the send queue.
pub(crate) const SEND_MARK: u64 = BATCH_MARK;
/// Identifiers of list-posted RECVs.
pub(crate) const RECV_MARK: u64 = BATCH_MARK | 1 << 62;
/// IB_WC_WITH_INVALIDATE of the kernel, which rxe tells programs in the place of `IBV_WC_WITH_INV`; it is C's
/// IBV_WC_IP_CSUM_OK, which RECVs of connections do not have. Observed: rxe 6.12.
const RXE_WITH_INVALIDATE: u32 = 1 << 2;
/// The bits of an identifier that count.
const NUMBER: u64 = (1 << 62) - 1;

/// True if a work request with this identifier was posted in a list.
pub(crate) fn is_of_a_batch(wr_id: u64) -> bool {
    wr_id & BATCH_MARK != 0
}

/// The completion of a work request that was posted in a list.
#[repr(transparent)]
pub struct BatchCompletion(pub(crate) ibv_wc);

impl Default for BatchCompletion {
    /// A place for a completion.
    fn default() -> Self {
        // SAFETY: the structure is integers, and a union of them: all zeros is a valid value.
        Self(unsafe { mem::zeroed::<ibv_wc>() })
    }
}

impl BatchCompletion {
    /// Storage for `count` completions.
    #[must_use]
    pub fn places(count: usize) -> Vec<Self> {
        std::iter::repeat_with(Self::default).take(count).collect()
    }

    /// The number of the work request, counted from 0 over all that were posted in lists to its queue.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.wr_id & NUMBER
    }

    /// True if the work request was a RECV.
    #[must_use]
    pub fn is_recv(&self) -> bool {
        self.0.wr_id & RECV_MARK == RECV_MARK
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> WcStatus {
        WcStatus::from_raw(self.0.status)
    }

    /// The opcode; C defines it on success alone.
    #[must_use]
    pub fn opcode(&self) -> WcOpcode {
        WcOpcode::from_raw(self.0.opcode)
    }

    /// Payload in bytes that a RECV, a READ or an atomic brought; C defines it on success alone.
    #[must_use]
    pub fn length_bytes(&self) -> u32 {
        self.0.byte_len
    }

    /// The immediate that arrived, in host order.
    #[must_use]
    pub fn imm(&self) -> Option<u32> {
        let has_imm = self.0.wc_flags & ibv_wc_flags::IBV_WC_WITH_IMM.0 != 0;
        has_imm.then(|| {
            // SAFETY: both members of the union are 32-bit integers; the flag says that this one was meant.
            u32::from_be(unsafe { self.0.imm_data_invalidated_rkey_union.imm_data })
        })
    }

    /// The rkey of this side that the peer's SEND with Invalidate has made invalid.
    #[must_use]
    pub fn invalidated_rkey(&self) -> Option<u32> {
        invalidated_rkey(&self.0)
    }

    /// The vendor's error code; zero on success.
    #[must_use]
    pub fn vendor_err(&self) -> u32 {
        self.0.vendor_err
    }

    /// The failure, if the status is not SUCCESS; `posted` is the operation of requests of the send queue, which C does
    /// not tell of one that failed.
    #[must_use]
    pub fn failure(&self, posted: WrOpcode) -> Option<Error> {
        if self.status() == WcStatus::Success {
            return None;
        }
        let posted = (!self.is_recv()).then_some(posted);
        Some(Error::Completion(Box::new(Completion {
            side: if posted.is_some() { CompletionSide::Requester } else { CompletionSide::Responder },
            opcode: posted.map_or(WcOpcode::Recv, WrOpcode::completes_as),
            status: self.status(),
            wr_id: self.number(),
            qp_num: self.qp_num(),
            peer_qp_num: None,
            posted,
            length_bytes: 0,
            imm: None,
            vendor_err: self.vendor_err(),
            invalidated_rkey: None,
        })))
    }

    /// Number of the local queue pair, 24 bits.
    #[must_use]
    pub fn qp_num(&self) -> u32 {
        self.0.qp_num
    }
}

/// The rkey that a SEND with Invalidate has made invalid, of a RECV that succeeded.
pub(crate) fn invalidated_rkey(wc: &ibv_wc) -> Option<u32> {
    let flags = wc.wc_flags;
    let is_plain_recv = WcOpcode::from_raw(wc.opcode) == WcOpcode::Recv;
    let has_rkey = flags & (ibv_wc_flags::IBV_WC_WITH_INV.0 | RXE_WITH_INVALIDATE) != 0;
    // SAFETY: both members of the union are 32-bit integers, of which any bytes are valid; the flag says that this one was
    // meant.
    let rkey = unsafe { wc.imm_data_invalidated_rkey_union.invalidated_rkey };
    (is_plain_recv && has_rkey).then_some(rkey)
}

impl fmt::Debug for BatchCompletion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchCompletion")
            .field("number", &self.number())
            .field("is_recv", &self.is_recv())
            .field("status", &self.status())
            .field("opcode", &self.opcode())
            .field("length_bytes", &self.length_bytes())
            .field("imm", &self.imm())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_of_lists_tell_queue_and_number() {
        let mut completion = BatchCompletion::default();
        for (mark, is_recv) in [(SEND_MARK, false), (RECV_MARK, true)] {
            completion.0.wr_id = mark | 5;
            assert!(is_of_a_batch(completion.0.wr_id));
            assert_eq!((completion.number(), completion.is_recv()), (5, is_recv));
        }
        assert!(!is_of_a_batch(5));
    }

    #[test]
    fn immediate_counts_only_with_its_flag() {
        let mut completion = BatchCompletion::default();
        completion.0.imm_data_invalidated_rkey_union.imm_data = 22_u32.to_be();
        assert_eq!(completion.imm(), None);
        completion.0.wc_flags = 3;
        assert_eq!(completion.imm(), Some(22));
    }
}
