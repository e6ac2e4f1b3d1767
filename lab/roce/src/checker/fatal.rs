//! `TrafficAfterFatalNak`, and the refusal that it follows: both queue pairs have failed then, so nothing more may come.

use crate::checker::broken::Spot;
use crate::checker::sink::Sink;
use crate::finding::{Evidence, Refusal};
use crate::rule::Rule;

/// Requests may be on their way for this long when a fatal NAK is.
const GRACE_NS: u64 = 100_000_000;

/// A refusal for good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub(super) at: Spot,
    pub(super) refusal: Refusal,
    pub(super) has_cause: bool,
}

/// Whether the responder refused for good.
#[derive(Debug, Default)]
pub(super) enum Fatal {
    /// Not yet.
    #[default]
    No,
    /// It did.
    Refused {
        /// Time of the NAK.
        at_ns: u64,
        /// The refusal that is told at the end, unless something contradicts it.
        refused: Option<Box<Refused>>,
    },
    /// It did, or seemed to, and another finding speaks of that.
    Told {
        /// Whether there was a fatal NAK.
        is_real: bool,
    },
}

impl Fatal {
    /// Whether a fatal NAK came.
    pub(super) fn is_real(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Told { is_real: true })
    }

    /// Leaves what there is to say of it to another finding.
    pub(super) fn tell(&mut self) {
        *self = Self::Told { is_real: self.is_real() };
    }

    /// Takes the refusal that nothing contradicts.
    pub(super) fn take(&mut self) -> Option<Box<Refused>> {
        match self {
            Self::Refused { refused, .. } => refused.take(),
            _ => None,
        }
    }

    /// Holds a request that comes at `timestamp_ns` against the refusal.
    #[inline]
    pub(super) fn judge_request(&mut self, timestamp_ns: u64, sink: &mut Sink<'_>) {
        if let Self::Refused { at_ns, .. } = self
            && timestamp_ns.saturating_sub(*at_ns) > GRACE_NS
        {
            self.tell();
            let evidence = Evidence::Words { expected: "no further request", got: "one" };
            sink.report(Rule::TrafficAfterFatalNak, evidence);
        }
    }

    /// Holds an answer against the refusal.
    #[inline]
    pub(super) fn judge_answer(&mut self, sink: &mut Sink<'_>) {
        if let Self::Refused { .. } = self {
            self.tell();
            let evidence = Evidence::Words { expected: "no further answer", got: "one" };
            sink.report(Rule::TrafficAfterFatalNak, evidence);
        }
    }
}
