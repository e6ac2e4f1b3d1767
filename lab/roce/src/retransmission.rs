//! Requests that came again, by what made the requester send them again.
//!
//! The classes follow the state machines of Lumina (SIGCOMM 2023): what the requester had been told before decides, not what it may have intended.

use std::fmt;
use std::ops::AddAssign;

/// Cause of a retransmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RetransmissionClass {
    /// A NAK "PSN sequence error" at its PSN, or at the PSN where this run of requests began again.
    GoBackN,
    /// An RNR NAK at its PSN: the responder had no receive buffer.
    RnrRetry,
    /// A READ response was missing, so the READ, and what followed it, was asked for again.
    ReadRetry,
    /// Nothing: the ACK timeout of the requester ran out.
    Timeout,
    /// Nothing, and it was acknowledged: the acknowledgement was lost behind the place of capture, or the requester's timer ran out all the same, as rxe's does.
    Spurious,
    /// Nothing, and too soon for a requester: the network made a copy.
    Duplicate,
}

impl RetransmissionClass {
    /// Every class.
    pub const ALL: [Self; 6] =
        [Self::GoBackN, Self::RnrRetry, Self::ReadRetry, Self::Timeout, Self::Spurious, Self::Duplicate];

    /// A word for it: `go-back-N`, `timeout`.
    pub const fn words(self) -> &'static str {
        match self {
            Self::GoBackN => "go-back-N",
            Self::RnrRetry => "RNR retry",
            Self::ReadRetry => "READ retry",
            Self::Timeout => "timeout",
            Self::Spurious => "spurious",
            Self::Duplicate => "duplicate",
        }
    }
}

impl fmt::Display for RetransmissionClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.words())
    }
}

/// Request packets that came again, counted by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retransmissions {
    /// After a NAK "PSN sequence error".
    pub go_back_n: u64,
    /// After an RNR NAK.
    pub rnr_retry: u64,
    /// After a missing READ response.
    pub read_retry: u64,
    /// After the ACK timeout.
    pub timeout: u64,
    /// After the acknowledgement.
    pub spurious: u64,
    /// Copies that the network made.
    pub duplicate: u64,
}

impl Retransmissions {
    /// The count of one class.
    pub const fn of(&self, class: RetransmissionClass) -> u64 {
        match class {
            RetransmissionClass::GoBackN => self.go_back_n,
            RetransmissionClass::RnrRetry => self.rnr_retry,
            RetransmissionClass::ReadRetry => self.read_retry,
            RetransmissionClass::Timeout => self.timeout,
            RetransmissionClass::Spurious => self.spurious,
            RetransmissionClass::Duplicate => self.duplicate,
        }
    }

    /// The count of all classes together.
    pub const fn total(&self) -> u64 {
        self.go_back_n + self.rnr_retry + self.read_retry + self.timeout + self.spurious + self.duplicate
    }

    pub(crate) fn count(&mut self, class: RetransmissionClass) {
        *match class {
            RetransmissionClass::GoBackN => &mut self.go_back_n,
            RetransmissionClass::RnrRetry => &mut self.rnr_retry,
            RetransmissionClass::ReadRetry => &mut self.read_retry,
            RetransmissionClass::Timeout => &mut self.timeout,
            RetransmissionClass::Spurious => &mut self.spurious,
            RetransmissionClass::Duplicate => &mut self.duplicate,
        } += 1;
    }
}

impl AddAssign for Retransmissions {
    fn add_assign(&mut self, other: Self) {
        self.go_back_n += other.go_back_n;
        self.rnr_retry += other.rnr_retry;
        self.read_retry += other.read_retry;
        self.timeout += other.timeout;
        self.spurious += other.spurious;
        self.duplicate += other.duplicate;
    }
}

impl fmt::Display for Retransmissions {
    /// The classes that occurred: `2 go-back-N, 1 timeout`; `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for class in RetransmissionClass::ALL {
            if self.of(class) > 0 {
                write!(f, "{separator}{} {class}", self.of(class))?;
                separator = ", ";
            }
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_count_and_its_word() {
        let mut counts = Retransmissions::default();
        assert_eq!(counts.to_string(), "none");
        for class in RetransmissionClass::ALL {
            counts.count(class);
            assert_eq!(counts.of(class), 1);
        }
        counts.count(RetransmissionClass::Timeout);
        let mut sum = counts;
        sum += counts;
        assert_eq!((sum.total(), counts.total()), (14, 7));
        assert_eq!(
            counts.to_string(),
            "1 go-back-N, 1 RNR retry, 1 READ retry, 2 timeout, 1 spurious, 1 duplicate"
        );
    }
}
