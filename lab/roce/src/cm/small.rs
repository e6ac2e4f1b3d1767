//! The short connection management messages: RTU, MRA, REJ, DREQ and DREP.
//!
//! In: the 232 bytes behind the MAD header. Out: their fields. All begin with the two communication ids. Layout after Linux
//! `include/rdma/ibta_vol1_c12.h`.

use std::fmt;

use crate::cm::RejReason;
use crate::wire::header;

header! {
    /// View of ReadyToUse: comm ids at 0 and 4, private data (224 bytes) at 8.
    Rtu, RtuValues, "cm rtu", 232 {
        /// Communication id of the sender.
        local_comm_id: u32 = 0..4, Hex, "infiniband.cm.rtu.localcommid";
        /// Communication id of the receiver.
        remote_comm_id: u32 = 4..8, Hex, "infiniband.cm.rtu.remotecommid";
        /// Private data, 224 bytes.
        private_data: [u8; 224] = 8..232, Raw, "infiniband.cm.rtu.private";
    }
}

header! {
    /// View of MsgRcptAck: comm ids at 0 and 4, message 2 bits at 8, service timeout 5 bits at 9, private data (222 bytes) at 10.
    Mra, MraValues, "cm mra", 232 {
        /// Communication id of the sender.
        local_comm_id: u32 = 0..4, Hex;
        /// Communication id of the receiver.
        remote_comm_id: u32 = 4..8, Hex;
        /// Message that is received: 0 REQ, 1 REP, 2 LAP.
        message: u8 = 8..9 [6..8], Hex;
        /// Time code that the sender asks for, 5 bits.
        service_timeout: u8 = 9..10 [3..8], Hex;
        /// Private data, 222 bytes.
        private_data: [u8; 222] = 10..232, Raw;
    }
}

header! {
    /// View of ConnectReject: comm ids at 0 and 4, message 2 bits at 8, information length 7 bits at 9, reason (16) at 10, additional reject information
    /// (72 bytes) at 12, private data (148 bytes) at 84.
    Rej, RejValues, "cm rej", 232 {
        /// Communication id of the sender.
        local_comm_id: u32 = 0..4, Hex, "infiniband.cm.rej.localcommid";
        /// Communication id of the receiver.
        remote_comm_id: u32 = 4..8, Hex, "infiniband.cm.rej.remotecommid";
        /// Message that is rejected: 0 REQ, 1 REP, 2 no message.
        message: u8 = 8..9 [6..8], Hex, "infiniband.cm.rej.msgrej";
        /// Length of the additional reject information in bytes, 7 bits.
        info_length: u8 = 9..10 [1..8], Hex, "infiniband.cm.rej.rejinfolen";
        /// Reason of the rejection.
        reason: RejReason = 10..12, Hex, "infiniband.cm.rej.reason";
        /// Additional reject information, the whole 72-byte field.
        info: [u8; 72] = 12..84, Raw, "infiniband.cm.rej.ari";
        /// Private data, 148 bytes.
        private_data: [u8; 148] = 84..232, Raw, "infiniband.cm.rej.private";
    }
}

header! {
    /// View of DisconnectRequest: comm ids at 0 and 4, remote QPN (24) at 8, private data (220 bytes) at 12.
    Dreq, DreqValues, "cm dreq", 232 {
        /// Communication id of the sender.
        local_comm_id: u32 = 0..4, Hex, "infiniband.cm.dreq.localcommid";
        /// Communication id of the receiver.
        remote_comm_id: u32 = 4..8, Hex, "infiniband.cm.dreq.remotecommid";
        /// Queue pair number of the receiver, 24 bits.
        remote_qpn: u32 = 8..11, Hex, "infiniband.cm.req.remoteqpneecn";
        /// Private data, 220 bytes.
        private_data: [u8; 220] = 12..232, Raw, "infiniband.cm.dreq.private";
    }
}

header! {
    /// View of DisconnectReply: comm ids at 0 and 4, private data (224 bytes) at 8.
    Drep, DrepValues, "cm drep", 232 {
        /// Communication id of the sender.
        local_comm_id: u32 = 0..4, Hex, "infiniband.cm.drsp.localcommid";
        /// Communication id of the receiver.
        remote_comm_id: u32 = 4..8, Hex, "infiniband.cm.drsp.remotecommid";
        /// Private data, 224 bytes.
        private_data: [u8; 224] = 8..232, Raw, "infiniband.cm.drsp.private";
    }
}

header! {
    /// View of the head of a SIDR reply, which answers a request for a queue pair of datagrams: 24 of 232 bytes.
    SidrRep, SidrRepValues, "cm sidr rep", 24 {
        /// Number of the request that it answers.
        request_id: u32 = 0..4, Hex;
        /// Status, 0 for success.
        status: u8 = 4..5, Hex;
        /// Queue pair number of the service, 24 bits.
        qpn: u32 = 8..11, Hex;
        /// Service id.
        service_id: u64 = 12..20, Hex;
        /// Queue key of the service.
        q_key: u32 = 20..24, Hex;
    }
}

impl fmt::Display for Rtu<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RTU")
    }
}

impl fmt::Display for Mra<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MRA of message {}, timeout code {}", self.message(), self.service_timeout())
    }
}

impl fmt::Display for Rej<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "REJ {}", self.reason())
    }
}

impl fmt::Display for Dreq<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DREQ QPN {:#08x}", self.remote_qpn())
    }
}

impl fmt::Display for SidrRep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIDR REP QPN {:#08x}", self.qpn())
    }
}

impl fmt::Display for Drep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DREP")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{every_shorter_length_stops, table_holds};

    fn bytes() -> [u8; 232] {
        let mut bytes = [0; 232];
        bytes[..12].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2, 0x40, 0x90, 0, 28]);
        bytes
    }

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        let bytes = bytes();
        let rej = Rej::new(&bytes, 0).unwrap();
        assert_eq!(
            (rej.local_comm_id(), rej.remote_comm_id(), rej.message(), rej.info_length()),
            (1, 2, 1, 72)
        );
        assert_eq!(rej.to_string(), "REJ consumer reject");
        assert_eq!((rej.info().len(), rej.private_data().len()), (72, 148));
        let dreq = Dreq::new(&bytes, 0).unwrap();
        assert_eq!((dreq.remote_qpn(), dreq.private_data().len()), (0x40_9000, 220));
        let mra = Mra::new(&bytes, 0).unwrap();
        assert_eq!((mra.message(), mra.service_timeout(), mra.private_data().len()), (1, 18, 222));
        assert_eq!(Rtu::new(&bytes, 0).unwrap().private_data().len(), 224);
        assert_eq!(Drep::new(&bytes, 0).unwrap().private_data().len(), 224);
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&bytes(), Rtu::new);
        every_shorter_length_stops(&bytes(), Mra::new);
        every_shorter_length_stops(&bytes(), Rej::new);
        every_shorter_length_stops(&bytes(), Dreq::new);
        every_shorter_length_stops(&bytes(), Drep::new);
    }

    #[test]
    fn table_of_fields_holds() {
        table_holds! { Rtu Mra Rej Dreq Drep SidrRep }
    }
}
