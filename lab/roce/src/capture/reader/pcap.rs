//! Packets of a pcap.

use crate::capture::ReadError;
use crate::capture::buffer::Source;
use crate::capture::interface::Interface;
use crate::capture::reader::{BLOCK_MAX_BYTES, Format, FoundRecord, Reader, u32_at};
use crate::wire::LinkType;

/// Magic of an old variant of pcap, whose packet headers have the interface and the protocol too.
const PCAP_MODIFIED: u32 = 0xa1b2_cd34;
const PCAP_MODIFIED_SWAPPED: u32 = PCAP_MODIFIED.swap_bytes();

impl<S: Source> Reader<S> {
    pub(super) fn pcap_header(&mut self, magic: u32) -> Result<(), ReadError> {
        let (big_endian, resolution) = match magic {
            0xa1b2_c3d4 | PCAP_MODIFIED => (true, 6),
            0xa1b2_3c4d => (true, 9),
            0xd4c3_b2a1 | PCAP_MODIFIED_SWAPPED => (false, 6),
            0x4d3c_b2a1 => (false, 9),
            _ => return Err(ReadError::NotACapture { magic }),
        };
        self.require("the pcap header", 24)?;
        let Ok((_, header)) = pcap_parser::pcap::parse_pcap_header(self.buffer.unread()) else {
            return Err(self.malformed("the pcap header"));
        };
        // The upper bits of the field hold the length of a frame check sequence, not the link type.
        let link_type = LinkType(header.network.0 & 0xffff);
        let snap_length_bytes = header.snaplen;
        self.format = Format::Pcap;
        self.fraction_ns = if resolution == 9 { 1 } else { 1_000 };
        if matches!(magic, PCAP_MODIFIED | PCAP_MODIFIED_SWAPPED) {
            self.packet_header_length = 24;
        }
        self.big_endian = big_endian;
        self.interfaces.push(Interface { name: None, link_type, snap_length_bytes, resolution, offset_s: 0 });
        self.consume(24);
        Ok(())
    }

    pub(super) fn next_pcap(&mut self) -> Result<Option<FoundRecord>, ReadError> {
        let header = self.packet_header_length;
        if self.fill(header)? == 0 {
            return Ok(None);
        }
        self.require("a packet header", header)?;
        let length = self.pcap_length()?;
        self.require("a packet", header + length)?;
        Ok(Some(self.take_pcap(length)))
    }

    /// Length in bytes of the packet whose header is in the buffer.
    #[inline]
    pub(super) fn pcap_length(&self) -> Result<usize, ReadError> {
        let length = u32_at(self.buffer.unread(), 8, self.big_endian) as usize;
        if length > BLOCK_MAX_BYTES {
            return Err(self.malformed("a packet longer than 64 MiB"));
        }
        Ok(length)
    }

    /// Takes the packet of `length` bytes in that is in the buffer.
    #[inline]
    pub(super) fn take_pcap(&mut self, length: usize) -> FoundRecord {
        let header = self.packet_header_length;
        let words = self.buffer.unread().first_chunk::<16>().copied().unwrap_or_default();
        let word = |at| u32_at(&words, at, self.big_endian);
        let found = FoundRecord {
            timestamp_ns: u64::from(word(0)) * 1_000_000_000 + u64::from(word(4)) * self.fraction_ns,
            interface: 0,
            data_start: self.buffer.position() + header,
            data_length: length,
            original_length_bytes: word(12),
            has_comment: false,
            lost_before: 0,
        };
        self.consume(header + length);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Writer;

    fn pcap(big_endian: bool, nanoseconds: bool, packets: &[&[u8]]) -> Vec<u8> {
        let word = |value: u32| {
            if big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
        };
        let half = |value: u16| {
            if big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
        };
        let mut bytes = word(if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }).to_vec();
        bytes.extend(half(2));
        bytes.extend(half(4));
        for value in [0, 0, 65_535, 1] {
            bytes.extend(word(value));
        }
        for packet in packets {
            for value in [10, 5, packet.len() as u32, packet.len() as u32 + 1] {
                bytes.extend(word(value));
            }
            bytes.extend(*packet);
        }
        bytes
    }

    #[test]
    fn pcap_is_read_in_both_byte_orders_and_both_resolutions() {
        for (big_endian, nanoseconds) in [(false, false), (false, true), (true, false), (true, true)] {
            let bytes = pcap(big_endian, nanoseconds, &[&[1, 2, 3], &[4]]);
            let mut reader = Reader::new(&bytes[..]).unwrap();
            let record = reader.next().unwrap().unwrap();
            assert_eq!((record.number, record.data, record.original_length_bytes), (1, &[1u8, 2, 3][..], 4));
            assert_eq!(record.timestamp_ns, if nanoseconds { 10_000_000_005 } else { 10_000_005_000 });
            assert_eq!(reader.next().unwrap().unwrap().data, [4]);
            assert!(reader.next().unwrap().is_none());
        }
    }

    #[test]
    fn the_old_variant_with_longer_packet_headers_is_read() {
        let mut bytes = PCAP_MODIFIED.to_le_bytes().to_vec();
        for word in [0x0004_0002, 0, 0, 65_535, 1] {
            bytes.extend(u32::to_le_bytes(word));
        }
        for data in [&[1u8, 2, 3][..], &[4]] {
            for word in [10, 5, data.len() as u32, 9, 2, 0x0800] {
                bytes.extend(u32::to_le_bytes(word));
            }
            bytes.extend(data);
        }
        let mut reader = Reader::new(&bytes[..]).unwrap();
        let record = reader.next().unwrap().unwrap();
        assert_eq!((record.data, record.timestamp_ns), (&[1u8, 2, 3][..], 10_000_005_000));
        let record = reader.next().unwrap().unwrap();
        assert_eq!((record.data, record.original_length_bytes), (&[4u8][..], 9));
        assert!(reader.next().unwrap().is_none());
    }

    #[test]
    fn a_cut_capture_gives_what_came_before_and_then_says_so() {
        let bytes = pcap(false, false, &[&[1, 2, 3], &[4, 5, 6]]);
        let mut reader = Reader::new(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().data, [1, 2, 3]);
        assert_eq!(
            reader.next().unwrap_err().to_string(),
            "the capture is cut: a packet at byte 43 needs 19 bytes, got 18"
        );

        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, &["server"]).unwrap();
        writer.write(0, 1, &[1, 2, 3], "").unwrap();
        let whole = writer.written_bytes();
        writer.write(0, 2, &[4, 5, 6], "").unwrap();
        let mut reader = Reader::new(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().data, [1, 2, 3]);
        assert!(matches!(reader.next(), Err(ReadError::Cut { offset, .. }) if offset == whole));
    }

    #[test]
    fn a_packet_longer_than_the_buffer_is_read() {
        let long = vec![7; 3 * 256 * 1024];
        let bytes = pcap(false, false, &[&[1], &long, &[2]]);
        let mut reader = Reader::new(&bytes[..]).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().data, [1]);
        assert_eq!(reader.next().unwrap().unwrap().data.len(), long.len());
        assert_eq!(reader.next().unwrap().unwrap().data, [2]);
    }
}
