//! Addresses and keys that nodes gave out, wherever a program puts them.
//!
//! In: small payloads that a node sends (connection management's private data, SENDs, other protocols beside RoCE) and what it accepted. Out: how a refused
//! address and key differ from all that, and whether a node told the number of a queue pair. A program writes them in either byte order and at any place, so
//! each byte is looked at as a beginning.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::finding::Difference;

/// Shortest and longest payload that is kept; an address and a key are 12 bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 12..=512;

/// Payloads of one node that are kept, and nodes.
const SEGMENTS_MAX: usize = 64;
const NODES_MAX: usize = 1_024;

/// User space ends here, and no address of a region is below.
const ADDRESSES: std::ops::Range<u64> = 1 << 32..1 << 47;

/// A region is not larger.
const REGION_MAX: u64 = 1 << 30;

/// Bits in which a key is taken for one that was changed by accident.
const FLIPPED_BITS: u32 = 2;

/// Payloads by the node that sent them.
#[derive(Debug, Default)]
pub(crate) struct Adverts {
    by_node: HashMap<IpAddr, Vec<Vec<u8>>>,
    /// Nodes and keys that were taken.
    taken: Vec<(IpAddr, u32)>,
}

/// Likeness of an address and a key to one payload.
#[derive(Clone, Copy, Debug)]
struct Match {
    rank: u8,
    difference: Difference,
}

impl Adverts {
    /// Keeps a payload that `node` sent.
    pub(crate) fn see(&mut self, node: IpAddr, payload: &[u8]) {
        if !LENGTHS.contains(&payload.len())
            || self.by_node.len() >= NODES_MAX && !self.by_node.contains_key(&node)
        {
            return;
        }
        let segments = self.by_node.entry(node).or_default();
        // The first ones are where programs exchange them.
        if segments.len() < SEGMENTS_MAX && !segments.iter().any(|known| known == payload) {
            segments.push(payload.to_vec());
        }
    }

    /// Takes note of an address and a key that `node` accepted.
    #[inline]
    pub(crate) fn take(&mut self, node: IpAddr, va: u64, rkey: u32) {
        if self.taken.last() != Some(&(node, rkey)) {
            self.take_new(node, va, rkey);
        }
    }

    #[cold]
    fn take_new(&mut self, node: IpAddr, va: u64, rkey: u32) {
        if self.taken.len() < SEGMENTS_MAX && !self.taken.contains(&(node, rkey)) {
            self.taken.push((node, rkey));
            let mut bytes = va.to_be_bytes().to_vec();
            bytes.extend(rkey.to_be_bytes());
            self.see(node, &bytes);
        }
    }

    /// Takes note of the number of a queue pair that `node` told.
    pub(crate) fn see_queue_pair(&mut self, node: IpAddr, qpn: u32) {
        let mut bytes = [0; *LENGTHS.start()];
        if let Some(last) = bytes.last_chunk_mut() {
            *last = qpn.to_be_bytes();
        }
        self.see(node, &bytes);
    }

    /// True if `node` told, outside of RoCE's own headers, that it has a queue pair of that number.
    pub(crate) fn has_told(&self, node: IpAddr, qpn: u32) -> bool {
        self.by_node.get(&node).is_some_and(|segments| segments.iter().any(|bytes| tells(bytes, qpn)))
    }

    /// Difference of an address and a key from what `node` gave out; `None` when nothing of it is known.
    pub(crate) fn difference(&self, node: IpAddr, va: u64, rkey: u32) -> Option<Difference> {
        let segments = self.by_node.get(&node).filter(|segments| !segments.is_empty())?;
        let best =
            segments.iter().filter_map(|bytes| compare(bytes, va, rkey)).min_by_key(|found| found.rank);
        Some(best.map_or(Difference::NeverAdvertised, |found| found.difference))
    }
}

/// True if a program wrote that queue pair number: four bytes in either order, or text in hexadecimal or decimal.
fn tells(bytes: &[u8], qpn: u32) -> bool {
    let is_text =
        bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace() || *byte == 0);
    if !is_text {
        return numbers(bytes).any(|window| key(window, true) == qpn || key(window, false) == qpn);
    }
    let text = String::from_utf8_lossy(bytes);
    text.split(|character: char| !character.is_ascii_alphanumeric()).any(|word| {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        let is_hexadecimal = digits.len() >= 4 || digits.len() < word.len();
        is_hexadecimal && u32::from_str_radix(digits, 16) == Ok(qpn) || word.parse() == Ok(qpn)
    })
}

fn numbers<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.windows(N).filter_map(|window| <[u8; N]>::try_from(window).ok())
}

fn address(bytes: [u8; 8], is_big: bool) -> u64 {
    if is_big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
}

fn key(bytes: [u8; 4], is_big: bool) -> u32 {
    if is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}

fn compare(bytes: &[u8], va: u64, rkey: u32) -> Option<Match> {
    let swapped = va.swap_bytes();
    if !ADDRESSES.contains(&va)
        && ADDRESSES.contains(&swapped)
        && numbers(bytes).any(|window| [true, false].into_iter().any(|big| address(window, big) == swapped))
    {
        return Some(Match { rank: 0, difference: Difference::AddressSwapped(swapped) });
    }
    let orders = || [true, false].into_iter();
    let all = orders().flat_map(|is_big| numbers(bytes).map(move |window| (address(window, is_big), is_big)));
    let known: Vec<(u64, bool)> = all.filter(|(value, _)| ADDRESSES.contains(value)).collect();
    if va < ADDRESSES.start
        && let Some((value, _)) = known.iter().find(|(value, _)| *value as u32 == va as u32)
    {
        return Some(Match { rank: 0, difference: Difference::AddressCut(*value) });
    }
    let exact = known.iter().find(|(value, _)| *value == va);
    let near = || {
        let below = known.iter().filter(|(value, _)| *value < va && va - *value < REGION_MAX);
        below.max_by_key(|(value, _)| *value)
    };
    let Some(&(base, is_big)) = exact.or_else(near) else {
        let has_key = numbers(bytes).any(|window| orders().any(|is_big| key(window, is_big) == rkey));
        return has_key.then_some(Match { rank: 4, difference: Difference::AddressUnknown });
    };
    // The address tells the byte order.
    let has = |value: u32| numbers(bytes).any(|window| key(window, is_big) == value);
    let flipped = || {
        let aligned = bytes.chunks_exact(4).filter_map(|chunk| <[u8; 4]>::try_from(chunk).ok());
        aligned
            .map(|chunk| key(chunk, is_big))
            .find(|value| *value != 0 && (value ^ rkey).count_ones() <= FLIPPED_BITS)
    };
    let difference = if has(rkey) {
        if base == va { Difference::Advertised } else { Difference::Behind(va - base) }
    } else if has(rkey.swap_bytes()) {
        Difference::KeySwapped(rkey.swap_bytes())
    } else if let Some(known) = flipped() {
        Difference::KeyFlipped(known)
    } else if base == va {
        Difference::KeyUnknown
    } else {
        return None;
    };
    Some(Match { rank: if base == va { 1 } else { 2 }, difference })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VA: u64 = 0x5565_c401_f000;
    const RKEY: u32 = 0x0000_058b;

    fn of(advert: &[u8], va: u64, rkey: u32) -> Option<Difference> {
        let node = IpAddr::from([198, 51, 100, 1]);
        let mut adverts = Adverts::default();
        adverts.see(node, advert);
        adverts.difference(node, va, rkey)
    }

    #[test]
    fn every_way_in_which_a_key_or_an_address_goes_wrong_is_told_from_the_others() {
        // A packed structure in the host's order, and the samples' advertisement in the network's.
        let host: Vec<u8> =
            [&[0x13, 0, 0, 0][..], &RKEY.to_le_bytes(), &[0, 0, 1, 0], &VA.to_le_bytes()].concat();
        let network: Vec<u8> = [&VA.to_be_bytes()[..], &RKEY.to_be_bytes()].concat();
        for advert in [&host[..], &network] {
            let of = |va, rkey| of(advert, va, rkey).unwrap();
            assert_eq!(of(VA, RKEY), Difference::Advertised);
            assert_eq!(of(VA, RKEY.swap_bytes()), Difference::KeySwapped(RKEY));
            assert_eq!(of(VA, RKEY ^ 1), Difference::KeyFlipped(RKEY));
            assert_eq!(of(VA, 0x7777_1234), Difference::KeyUnknown);
            assert_eq!(of(VA & 0xffff_ffff, RKEY), Difference::AddressCut(VA));
            assert_eq!(of(VA.swap_bytes(), RKEY.swap_bytes()), Difference::AddressSwapped(VA));
            assert_eq!(of(VA + 65_500, RKEY), Difference::Behind(65_500));
            assert_eq!(of(0x7f00_0000_0000, RKEY), Difference::AddressUnknown);
            assert_eq!(of(0x7f00_0000_0000, 0x7777_1234), Difference::NeverAdvertised);
        }
        assert_eq!(of(b"short", VA, RKEY), None, "nothing is known of the node");
    }

    #[test]
    fn queue_pair_number_is_told_in_either_byte_order_and_as_text() {
        let node = IpAddr::from([198, 51, 100, 1]);
        let has_told = |payload: &[u8], qpn| {
            let mut adverts = Adverts::default();
            adverts.see(node, payload);
            adverts.has_told(node, qpn)
        };
        let lines: [&[u8]; 5] = [
            &[0x12, 0, 0, 0, 0, 0x20, 0, 0, 0x7d, 5, 0, 0],
            &[1, 0, 0, 0, 0x12, 0, 0x20, 0, 0, 0x7d, 5, 0],
            b"0000:000012:5b2d1c:fe80::1\0",
            b"{\"qpn\": 18, \"psn\": 7}",
            b"queue pair 0x12\n",
        ];
        for payload in lines {
            assert!(has_told(payload, 0x12) && !has_told(payload, 0x77), "{payload:?}");
        }
    }
}
