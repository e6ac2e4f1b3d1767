//! ICRC, the invariant CRC in the last four bytes of a RoCEv2 packet.
//!
//! In: the bytes from the IP header to the end of the pad. Out: the checksum. It is CRC-32 IEEE, reflected, over eight bytes of ones and the packet, with
//! every field that a router may change set to ones; it is stored little-endian. After Linux `drivers/infiniband/sw/rxe/rxe_icrc.c`.

use std::fmt;
use std::sync::LazyLock;

use crc32fast::Hasher;

/// The verdict on a packet's invariant CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icrc {
    /// Right for the bytes.
    Good,
    /// Wrong for the bytes.
    Bad {
        /// CRC of the bytes.
        expected: u32,
        /// CRC in the packet.
        got: u32,
    },
    /// The packet is cut, so nobody can say.
    Unverifiable,
}

impl Icrc {
    #[inline]
    pub(super) fn of(expected: u32, got: u32) -> Self {
        if got == expected { Self::Good } else { Self::Bad { expected, got } }
    }
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

/// The checksum's state before the first byte, with what the processor can do found out once.
static BEGIN: LazyLock<Hasher> = LazyLock::new(Hasher::new);

/// The state behind the eight ones.
static ONES: LazyLock<Hasher> = LazyLock::new(|| {
    let mut hasher = BEGIN.clone();
    hasher.update(&[0xff; 8]);
    hasher
});

/// Length of UDP and BTH in bytes.
const TRANSPORT_LENGTH: usize = 20;

/// Computes the ICRC of a packet.
///
/// `ip_header` is the IPv4 header with its options or the 40-byte IPv6 header; `rest` is everything behind it, from the UDP header up to the pad, without
/// the ICRC. `None` when either is too short to be RoCEv2.
pub fn icrc(ip_header: &[u8], rest: &[u8]) -> Option<u32> {
    let (transport, payload) = rest.split_first_chunk()?;
    of_parts(ip_header, transport, payload)
}

/// Computes the ICRC of IP header, UDP header with BTH, and what follows up to the pad.
#[inline]
pub(super) fn of_parts(ip_header: &[u8], transport: &[u8; TRANSPORT_LENGTH], payload: &[u8]) -> Option<u32> {
    let mut hasher;
    // Almost every IP header has 20 bytes: with the ones before it three blocks of 16 bytes, which is quicker than what leaves a rest.
    if ip_header.len() == 20 {
        let mut masked = [0xff; 8 + 20 + TRANSPORT_LENGTH];
        mask(masked.get_mut(8..)?, ip_header, transport)?;
        hasher = BEGIN.clone();
        hasher.update(&masked);
    } else {
        hasher = ONES.clone();
        let mut masked = [0; 60 + TRANSPORT_LENGTH];
        let masked = masked.get_mut(..ip_header.len() + TRANSPORT_LENGTH)?;
        mask(masked, ip_header, transport)?;
        hasher.update(masked);
    }
    hasher.update(payload);
    Some(hasher.finalize())
}

/// Copies IP header and transport into `masked`, which is as long as both, with ones where a router may change them.
#[inline(always)]
fn mask(masked: &mut [u8], ip_header: &[u8], transport: &[u8; TRANSPORT_LENGTH]) -> Option<()> {
    let (ip, behind) = masked.split_at_mut_checked(ip_header.len())?;
    ip.copy_from_slice(ip_header);
    let ip = ip.first_chunk_mut::<20>()?;
    match ip[0] >> 4 {
        // TOS, TTL, header checksum.
        4 => (ip[1], ip[8], ip[10], ip[11]) = (0xff, 0xff, 0xff, 0xff),
        // Traffic class, flow label, hop limit.
        6 => (ip[0], ip[1], ip[2], ip[3], ip[7]) = (ip[0] | 0x0f, 0xff, 0xff, 0xff, 0xff),
        _ => return None,
    }
    let behind = behind.first_chunk_mut::<TRANSPORT_LENGTH>()?;
    *behind = *transport;
    // UDP checksum, and the BTH byte of FECN and BECN.
    (behind[6], behind[7], behind[12]) = (0xff, 0xff, 0xff);
    Some(())
}

/// Computes the ICRC of a packet of RoCE version 1.
///
/// `grh` are the 40 bytes of the GRH; `rest` is everything behind it, from the BTH up to the pad, without the ICRC. `None` when either is too short.
/// Observed: ConnectX adapters.
pub fn icrc_of_grh(grh: &[u8], rest: &[u8]) -> Option<u32> {
    let mut grh = *grh.first_chunk::<40>()?;
    let (mut bth, payload) = rest.split_first_chunk::<12>().map(|(bth, payload)| (*bth, payload))?;
    // Traffic class, flow label, hop limit, and the BTH byte of FECN and BECN.
    (grh[0], grh[1], grh[2], grh[3], grh[7]) = (grh[0] | 0x0f, 0xff, 0xff, 0xff, 0xff);
    bth[4] = 0xff;
    let mut hasher = ONES.clone();
    hasher.update(&grh);
    hasher.update(&bth);
    hasher.update(payload);
    Some(hasher.finalize())
}

/// Judges an ICRC by the `expected` one of the packet, whose UDP header and all behind it up to the pad are `rest`.
///
/// rxe's own ICRC of a FLUSH covers the headers from the BTH on a second time, since no payload follows where its table says one does; rxe takes it, and a
/// packet that is what its sender meant has not changed on its way. Observed: rxe 6.12, `rxe_icrc_generate`.
#[inline]
pub(super) fn of_sender(expected: u32, rest: &[u8], got: u32) -> Icrc {
    /// Length of a UDP header in bytes.
    const UDP_LENGTH: usize = 8;
    const RC_FLUSH: u8 = 0x1c;
    match (Icrc::of(expected, got), rest.get(UDP_LENGTH..)) {
        (Icrc::Bad { .. }, Some(headers)) if headers.first() == Some(&RC_FLUSH) => {
            let mut hasher = Hasher::new_with_initial(expected);
            hasher.update(headers);
            if hasher.finalize() == got { Icrc::Good } else { Icrc::Bad { expected, got } }
        }
        (judged, _) => judged,
    }
}

/// Judges the ICRC of an IPv6 packet with extension headers.
///
/// Which of them its sender counted in depends on who put them there, and no source at hand says it. So a checksum is good that fits the header as it is or
/// the one without extensions, and every other is unverifiable.
pub(super) fn behind_extensions(header: &[u8], without: Option<[u8; 40]>, rest: &[u8], got: u32) -> Icrc {
    let candidates = [without.and_then(|header| icrc(&header, rest)), icrc(header, rest)];
    if candidates.contains(&Some(got)) { Icrc::Good } else { Icrc::Unverifiable }
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
    fn checksum_of_a_hardware_sender_is_reproduced() {
        let mut rest = CNP.to_vec();
        rest.extend([0; 16]);
        assert_eq!(icrc(&IP, &rest), Some(u32::from_le_bytes(CNP_ICRC)));
    }

    // A FLUSH of 18 bytes that rxe of Linux 6.12 sent: IPv4 header, then UDP, BTH, FETH and RETH; the ICRC as it stood on the wire.
    const FLUSH_IP: [u8; 20] =
        [0x45, 0, 0, 0x40, 0xbe, 0xde, 0x40, 0, 0x40, 0x11, 0x27, 0x64, 198, 51, 100, 2, 198, 51, 100, 1];
    const FLUSH: [u8; 40] = [
        0xf7, 0x61, 0x12, 0xb7, 0, 0x2c, 0, 0, 0x1c, 0, 0xff, 0xff, 0, 0, 0, 0x12, 0x80, 0xd3, 0x95, 0x5e, 0,
        0, 0, 1, 0, 0, 0x55, 0xb7, 0x4c, 0xee, 0xa0, 0, 0, 0, 0x05, 0x66, 0, 0, 0, 0x12,
    ];
    const FLUSH_ICRC: [u8; 4] = [0xab, 0xec, 0xae, 0xae];

    #[test]
    fn flush_of_rxe_is_as_its_sender_meant_it_and_no_other_packet_is() {
        let expected = icrc(&FLUSH_IP, &FLUSH).unwrap();
        let got = u32::from_le_bytes(FLUSH_ICRC);
        assert_ne!(expected, got);
        assert_eq!(of_sender(expected, &FLUSH, got), Icrc::Good);
        assert_eq!(of_sender(expected, &FLUSH, expected), Icrc::Good);
        for at in 8..FLUSH.len() {
            let mut other = FLUSH;
            other[at] ^= 1;
            let expected = icrc(&FLUSH_IP, &other).unwrap();
            // FECN and BECN are covered by the second time alone.
            assert_eq!(of_sender(expected, &other, got), Icrc::Bad { expected, got }, "{at}");
        }
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
    fn in_version_1_what_a_router_changes_does_not_count_and_every_other_byte_does() {
        let (grh, rest) = ([0x61; 40], [0x11; 40]);
        let reference = icrc_of_grh(&grh, &rest);
        assert!(reference.is_some());
        for at in 0..40 {
            let (mut other_grh, mut other_rest) = (grh, rest);
            other_grh[at] ^= 0x01;
            assert_eq!(icrc_of_grh(&other_grh, &rest) == reference, [0, 1, 2, 3, 7].contains(&at), "{at}");
            other_rest[at] ^= 0x01;
            assert_eq!(icrc_of_grh(&grh, &other_rest) == reference, at == 4, "{at}");
        }
        assert_eq!((icrc_of_grh(&grh[..39], &rest), icrc_of_grh(&grh, &rest[..11])), (None, None));
    }

    #[test]
    fn short_bytes_have_no_checksum() {
        assert_eq!(icrc(&IP[..19], &[0; 40]), None);
        assert_eq!(icrc(&IP, &[0; 19]), None);
        assert_eq!(icrc(&[0; 20], &[0; 40]), None);
    }
}
