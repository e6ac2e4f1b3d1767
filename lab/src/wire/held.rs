//! Frames that the switch holds back, until a time or until others have passed.

use std::time::Instant;

use crate::base::role::Role;
use crate::wire::table::NodeSet;

/// A frame that is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its sender.
    pub from: Role,
    /// Its receivers.
    pub to: NodeSet,
    /// Its bytes.
    pub frame: Vec<u8>,
    /// Its number in the capture, if its release is a record of its own.
    pub number: Option<u64>,
    /// Until when.
    pub until: Until,
}

impl Held {
    /// True if it and another go the same way.
    fn is_beside(&self, other: &Held) -> bool {
        (self.from, self.to) == (other.from, other.to)
    }
}

/// Until when a frame is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// A time.
    Time(Instant),
    /// So many further packets of its direction have passed.
    Passed(u32),
}

impl Until {
    fn time(self) -> Option<Instant> {
        match self {
            Until::Time(time) => Some(time),
            Until::Passed(_) => None,
        }
    }
}

/// Every frame that is held back, in the order in which they came.
#[derive(Debug, Default)]
pub struct Shelf {
    frames: Vec<Held>,
}

impl Shelf {
    /// Holds a frame back. What a rate holds back keeps the order of its direction.
    pub fn put(&mut self, mut held: Held) {
        if let (None, Until::Time(time)) = (held.number, held.until) {
            let before = self.frames.iter().filter(|other| other.is_beside(&held) && other.number.is_none());
            held.until = Until::Time(before.filter_map(|other| other.until.time()).fold(time, Instant::max));
        }
        self.frames.push(held);
    }

    /// Holds a frame back once more that a rate held back: it stays before those of its direction.
    pub fn put_back(&mut self, held: Held) {
        let is_same = |other: &Held| other.is_beside(&held) && other.number.is_none();
        for other in self.frames.iter_mut().filter(|other| is_same(other)) {
            if let (Until::Time(time), Some(not_before)) = (&mut other.until, held.until.time()) {
                *time = not_before.max(*time);
            }
        }
        let at = self.frames.iter().position(is_same).unwrap_or(self.frames.len());
        self.frames.insert(at, held);
    }

    /// True if no frame is held back.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Time at which the next frame is due.
    pub fn next(&self) -> Option<Instant> {
        self.times().min()
    }

    /// Takes the frame that is due by `now`, the one that has been due for longest.
    pub fn take_due(&mut self, now: Instant) -> Option<Held> {
        let next = self.next().filter(|next| *next <= now)?;
        let at = self.frames.iter().position(|held| held.until == Until::Time(next))?;
        Some(self.frames.remove(at))
    }

    /// A packet of the direction has passed: takes a frame that waited for it.
    pub fn take_overtaken(&mut self, from: Role, to: NodeSet) -> Vec<Held> {
        let is_of = |held: &Held| (held.from, held.to) == (from, to);
        for held in self.frames.iter_mut().filter(|held| is_of(held)) {
            if let Until::Passed(left) = &mut held.until {
                *left = left.saturating_sub(1);
            }
        }
        self.frames.extract_if(.., |held| is_of(held) && held.until == Until::Passed(0)).collect()
    }

    fn times(&self) -> impl Iterator<Item = Instant> {
        self.frames.iter().filter_map(|held| held.until.time())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn to(from: Role) -> NodeSet {
        NodeSet::of(from.peer())
    }

    fn held(name: u8, from: Role, until: Until) -> Held {
        Held { from, to: to(from), frame: vec![name], number: None, until }
    }

    #[test]
    fn frames_leave_when_they_are_due_and_in_order() {
        let now = Instant::now();
        let at = |ms| Until::Time(now + Duration::from_millis(ms));
        let mut shelf = Shelf::default();
        for (name, ms) in [(1, 20), (2, 10), (3, 10), (4, 30)] {
            shelf.put(Held { number: Some(1), ..held(name, Role::Client, at(ms)) });
        }
        let mut taken = Vec::new();
        while let Some(held) = shelf.take_due(now + Duration::from_millis(20)) {
            taken.push(held.frame[0]);
        }
        assert_eq!(taken, [2, 3, 1]);
        assert_eq!(shelf.next(), Some(now + Duration::from_millis(30)));
    }

    #[test]
    fn what_is_put_back_stays_before_those_of_its_direction() {
        let now = Instant::now();
        let at = |ms| Until::Time(now + Duration::from_millis(ms));
        let mut shelf = Shelf::default();
        for (name, from, ms) in [(1, Role::Client, 1), (2, Role::Client, 2), (9, Role::Server, 3)] {
            shelf.put(held(name, from, at(ms)));
        }
        let first = shelf.take_due(now + Duration::from_millis(1)).unwrap();
        shelf.put_back(Held { until: at(5), ..first });
        shelf.put(held(3, Role::Client, at(4)));
        let order: Vec<u8> =
            (0..4).map(|_| shelf.take_due(now + Duration::from_millis(9)).unwrap().frame[0]).collect();
        assert_eq!(order, [9, 1, 2, 3]);
    }

    #[test]
    fn frame_is_overtaken_by_its_own_direction_only() {
        let mut shelf = Shelf::default();
        shelf.put(held(1, Role::Client, Until::Passed(2)));
        shelf.put(held(2, Role::Server, Until::Passed(1)));
        assert_eq!(shelf.take_overtaken(Role::Client, to(Role::Client)), []);
        assert_eq!(shelf.take_overtaken(Role::Client, to(Role::Client))[0].frame, [1]);
        assert_eq!(shelf.take_overtaken(Role::Client, to(Role::Client)), []);
        assert_eq!(shelf.next(), None);
    }

    #[test]
    fn what_goes_to_another_receiver_is_not_kept_waiting() {
        let now = Instant::now();
        let at = |ms| Until::Time(now + Duration::from_millis(ms));
        let mut shelf = Shelf::default();
        shelf.put(held(1, Role::Server, at(9)));
        shelf.put(Held { to: NodeSet::of(Role::Client2), ..held(2, Role::Server, at(1)) });
        shelf.put(held(3, Role::Server, at(1)));
        let order: Vec<u8> =
            (0..3).map(|_| shelf.take_due(now + Duration::from_millis(9)).unwrap().frame[0]).collect();
        assert_eq!(order, [2, 1, 3]);
    }
}
