//! A writer of pcapng: one interface a port, nanoseconds, a comment a packet.
//!
//! In: frames. Out: bytes into `impl Write`, each block in one `write_all`, so that a reader beside us never sees half a block unless the sink splits it.

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;

use pcap_parser::pcapng::{
    EnhancedPacketBlock, InterfaceDescriptionBlock, OptionCode, PcapNGOption, SectionHeaderBlock,
};
use pcap_parser::{Linktype, ToVec};

use crate::capture::WriteError;

/// Block type of name resolution, and its record types.
const NAME_RESOLUTION: u32 = 4;
const IPV4_NAME: u16 = 1;
const IPV6_NAME: u16 = 2;
const END_OF_NAMES: [u8; 4] = [0; 4];

/// Longest frame, in bytes; also the snap length that the capture declares.
const FRAME_MAX_BYTES: usize = 262_144;

/// Writes a pcapng capture of Ethernet frames.
pub struct Writer<W> {
    sink: W,
    interface_count: u32,
    written_bytes: u64,
}

fn option<'a>(code: OptionCode, what: &'static str, value: &'a [u8]) -> Result<PcapNGOption<'a>, WriteError> {
    let length = value.len();
    let len = u16::try_from(length).map_err(|_| WriteError::TooLong {
        what,
        length,
        limit: usize::from(u16::MAX),
    })?;
    let mut padded = value.to_vec();
    padded.resize(length.next_multiple_of(4), 0);
    Ok(PcapNGOption { code, len, value: Cow::Owned(padded) })
}

fn serialize(block: &mut impl ToVec) -> Result<Vec<u8>, WriteError> {
    block.to_vec().map_err(|error| WriteError::Serialize(format!("{error:?}")))
}

impl<W: Write> Writer<W> {
    /// Begins a capture with one Ethernet interface a name; the first is number 0.
    ///
    /// # Errors
    /// [`WriteError::Io`] when the sink fails, [`WriteError::TooLong`] for a name of more than 65,535 bytes.
    pub fn new(sink: W, interface_names: &[&str]) -> Result<Self, WriteError> {
        let mut writer = Self { sink, interface_count: 0, written_bytes: 0 };
        let application = option(OptionCode::ShbUserAppl, "application name", b"roce")?;
        let section = serialize(&mut SectionHeaderBlock {
            block_type: 0,
            block_len1: 0,
            bom: 0,
            major_version: 1,
            minor_version: 0,
            section_len: -1,
            options: vec![application],
            block_len2: 0,
        })?;
        writer.put(&section)?;
        for name in interface_names {
            let interface = serialize(&mut InterfaceDescriptionBlock {
                block_type: 0,
                block_len1: 0,
                linktype: Linktype::ETHERNET,
                reserved: 0,
                snaplen: FRAME_MAX_BYTES as u32,
                options: vec![
                    option(OptionCode::IfName, "interface name", name.as_bytes())?,
                    option(OptionCode::IfTsresol, "timestamp resolution", &[9])?,
                ],
                block_len2: 0,
                if_tsresol: 9,
                if_tsoffset: 0,
            })?;
            writer.put(&interface)?;
            writer.interface_count += 1;
        }
        Ok(writer)
    }

    /// Writes one frame: the interface it came in on, its time in nanoseconds since the epoch, its bytes, and a comment unless that is empty.
    ///
    /// # Errors
    /// [`WriteError::Io`] when the sink fails, [`WriteError::NoInterface`] for a number without a name, [`WriteError::TooLong`] for a frame of more than
    /// 262,144 or a comment of more than 65,535 bytes.
    pub fn write(
        &mut self,
        interface: u32,
        timestamp_ns: u64,
        frame: &[u8],
        comment: &str,
    ) -> Result<(), WriteError> {
        if interface >= self.interface_count {
            return Err(WriteError::NoInterface { index: interface, count: self.interface_count });
        }
        let length = frame.len();
        if length > FRAME_MAX_BYTES {
            return Err(WriteError::TooLong { what: "frame", length, limit: FRAME_MAX_BYTES });
        }
        let options = if comment.is_empty() {
            Vec::new()
        } else {
            vec![option(OptionCode::Comment, "comment", comment.as_bytes())?]
        };
        let packet = serialize(&mut EnhancedPacketBlock {
            block_type: 0,
            block_len1: 0,
            if_id: interface,
            ts_high: (timestamp_ns >> 32) as u32,
            ts_low: timestamp_ns as u32,
            caplen: length as u32,
            origlen: length as u32,
            data: frame,
            options,
            block_len2: 0,
        })?;
        self.put(&packet)
    }

    /// Writes the name of an address, for the frames behind it: readers such as Wireshark say the name then.
    ///
    /// # Errors
    /// [`WriteError::Io`] when the sink fails, [`WriteError::TooLong`] for a name of more than 255 bytes.
    pub fn name(&mut self, address: IpAddr, name: &str) -> Result<(), WriteError> {
        let (length, limit) = (name.len(), usize::from(u8::MAX));
        if length > limit {
            return Err(WriteError::TooLong { what: "name", length, limit });
        }
        let (kind, octets) = match address {
            IpAddr::V4(address) => (IPV4_NAME, address.octets().to_vec()),
            IpAddr::V6(address) => (IPV6_NAME, address.octets().to_vec()),
        };
        // `pcap-parser` 0.17 writes the records of this block without their padding. Numbers are little endian, as in the section's header.
        let mut value = [&octets[..], name.as_bytes(), &[0]].concat();
        let value_length = value.len() as u16;
        value.resize(value.len().next_multiple_of(4), 0);
        let record = [&kind.to_le_bytes()[..], &value_length.to_le_bytes(), &value].concat();
        let total = (12 + record.len() + END_OF_NAMES.len()) as u32;
        let block = [
            &NAME_RESOLUTION.to_le_bytes()[..],
            &total.to_le_bytes(),
            &record,
            &END_OF_NAMES,
            &total.to_le_bytes(),
        ];
        self.put(&block.concat())
    }

    /// Bytes handed to the sink so far.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Flushes the sink.
    ///
    /// # Errors
    /// [`WriteError::Io`] when the sink fails.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        Ok(self.sink.flush()?)
    }

    /// Flushes the sink and gives it back.
    ///
    /// # Errors
    /// [`WriteError::Io`] when the sink fails.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.flush()?;
        Ok(self.sink)
    }

    fn put(&mut self, block: &[u8]) -> Result<(), WriteError> {
        self.sink.write_all(block)?;
        self.written_bytes += block.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Reader;
    use crate::fate::Fate;
    use crate::wire::LinkType;

    #[test]
    fn what_is_written_is_read_back() {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, &["server", "client"]).unwrap();
        let frames: Vec<Vec<u8>> = (0..9).map(|length| vec![length as u8 + 1; length]).collect();
        for (number, frame) in frames.iter().enumerate() {
            let comment = if number == 3 { "" } else { "fate=forwarded" };
            writer
                .write(number as u32 % 2, 1_700_000_000_123_456_789 + number as u64, frame, comment)
                .unwrap();
        }
        writer.finish().unwrap();
        let mut reader = Reader::new(&bytes[..]).unwrap();
        for (number, frame) in frames.iter().enumerate() {
            let record = reader.next().unwrap().unwrap();
            assert_eq!((record.number, record.data), (number as u64 + 1, &frame[..]));
            assert_eq!(record.timestamp_ns, 1_700_000_000_123_456_789 + number as u64);
            assert_eq!(record.interface_name, Some(["server", "client"][number % 2]));
            assert_eq!(record.link_type, LinkType::ETHERNET);
            assert_eq!(record.comment, (number != 3).then_some("fate=forwarded"));
            assert_eq!(record.fate(), Fate::Forwarded);
        }
        assert!(reader.next().unwrap().is_none());
        assert_eq!(reader.interfaces().len(), 2);
    }

    #[test]
    fn names_are_read_back_and_are_no_records() {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, &["server"]).unwrap();
        let addresses: [IpAddr; 3] =
            ["198.51.100.1".parse().unwrap(), "fe80::1".parse().unwrap(), "198.51.100.2".parse().unwrap()];
        for (address, name) in addresses.into_iter().zip(["server", "server-2", "abc"]) {
            writer.name(address, name).unwrap();
            writer.write(0, 1, &[7; 3], "").unwrap();
        }
        assert!(matches!(
            writer.name(addresses[0], &"x".repeat(256)),
            Err(WriteError::TooLong { what: "name", .. })
        ));
        writer.finish().unwrap();
        let mut reader = Reader::new(&bytes[..]).unwrap();
        for number in 1..=3 {
            assert_eq!(reader.next().unwrap().unwrap().number, number);
            assert_eq!(reader.names().len() as u64, number, "a name stands before the first frame");
        }
        assert!(reader.next().unwrap().is_none());
        let names: Vec<_> =
            addresses.into_iter().zip(["server", "server-2", "abc"].map(str::to_owned)).collect();
        assert_eq!(reader.names(), names);
    }

    #[test]
    fn a_full_disk_and_an_unknown_interface_are_errors() {
        let mut small = [0; 200];
        let mut writer = Writer::new(&mut small[..], &["server"]).unwrap();
        assert!(matches!(writer.write(0, 0, &[0; 500], ""), Err(WriteError::Io(_))));
        assert_eq!(
            writer.write(1, 0, &[], "").unwrap_err().to_string(),
            "no interface 1 in the capture: it has 1"
        );
        let mut writer = Writer::new(Vec::new(), &["server"]).unwrap();
        let long = vec![0; FRAME_MAX_BYTES + 1];
        assert!(matches!(writer.write(0, 0, &long, ""), Err(WriteError::TooLong { what: "frame", .. })));
        assert!(matches!(
            writer.write(0, 0, &[], &"x".repeat(70_000)),
            Err(WriteError::TooLong { what: "comment", .. })
        ));
    }
}
