//! Implementation that the peers are held to: everything that only rxe does, in one place.
//!
//! In: a number or a broken rule. Out: the same as the implementation takes it. A request that rxe's timer repeats too early breaks no rule: it is counted as
//! [`Spurious`](crate::RetransmissionClass::Spurious) for every implementation.

use crate::broken::Broken;
use crate::rule::Severity;

/// Implementation of the peers, as far as rules depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// Unknown: deviations that rxe is known for are told.
    #[default]
    Generic,
    /// Linux's SoftRoCE on both sides: known deviations are notes, or not told.
    Rxe,
}

impl Profile {
    /// Most READs and atomics under way for a depth of the connection. rxe rounds up to a power of two, which is allowed to everybody.
    ///
    /// Source: Linux drivers/infiniband/sw/rxe/rxe_qp.c (rxe_qp_from_attr).
    pub(crate) const fn reads_under_way_max(self, depth: u8) -> usize {
        if depth == 0 { 0 } else { (depth as usize).next_power_of_two() }
    }

    /// Most repetitions of a request for a retry count of the connection. rxe takes 7 for no limit.
    ///
    /// Source: Linux drivers/infiniband/sw/rxe/rxe_comp.c (retry_cnt != 7).
    pub(crate) fn repetitions_max(self, retry_count: u8) -> Option<u8> {
        Some(retry_count).filter(|count| self != Self::Rxe || *count < 7)
    }

    /// True if a sequence NAK behind an RNR NAK for the same request is told. rxe sends it for what was in flight.
    ///
    /// Source: Linux drivers/infiniband/sw/rxe/rxe_resp.c (RESPST_ERR_RNR, sent_psn_nak).
    pub(crate) fn tells_sequence_nak_behind_rnr_nak(self) -> bool {
        self != Self::Rxe
    }

    /// Weighs a READ response at the wrong place in its message, where the READ was asked `again`. rxe goes on with Middle or Last.
    ///
    /// Observed: rxe 6.1.
    pub(crate) fn weigh_read_response(self, again: bool, broken: Broken) -> Broken {
        if self == Self::Rxe && again { broken.with(Severity::Note) } else { broken }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Record;
    use crate::rule::Rule;
    use crate::synth::script::{Script, managed, pair};
    use crate::{Analysis, Names};

    fn found(script: Script, profile: Profile) -> Vec<(Rule, Severity)> {
        let mut analysis = Analysis::new(Names::new()).with_profile(profile);
        for (number, (time_us, frame)) in (1..).zip(script.steps) {
            analysis.push(&Record::ethernet(number, time_us * 1_000, &frame));
        }
        analysis.finish().findings.iter().map(|finding| (finding.rule, finding.severity)).collect()
    }

    #[test]
    fn known_deviations_are_told_unless_the_peers_are_rxe() {
        for rule in [Rule::SequenceNakBehindRnrNak, Rule::RetryCountExceeded] {
            let breaks = rule.examples().breaks;
            assert_eq!(found(breaks(), Profile::Generic), [(rule, rule.severity())]);
            assert_eq!(found(breaks(), Profile::Rxe), []);
        }
    }

    #[test]
    fn read_asked_again_may_go_on_with_middle_on_rxe_alone() {
        let again =
            || pair().request(0x0c, 1).ack_request().reth(pair().passive.va, pair().passive.rkey, 2048);
        let begun = || managed().read(0, 3).piece(0x0d, 0, 1).after(600_000, again().build());
        let goes_on = || begun().piece(0x0e, 1, 1).piece(0x0f, 2, 1);
        let anew = || begun().piece(0x0d, 1, 1).piece(0x0f, 2, 1);
        let rule = Rule::OpcodeOutOfSequence;
        assert_eq!(found(goes_on(), Profile::Generic), [(rule, Severity::Error)]);
        assert_eq!(found(goes_on(), Profile::Rxe), [(rule, Severity::Note)]);
        assert_eq!([found(anew(), Profile::Generic), found(anew(), Profile::Rxe)], [[], []]);
    }

    #[test]
    fn other_faults_are_the_same_for_every_implementation() {
        for rule in [Rule::OpcodeOutOfSequence, Rule::InitiatorDepthExceeded, Rule::RnrRetryTooEarly] {
            let breaks = rule.examples().breaks;
            assert_eq!(found(breaks(), Profile::Rxe), found(breaks(), Profile::Generic));
        }
    }
}
