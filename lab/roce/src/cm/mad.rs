//! The common header of a management datagram.
//!
//! In: a datagram's payload. Out: its header fields and the data behind them. Layout after Linux `include/rdma/ib_mad.h`.

use std::fmt;

use crate::cm::{Message, attribute_name};
use crate::wire::{DecodeStop, be_u8, be_u16, be_u32, be_u64};

/// View of a management datagram: a 24-byte header and what follows.
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
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mad<'a> {
    header: &'a [u8; Mad::HEADER_LENGTH],
    data: &'a [u8],
    offset: usize,
}

mod field {
    use std::ops::Range;
    pub(super) const BASE_VERSION: usize = 0;
    pub(super) const CLASS: usize = 1;
    pub(super) const CLASS_VERSION: usize = 2;
    pub(super) const METHOD: usize = 3;
    pub(super) const STATUS: Range<usize> = 4..6;
    pub(super) const CLASS_SPECIFIC: Range<usize> = 6..8;
    pub(super) const TRANSACTION_ID: Range<usize> = 8..16;
    pub(super) const ATTRIBUTE_ID: Range<usize> = 16..18;
    pub(super) const ATTRIBUTE_MODIFIER: Range<usize> = 20..24;
}

impl<'a> Mad<'a> {
    /// Length of the common header in bytes.
    pub const HEADER_LENGTH: usize = 24;
    /// Management class of connection management.
    pub const CLASS_CM: u8 = 0x07;

    /// Views a management datagram; `offset` is where `bytes` begin in the frame.
    ///
    /// # Errors
    /// [`DecodeStop::Length`] when fewer than [`Self::HEADER_LENGTH`] bytes are there.
    pub fn new(bytes: &'a [u8], offset: usize) -> Result<Self, DecodeStop> {
        match bytes.split_first_chunk() {
            Some((header, data)) => Ok(Self { header, data, offset: offset + Self::HEADER_LENGTH }),
            None => {
                Err(DecodeStop::Length { layer: "mad", need: Self::HEADER_LENGTH, offset, got: bytes.len() })
            }
        }
    }

    /// Base version, 1.
    pub fn base_version(&self) -> u8 {
        be_u8(self.header, field::BASE_VERSION)
    }

    /// Management class; 7 is connection management.
    pub fn class(&self) -> u8 {
        be_u8(self.header, field::CLASS)
    }

    /// Version of the class, 2 for connection management.
    pub fn class_version(&self) -> u8 {
        be_u8(self.header, field::CLASS_VERSION)
    }

    /// Method; 3 is Send.
    pub fn method(&self) -> u8 {
        be_u8(self.header, field::METHOD)
    }

    /// Status, 0 for success.
    pub fn status(&self) -> u16 {
        be_u16(self.header, field::STATUS)
    }

    /// Class-specific field.
    pub fn class_specific(&self) -> u16 {
        be_u16(self.header, field::CLASS_SPECIFIC)
    }

    /// Transaction id: random, the same in a request and its answer.
    pub fn transaction_id(&self) -> u64 {
        be_u64(self.header, field::TRANSACTION_ID)
    }

    /// Attribute id: which message it is.
    pub fn attribute_id(&self) -> u16 {
        be_u16(self.header, field::ATTRIBUTE_ID)
    }

    /// Attribute modifier.
    pub fn attribute_modifier(&self) -> u32 {
        be_u32(self.header, field::ATTRIBUTE_MODIFIER)
    }

    /// Whether it is connection management.
    pub fn is_cm(&self) -> bool {
        self.class() == Self::CLASS_CM
    }

    /// The bytes behind the header.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The connection management message in it.
    ///
    /// # Errors
    /// [`DecodeStop::Length`] when the message is shorter than its layout.
    pub fn message(&self) -> Result<Message<'a>, DecodeStop> {
        Message::new(self.attribute_id(), self.data, self.offset)
    }
}

impl fmt::Display for Mad<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match attribute_name(self.attribute_id()) {
            Some(name) if self.is_cm() => write!(f, "CM {name}"),
            _ => write!(f, "MAD class {:#04x} attribute {:#06x}", self.class(), self.attribute_id()),
        }
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
    use crate::wire::every_shorter_length_stops;

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
}
