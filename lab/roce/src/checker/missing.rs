//! Missing answers of a stream: lost by the network, or by the recorder, or written late.
//!
//! In: a gap among the responses of READs and atomics, and what its requester does then. Out: a finding. A requester that lacks a response asks for it again; one
//! that goes on as if nothing had happened has got it, and the capture lacks it.

use crate::broken::Broken;
use crate::checker::answer_gap::AnswerGap;
use crate::checker::sink::Sink;
use crate::checker::stream::Stream;
use crate::wire::{Place, Psn};

/// Gaps of one stream that are held; more tells the oldest.
const GAPS_MAX: usize = 256;

/// Time in which every requester has seen what is missing.
const NOTICED_NS: u64 = 500_000;

/// Later answers, of which a requester gets at least one.
const NOTICED_ANSWERS: u32 = 4;

impl Stream {
    /// Holds a gap until something tells whose it is.
    #[cold]
    pub(super) fn hold_answer_gap(&mut self, gap: AnswerGap, sink: &mut Sink<'_>) {
        self.is_lossy = true;
        if self.is_told {
            sink.report(Broken { at: None, ..gap.found() });
            return;
        }
        if self.answer_gaps.len() >= GAPS_MAX {
            sink.findings.extend(self.answer_gaps.pop_front().map(|gap| gap.found()));
        }
        self.answer_gaps.push_back(gap);
    }

    /// Counts an answer behind the gaps.
    #[cold]
    pub(super) fn count_behind_gaps(&mut self) {
        for gap in &mut self.answer_gaps {
            gap.later = gap.later.saturating_add(1);
        }
    }

    /// Tells of the gaps from `psn` on: their requester goes back for them.
    #[cold]
    pub(super) fn tell_answer_gaps(&mut self, psn: Psn, sink: &mut Sink<'_>) {
        self.answer_gaps.retain(|gap| {
            let is_asked_again = gap.expected.distance(psn) >= 0;
            sink.findings.extend(is_asked_again.then(|| gap.found()));
            !is_asked_again
        });
    }

    /// Takes those for the recorder's that a requester has to have seen, and goes on all the same.
    #[cold]
    pub(super) fn goes_on_behind_gaps(&mut self, now_ns: u64, sink: &mut Sink<'_>) {
        let place = sink.stream(sink.requester);
        let answered_again = self.answered_again;
        // Else what seems to be answered twice may be of a READ that the capture lacks.
        let is_seen = self.unseen.is_empty();
        self.answer_gaps.retain(|gap| {
            let is_noticed = gap.later >= NOTICED_ANSWERS && now_ns.saturating_sub(gap.at_ns) >= NOTICED_NS;
            // One that came twice beside the gap is the missing one, under a wrong PSN.
            let has_wrong_psn = gap.is_misnumbered
                || is_seen && answered_again.is_some_and(|psn| psn.distance(gap.expected).abs() <= 1);
            if is_noticed && has_wrong_psn {
                sink.findings.push(gap.found());
            } else if is_noticed {
                sink.capture.lost_answer(gap.at, place);
            }
            !is_noticed
        });
    }

    /// Takes note of an answer that begins anew before the gaps: what is missing there may come with it.
    pub(crate) fn answered_anew(&mut self, psn: Psn) {
        for gap in self.answer_gaps.iter_mut().filter(|gap| gap.expected.distance(psn) > 0) {
            gap.is_answered_anew = true;
        }
    }

    /// Takes a gap for another order of the recorder's when the missing answer comes though nothing was asked for again, or soon and inside of an answer. Else it
    /// may be of an earlier asking, whose answer begins with it.
    #[cold]
    pub(super) fn close_answer_gap(&mut self, psn: Psn, place: Place, now_ns: u64, sink: &mut Sink<'_>) {
        let stream = sink.stream(sink.requester);
        let Some(at) = self.answer_gaps.iter().position(|gap| gap.expected == psn) else { return };
        let Some(gap) = self.answer_gaps.remove(at) else { return };
        let is_soon = gap.later < NOTICED_ANSWERS && now_ns.saturating_sub(gap.at_ns) < NOTICED_NS;
        if self.retry.counts.total() == 0
            || is_soon && !place.starts() && !gap.is_answered_anew && !self.is_told
        {
            sink.capture.reordered(gap.at, stream);
        } else {
            sink.findings.push(gap.found());
        }
    }

    /// Takes the gaps that are left for the recorder's where the requester had the time to ask again until `last_ns`. The others may be anybody's.
    pub(super) fn leave_answer_gaps(&mut self, last_ns: u64, sink: &mut Sink<'_>) {
        if self.answer_gaps.is_empty() {
            return;
        }
        self.goes_on_behind_gaps(last_ns, sink);
        sink.findings.extend(self.answer_gaps.drain(..).map(|gap| gap.found().note_unless(self.is_told)));
    }
}
