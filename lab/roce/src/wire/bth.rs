//! BTH, the base transport header of every RoCEv2 packet.
//!
//! In: 12 bytes. Out: its fields. Layout after Linux `drivers/infiniband/sw/rxe/rxe_hdr.h`.

use std::fmt;

use crate::wire::{Opcode, Psn, header};

header! {
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
    Bth, BthValues, "bth", 12 {
        /// Opcode: transport and operation.
        opcode: Opcode = 0..1, Dec, "infiniband.bth.opcode";
        /// Solicited event: the receiver's completion raises an event.
        solicited_event: bool = 1..2 [7..8], Dec, "infiniband.bth.se";
        /// MigReq: the path migration state.
        migration_request: bool = 1..2 [6..7], Dec, "infiniband.bth.m";
        /// Pad bytes between payload and ICRC, 0 to 3.
        pad_count: u8 = 1..2 [4..6], Dec, "infiniband.bth.padcnt";
        /// Transport header version, 4 bits, 0 on every known sender.
        transport_version: u8 = 1..2 [0..4], Dec, "infiniband.bth.tver";
        /// Partition key, 16 bits.
        p_key: u16 = 2..4, Dec, "infiniband.bth.p_key";
        /// Forward explicit congestion notification.
        fecn: bool = 4..5 [7..8], Dec;
        /// Backward explicit congestion notification.
        becn: bool = 4..5 [6..7], Dec;
        /// Queue pair number of the receiver, 24 bits.
        destination_qpn: u32 = 5..8, Hex, "infiniband.bth.destqp";
        /// AckReq: the requester asks for an acknowledgement.
        ack_request: bool = 8..9 [7..8], Dec, "infiniband.bth.a";
        /// The seven reserved bits beside AckReq.
        reserved7: u8 = 8..9 [0..7], Dec, "infiniband.bth.reserved7";
        /// Packet sequence number.
        psn: Psn = 9..12, Dec, "infiniband.bth.psn";
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
    use crate::wire::{every_shorter_length_stops, table_holds};

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

    #[test]
    fn table_of_fields_holds() {
        table_holds! { Bth }
    }
}
