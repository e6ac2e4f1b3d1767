//! The short connection management messages: RTU, MRA, REJ, DREQ and DREP.
//!
//! In: the 232 bytes behind the MAD header. Out: their fields. All begin with the two communication ids. Layout after Linux
//! `include/rdma/ibta_vol1_c12.h`.

use std::fmt;

use crate::cm::RejReason;
use crate::wire::{be_u8, be_u16, be_u32, view};

view! {
    /// View of ReadyToUse: comm ids at 0 and 4, private data (224 bytes) at 8.
    Rtu, "cm rtu", 232
}

view! {
    /// View of MsgRcptAck: comm ids at 0 and 4, message 2 bits at 8, service timeout 5 bits at 9, private data (222 bytes) at 10.
    Mra, "cm mra", 232
}

view! {
    /// View of ConnectReject: comm ids at 0 and 4, message 2 bits at 8, information length 7 bits at 9, reason (16) at 10, additional reject information
    /// (72 bytes) at 12, private data (148 bytes) at 84.
    Rej, "cm rej", 232
}

view! {
    /// View of DisconnectRequest: comm ids at 0 and 4, remote QPN (24) at 8, private data (220 bytes) at 12.
    Dreq, "cm dreq", 232
}

view! {
    /// View of DisconnectReply: comm ids at 0 and 4, private data (224 bytes) at 8.
    Drep, "cm drep", 232
}

mod field {
    use std::ops::Range;
    pub(super) const LOCAL_COMM_ID: Range<usize> = 0..4;
    pub(super) const REMOTE_COMM_ID: Range<usize> = 4..8;
    pub(super) const MESSAGE: usize = 8;
    pub(super) const SERVICE_TIMEOUT: usize = 9;
    pub(super) const INFO_LENGTH: usize = 9;
    pub(super) const REASON: Range<usize> = 10..12;
    pub(super) const INFO: Range<usize> = 12..84;
    pub(super) const REMOTE_QPN: Range<usize> = 8..11;
    pub(super) const RTU_PRIVATE_DATA: Range<usize> = 8..232;
    pub(super) const MRA_PRIVATE_DATA: Range<usize> = 10..232;
    pub(super) const REJ_PRIVATE_DATA: Range<usize> = 84..232;
    pub(super) const DREQ_PRIVATE_DATA: Range<usize> = 12..232;
    pub(super) const DREP_PRIVATE_DATA: Range<usize> = 8..232;
}

macro_rules! comm_ids {
    ($($name:ident $private_data:ident)*) => {$(
        impl<'a> $name<'a> {
            /// Communication id of the sender.
            pub fn local_comm_id(&self) -> u32 {
                be_u32(self.bytes, field::LOCAL_COMM_ID)
            }

            /// Communication id of the receiver.
            pub fn remote_comm_id(&self) -> u32 {
                be_u32(self.bytes, field::REMOTE_COMM_ID)
            }

            /// Private data, the whole field.
            pub fn private_data(&self) -> &'a [u8] {
                self.bytes.get(field::$private_data).unwrap_or_default()
            }
        }
    )*};
}

comm_ids! {
    Rtu RTU_PRIVATE_DATA
    Mra MRA_PRIVATE_DATA
    Rej REJ_PRIVATE_DATA
    Dreq DREQ_PRIVATE_DATA
    Drep DREP_PRIVATE_DATA
}

impl Mra<'_> {
    /// Which message is received: 0 REQ, 1 REP, 2 LAP.
    pub fn message(&self) -> u8 {
        be_u8(self.bytes, field::MESSAGE) >> 6
    }

    /// Time code that the sender asks for, 5 bits.
    pub fn service_timeout(&self) -> u8 {
        be_u8(self.bytes, field::SERVICE_TIMEOUT) >> 3
    }
}

impl<'a> Rej<'a> {
    /// Which message is rejected: 0 REQ, 1 REP, 2 no message.
    pub fn message(&self) -> u8 {
        be_u8(self.bytes, field::MESSAGE) >> 6
    }

    /// Length of the additional reject information in bytes, 7 bits.
    pub fn info_length(&self) -> u8 {
        be_u8(self.bytes, field::INFO_LENGTH) >> 1
    }

    /// Why.
    pub fn reason(&self) -> RejReason {
        RejReason(be_u16(self.bytes, field::REASON))
    }

    /// Additional reject information, the whole 72-byte field.
    pub fn info(&self) -> &'a [u8] {
        self.bytes.get(field::INFO).unwrap_or_default()
    }
}

impl Dreq<'_> {
    /// Queue pair number of the receiver, 24 bits.
    pub fn remote_qpn(&self) -> u32 {
        be_u32(self.bytes, field::REMOTE_QPN)
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

impl fmt::Display for Drep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DREP")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::every_shorter_length_stops;

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
}
