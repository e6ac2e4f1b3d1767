//! Private data of the CM messages: the C samples' 12 bytes in REP, and an extension that travels only when asked for.
//!
//! Bytes in, values out, and back; no I/O. The layout, all integers big-endian:
//!
//! ```text
//!        0       1       2       3       4       5       6       7
//!    +-------+-------+-------+-------+-------+-------+-------+-------+
//!  0 |                  remote virtual address (REP)                 |
//!    +-------+-------+-------+-------+-------+-------+-------+-------+
//!  8 |         rkey (REP)            |        extension: magic       |
//!    +-------+-------+-------+-------+-------+-------+-------+-------+
//! 16 |version|       reserved        |           length in           |
//!    +-------+-------+-------+-------+                               +
//! 24 |             bytes             |
//!    +-------+-------+-------+-------+
//! ```
//!
//! REQ carries nothing, or the 16 bytes of the extension alone as a request for a region of that length. CM hands private
//! data on zero-padded to the full size of its message, so absence reads as zeros. Source: the C samples; for the padding
//! and the limits `rdma_get_cm_event(3)`, `rdma_connect(3)`, and `rdma_cm`'s `cma_save_conn_info` on rxe 6.1.

use std::ops::Range;

use verbs::remote_region::RemoteRegion;

/// Offset of the version in an extension.
pub const VERSION_AT: usize = 4;

/// Length of a region without an extension, in bytes.
pub const REGION_BYTES: usize = field::REGION_LENGTH;

/// Marks an extension: "RLAB".
const MAGIC: u32 = 0x524c_4142;
/// The only version that exists.
const VERSION: u8 = 1;

mod field {
    use super::Range;

    pub(super) const ADDRESS: Range<usize> = 0..8;
    pub(super) const RKEY: Range<usize> = 8..12;
    /// Length of what the C samples send.
    pub(super) const REGION_LENGTH: usize = 12;

    // Relative to the start of the extension.
    pub(super) const MAGIC: Range<usize> = 0..4;
    pub(super) const LENGTH: Range<usize> = 8..16;
    pub(super) const EXTENSION_LENGTH: usize = 16;
}

/// Encodes a region as REP private data: 12 bytes, or 28 if the length is to be told.
#[must_use]
pub fn region_bytes(region: &RemoteRegion) -> Vec<u8> {
    let mut bytes = vec![0; field::REGION_LENGTH];
    bytes[field::ADDRESS].copy_from_slice(&region.address.to_be_bytes());
    bytes[field::RKEY].copy_from_slice(&region.rkey.to_be_bytes());
    if let Some(length_bytes) = region.length_bytes {
        bytes.extend_from_slice(&length_request(length_bytes));
    }
    bytes
}

/// Reads the region in REP private data, zero-padded or not.
///
/// # Errors
///
/// [`PrivateDataError`]: fewer than 12 bytes, an address or rkey of zero, an extension that is cut, of an unknown
/// version, or of no known kind.
pub fn parse_region(bytes: &[u8]) -> Result<RemoteRegion, PrivateDataError> {
    let Some((region, rest)) = bytes.split_at_checked(field::REGION_LENGTH) else {
        return Err(PrivateDataError::Short { need: field::REGION_LENGTH, got: bytes.len() });
    };
    let address = be_u64(&region[field::ADDRESS]);
    let rkey = be_u32(&region[field::RKEY]);
    if address == 0 && rkey == 0 {
        return Err(PrivateDataError::Zero);
    }
    if address == 0 {
        return Err(PrivateDataError::ZeroAddress { rkey });
    }
    Ok(RemoteRegion { address, rkey, length_bytes: parse_extension(rest)? })
}

/// Encodes the REQ private data that asks for a region of `length_bytes`.
#[must_use]
pub fn length_request(length_bytes: u64) -> [u8; field::EXTENSION_LENGTH] {
    let mut bytes = [0; field::EXTENSION_LENGTH];
    bytes[field::MAGIC].copy_from_slice(&MAGIC.to_be_bytes());
    bytes[VERSION_AT] = VERSION;
    bytes[field::LENGTH].copy_from_slice(&length_bytes.to_be_bytes());
    bytes
}

/// Reads REQ private data: the length asked for, or `None` if it carries nothing, as a C client's does.
///
/// # Errors
///
/// [`PrivateDataError`]: an extension that is cut, of an unknown version, or of no known kind.
pub fn parse_length_request(bytes: &[u8]) -> Result<Option<u64>, PrivateDataError> {
    parse_extension(bytes)
}

/// Private data that does not make sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateDataError {
    /// Ends too early.
    #[error("private data: need {need} bytes, got {got}; is the peer one of the sample programs?")]
    Short {
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        got: usize,
    },
    /// All zeros: the peer announced no memory region.
    #[error(
        "private data: address and rkey are zero, so the server announced no memory region; is another program listening there?"
    )]
    Zero,
    /// Its address is zero.
    #[error("private data: address is zero (rkey {rkey:#x}); is another program listening there?")]
    ZeroAddress {
        /// The rkey beside it.
        rkey: u32,
    },
    /// Goes on with something else than our extension.
    #[error("private data: unknown extension {magic:#010x}; is the peer a newer version of the programs?")]
    UnknownExtension {
        /// Bytes in the place of the magic.
        magic: u32,
    },
    /// Goes on with an extension of an unknown version.
    #[error(
        "private data: extension version {version} is unknown, this program knows version {VERSION}; use programs of one version on both sides"
    )]
    UnknownVersion {
        /// The version it says.
        version: u8,
    },
}

/// Reads the extension at the start of `bytes`; `None` if there are only zeros.
fn parse_extension(bytes: &[u8]) -> Result<Option<u64>, PrivateDataError> {
    if bytes.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    let Some(magic) = bytes.get(field::MAGIC).map(be_u32) else {
        return Err(PrivateDataError::Short { need: field::EXTENSION_LENGTH, got: bytes.len() });
    };
    if magic != MAGIC {
        return Err(PrivateDataError::UnknownExtension { magic });
    }
    // The version comes first: another one may have another length.
    match bytes.get(VERSION_AT) {
        None | Some(&VERSION) => {}
        Some(&version) => return Err(PrivateDataError::UnknownVersion { version }),
    }
    match bytes.get(field::LENGTH) {
        Some(length) => Ok(Some(be_u64(length))),
        None => Err(PrivateDataError::Short { need: field::EXTENSION_LENGTH, got: bytes.len() }),
    }
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

fn be_u64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that a C server sends.
    const C_REP: [u8; 12] = [0x00, 0x00, 0x55, 0xd0, 0x12, 0x34, 0x50, 0x00, 0x00, 0x00, 0x04, 0xd2];

    const C_REGION: RemoteRegion =
        RemoteRegion { address: 0x55d0_1234_5000, rkey: 0x4d2, length_bytes: None };

    fn padded(bytes: &[u8]) -> Vec<u8> {
        let mut padded = bytes.to_vec();
        padded.resize(196, 0);
        padded
    }

    #[test]
    fn a_c_peer_s_private_data_is_read_and_written() {
        assert_eq!(parse_region(&C_REP), Ok(C_REGION));
        assert_eq!(parse_region(&padded(&C_REP)), Ok(C_REGION));
        assert_eq!(region_bytes(&C_REGION), C_REP);
    }

    #[test]
    fn every_shorter_length_is_short() {
        for got in 0..C_REP.len() {
            assert_eq!(parse_region(&C_REP[..got]), Err(PrivateDataError::Short { need: 12, got }));
        }
    }

    #[test]
    fn zeros_announce_no_region() {
        assert_eq!(parse_region(&padded(&[])), Err(PrivateDataError::Zero));
        let mut bytes = C_REP;
        bytes[..8].fill(0);
        assert_eq!(parse_region(&bytes), Err(PrivateDataError::ZeroAddress { rkey: 0x4d2 }));
    }

    #[test]
    fn the_extension_carries_the_length() {
        let region = RemoteRegion { length_bytes: Some(8 << 20), ..C_REGION };
        assert_eq!(region_bytes(&region).len(), 28);
        assert_eq!(parse_region(&region_bytes(&region)), Ok(region));
        assert_eq!(parse_region(&padded(&region_bytes(&region))), Ok(region));
    }

    #[test]
    fn an_extension_of_another_version_is_refused_with_its_number() {
        let mut bytes = region_bytes(&RemoteRegion { length_bytes: Some(1), ..C_REGION });
        bytes[16] = 7;
        let error = parse_region(&bytes).unwrap_err();
        assert_eq!(error, PrivateDataError::UnknownVersion { version: 7 });
        assert_eq!(
            error.to_string(),
            "private data: extension version 7 is unknown, this program knows version 1; use programs of one version on both sides"
        );
    }

    #[test]
    fn a_cut_extension_is_short() {
        let bytes = length_request(4096);
        for got in 1..bytes.len() {
            assert_eq!(parse_length_request(&bytes[..got]), Err(PrivateDataError::Short { need: 16, got }));
        }
    }

    #[test]
    fn other_bytes_are_an_unknown_extension() {
        let mut bytes = padded(&C_REP);
        bytes[15] = 1;
        assert_eq!(parse_region(&bytes), Err(PrivateDataError::UnknownExtension { magic: 1 }));
    }

    #[test]
    fn a_request_without_private_data_asks_for_nothing() {
        assert_eq!(parse_length_request(&[]), Ok(None));
        assert_eq!(parse_length_request(&[0; 56]), Ok(None));
        assert_eq!(parse_length_request(&length_request(4096)), Ok(Some(4096)));
    }
}
