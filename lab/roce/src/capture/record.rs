//! One packet of a capture, as the file has it.

use crate::fate::Fate;
use crate::wire::{Frame, LinkType};

/// One packet of a capture; it borrows the reader's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Number of the packet in the capture, from 1.
    pub number: u64,
    /// Time in nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// Number of its interface, from 0.
    pub interface: u32,
    /// Name of its interface, when the capture has one.
    pub interface_name: Option<&'a str>,
    /// Link type of its interface.
    pub link_type: LinkType,
    /// Bytes that the capture holds.
    pub data: &'a [u8],
    /// Length of the packet on the wire in bytes; more than `data` when the snap length cut it.
    pub original_length_bytes: u32,
    /// First comment of the packet, when the capture has one.
    pub comment: Option<&'a str>,
    /// Packets that the capture says were lost between this one and the one before it on its interface.
    pub lost_before: u64,
}

impl<'a> Record<'a> {
    /// A whole Ethernet frame of a capture with one interface that has no name: packet `number`, from 1, at `timestamp_ns` nanoseconds.
    pub fn ethernet(number: u64, timestamp_ns: u64, data: &'a [u8]) -> Self {
        Self {
            number,
            timestamp_ns,
            interface: 0,
            interface_name: None,
            link_type: LinkType::ETHERNET,
            data,
            original_length_bytes: data.len() as u32,
            comment: None,
            lost_before: 0,
        }
    }

    /// Takes the frame apart by itself; a [`Decoder`](crate::wire::Decoder) puts fragments together as well.
    pub fn frame(&self) -> Frame<'a> {
        Frame::decode(self.link_type, self.data)
    }

    /// Fate of the frame, from its comment.
    pub fn fate(&self) -> Fate {
        self.comment.map_or(Fate::Forwarded, Fate::from_comment)
    }
}
