//! Place and reason of a stop in decoding a frame.
//!
//! A stop is not an error of the library and not a broken rule of a peer: the bytes ended or stopped making sense. What was decoded before stands.

/// Names the place at which the bytes of a frame stop making sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeStop {
    /// A header is longer than what is left.
    #[error("{layer}: need {need} bytes at offset {offset}, got {got}")]
    Length {
        /// Header that could not be read.
        layer: &'static str,
        /// Bytes that it takes.
        need: usize,
        /// Offset of its first byte in the frame.
        offset: usize,
        /// Bytes that are there.
        got: usize,
    },
    /// A field has a value that contradicts the rest of the frame.
    #[error("{layer}: {field} {value} at offset {offset}, {limit}")]
    Value {
        /// Header of the field.
        layer: &'static str,
        /// Field, with its unit.
        field: &'static str,
        /// Value on the wire.
        value: usize,
        /// Offset of the header in the frame.
        offset: usize,
        /// Limit that the value breaks.
        limit: &'static str,
    },
}
