//! REP, the connection reply: the passive side's queue pair, first PSN and limits.
//!
//! In: the 232 bytes behind the MAD header. Out: its fields. Layout after Linux `include/rdma/ibta_vol1_c12.h`.

use std::fmt;

use crate::wire::{Psn, be_u8, be_u32, be_u64, view};

view! {
    /// View of a connection reply.
    ///
    /// ```text
    ///  0 local comm id        4  remote comm id    8  local Q_Key
    /// 12 local QPN (24)      16  local EECN (24)  20  starting PSN (24)
    /// 24 responder resources 25  initiator depth  26  target ACK delay 5, failover 2, flow control 1
    /// 27 RNR retry 3, SRQ 1  28  local CA GUID (64)
    /// 36 private data (196)
    /// ```
    Rep, "cm rep", 232
}

mod field {
    use std::ops::Range;
    pub(super) const LOCAL_COMM_ID: Range<usize> = 0..4;
    pub(super) const REMOTE_COMM_ID: Range<usize> = 4..8;
    pub(super) const LOCAL_Q_KEY: Range<usize> = 8..12;
    pub(super) const LOCAL_QPN: Range<usize> = 12..15;
    pub(super) const LOCAL_EECN: Range<usize> = 16..19;
    pub(super) const STARTING_PSN: Range<usize> = 20..23;
    pub(super) const RESPONDER_RESOURCES: usize = 24;
    pub(super) const INITIATOR_DEPTH: usize = 25;
    pub(super) const DELAY_AND_FLOW: usize = 26;
    pub(super) const RNR_RETRY: usize = 27;
    pub(super) const LOCAL_CA_GUID: Range<usize> = 28..36;
    pub(super) const PRIVATE_DATA: Range<usize> = 36..232;
}

impl<'a> Rep<'a> {
    /// Communication id of the passive side.
    pub fn local_comm_id(&self) -> u32 {
        be_u32(self.bytes, field::LOCAL_COMM_ID)
    }

    /// Communication id of the active side, from its REQ.
    pub fn remote_comm_id(&self) -> u32 {
        be_u32(self.bytes, field::REMOTE_COMM_ID)
    }

    /// Queue key of the passive side; datagrams only.
    pub fn local_q_key(&self) -> u32 {
        be_u32(self.bytes, field::LOCAL_Q_KEY)
    }

    /// Queue pair number of the passive side, 24 bits.
    pub fn local_qpn(&self) -> u32 {
        be_u32(self.bytes, field::LOCAL_QPN)
    }

    /// End-to-end context of the passive side, 24 bits.
    pub fn local_eecn(&self) -> u32 {
        be_u32(self.bytes, field::LOCAL_EECN)
    }

    /// First PSN that the passive side wants to receive: the *active* side's requests begin there.
    pub fn starting_psn(&self) -> Psn {
        Psn::new(be_u32(self.bytes, field::STARTING_PSN))
    }

    /// READs and atomics that the passive side serves at once.
    pub fn responder_resources(&self) -> u8 {
        be_u8(self.bytes, field::RESPONDER_RESOURCES)
    }

    /// READs and atomics that the passive side has outstanding at once.
    pub fn initiator_depth(&self) -> u8 {
        be_u8(self.bytes, field::INITIATOR_DEPTH)
    }

    /// Time code by which an ACK may be late at the passive side, 5 bits.
    pub fn target_ack_delay(&self) -> u8 {
        be_u8(self.bytes, field::DELAY_AND_FLOW) >> 3
    }

    /// Failover accepted, 2 bits.
    pub fn failover_accepted(&self) -> u8 {
        (be_u8(self.bytes, field::DELAY_AND_FLOW) >> 1) & 0x3
    }

    /// End-to-end flow control: the passive side sends credits.
    pub fn flow_control(&self) -> bool {
        be_u8(self.bytes, field::DELAY_AND_FLOW) & 1 != 0
    }

    /// Retries after an RNR NAK, 0 to 7; 7 is without end.
    pub fn rnr_retry_count(&self) -> u8 {
        be_u8(self.bytes, field::RNR_RETRY) >> 5
    }

    /// Whether the passive side's queue pair takes from a shared receive queue.
    pub fn srq(&self) -> bool {
        be_u8(self.bytes, field::RNR_RETRY) & 0x10 != 0
    }

    /// GUID of the passive side's channel adapter.
    pub fn local_ca_guid(&self) -> u64 {
        be_u64(self.bytes, field::LOCAL_CA_GUID)
    }

    /// Private data, 196 bytes.
    pub fn private_data(&self) -> &'a [u8] {
        self.bytes.get(field::PRIVATE_DATA).unwrap_or_default()
    }
}

impl fmt::Display for Rep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "REP QPN {:#08x}, PSN {}", self.local_qpn(), self.starting_psn())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::every_shorter_length_stops;

    fn rep() -> [u8; 232] {
        let mut bytes = [0; 232];
        bytes[3] = 5;
        bytes[7] = 9;
        bytes[12..15].copy_from_slice(&[0, 0, 0x12]);
        bytes[20..23].copy_from_slice(&[0xff, 0xff, 0xff]);
        bytes[24..28].copy_from_slice(&[3, 2, 0x7d, 0xf0]);
        bytes[36] = 0xaa;
        bytes
    }

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        let bytes = rep();
        let rep = Rep::new(&bytes, 0).unwrap();
        assert_eq!((rep.local_comm_id(), rep.remote_comm_id(), rep.local_qpn()), (5, 9, 0x12));
        assert_eq!(
            (rep.starting_psn(), rep.responder_resources(), rep.initiator_depth()),
            (Psn::new(0xff_ffff), 3, 2)
        );
        assert_eq!((rep.target_ack_delay(), rep.failover_accepted(), rep.flow_control()), (15, 2, true));
        assert_eq!((rep.rnr_retry_count(), rep.srq()), (7, true));
        assert_eq!((rep.private_data().len(), rep.private_data()[0]), (196, 0xaa));
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&rep(), Rep::new);
    }
}
