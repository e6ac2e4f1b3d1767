//! `TrafficAfterFatalNak`, and the refusal that it follows: both queue pairs have failed then, so nothing more may come.

use crate::checker::sink::{Arrival, Sink};
use crate::checker::stream::{Refused, Stream};
use crate::finding::Evidence;
use crate::rule::Rule;

/// Requests may be on their way for this long when a fatal NAK is.
const GRACE_NS: u64 = 100_000_000;

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
}

impl Stream {
    /// Holds a request against a fatal NAK before it.
    #[inline]
    pub(super) fn request_after_fatal(&mut self, arrival: &Arrival<'_>, sink: &mut Sink<'_>) {
        if let Fatal::Refused { at_ns, .. } = self.fatal
            && arrival.timestamp_ns.saturating_sub(at_ns) > GRACE_NS
        {
            self.fatal.tell();
            sink.report(
                Rule::TrafficAfterFatalNak,
                Evidence::Words { expected: "no further request", got: "one" },
            );
        }
    }

    /// Holds an answer against a fatal NAK before it.
    #[inline]
    pub(super) fn answer_after_fatal(&mut self, sink: &mut Sink<'_>) {
        if let Fatal::Refused { .. } = self.fatal {
            self.fatal.tell();
            sink.report(
                Rule::TrafficAfterFatalNak,
                Evidence::Words { expected: "no further answer", got: "one" },
            );
        }
    }
}
