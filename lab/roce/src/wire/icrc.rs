//! ICRC, the invariant CRC in the last four bytes of a RoCEv2 packet.
//!
//! In: the bytes from the IP header to the end of the pad. Out: the checksum. It is CRC-32 IEEE, reflected, over eight bytes of ones and the packet, with
//! every field that a router may change set to ones; it is stored little-endian. After Linux `drivers/infiniband/sw/rxe/rxe_icrc.c`.

use std::fmt;

/// The verdict on a packet's invariant CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icrc {
    /// It is what the bytes give.
    Good,
    /// It is not.
    Bad {
        /// What the bytes give.
        expected: u32,
        /// What the packet carries.
        got: u32,
    },
    /// The packet is cut, so nobody can say.
    Unverifiable,
}

impl fmt::Display for Icrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("good"),
            Self::Bad { expected, got } => {
                write!(f, "bad: expected {expected:#010x}, got {got:#010x}")
            }
            Self::Unverifiable => f.write_str("unverifiable"),
        }
    }
}

/// Longest run of bytes that has masked fields in it: the eight ones, an IPv4 header with options, UDP and BTH.
const MASKED_MAX: usize = 8 + 60 + 8 + 12;

/// Computes the ICRC of a packet.
///
/// `ip_header` is the IPv4 header with its options or the 40-byte IPv6 header; `rest` is everything behind it, from the UDP header up to the pad, without
/// the ICRC. `None` when either is too short to be RoCEv2.
pub fn icrc(ip_header: &[u8], rest: &[u8]) -> Option<u32> {
    let length = ip_header.len();
    if !(20..=60).contains(&length) {
        return None;
    }
    let (transport, payload) = rest.split_at_checked(20)?;
    let mut masked = [0xff; MASKED_MAX];
    masked.get_mut(8..8 + length)?.copy_from_slice(ip_header);
    masked.get_mut(8 + length..28 + length)?.copy_from_slice(transport);
    let ones: &[usize] = match ip_header.first()? >> 4 {
        4 => &[9, 16, 18, 19],
        6 => &[9, 10, 11, 15],
        _ => return None,
    };
    for at in ones {
        *masked.get_mut(*at)? = 0xff;
    }
    if ip_header.first()? >> 4 == 6 {
        *masked.get_mut(8)? |= 0x0f;
    }
    // UDP checksum, and the BTH byte of FECN and BECN.
    for at in [6, 7, 12] {
        *masked.get_mut(8 + length + at)? = 0xff;
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(masked.get(..28 + length)?);
    hasher.update(payload);
    Some(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    // A congestion notification packet that a ConnectX-4 Lx sent: IPv4 header, then UDP, BTH and 16 zeros; the ICRC as it stood on the wire.
    const IP: [u8; 20] =
        [0x45, 0xc2, 0, 0x3c, 0x71, 0x8c, 0x40, 0, 0x40, 0x11, 0x91, 0x61, 10, 0, 0x11, 1, 10, 0, 0x12, 1];
    const CNP: [u8; 20] =
        [0, 0, 0x12, 0xb7, 0, 0x28, 0, 0, 0x81, 0, 0xff, 0xff, 0x40, 0, 1, 0x18, 0, 0, 0, 0];
    const CNP_ICRC: [u8; 4] = [0x82, 0xfd, 0x00, 0x2a];

    #[test]
    fn the_checksum_of_a_hardware_sender_is_reproduced() {
        let mut rest = CNP.to_vec();
        rest.extend([0; 16]);
        assert_eq!(icrc(&IP, &rest), Some(u32::from_le_bytes(CNP_ICRC)));
    }

    #[test]
    fn fields_that_a_router_changes_do_not_count() {
        let rest = [0x11u8; 40];
        let reference = icrc(&IP, &rest);
        assert!(reference.is_some());
        for at in [1, 8, 10, 11] {
            let mut ip = IP;
            ip[at] ^= 0xff;
            assert_eq!(icrc(&ip, &rest), reference, "IPv4 byte {at} must not count");
        }
        for at in [6, 7, 12] {
            let mut other = rest;
            other[at] ^= 0xff;
            assert_eq!(icrc(&IP, &other), reference, "transport byte {at} must not count");
        }
    }

    #[test]
    fn every_other_byte_counts() {
        let rest = [0x11u8; 40];
        let reference = icrc(&IP, &rest);
        for at in (2..20).filter(|at| ![8, 10, 11].contains(at)) {
            let mut ip = IP;
            ip[at] ^= 0x01;
            assert_ne!(icrc(&ip, &rest), reference, "IPv4 byte {at} must count");
        }
        for at in (0..40).filter(|at| ![6, 7, 12].contains(at)) {
            let mut other = rest;
            other[at] ^= 0x01;
            assert_ne!(icrc(&IP, &other), reference, "transport byte {at} must count");
        }
    }

    #[test]
    fn short_bytes_have_no_checksum() {
        assert_eq!(icrc(&IP[..19], &[0; 40]), None);
        assert_eq!(icrc(&IP, &[0; 19]), None);
        assert_eq!(icrc(&[0; 20], &[0; 40]), None);
    }
}
