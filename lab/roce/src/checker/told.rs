//! Rules that were told of a stream and are not told again: a sender does such things in every packet.

use crate::rule::Rule;

/// Rules that are told once a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told(u8);

impl Told {
    /// The bit of a rule that is told once.
    const fn bit(rule: Rule) -> u8 {
        match rule {
            Rule::RetryCountExceeded => 1,
            Rule::SequenceNakBehindRnrNak => 2,
            Rule::InitiatorDepthExceeded => 4,
            _ => 0,
        }
    }

    /// True if a rule was told.
    pub(super) fn has(self, rule: Rule) -> bool {
        self.0 & Self::bit(rule) != 0
    }

    /// True if it is told for the first time; it is told then. A rule that is not one of those always is.
    pub(super) fn is_new(&mut self, rule: Rule) -> bool {
        let is_new = !self.has(rule);
        self.0 |= Self::bit(rule);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_is_new_once() {
        let mut told = Told::default();
        assert!(told.is_new(Rule::RetryCountExceeded) && !told.is_new(Rule::RetryCountExceeded));
        assert!(!told.has(Rule::InitiatorDepthExceeded) && told.is_new(Rule::InitiatorDepthExceeded));
        assert!(told.is_new(Rule::RequestPsnGap) && told.is_new(Rule::RequestPsnGap));
    }
}
