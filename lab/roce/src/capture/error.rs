//! Errors of a capture as a file.

use std::io;

/// Reason that a capture cannot be read on. Every record before it has been delivered.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is not a single byte.
    #[error("the capture is empty: expected a pcap or pcapng header, got 0 bytes")]
    Empty,
    /// The first bytes are neither pcap's nor pcapng's.
    #[error("not a capture: it begins with {magic:#010x}, expected pcap or pcapng")]
    NotACapture {
        /// The first four bytes, big-endian; missing bytes are zero.
        magic: u32,
    },
    /// The bytes end in the middle of a header, block or packet.
    #[error("the capture is cut: {what} at byte {offset} needs {need} bytes, got {got}")]
    Cut {
        /// Name of the incomplete part.
        what: &'static str,
        /// Byte offset in the capture at which it begins.
        offset: u64,
        /// Bytes that it takes.
        need: u64,
        /// Bytes that are there.
        got: u64,
    },
    /// A length or type makes no sense.
    #[error("the capture is malformed: {what} at byte {offset}")]
    Malformed {
        /// The part that makes no sense.
        what: &'static str,
        /// Byte offset in the capture at which it stands.
        offset: u64,
    },
    /// The source of the bytes failed.
    #[error("failed to read the capture at byte {offset}: {source}")]
    Io {
        /// Byte offset in the capture.
        offset: u64,
        /// Error of the source.
        source: io::Error,
    },
}

/// Reason that a capture cannot be written on.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The sink failed.
    #[error("failed to write the capture: {0}")]
    Io(#[from] io::Error),
    /// The writer has no interface of that number.
    #[error("no interface {index} in the capture: it has {count}")]
    NoInterface {
        /// Number asked for, from 0.
        index: u32,
        /// Interfaces that the capture has.
        count: u32,
    },
    /// A frame, name or comment is too long for pcapng.
    #[error("{what} of {length} bytes is too long for the capture: at most {limit}")]
    TooLong {
        /// Name of the part that is too long.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The most that fits, in bytes.
        limit: usize,
    },
    /// The serializer refused a block.
    #[error("failed to serialize a pcapng block: {0}")]
    Serialize(String),
}
