//! The PSNs of the requests that one side sends, as distances from the first.
//!
//! In: requests and answers in the order in which they were sent. Out: distances that do not wrap, and whether a request lies beyond all before it.

use crate::wire::{Opcode, Psn};

/// More requests than a recorder loses at a time while none of them waits for its answer.
const USED_AGAIN_PSNS: i64 = 4_096;

/// A distance wraps with 24 bits of PSN.
const PSN_BITS: u32 = 24;

/// PSNs of the requests of one side.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RequestPsns {
    first: Option<Psn>,
    /// One past the furthest PSN.
    end: i64,
    /// One past the furthest PSN that is answered.
    answered: i64,
    /// The last request, a READ whose answers take as many PSNs as the path MTU will tell: where it begins, and its bytes.
    uncounted: Option<(i64, u32)>,
}

impl RequestPsns {
    /// RequestPsns that begin there, as connection management says.
    pub(super) fn from(first: Option<Psn>) -> Self {
        Self { first, ..Self::default() }
    }

    /// True if it is known where they begin.
    pub(super) fn has_begun(&self) -> bool {
        self.first.is_some()
    }

    /// Distance of a PSN from the first, nearest to the furthest; `None` when the first is not known.
    #[inline]
    pub(super) fn distance(&self, psn: Psn) -> Option<i64> {
        let end = self.first?.plus((self.end & ((1 << PSN_BITS) - 1)) as u32);
        Some(self.end + i64::from(psn.distance(end)))
    }

    /// Takes a request in; returns its distance and whether it lies beyond all before it. A READ's `count` is `None` while the path MTU is not known.
    #[inline]
    pub(super) fn ask(&mut self, psn: Psn, count: Option<u32>, bytes: u32) -> (i64, bool) {
        self.first.get_or_insert(psn);
        let distance = self.distance(psn).unwrap_or_default();
        let is_new = distance >= self.end;
        if is_new {
            self.uncounted = count.is_none().then_some((distance, bytes));
        }
        self.end = self.end.max(distance + i64::from(count.unwrap_or(1)));
        (distance, is_new)
    }

    /// Takes an answer in; returns the distance of its PSN. A refusal answers only what lies before.
    #[inline]
    pub(super) fn answer(&mut self, psn: Psn, is_refusal: bool) -> Option<i64> {
        let distance = self.distance(psn)?;
        if self.uncounted.is_some() {
            // A READ's answers.
            self.end = self.end.max(distance + 1);
        }
        // Also an answer that stands before its request.
        if distance - self.end < USED_AGAIN_PSNS {
            self.answered = self.answered.max(distance + i64::from(!is_refusal));
        }
        Some(distance)
    }

    /// Counts the answers of a READ that was asked for before the path MTU was known.
    pub(super) fn learn_path_mtu(&mut self, path_mtu_bytes: u32) {
        if let Some((distance, bytes)) = self.uncounted.take() {
            self.end = self.end.max(distance + i64::from(packets(bytes, path_mtu_bytes)));
        }
    }

    /// True if a PSN is one of theirs.
    pub(super) fn has(&self, psn: Psn) -> bool {
        self.distance(psn).is_some_and(|distance| (0..self.end).contains(&distance))
    }

    /// True if one of them was answered.
    pub(super) fn is_answered(&self) -> bool {
        self.answered > 0
    }

    /// True if a request cannot follow what was sent: it lies before all of that or far from it, and all of that is answered or the request `is_unlike` it.
    #[inline]
    pub(super) fn is_behind(&self, opcode: Opcode, psn: Psn, is_unlike: impl FnOnce() -> bool) -> bool {
        let Some(distance) = self.distance(psn) else { return false };
        (distance < 0 || distance - self.end > USED_AGAIN_PSNS)
            && opcode.place().starts()
            && (self.is_all_answered() || is_unlike())
    }

    /// True if it is known that a PSN is none of theirs.
    #[inline]
    pub(super) fn has_not(&self, psn: Psn) -> bool {
        let Some(distance) = self.distance(psn) else { return false };
        !(0..self.end).contains(&distance) && self.uncounted.is_none()
    }

    /// First PSN of theirs, as far as it is known.
    pub(super) fn first(&self) -> Option<Psn> {
        self.first
    }

    /// True if a PSN is their last one.
    pub(super) fn is_last(&self, psn: Psn) -> bool {
        self.distance(psn) == Some(self.end - 1)
    }

    /// True if a PSN is far from all of theirs.
    pub(super) fn is_far(&self, psn: Psn) -> bool {
        let Some(distance) = self.distance(psn) else { return false };
        distance < -USED_AGAIN_PSNS || distance - self.end > USED_AGAIN_PSNS
    }

    /// True if one of them was answered, and so was the last.
    pub(super) fn is_all_answered(&self) -> bool {
        self.answered >= self.end && self.is_answered()
    }
}

/// Packets that `bytes` take at a path MTU.
pub(crate) fn packets(bytes: u32, path_mtu_bytes: u32) -> u32 {
    bytes.div_ceil(path_mtu_bytes.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_do_not_wrap() {
        let mut requests = RequestPsns::default();
        let first = Psn::new(0xff_fff0);
        for distance in [0, 1, 0x7f_ffff, 0xff_fffe, 0x100_0001, 0x17f_ffff] {
            assert_eq!(requests.ask(first.plus(distance), Some(1), 0), (i64::from(distance), true));
            assert_eq!(requests.answer(first.plus(distance), false), Some(i64::from(distance)));
        }
        assert_eq!(requests.ask(first.plus(0x17f_fffe), Some(1), 0), (0x17f_fffe, false));
        assert_eq!(requests.distance(first.plus(0x180_0000)), Some(0x180_0000));
    }

    #[test]
    fn reads_take_the_psns_of_their_answers() {
        let mut requests = RequestPsns::from(Some(Psn::new(7)));
        assert_eq!(requests.ask(Psn::new(7), Some(4), 4096), (0, true));
        assert_eq!(requests.ask(Psn::new(9), Some(2), 2048), (2, false), "its rest, asked for again");
        let mut unknown = RequestPsns::default();
        unknown.ask(Psn::new(7), None, 4096);
        assert!(!unknown.has(Psn::new(8)));
        unknown.learn_path_mtu(1024);
        assert!(unknown.has(Psn::new(10)) && !unknown.has(Psn::new(11)));
    }

    #[test]
    fn numbers_that_are_used_again_begin_anew() {
        let only = Opcode(0x04);
        let mut requests = RequestPsns::default();
        requests.ask(Psn::new(100), Some(1), 0);
        let is_behind = |requests: &RequestPsns, psn| requests.is_behind(only, Psn::new(psn), || false);
        assert!(!is_behind(&requests, 50), "it waits for its answer");
        assert!(requests.is_behind(only, Psn::new(50), || true), "the answer may be lost");
        requests.answer(Psn::new(100), false);
        assert!(is_behind(&requests, 50) && is_behind(&requests, 9_000));
        assert!(!is_behind(&requests, 101) && !is_behind(&requests, 100));
    }
}
