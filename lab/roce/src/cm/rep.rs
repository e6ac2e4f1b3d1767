//! REP, the connection reply: the passive side's queue pair, first PSN and limits.
//!
//! In: the 232 bytes behind the MAD header. Out: its fields. Layout after Linux `include/rdma/ibta_vol1_c12.h`.

use std::fmt;

use crate::wire::{Psn, header};

header! {
    /// View of a connection reply.
    ///
    /// ```text
    ///  0 local comm id        4  remote comm id    8  local Q_Key
    /// 12 local QPN (24)      16  local EECN (24)  20  starting PSN (24)
    /// 24 responder resources 25  initiator depth  26  target ACK delay 5, failover 2, flow control 1
    /// 27 RNR retry 3, SRQ 1  28  local CA GUID (64)
    /// 36 private data (196)
    /// ```
    Rep, RepValues, "cm rep", 232 {
        /// Communication id of the passive side.
        local_comm_id: u32 = 0..4, Hex, "infiniband.cm.rep";
        /// Communication id of the active side, from its REQ.
        remote_comm_id: u32 = 4..8, Hex, "infiniband.cm.rep.remotecommid";
        /// Queue key of the passive side; datagrams only.
        local_q_key: u32 = 8..12, Hex, "infiniband.cm.rep.localqkey";
        /// Queue pair number of the passive side, 24 bits.
        local_qpn: u32 = 12..15, Hex, "infiniband.cm.rep.localqpn";
        /// End-to-end context of the passive side, 24 bits.
        local_eecn: u32 = 16..19, Hex, "infiniband.cm.rep.localeecn";
        /// First PSN that the passive side wants to receive: the *active* side's requests begin there.
        starting_psn: Psn = 20..23, Hex, "infiniband.cm.rep.startpsn";
        /// READs and atomics that the passive side serves at once.
        responder_resources: u8 = 24..25, Hex, "infiniband.cm.rep.respres";
        /// READs and atomics that the passive side has outstanding at once.
        initiator_depth: u8 = 25..26, Hex, "infiniband.cm.rep.initdepth";
        /// Time code by which an ACK may be late at the passive side, 5 bits.
        target_ack_delay: u8 = 26..27 [3..8], Hex, "infiniband.cm.rep.tgtackdelay";
        /// Failover accepted, 2 bits.
        failover_accepted: u8 = 26..27 [1..3], Hex, "infiniband.cm.rep.failoveracc";
        /// End-to-end flow control: the passive side sends credits.
        flow_control: bool = 26..27 [0..1], Hex, "infiniband.cm.rep.e2eflowctrl";
        /// Retries after an RNR NAK, 0 to 7; 7 is without end.
        rnr_retry_count: u8 = 27..28 [5..8], Hex, "infiniband.cm.rep.rnrretrcount";
        /// True if the passive side's queue pair takes from a shared receive queue.
        srq: bool = 27..28 [4..5], Hex, "infiniband.cm.rep.srq";
        /// GUID of the passive side's channel adapter.
        local_ca_guid: u64 = 28..36, Hex, "infiniband.cm.rep.localcaguid";
        /// Private data, 196 bytes.
        private_data: [u8; 196] = 36..232, Raw, "infiniband.cm.rep.private";
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
    use crate::wire::{every_shorter_length_stops, table_holds};

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

    #[test]
    fn table_of_fields_holds() {
        table_holds! { Rep }
    }
}
