//! The common header of a management datagram.
//!
//! In: a datagram's payload. Out: its header fields and the data behind them. Layout after Linux `include/rdma/ib_mad.h`.

use std::fmt;
use std::ops::Deref;

use crate::cm::{Message, attribute_name};
use crate::wire::{DecodeStop, Opcode, Packet, header};

header! {
    /// View of the common header of a management datagram.
    ///
    /// ```text
    /// +---------------+---------------+---------------+---------------+
    /// | base version  |  mgmt class   | class version |    method     |
    /// +---------------+---------------+---------------+---------------+
    /// |            status             |        class specific         |
    /// +-------------------------------+-------------------------------+
    /// |                  transaction id (64 bits)                     |
    /// +-------------------------------+-------------------------------+
    /// |         attribute id          |           reserved            |
    /// +-------------------------------+-------------------------------+
    /// |                 attribute modifier (32 bits)                  |
    /// +---------------------------------------------------------------+
    /// ```
    MadHeader, MadHeaderValues, "mad", 24 {
        /// Base version, 1.
        base_version: u8 = 0..1, Hex, "infiniband.mad.baseversion";
        /// Management class; 7 is connection management.
        class: u8 = 1..2, Hex, "infiniband.mad.mgmtclass";
        /// Version of the class, 2 for connection management.
        class_version: u8 = 2..3, Hex, "infiniband.mad.classversion";
        /// Method; 3 is Send.
        method: u8 = 3..4, Hex, "infiniband.mad.method";
        /// Status, 0 for success.
        status: u16 = 4..6, Hex, "infiniband.mad.status";
        /// Class-specific field.
        class_specific: u16 = 6..8, Hex, "infiniband.mad.classspecific";
        /// Transaction id: random, the same in a request and its answer.
        transaction_id: u64 = 8..16, Hex, "infiniband.mad.transactionid";
        /// Attribute id: which message it is.
        attribute_id: u16 = 16..18, Hex, "infiniband.mad.attributeid";
        /// Attribute modifier.
        attribute_modifier: u32 = 20..24, Hex, "infiniband.mad.attributemodifier";
    }
}

/// View of a management datagram: its header, whose getters it has, and the bytes behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mad<'a> {
    header: MadHeader<'a>,
    data: &'a [u8],
    /// Offset of the data in the frame.
    offset: usize,
}

impl<'a> Deref for Mad<'a> {
    type Target = MadHeader<'a>;

    fn deref(&self) -> &Self::Target {
        &self.header
    }
}

impl<'a> Packet<'a> {
    /// Management datagram of the packet, if it is a datagram to queue pair 1.
    pub fn mad(&self) -> Option<Result<Mad<'a>, DecodeStop>> {
        let bth = self.bth?;
        (bth.opcode() == Opcode::UD_SEND_ONLY && bth.destination_qpn() == 1 && self.deth.is_some())
            .then(|| Mad::new(self.payload, self.payload_offset))
    }
}

impl<'a> Mad<'a> {
    /// Length of the common header in bytes.
    pub const HEADER_LENGTH: usize = MadHeader::LENGTH;
    /// Management class of connection management.
    pub const CLASS_CM: u8 = 0x07;

    /// Views a management datagram; `offset` is where `bytes` begin in the frame.
    ///
    /// # Errors
    /// [`DecodeStop::Length`] when fewer than [`Self::HEADER_LENGTH`] bytes are there.
    pub fn new(bytes: &'a [u8], offset: usize) -> Result<Self, DecodeStop> {
        let header = MadHeader::new(bytes, offset)?;
        let data = bytes.get(Self::HEADER_LENGTH..).unwrap_or_default();
        Ok(Self { header, data, offset: offset + Self::HEADER_LENGTH })
    }

    /// True if the datagram is connection management.
    pub fn is_cm(&self) -> bool {
        self.class() == Self::CLASS_CM
    }

    /// The bytes behind the header.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Offset of [`data`](Self::data) in the frame.
    pub fn data_offset(&self) -> usize {
        self.offset
    }

    /// The connection management message in it.
    ///
    /// # Errors
    /// [`DecodeStop::Length`] when the message is shorter than its layout.
    pub fn message(&self) -> Result<Message<'a>, DecodeStop> {
        Message::new(self.attribute_id(), self.data, self.offset)
    }
}

impl fmt::Display for MadHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match attribute_name(self.attribute_id()) {
            Some(name) if self.class() == Mad::CLASS_CM => write!(f, "CM {name}"),
            _ => write!(f, "MAD class {:#04x} attribute {:#06x}", self.class(), self.attribute_id()),
        }
    }
}

impl fmt::Display for Mad<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header.fmt(f)
    }
}

impl fmt::Debug for Mad<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mad({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{every_shorter_length_stops, table_holds};

    const REQ: [u8; 24] = [1, 7, 2, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0x10, 0, 0, 0, 0, 0, 0];

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        let mad = Mad::new(&REQ, 62).unwrap();
        assert_eq!(
            (mad.base_version(), mad.class(), mad.class_version(), mad.method(), mad.status()),
            (1, 7, 2, 3, 0)
        );
        assert_eq!(
            (mad.transaction_id(), mad.attribute_id(), mad.attribute_modifier()),
            (0x1_0000_0002, 0x10, 0)
        );
        assert_eq!(mad.to_string(), "CM REQ");
        assert_eq!(mad.message().unwrap_err().to_string(), "cm req: need 232 bytes at offset 86, got 0");
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&REQ, Mad::new);
    }

    #[test]
    fn table_of_fields_holds() {
        table_holds! { MadHeader }
    }
}
