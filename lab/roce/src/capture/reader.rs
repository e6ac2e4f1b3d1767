//! A reader of pcap and pcapng, one packet at a time.
//!
//! In: `impl Read`, or any other [`Source`]. Out: [`Record`]s that borrow one buffer. Both byte orders, microseconds and nanoseconds, several sections and interfaces, comments.
//! Blocks are parsed by `pcap-parser`; the buffer is ours, so that an error knows its byte offset and a block of any length up to a limit fits.

mod pcap;
mod pcapng;

use std::io::ErrorKind;
use std::net::IpAddr;

use crate::capture::buffer::{Buffer, Source};
use crate::capture::losses::Losses;
use crate::capture::{Interface, ReadError, Record};
use crate::wire::LinkType;

/// Longest block or packet that is believed, in bytes; a greater length is nonsense in the file.
const BLOCK_MAX_BYTES: usize = 64 * 1024 * 1024;
const PCAPNG_SECTION_HEADER: u32 = 0x0a0d_0d0a;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Pcap,
    Pcapng,
}

/// Reads the packets of a capture from a stream of bytes.
///
/// # Example
/// ```
/// let mut bytes = Vec::new();
/// let mut writer = roce::capture::Writer::new(&mut bytes, &["server", "client"])?;
/// writer.write(1, 1_000, &[0; 60], "fate=forwarded")?;
///
/// let mut reader = roce::capture::Reader::new(&bytes[..])?;
/// let record = reader.next()?.expect("one packet");
/// assert_eq!((record.number, record.timestamp_ns, record.interface_name), (1, 1_000, Some("client")));
/// assert!(reader.next()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reader<S> {
    pub(super) source: S,
    pub(super) buffer: Buffer,
    /// Byte offset in the capture of the first unread byte.
    offset: u64,
    pub(super) at_end: bool,
    format: Format,
    /// Bytes before each packet of a pcap.
    packet_header_length: usize,
    /// Nanoseconds of a pcap's lesser unit of time.
    fraction_ns: u64,
    big_endian: bool,
    pub(super) interfaces: Vec<Interface>,
    pub(super) number: u64,
    pub(super) comment: String,
    losses: Losses,
    names: Vec<(IpAddr, String)>,
}

fn u32_at(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    match bytes.get(at..).and_then(|bytes| bytes.first_chunk()) {
        Some(bytes) if big_endian => u32::from_be_bytes(*bytes),
        Some(bytes) => u32::from_le_bytes(*bytes),
        None => 0,
    }
}

/// A record in a pcapng block or a pcap packet, as buffer positions.
pub(super) struct FoundRecord {
    pub(super) timestamp_ns: u64,
    pub(super) interface: u32,
    pub(super) data_start: usize,
    pub(super) data_length: usize,
    pub(super) original_length_bytes: u32,
    pub(super) has_comment: bool,
    pub(super) lost_before: u64,
}

impl<S: Source> Reader<S> {
    /// Opens a capture and reads its header.
    ///
    /// # Errors
    /// [`ReadError::Empty`], [`ReadError::NotACapture`], [`ReadError::Cut`] in the header, [`ReadError::Malformed`], [`ReadError::Io`].
    pub fn new(source: S) -> Result<Self, ReadError> {
        let mut reader = Self {
            source,
            buffer: Buffer::new(),
            offset: 0,
            at_end: false,
            format: Format::Pcapng,
            packet_header_length: 16,
            fraction_ns: 1_000,
            big_endian: false,
            interfaces: Vec::new(),
            number: 0,
            comment: String::new(),
            losses: Losses::default(),
            names: Vec::new(),
        };
        let got = reader.fill(12)?;
        let magic = u32_at(reader.buffer.unread(), 0, true);
        if got == 0 {
            return Err(ReadError::Empty);
        }
        if got < 4 {
            let mut first = [0; 4];
            for (to, from) in first.iter_mut().zip(reader.buffer.unread()) {
                *to = *from;
            }
            return Err(ReadError::NotACapture { magic: u32::from_be_bytes(first) });
        }
        if magic != PCAPNG_SECTION_HEADER {
            reader.pcap_header(magic)?;
        }
        Ok(reader)
    }

    /// The interfaces that the capture has named so far.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The names of addresses that the capture's name resolution blocks have told so far, at most 65,536.
    pub fn names(&self) -> &[(IpAddr, String)] {
        &self.names
    }

    /// Byte offset in the capture of what is read next.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Byte offset in the capture of what the source gives next.
    pub(super) fn read_to(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Packets that the capture says it lost, as far as it was read: those between its packets, or those of its statistics when these are more.
    pub fn lost_packets(&self) -> u64 {
        self.losses.packets()
    }

    /// Returns the next packet; `None` at the end of the capture.
    ///
    /// # Errors
    /// [`ReadError::Cut`], [`ReadError::Malformed`] or [`ReadError::Io`], each after every packet before it has been delivered.
    #[expect(
        clippy::should_implement_trait,
        reason = "the record borrows the reader, which an Iterator cannot say"
    )]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        let found = match self.format {
            Format::Pcap => self.next_pcap()?,
            Format::Pcapng => self.next_pcapng()?,
        };
        let Some(found) = found else { return Ok(None) };
        self.number += 1;
        let interface = self.interfaces.get(found.interface as usize);
        Ok(Some(Record {
            number: self.number,
            timestamp_ns: found.timestamp_ns,
            interface: found.interface,
            interface_name: interface.and_then(|interface| interface.name.as_deref()),
            link_type: interface.map_or(LinkType(-1), |interface| interface.link_type),
            data: self.buffer.at(found.data_start, found.data_length),
            original_length_bytes: found.original_length_bytes,
            comment: found.has_comment.then_some(self.comment.as_str()),
            lost_before: found.lost_before,
        }))
    }

    #[inline]
    fn consume(&mut self, length: usize) {
        self.offset += self.buffer.consume(length) as u64;
    }

    /// Reads until `need` bytes are in the buffer or the source ends; gives how many there are.
    #[inline]
    fn fill(&mut self, need: usize) -> Result<usize, ReadError> {
        let got = self.buffer.len();
        if got >= need { Ok(got) } else { self.read(need) }
    }

    #[cold]
    fn read(&mut self, need: usize) -> Result<usize, ReadError> {
        while self.buffer.len() < need && !self.at_end {
            match self.source.refill(&mut self.buffer, need) {
                Ok(length) => self.at_end = length == 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(ReadError::Io { offset: self.read_to(), source });
                }
            }
        }
        Ok(self.buffer.len())
    }

    /// Takes in the next packet, or what comes before it, if the buffer has all of it: the outer `None` when not, the inner one when no packet came of it.
    ///
    /// # Errors
    /// As of [`next`](Self::next).
    pub(super) fn next_of_buffer(&mut self) -> Result<Option<Option<FoundRecord>>, ReadError> {
        let got = self.buffer.len();
        match self.format {
            Format::Pcap => {
                let header = self.packet_header_length;
                if got < header {
                    return Ok(None);
                }
                let length = self.pcap_length()?;
                if got < header + length {
                    return Ok(None);
                }
                Ok(Some(Some(self.take_pcap(length))))
            }
            Format::Pcapng => {
                if got < 12 || got < self.block_length()? {
                    return Ok(None);
                }
                self.next_block().map(Some)
            }
        }
    }

    /// Has the next `need` bytes in the buffer, or says what is cut.
    fn require(&mut self, what: &'static str, need: usize) -> Result<(), ReadError> {
        let got = self.fill(need)?;
        if got < need {
            return Err(ReadError::Cut { what, offset: self.offset, need: need as u64, got: got as u64 });
        }
        Ok(())
    }

    fn malformed(&self, what: &'static str) -> ReadError {
        ReadError::Malformed { what, offset: self.offset }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_no_capture_is_named() {
        let error = |bytes: &[u8]| Reader::new(bytes).err().unwrap().to_string();
        assert_eq!(error(b""), "the capture is empty: expected a pcap or pcapng header, got 0 bytes");
        assert_eq!(
            error(b"hello world, this is text"),
            "not a capture: it begins with 0x68656c6c, expected pcap or pcapng"
        );
        assert_eq!(error(&[0xa1]), "not a capture: it begins with 0xa1000000, expected pcap or pcapng");
        assert_eq!(
            error(&[0xa1, 0xb2, 0xc3, 0xd4, 0]),
            "the capture is cut: the pcap header at byte 0 needs 24 bytes, got 5"
        );
    }

    #[test]
    fn a_failing_source_is_an_error_with_its_offset() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("disk on fire"))
            }
        }
        let error = Reader::new(Failing).err().unwrap().to_string();
        assert_eq!(error, "failed to read the capture at byte 0: disk on fire");
    }
}
