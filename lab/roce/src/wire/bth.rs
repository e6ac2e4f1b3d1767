//! BTH, the base transport header of every RoCEv2 packet.
//!
//! In: 12 bytes. Out: its fields. Layout after Linux `drivers/infiniband/sw/rxe/rxe_hdr.h`.

use std::fmt;

use crate::wire::{Opcode, Psn, be_u8, be_u16, be_u32, view};

view! {
    /// View of a base transport header.
    ///
    /// ```text
    ///  0                   1                   2                   3
    ///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    /// +---------------+-+-+---+-------+-------------------------------+
    /// |    opcode     |S|M|pad| TVer  |             P_Key             |
    /// +-+-+-----------+-+-+---+-------+-------------------------------+
    /// |F|B| reserved  |             destination QPN                   |
    /// +-+-+-----------+-----------------------------------------------+
    /// |A|  reserved   |                     PSN                       |
    /// +-+-------------+-----------------------------------------------+
    /// ```
    Bth, "bth", 12
}

mod field {
    use std::ops::Range;
    pub(super) const OPCODE: usize = 0;
    pub(super) const FLAGS: usize = 1;
    pub(super) const P_KEY: Range<usize> = 2..4;
    pub(super) const CONGESTION: usize = 4;
    pub(super) const DESTINATION_QPN: Range<usize> = 5..8;
    pub(super) const ACK_REQUEST: usize = 8;
    pub(super) const PSN: Range<usize> = 9..12;
}

impl Bth<'_> {
    /// What the packet is: transport and operation.
    #[inline]
    pub fn opcode(&self) -> Opcode {
        Opcode(be_u8(self.bytes, field::OPCODE))
    }

    /// Solicited event: the receiver's completion raises an event.
    pub fn solicited_event(&self) -> bool {
        be_u8(self.bytes, field::FLAGS) & 0x80 != 0
    }

    /// MigReq: the path migration state.
    pub fn migration_request(&self) -> bool {
        be_u8(self.bytes, field::FLAGS) & 0x40 != 0
    }

    /// Pad bytes between payload and ICRC, 0 to 3.
    pub fn pad_count(&self) -> u8 {
        (be_u8(self.bytes, field::FLAGS) >> 4) & 0x3
    }

    /// Transport header version, 4 bits, 0 on every known sender.
    pub fn transport_version(&self) -> u8 {
        be_u8(self.bytes, field::FLAGS) & 0xf
    }

    /// Partition key, 16 bits.
    pub fn p_key(&self) -> u16 {
        be_u16(self.bytes, field::P_KEY)
    }

    /// Forward explicit congestion notification.
    pub fn fecn(&self) -> bool {
        be_u8(self.bytes, field::CONGESTION) & 0x80 != 0
    }

    /// Backward explicit congestion notification.
    pub fn becn(&self) -> bool {
        be_u8(self.bytes, field::CONGESTION) & 0x40 != 0
    }

    /// Queue pair number of the receiver, 24 bits.
    #[inline]
    pub fn destination_qpn(&self) -> u32 {
        be_u32(self.bytes, field::DESTINATION_QPN)
    }

    /// AckReq: the requester asks for an acknowledgement.
    pub fn ack_request(&self) -> bool {
        be_u8(self.bytes, field::ACK_REQUEST) & 0x80 != 0
    }

    /// The seven reserved bits beside AckReq.
    pub fn reserved7(&self) -> u8 {
        be_u8(self.bytes, field::ACK_REQUEST) & 0x7f
    }

    /// Packet sequence number.
    #[inline]
    pub fn psn(&self) -> Psn {
        Psn::new(be_u32(self.bytes, field::PSN))
    }
}

impl fmt::Display for Bth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, to QPN {:#08x}, PSN {}, pad {}",
            self.opcode(),
            self.destination_qpn(),
            self.psn(),
            self.pad_count()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::every_shorter_length_stops;

    const WRITE_ONLY: [u8; 12] = [0x0a, 0xe0, 0xff, 0xff, 0x40, 0x00, 0x00, 0x11, 0x80, 0xff, 0xff, 0xfe];

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        let bth = Bth::new(&WRITE_ONLY, 42).unwrap();
        assert_eq!(bth.opcode(), Opcode(0x0a));
        assert!(
            bth.solicited_event()
                && bth.migration_request()
                && bth.ack_request()
                && bth.becn()
                && !bth.fecn()
        );
        assert_eq!((bth.pad_count(), bth.transport_version(), bth.p_key()), (2, 0, 0xffff));
        assert_eq!((bth.destination_qpn(), bth.psn(), bth.reserved7()), (0x11, Psn::new(0xff_fffe), 0));
        assert_eq!(bth.to_string(), "RC RDMA WRITE Only, to QPN 0x000011, PSN 16777214, pad 2");
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&WRITE_ONLY, Bth::new);
        assert_eq!(
            Bth::check_len(&WRITE_ONLY[..7], 42).unwrap_err().to_string(),
            "bth: need 12 bytes at offset 42, got 7"
        );
    }
}
