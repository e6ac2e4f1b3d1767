//! Messages that the programs send, and the check of those that arrive.
//!
//! Bytes in, values out; no I/O. By default the texts of the C samples, whose peers these programs must be; with `--size`
//! a pattern that depends on the place alone, so that the receiver can verify it without being told anything.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::report::Pattern;

/// Length of the server's memory region in bytes, unless the client asks for another.
pub const REGION_BYTES: usize = 4096;
/// Text of example 1's server before anybody writes, with its NUL.
pub const SERVER_INITIAL: &[u8] = b"server-initial\0";
/// Text that example 1's client writes, with its NUL: 18 bytes.
pub const CLIENT_WRITE: &[u8] = b"client-wrote-this\0";
/// Text that example 2's client writes, with its NUL: 22 bytes.
pub const CLIENT_WRITE_IMM: &[u8] = b"client-wrote-with-imm\0";
/// Text that the client of SENDs sends, with its NUL: 17 bytes.
pub const CLIENT_SEND: &[u8] = b"client-sent-this\0";
/// Text that the server of SENDs writes into its client's window, with its NUL: 18 bytes.
pub const SERVER_WRITE: &[u8] = b"server-wrote-this\0";
/// Text of the SEND that makes the window invalid, with its NUL.
pub const SERVER_DONE: &[u8] = b"done\0";
/// Number of the server of atomics before anybody changes it.
pub const COUNTER_INITIAL: u64 = 100;
/// Number that the client of atomics swaps in.
pub const COUNTER_SWAPPED: u64 = 7;

/// The messages that a client sends: message number i of n bytes belongs at offset i times n of the peer's region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The sample's text, if it is not the pattern.
    text: Option<&'static [u8]>,
    message_bytes: usize,
    count: usize,
}

impl Payload {
    /// `count` messages: of `size` bytes of the pattern if there is a size, else each is `text`.
    #[must_use]
    pub fn new(size: Option<usize>, count: usize, text: &'static [u8]) -> Self {
        let message_bytes = size.unwrap_or(text.len());
        Self { text: size.is_none().then_some(text), message_bytes, count }
    }

    /// All messages, one after the other.
    ///
    /// # Errors
    ///
    /// [`Error::Allocation`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let length_bytes = self.total_bytes();
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length_bytes).map_err(|_| Error::Allocation { length_bytes })?;
        match self.text {
            Some(text) => bytes.extend((0..self.count).flat_map(|_| text)),
            None => bytes.extend((0..length_bytes).map(pattern)),
        }
        Ok(bytes)
    }

    /// Length of each message.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    /// Length of all of them.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.message_bytes.saturating_mul(self.count)
    }

    /// The length of the peer's region.
    #[must_use]
    pub fn room_bytes(&self) -> usize {
        if self.text.is_some() { self.total_bytes().max(REGION_BYTES) } else { self.total_bytes() }
    }

    /// The range of each message, in both regions.
    pub fn messages(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let length = self.message_bytes;
        (0..self.count).map(move |number| number * length..(number + 1) * length)
    }

    /// Ranges to read back: each message that was written, and of a sample the whole region.
    pub fn reads(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let whole = self.text.map(|_| 0..self.room_bytes());
        let each = self.text.is_none().then(|| self.messages());
        whole.into_iter().chain(each.into_iter().flatten())
    }

    /// The CRC-32 of `bytes`, all messages, if they are the pattern.
    #[must_use]
    pub fn pattern_of(&self, bytes: &[u8]) -> Option<Pattern> {
        self.text.is_none().then(|| Pattern::of(bytes))
    }
}

/// The pattern's byte at `offset` of a region: no two neighbouring words are equal, nor two pages.
fn pattern(offset: usize) -> u8 {
    let word = (offset / 4) as u32;
    // Knuth's multiplicative hash; the low byte alone would repeat.
    word.wrapping_add(1).wrapping_mul(0x9e37_79b1).to_be_bytes()[offset % 4]
}

/// Judges what a server received from a client with `--size`.
///
/// # Errors
///
/// [`Error::NothingWritten`] if all is zero, [`Error::PatternDiffers`] with the first byte that differs.
pub fn verify_pattern(bytes: &[u8]) -> Result<Pattern> {
    if !bytes.is_empty() && bytes.iter().all(|&byte| byte == 0) {
        return Err(Error::NothingWritten { initial: String::new() });
    }
    let mut compared = bytes.iter().enumerate().map(|(offset, &got)| (offset, pattern(offset), got));
    match compared.find(|(_, expected, got)| expected != got) {
        Some((offset, expected, got)) => Err(Error::PatternDiffers { offset, expected, got }),
        None => Ok(Pattern::of(bytes)),
    }
}

/// A NUL-terminated text that arrived in a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedText {
    /// The text without its NUL; what is not UTF-8 is replaced.
    pub text: String,
    /// Its length in bytes with the NUL, if there is one.
    pub length_bytes: usize,
}

impl ReceivedText {
    /// Reads the text at the start of `bytes`.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.iter().position(|&byte| byte == 0);
        let text = &bytes[..end.unwrap_or(bytes.len())];
        Self {
            text: String::from_utf8_lossy(text).into_owned(),
            length_bytes: end.map_or(bytes.len(), |end| end + 1),
        }
    }
}

/// Judges what example 1's server finds after DISCONNECTED: a WRITE gives its target no completion.
///
/// # Errors
///
/// [`Error::NothingWritten`] if the region is as the server left it.
pub fn received_since(initial: &[u8], bytes: &[u8]) -> Result<ReceivedText> {
    let unchanged = bytes.starts_with(initial) && bytes[initial.len()..].iter().all(|&byte| byte == 0);
    if unchanged {
        return Err(Error::NothingWritten { initial: ReceivedText::parse(initial).text });
    }
    Ok(ReceivedText::parse(bytes))
}

/// Judges what example 1's client read back: it must begin with what it wrote.
///
/// # Errors
///
/// [`Error::ReadBackDiffers`] with the first byte that differs.
pub fn verify_read_back(wrote: &[u8], read: &[u8]) -> Result<()> {
    // A byte that was not read at all counts as zero.
    let read = read.iter().copied().chain(std::iter::repeat(0));
    match wrote.iter().copied().zip(read).enumerate().find(|(_, (wrote, read))| wrote != read) {
        Some((offset, (wrote, read))) => Err(Error::ReadBackDiffers { offset, wrote, read }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_the_c_samples() {
        assert_eq!(CLIENT_WRITE.len(), 18);
        assert_eq!(CLIENT_WRITE_IMM.len(), 22);
    }

    #[test]
    fn message_has_its_place_in_both_regions() {
        let payload = Payload::new(Some(1024), 3, CLIENT_WRITE);
        assert_eq!(payload.messages().collect::<Vec<_>>(), [0..1024, 1024..2048, 2048..3072]);
        assert_eq!(payload.room_bytes(), 3072);
        assert!(payload.reads().eq(payload.messages()));
        assert!(verify_pattern(&payload.to_bytes().unwrap()).is_ok());
        let text = Payload::new(None, 2, CLIENT_WRITE);
        let bytes = text.to_bytes().unwrap();
        assert_eq!((bytes.len(), text.total_bytes(), text.pattern_of(&bytes)), (36, 36, None));
        assert!(text.reads().eq(std::iter::once(0..4096)));
    }

    #[test]
    fn pattern_tells_pages_and_words_apart() {
        let bytes = Payload::new(Some(8192), 1, &[]).to_bytes().unwrap();
        assert_ne!(bytes[..4096], bytes[4096..]);
        assert!(bytes.windows(8).all(|window| window[..4] != window[4..]));
        assert_eq!(&bytes[..4096], Payload::new(Some(1024), 4, &[]).to_bytes().unwrap());
    }

    #[test]
    fn pattern_in_the_wrong_place_differs() {
        let mut bytes = Payload::new(Some(64), 1, &[]).to_bytes().unwrap();
        bytes[9] ^= 1;
        assert!(verify_pattern(&bytes).unwrap_err().to_string().contains("at offset 9"));
        assert!(matches!(verify_pattern(&[0; 64]), Err(Error::NothingWritten { .. })));
        assert!(verify_pattern(&[]).is_ok());
    }

    #[test]
    fn messages_of_zero_bytes_are_messages() {
        let payload = Payload::new(Some(0), 2, &[]);
        assert_eq!(payload.messages().collect::<Vec<_>>(), [0..0, 0..0]);
        assert_eq!(payload.room_bytes(), 0);
        assert_eq!(payload.pattern_of(&[]).unwrap().crc32, "00000000");
    }

    #[test]
    fn untouched_region_is_an_error() {
        let mut region = vec![0; REGION_BYTES];
        region[..SERVER_INITIAL.len()].copy_from_slice(SERVER_INITIAL);
        let error = received_since(SERVER_INITIAL, &region).unwrap_err();
        assert!(error.to_string().contains("still holds \"server-initial\""), "{error}");
    }

    #[test]
    fn what_the_client_wrote_is_reported() {
        let mut region = vec![0; REGION_BYTES];
        region[..CLIENT_WRITE.len()].copy_from_slice(CLIENT_WRITE);
        let received = received_since(SERVER_INITIAL, &region).unwrap();
        assert_eq!(received, ReceivedText { text: "client-wrote-this".into(), length_bytes: 18 });
    }

    #[test]
    fn text_without_nul_or_utf8_is_taken_as_it_is() {
        assert_eq!(ReceivedText::parse(b"ab"), ReceivedText { text: "ab".into(), length_bytes: 2 });
        assert_eq!(ReceivedText::parse(b"\xff\0"), ReceivedText { text: "\u{fffd}".into(), length_bytes: 2 });
        assert_eq!(ReceivedText::parse(b""), ReceivedText { text: String::new(), length_bytes: 0 });
    }

    #[test]
    fn first_difference_is_named() {
        assert!(verify_read_back(b"ab\0", b"ab\0zzz").is_ok());
        let error = verify_read_back(b"ab\0", b"aX\0").unwrap_err();
        assert_eq!(
            error.to_string(),
            "read back differs from what was written at offset 1: wrote 0x62, read 0x58"
        );
        assert!(verify_read_back(b"ab", b"a").is_err());
    }
}
