//! The message sequence number of a stream: what a responder may say it has completed.
//!
//! In: completed messages, and the numbers of the answers. Out: the number that an answer had to carry. The count is 24 bits wide and compared in a signed window.

use crate::wire::Psn;

/// Answers that agree with a number that was learnt, before another is an error.
const CONFIRMED: u32 = 2;

/// Bounds of an answer's number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Messages that the answer completes, counted from the stream's first.
    pub(crate) least: u32,
    /// Messages that can be complete.
    pub(crate) most: u32,
}

/// Fault of an answer's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrongMsn {
    /// Lower than this.
    Low(u32),
    /// Higher than this.
    High(u32),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct MsnCount {
    /// Messages completed by the requester since the stream began, modulo 2^24.
    pub(crate) completed: u32,
    /// Summand that makes a number of a count; `None` until an answer tells it.
    base: Option<u32>,
    /// The difference of the last number, if that was wrong: a second equal one is the new base.
    suspect: Option<i32>,
    /// Answers that agreed with the base.
    confirmed: u32,
}

fn difference(a: u32, b: u32) -> i32 {
    Psn::new(a).distance(Psn::new(b))
}

fn number(value: u32) -> u32 {
    Psn::new(value).value()
}

impl MsnCount {
    pub(crate) fn new(is_from_the_start: bool) -> Self {
        Self { completed: 0, base: is_from_the_start.then_some(0), suspect: None, confirmed: 0 }
    }

    pub(crate) fn forget(&mut self) {
        self.base = None;
        self.suspect = None;
        self.confirmed = 0;
    }

    /// True if something has told what to add to a count.
    pub(crate) const fn is_known(&self) -> bool {
        self.base.is_some()
    }

    /// True if a number is within the bounds, as far as it is known what to add.
    pub(crate) fn agrees(&self, msn: u32, bounds: Bounds) -> bool {
        self.base.is_none_or(|base| {
            let (least, most) =
                (number(base.wrapping_add(bounds.least)), number(base.wrapping_add(bounds.most)));
            difference(msn, least) >= 0 && difference(msn, most) <= 0
        })
    }

    /// Takes a number for the count of a queue pair that was made anew behind the first `before` messages, if it counts exactly those since.
    #[cold]
    pub(crate) fn begins_anew(&mut self, msn: u32, bounds: Bounds, before: u32) -> bool {
        let least = number(bounds.least.wrapping_sub(before));
        let is_anew = self.base.is_some()
            && difference(msn, least) >= 0
            && difference(msn, number(bounds.most.wrapping_sub(before))) <= 0;
        if is_anew {
            (self.base, self.suspect, self.confirmed) = (Some(number(0_u32.wrapping_sub(before))), None, 0);
        }
        is_anew
    }

    /// True if enough answers agreed with what was learnt that another number is an error.
    pub(crate) const fn is_confirmed(&self) -> bool {
        self.confirmed >= CONFIRMED
    }

    /// True if a number counts no more messages than were completed; false while nothing has told what to add.
    pub(crate) fn is_at_most_completed(&self, msn: u32) -> bool {
        self.base.is_some_and(|base| difference(msn, number(base.wrapping_add(self.completed))) <= 0)
    }

    /// True if a number counts fewer messages than were completed, as that of a responder that counts anew.
    pub(crate) fn is_less_than_completed(&self, msn: u32) -> bool {
        self.base.is_some_and(|base| difference(msn, number(base.wrapping_add(self.completed))) < 0)
    }

    /// Holds an answer's number against the bounds. Wrong numbers in a row are told once: they have one cause, as those of a responder that stopped counting.
    pub(crate) fn check(&mut self, msn: u32, bounds: Bounds) -> Option<WrongMsn> {
        let Some(base) = self.base else {
            // Only an answer whose number is certain can teach it.
            if bounds.least == bounds.most {
                self.base = Some(number(msn.wrapping_sub(bounds.least)));
            }
            return None;
        };
        let (least, most) = (number(base.wrapping_add(bounds.least)), number(base.wrapping_add(bounds.most)));
        let (above, below) = (difference(msn, least), difference(msn, most));
        let (off, wrong) = match (above < 0, below > 0) {
            (true, _) => (above, WrongMsn::Low(least)),
            (_, true) => (below, WrongMsn::High(most)),
            _ => {
                self.suspect = None;
                self.confirmed = self.confirmed.saturating_add(1);
                return None;
            }
        };
        if self.suspect == Some(off) {
            self.base = Some(number(base.wrapping_add(off as u32)));
            self.suspect = None;
            return None;
        }
        let is_first = self.suspect.replace(off).is_none();
        is_first.then_some(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_off_by_one_is_reported_once_whether_it_stays_or_not() {
        let exact = |n| Bounds { least: n, most: n };
        let mut count = MsnCount::new(true);
        assert_eq!(count.check(1, exact(1)), None);
        assert_eq!(count.check(1, exact(2)), Some(WrongMsn::Low(2)));
        assert_eq!(count.check(3, exact(3)), None);
        assert_eq!(count.check(5, exact(4)), Some(WrongMsn::High(4)));
        assert_eq!([count.check(6, exact(5)), count.check(7, exact(6))], [None, None]);
    }

    #[test]
    fn number_that_stands_still_is_reported_once() {
        let mut count = MsnCount::new(true);
        assert_eq!(count.check(1, Bounds { least: 1, most: 1 }), None);
        let told = (2..40).filter(|n| count.check(1, Bounds { least: *n, most: *n }).is_some()).count();
        assert_eq!(told, 1);
        let mut count = MsnCount::new(true);
        let told = [900_000, 7, 12, 5_000_000, 3].into_iter().zip(1..);
        assert_eq!(
            told.filter_map(|(msn, n)| count.check(msn, Bounds { least: n, most: n })).collect::<Vec<_>>(),
            [WrongMsn::High(1)]
        );
    }

    #[test]
    fn forgotten_base_is_learnt_from_the_next_certain_answer_and_wraps() {
        let mut count = MsnCount::new(false);
        assert_eq!(count.check(9, Bounds { least: 1, most: 3 }), None);
        assert_eq!(count.check(0xff_ffff, Bounds { least: 3, most: 3 }), None);
        assert_eq!(count.check(0, Bounds { least: 4, most: 4 }), None);
        assert_eq!(count.check(0, Bounds { least: 5, most: 5 }), Some(WrongMsn::Low(1)));
    }
}
