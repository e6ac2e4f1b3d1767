//! Rules that a packet is held to by itself.

use crate::broken::Broken;
use crate::rules::{cnp_malformed, icrc_mismatch, malformed_packet, pad_count_mismatch, pad_not_zero};
use crate::wire::Packet;

/// A packet by itself.
pub(crate) enum Alone {
    /// No rule is broken.
    Clean,
    /// The capture has not all of it; what there is of it is as good as whole.
    Cut,
    /// A rule is broken.
    Broken {
        /// The rule, and what came.
        broken: Broken,
        /// True if a receiver takes it all the same.
        is_taken: bool,
    },
}

/// Judges a packet; `is_short` says that it was short on the wire and not cut by the capture.
#[inline]
pub(crate) fn judge(packet: &Packet<'_>, is_short: bool) -> Alone {
    if let Some(broken) = icrc_mismatch::check(packet) {
        return Alone::Broken { broken, is_taken: false };
    }
    if packet.is_cut && !is_short {
        return Alone::Cut;
    }
    if let Some(broken) = malformed_packet::check(packet) {
        return Alone::Broken { broken, is_taken: false };
    }
    let broken = pad_count_mismatch::check(packet)
        .or_else(|| pad_not_zero::check(packet))
        .or_else(|| cnp_malformed::check(packet));
    broken.map_or(Alone::Clean, |broken| Alone::Broken { broken, is_taken: true })
}
