//! Blocks of a pcapng.

use std::net::IpAddr;

use pcap_parser::pcapng::{Block, NameRecord, NameRecordType, OptionCode, PcapNGOption};
use pcap_parser::traits::PcapNGPacketBlock;

use crate::capture::ReadError;
use crate::capture::buffer::Source;
use crate::capture::interface::Interface;
use crate::capture::reader::{BLOCK_MAX_BYTES, FoundRecord, PCAPNG_SECTION_HEADER, Reader, u32_at};
use crate::wire::LinkType;

/// Most interfaces of one capture; a further one is nonsense in the file.
const INTERFACES_MAX: usize = 65_536;
/// Most names of addresses that are kept.
const NAMES_MAX: usize = 65_536;

const PCAPNG_PACKET: u32 = 2;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Bytes of a Packet Block besides the packet.
const PACKET_BLOCK_LENGTH: usize = 32;
/// Drops of a Packet Block whose number nobody knows.
const DROPS_UNKNOWN: u16 = 0xffff;
/// Option of an Enhanced Packet Block: packets lost since the one before it.
const EPB_DROPCOUNT: OptionCode = OptionCode(4);

impl<S: Source> Reader<S> {
    pub(super) fn next_pcapng(&mut self) -> Result<Option<FoundRecord>, ReadError> {
        loop {
            if self.fill(12)? == 0 {
                return Ok(None);
            }
            self.require("a block header", 12)?;
            let length = self.block_length()?;
            self.require("a block", length)?;
            let found = self.next_block()?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// The byte order that holds from the block on whose header is in the buffer.
    fn byte_order(&self) -> Result<bool, ReadError> {
        if u32_at(self.buffer.unread(), 0, true) != PCAPNG_SECTION_HEADER {
            return Ok(self.big_endian);
        }
        match u32_at(self.buffer.unread(), 8, true) {
            BYTE_ORDER_MAGIC => Ok(true),
            magic if magic == BYTE_ORDER_MAGIC.swap_bytes() => Ok(false),
            _ => Err(self.malformed("a section header without a byte-order magic")),
        }
    }

    /// Length in bytes of the block whose header is in the buffer.
    pub(super) fn block_length(&self) -> Result<usize, ReadError> {
        let length = u32_at(self.buffer.unread(), 4, self.byte_order()?) as usize;
        if length < 12 || !length.is_multiple_of(4) || length > BLOCK_MAX_BYTES {
            return Err(self.malformed("a block with an impossible length"));
        }
        Ok(length)
    }

    /// Takes in the block that is in the buffer.
    pub(super) fn next_block(&mut self) -> Result<Option<FoundRecord>, ReadError> {
        if u32_at(self.buffer.unread(), 0, true) == PCAPNG_SECTION_HEADER {
            self.big_endian = self.byte_order()?;
            // Interfaces belong to their section.
            self.interfaces.clear();
            self.losses.end_section();
        }
        let length = self.block_length()?;
        let found = self.block(length)?;
        self.consume(length);
        Ok(found)
    }

    /// Parses the block of `length` bytes at the buffer's start, which is whole.
    fn block(&mut self, length: usize) -> Result<Option<FoundRecord>, ReadError> {
        let bytes = self.buffer.at(self.buffer.position(), length);
        if u32_at(bytes, 0, self.big_endian) == PCAPNG_PACKET {
            return self.packet_block(length);
        }
        let parsed = if self.big_endian {
            pcap_parser::pcapng::parse_block_be(bytes)
        } else {
            pcap_parser::pcapng::parse_block_le(bytes)
        };
        let malformed = |what| ReadError::Malformed { what, offset: self.offset };
        let Ok((_, block)) = parsed else {
            return Err(malformed("a block that contradicts itself"));
        };
        match block {
            Block::InterfaceDescription(block) => {
                if self.interfaces.len() >= INTERFACES_MAX {
                    return Err(malformed("more than 65536 interfaces"));
                }
                self.interfaces.push(Interface {
                    name: text(&block.options, OptionCode::IfName).map(Into::into),
                    link_type: LinkType(block.linktype.0),
                    snap_length_bytes: block.snaplen,
                    resolution: block.if_tsresol,
                    offset_s: block.if_tsoffset,
                });
                Ok(None)
            }
            Block::EnhancedPacket(block) => {
                let Some(interface) = self.interfaces.get(block.if_id as usize) else {
                    return Err(malformed("a packet of an interface that was not described"));
                };
                let ticks = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
                let has_comment = match block
                    .options
                    .iter()
                    .find(|option| option.code == OptionCode::Comment)
                    .map(PcapNGOption::as_bytes)
                {
                    Some(Ok(comment)) => {
                        self.comment.clear();
                        self.comment.push_str(&String::from_utf8_lossy(comment));
                        true
                    }
                    _ => false,
                };
                let lost_before = number(&block.options, EPB_DROPCOUNT, self.big_endian).unwrap_or(0);
                self.losses.between(lost_before);
                Ok(Some(FoundRecord {
                    timestamp_ns: interface.timestamp_ns(ticks),
                    interface: block.if_id,
                    data_start: self.buffer.position() + 28,
                    data_length: block.packet_data().len(),
                    original_length_bytes: block.origlen,
                    has_comment,
                    lost_before,
                }))
            }
            Block::SimplePacket(block) => {
                let Some(interface) = self.interfaces.first() else {
                    return Err(malformed("a packet of an interface that was not described"));
                };
                let snap = if interface.snap_length_bytes == 0 {
                    usize::MAX
                } else {
                    interface.snap_length_bytes as usize
                };
                Ok(Some(FoundRecord {
                    timestamp_ns: 0,
                    interface: 0,
                    data_start: self.buffer.position() + 12,
                    data_length: (block.origlen as usize).min(snap).min(block.data.len()),
                    original_length_bytes: block.origlen,
                    has_comment: false,
                    lost_before: 0,
                }))
            }
            Block::InterfaceStatistics(block) => {
                let drops = [OptionCode::IsbIfDrop, OptionCode::IsbOsDrop]
                    .map(|code| number(&block.options, code, self.big_endian));
                self.losses.statistics(block.if_id, drops);
                Ok(None)
            }
            Block::NameResolution(block) => {
                let room = NAMES_MAX.saturating_sub(self.names.len());
                self.names.extend(block.nr.iter().filter_map(name).take(room));
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Parses a Packet Block, which the Enhanced Packet Block has replaced and which `pcap-parser` does not know.
    ///
    /// ```text
    /// type, length | interface (16), drops (16) | time (64) | captured length | original length | packet | options | length
    /// ```
    fn packet_block(&mut self, length: usize) -> Result<Option<FoundRecord>, ReadError> {
        let malformed = |what| ReadError::Malformed { what, offset: self.offset };
        let bytes = self.buffer.at(self.buffer.position(), length);
        let word = |at| u32_at(bytes, at, self.big_endian);
        let captured = word(20) as usize;
        let room = length.checked_sub(PACKET_BLOCK_LENGTH);
        if room.is_none_or(|room| captured > room) || word(length.saturating_sub(4)) as usize != length {
            return Err(malformed("a block that contradicts itself"));
        }
        let index = u16_at(bytes, 8, self.big_endian);
        let Some(interface) = self.interfaces.get(usize::from(index)) else {
            return Err(malformed("a packet of an interface that was not described"));
        };
        let ticks = u64::from(word(12)) << 32 | u64::from(word(16));
        let lost_before = match u16_at(bytes, 10, self.big_endian) {
            DROPS_UNKNOWN => 0,
            drops => u64::from(drops),
        };
        let found = FoundRecord {
            timestamp_ns: interface.timestamp_ns(ticks),
            interface: u32::from(index),
            data_start: self.buffer.position() + 28,
            data_length: captured,
            original_length_bytes: word(24),
            has_comment: false,
            lost_before,
        };
        self.losses.between(lost_before);
        Ok(Some(found))
    }
}

fn u16_at(bytes: &[u8], at: usize, big_endian: bool) -> u16 {
    match bytes.get(at..).and_then(|bytes| bytes.first_chunk()) {
        Some(bytes) if big_endian => u16::from_be_bytes(*bytes),
        Some(bytes) => u16::from_le_bytes(*bytes),
        None => 0,
    }
}

/// The number in an option of eight bytes.
fn number(options: &[PcapNGOption<'_>], code: OptionCode, big_endian: bool) -> Option<u64> {
    let bytes = options.iter().find(|option| option.code == code)?.as_bytes().ok()?;
    let bytes = <[u8; 8]>::try_from(bytes).ok()?;
    Some(if big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
}

/// An address and the first of its names.
fn name(record: &NameRecord<'_>) -> Option<(IpAddr, String)> {
    let (address, names) = match record.record_type {
        NameRecordType::Ipv4 => {
            let (address, names) = record.record_value.split_first_chunk::<4>()?;
            (IpAddr::from(*address), names)
        }
        NameRecordType::Ipv6 => {
            let (address, names) = record.record_value.split_first_chunk::<16>()?;
            (IpAddr::from(*address), names)
        }
        _ => return None,
    };
    let first = names.split(|byte| *byte == 0).next()?;
    Some((address, std::str::from_utf8(first).ok()?.to_owned()))
}

fn text(options: &[PcapNGOption<'_>], code: OptionCode) -> Option<String> {
    let option = options.iter().find(|option| option.code == code)?;
    let bytes = option.as_bytes().ok()?;
    Some(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pcapng block of that type in either byte order.
    fn block(big_endian: bool, kind: u32, body: &[u8]) -> Vec<u8> {
        let word = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let body_length = body.len().next_multiple_of(4);
        let length = 12 + body_length as u32;
        let mut bytes = [word(kind), word(length)].concat();
        bytes.extend(body);
        bytes.resize(8 + body_length, 0);
        bytes.extend(word(length));
        bytes
    }

    fn section(big_endian: bool, link_types: &[u16]) -> Vec<u8> {
        let word = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let half = |value: u16| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let head = [&word(BYTE_ORDER_MAGIC)[..], &half(1), &half(0), &[0xff; 8]].concat();
        let mut bytes = block(big_endian, PCAPNG_SECTION_HEADER, &head);
        for link_type in link_types {
            bytes.extend(block(big_endian, 1, &[&half(*link_type)[..], &[0; 2], &word(0)].concat()));
        }
        bytes
    }

    fn packet_block(big_endian: bool, interface: u16, drops: u16, data: &[u8]) -> Vec<u8> {
        let word = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let half = |value: u16| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let length = word(data.len() as u32);
        let head =
            [&half(interface)[..], &half(drops), &word(0), &word(1_500_000), &length, &length].concat();
        block(big_endian, PCAPNG_PACKET, &[&head[..], data].concat())
    }

    #[test]
    fn a_big_endian_pcapng_with_a_simple_packet_is_read() {
        let mut bytes = Vec::new();
        for word in [0x0a0d_0d0a, 28, 0x1a2b_3c4d, 0x0001_0000, u32::MAX, u32::MAX, 28] {
            bytes.extend(u32::to_be_bytes(word));
        }
        for word in [1, 20, 0x0001_0000, 0, 20] {
            bytes.extend(u32::to_be_bytes(word));
        }
        for word in [3, 20, 3, 0x0102_0300, 20] {
            bytes.extend(u32::to_be_bytes(word));
        }
        let mut reader = Reader::new(&bytes[..]).unwrap();
        let record = reader.next().unwrap().unwrap();
        assert_eq!(
            (record.data, record.original_length_bytes, record.link_type),
            (&[1u8, 2, 3][..], 3, LinkType::ETHERNET)
        );
        assert!(reader.next().unwrap().is_none());
    }

    #[test]
    fn packet_blocks_are_read_with_what_was_lost_before_each() {
        for big_endian in [false, true] {
            let mut bytes = section(big_endian, &[1, 101]);
            bytes.extend(packet_block(big_endian, 0, DROPS_UNKNOWN, &[1, 2, 3]));
            bytes.extend(packet_block(big_endian, 1, 7, &[4, 5, 6, 7]));
            let mut reader = Reader::new(&bytes[..]).unwrap();
            let record = reader.next().unwrap().unwrap();
            assert_eq!(
                (record.data, record.timestamp_ns, record.lost_before),
                (&[1u8, 2, 3][..], 1_500_000_000, 0)
            );
            let record = reader.next().unwrap().unwrap();
            assert_eq!(
                (record.data, record.link_type, record.lost_before),
                (&[4u8, 5, 6, 7][..], LinkType::RAW, 7)
            );
            assert!(reader.next().unwrap().is_none());
            assert_eq!(reader.lost_packets(), 7);
        }
    }

    #[test]
    fn a_packet_block_whose_lengths_lie_is_malformed() {
        for (at, value) in [(20, 5u32), (20, u32::MAX), (32, 44)] {
            let mut bytes = section(false, &[1]);
            let begin = bytes.len();
            bytes.extend(packet_block(false, 0, 0, &[1, 2, 3, 4]));
            bytes[begin + at..begin + at + 4].copy_from_slice(&value.to_le_bytes());
            assert!(
                matches!(Reader::new(&bytes[..]).unwrap().next(), Err(ReadError::Malformed { .. })),
                "{at}"
            );
        }
        let mut bytes = section(false, &[1]);
        bytes.extend(packet_block(false, 3, 0, &[]));
        assert!(matches!(Reader::new(&bytes[..]).unwrap().next(), Err(ReadError::Malformed { .. })));
        let short = [section(false, &[1]), block(false, PCAPNG_PACKET, &[0; 8])].concat();
        assert!(matches!(Reader::new(&short[..]).unwrap().next(), Err(ReadError::Malformed { .. })));
    }

    #[test]
    fn a_capture_cut_at_any_byte_gives_what_came_before() {
        let mut bytes = section(false, &[1, 101]);
        bytes.extend(packet_block(false, 0, 0, &[1, 2, 3]));
        bytes.extend(section(true, &[113]));
        bytes.extend(packet_block(true, 0, 5, &[4, 5, 6, 7]));
        bytes.extend(block(true, 5, &[0; 20]));
        let mut most = 0;
        for length in 0..=bytes.len() {
            let Ok(mut reader) = Reader::new(&bytes[..length]) else {
                assert!(length < 12, "{length}");
                continue;
            };
            let mut packets = 0;
            let end = loop {
                match reader.next() {
                    Ok(Some(record)) => packets += record.data.len().min(1),
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            assert!(packets >= most && matches!(end, None | Some(ReadError::Cut { .. })), "{length} {end:?}");
            most = packets;
        }
        assert_eq!(most, 2);
    }

    #[test]
    fn counters_of_what_was_lost_are_believed() {
        for big_endian in [false, true] {
            let word = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
            let half = |value: u16| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
            let long = |value: u64| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
            let option = |code, value| [&half(code)[..], &half(8), &long(value)].concat();
            let statistics = |interface, ifdrop, osdrop| {
                let options = [option(5, ifdrop), option(7, osdrop), vec![0; 4]].concat();
                block(big_endian, 5, &[&word(interface)[..], &[0; 8], &options].concat())
            };
            let dropped = [&[0; 12][..], &word(0), &word(0), &option(4, 9), &[0; 4]].concat();
            let mut bytes = section(big_endian, &[1, 1]);
            bytes.extend(block(big_endian, 6, &dropped));
            let mut reader = Reader::new(&bytes[..]).unwrap();
            assert_eq!(reader.next().unwrap().unwrap().lost_before, 9);
            assert_eq!(reader.lost_packets(), 9);
            // Statistics count from the beginning of the capture; the last of an interface holds.
            bytes.extend([statistics(0, 1, 1), statistics(1, 5, u64::MAX), statistics(0, 2, 3)].concat());
            bytes.extend(section(big_endian, &[1]));
            bytes.extend(statistics(0, 4, 0));
            let mut reader = Reader::new(&bytes[..]).unwrap();
            while reader.next().unwrap().is_some() {}
            assert_eq!(reader.lost_packets(), 14, "2 + 3 and 5, of which 9 have a place, then 4");
        }
    }

    #[test]
    fn interfaces_of_other_link_types_and_clocks_that_jump_are_read() {
        let mut bytes = section(false, &[1, 113]);
        bytes.extend(packet_block(false, 1, 0, &[1]));
        bytes.extend(section(true, &[276]));
        bytes.extend(packet_block(true, 0, 0, &[2]));
        bytes.extend(section(false, &[]));
        let mut reader = Reader::new(&bytes[..]).unwrap();
        let mut link_types = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            link_types.push(record.link_type.0);
        }
        assert_eq!(link_types, [113, 276]);
    }
}
