//! What the samples write, and how what arrived is judged.
//!
//! Bytes in, values out; no I/O. Source: the C samples, whose peers these programs must be.

use crate::error::{Error, Result};

/// Length of the server's memory region in bytes, in both examples.
pub const REGION_BYTES: usize = 4096;
/// What example 1's server holds before anybody writes, with its NUL.
pub const SERVER_INITIAL: &[u8] = b"server-initial\0";
/// What example 1's client writes, with its NUL: 18 bytes.
pub const CLIENT_WRITE: &[u8] = b"client-wrote-this\0";
/// What example 2's client writes, with its NUL: 22 bytes.
pub const CLIENT_WRITE_IMM: &[u8] = b"client-wrote-with-imm\0";

/// A NUL-terminated text that arrived in a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The text without its NUL; what is not UTF-8 is replaced.
    pub text: String,
    /// Its length in bytes with the NUL, if there is one.
    pub length_bytes: usize,
}

impl Received {
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
pub fn received_since(initial: &[u8], bytes: &[u8]) -> Result<Received> {
    let unchanged = bytes.starts_with(initial) && bytes[initial.len()..].iter().all(|&byte| byte == 0);
    if unchanged {
        return Err(Error::NothingWritten { initial: Received::parse(initial).text });
    }
    Ok(Received::parse(bytes))
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
        assert_eq!(received, Received { text: "client-wrote-this".into(), length_bytes: 18 });
    }

    #[test]
    fn text_without_nul_or_utf8_is_taken_as_it_is() {
        assert_eq!(Received::parse(b"ab"), Received { text: "ab".into(), length_bytes: 2 });
        assert_eq!(Received::parse(b"\xff\0"), Received { text: "\u{fffd}".into(), length_bytes: 2 });
        assert_eq!(Received::parse(b""), Received { text: String::new(), length_bytes: 0 });
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
