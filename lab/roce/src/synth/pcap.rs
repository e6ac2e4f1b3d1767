//! A pcap file of synthetic frames, one each microsecond.

use std::io::{self, Write};

/// Time between two packets in nanoseconds.
const STEP_NS: u64 = 1_000;

/// Extent of a written capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Packets, acknowledgements included.
    pub packets: u64,
    /// Messages whose last packet is there.
    pub messages: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Writer of a little-endian pcap file with nanoseconds, which counts what it wrote.
pub(super) struct Pcap<W> {
    sink: W,
    pub(super) written: Written,
}

impl<W: Write> Pcap<W> {
    /// Writes the file's header.
    pub(super) fn begin(mut sink: W) -> io::Result<Self> {
        for word in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, 1] {
            sink.write_all(&u32::to_le_bytes(word))?;
        }
        Ok(Self { sink, written: Written { bytes: 24, ..Written::default() } })
    }

    /// Writes a frame.
    pub(super) fn put(&mut self, frame: &[u8]) -> io::Result<()> {
        let ns = 1_700_000_000_000_000_000 + self.written.packets * STEP_NS;
        for word in [ns / 1_000_000_000, ns % 1_000_000_000, frame.len() as u64, frame.len() as u64] {
            self.sink.write_all(&(word as u32).to_le_bytes())?;
        }
        self.sink.write_all(frame)?;
        self.written.packets += 1;
        self.written.bytes += 16 + frame.len() as u64;
        Ok(())
    }

    /// Hands on what is buffered; returns the counts.
    pub(super) fn end(mut self) -> io::Result<Written> {
        self.sink.flush()?;
        Ok(self.written)
    }
}
