//! A refusal for good: both queue pairs have failed then, so nothing more may come.

use crate::broken::Spot;
use crate::checker::sink::Sink;
use crate::finding::Refusal;
use crate::rules::traffic_after_fatal_nak;

/// A refusal for good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub(super) at: Spot,
    pub(super) refusal: Refusal,
    pub(super) has_cause: bool,
}

/// Refusal for good by the responder.
#[derive(Debug, Default)]
pub(super) enum Fatal {
    /// None came.
    #[default]
    No,
    /// A fatal NAK came.
    Refused {
        /// Time of the NAK.
        at_ns: u64,
        /// The refusal that is told at the end, unless something contradicts it.
        refused: Option<Box<Refused>>,
    },
    /// One came, or seemed to, and another finding speaks of that.
    Told {
        /// True if there was a fatal NAK.
        is_real: bool,
    },
}

impl Fatal {
    /// True if a fatal NAK came.
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
            && let Some(broken) = traffic_after_fatal_nak::check_request(timestamp_ns.saturating_sub(*at_ns))
        {
            self.tell();
            sink.report(broken);
        }
    }

    /// Holds an answer against the refusal.
    #[inline]
    pub(super) fn judge_answer(&mut self, sink: &mut Sink<'_>) {
        if let Self::Refused { .. } = self {
            self.tell();
            sink.report(traffic_after_fatal_nak::found_answer());
        }
    }
}
