//! Fate of a frame at the switch: the grammar of a packet's comment.
//!
//! In and out: `fate=` and one of the words of [`Fate`]. A comment outside the grammar stays visible.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// The fate of a record's frame: whether its sender sent it, and whether its receiver got it, at this place of the capture.
///
/// Every frame is a record once, as it enters the switch, with its bytes as they were sent. When the receiver gets something else, or gets it elsewhere in
/// the order, that record counts as sent and not as delivered, and what is delivered is a record of its own, written as it leaves the switch, on the same
/// interface, with the bytes as they leave. So the delivered records of a capture, in its order, are the receivers' view, and the sent ones the senders'.
///
/// | comment | the switch | sent | delivered |
/// |--|--|--|--|
/// | `fate=forwarded` | gave it on | yes | yes |
/// | `fate=queued 1500 us` | gave it on after others of its direction, because of a rate | yes | yes |
/// | `fate=dropped` | threw it away | yes | no |
/// | `fate=link-cut` | had no link to give it to | yes | no |
/// | `fate=port-full` | had no room for it: its receiver did not take what waited already | yes | no |
/// | `fate=delayed 20 ms` | held it back for a time | yes | no: `released #n` is, if it ever is |
/// | `fate=reordered` | held it back until others had passed | yes | no: `released #n` is, if it ever is |
/// | `fate=corrupted` | changed bytes of it | yes | no: `altered-of #n` is |
/// | `fate=truncated` | cut it short | yes | no: `altered-of #n` is |
/// | `fate=ecn-marked` | set congestion experienced in its IP header | yes | no: `altered-of #n` is |
/// | `fate=queue-marked` | likewise, because it found a long queue | yes | no: `altered-of #n` is |
/// | `fate=released #n` | gives record n on, as it came | no | yes |
/// | `fate=altered-of #n` | gives a changed copy of record n on | no | yes |
/// | `fate=duplicate-of #n` | gives record n on once more | no | yes |
///
/// `#n` is the number of the record in the capture, from 1. An injured frame may be delivered and still not taken: rxe counts `rcvd_pkts` behind its checks
/// of the queue pair, the keys and the ICRC (`rxe_rcv`), as [`Report::delivered`](crate::Report::delivered) does behind that of the ICRC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Delivered as it came.
    Forwarded,
    /// Delivered as it came and in the order of its direction, later.
    Queued {
        /// By how much, in microseconds.
        delay_us: u64,
    },
    /// Never delivered.
    Dropped,
    /// Never delivered: the link was cut.
    LinkCut,
    /// Never delivered: its receiver did not take what waited for it already.
    PortFull,
    /// Held back for a time.
    Delayed {
        /// By how much, in milliseconds.
        delay_ms: u64,
    },
    /// Held back until others had passed.
    Reordered,
    /// Replaced by a copy with changed bytes.
    Corrupted,
    /// Replaced by a shorter copy.
    Truncated,
    /// Replaced by a copy that says "congestion experienced".
    EcnMarked,
    /// Likewise, because the queue of its port was long.
    QueueMarked,
    /// Delivered late, as it came.
    ReleaseOf {
        /// Number of the record that was held back, from 1.
        number: u64,
    },
    /// Made by the switch: what was delivered instead of a record.
    AlteredOf {
        /// Number of that record, from 1.
        number: u64,
    },
    /// Made by the switch: a second delivery of a record.
    DuplicateOf {
        /// Number of that record, from 1.
        number: u64,
    },
    /// A comment that is not of this grammar, whole.
    Unknown(String),
}

impl Fate {
    /// Reads a packet's comment.
    pub fn from_comment(comment: &str) -> Self {
        comment
            .strip_prefix("fate=")
            .and_then(Self::from_words)
            .unwrap_or_else(|| Self::Unknown(comment.to_owned()))
    }

    fn from_words(words: &str) -> Option<Self> {
        let (word, value) = words.split_once(' ').unwrap_or((words, ""));
        let amount = |unit| value.strip_suffix(unit)?.parse().ok();
        let number = || value.strip_prefix('#')?.parse().ok();
        Some(match word {
            "queued" => Self::Queued { delay_us: amount(" us")? },
            "delayed" => Self::Delayed { delay_ms: amount(" ms")? },
            "released" => Self::ReleaseOf { number: number()? },
            "altered-of" => Self::AlteredOf { number: number()? },
            "duplicate-of" => Self::DuplicateOf { number: number()? },
            _ => match words {
                "forwarded" => Self::Forwarded,
                "dropped" => Self::Dropped,
                "link-cut" => Self::LinkCut,
                "port-full" => Self::PortFull,
                "reordered" => Self::Reordered,
                "corrupted" => Self::Corrupted,
                "truncated" => Self::Truncated,
                "ecn-marked" => Self::EcnMarked,
                "queue-marked" => Self::QueueMarked,
                _ => return None,
            },
        })
    }

    /// True if the receiver got the frame of this record, at its place. A foreign comment says nothing of delivery, so it counts as delivered.
    pub fn is_delivered(&self) -> bool {
        match self {
            Self::Forwarded | Self::Queued { .. } | Self::Unknown(_) => true,
            Self::Dropped | Self::LinkCut | Self::PortFull => false,
            Self::Delayed { .. } | Self::Reordered => false,
            Self::Corrupted | Self::Truncated | Self::EcnMarked | Self::QueueMarked => false,
            Self::ReleaseOf { .. } | Self::AlteredOf { .. } | Self::DuplicateOf { .. } => true,
        }
    }

    /// True if this record is where the sender sent the frame; else the switch put it there.
    pub fn is_sent(&self) -> bool {
        !matches!(self, Self::ReleaseOf { .. } | Self::AlteredOf { .. } | Self::DuplicateOf { .. })
    }

    /// Words of the trace, the same in every run: no time that was measured, no number that depends on what else was captured.
    pub(crate) fn words(&self) -> Option<String> {
        Some(match self {
            Self::Forwarded | Self::Queued { .. } => return None,
            Self::LinkCut => "link cut".to_owned(),
            Self::PortFull => "port full".to_owned(),
            Self::EcnMarked | Self::QueueMarked => "ECN marked".to_owned(),
            Self::ReleaseOf { .. } => "released".to_owned(),
            Self::AlteredOf { .. } => "altered".to_owned(),
            Self::DuplicateOf { .. } => "duplicate".to_owned(),
            Self::Unknown(comment) => format!("comment {comment:?}"),
            plain => plain.to_string().trim_start_matches("fate=").to_owned(),
        })
    }

    /// The mark before a trace's row: `~` when the receiver did not get it, `+` when the switch put it there.
    pub(crate) fn mark(&self) -> &'static str {
        match (self.is_sent(), self.is_delivered()) {
            (_, false) => "~ ",
            (false, true) => "+ ",
            (true, true) => "  ",
        }
    }
}

impl fmt::Display for Fate {
    /// Writes the comment that [`Fate::from_comment`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forwarded => f.write_str("fate=forwarded"),
            Self::Queued { delay_us } => write!(f, "fate=queued {delay_us} us"),
            Self::Dropped => f.write_str("fate=dropped"),
            Self::LinkCut => f.write_str("fate=link-cut"),
            Self::PortFull => f.write_str("fate=port-full"),
            Self::Delayed { delay_ms } => write!(f, "fate=delayed {delay_ms} ms"),
            Self::Reordered => f.write_str("fate=reordered"),
            Self::Corrupted => f.write_str("fate=corrupted"),
            Self::Truncated => f.write_str("fate=truncated"),
            Self::EcnMarked => f.write_str("fate=ecn-marked"),
            Self::QueueMarked => f.write_str("fate=queue-marked"),
            Self::ReleaseOf { number } => write!(f, "fate=released #{number}"),
            Self::AlteredOf { number } => write!(f, "fate=altered-of #{number}"),
            Self::DuplicateOf { number } => write!(f, "fate=duplicate-of #{number}"),
            Self::Unknown(comment) => f.write_str(comment),
        }
    }
}

impl FromStr for Fate {
    type Err = Infallible;

    fn from_str(comment: &str) -> Result<Self, Infallible> {
        Ok(Self::from_comment(comment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fate_is_read_as_it_is_written() {
        for fate in [
            Fate::Forwarded,
            Fate::Queued { delay_us: 1500 },
            Fate::Dropped,
            Fate::LinkCut,
            Fate::PortFull,
            Fate::Delayed { delay_ms: 20 },
            Fate::Reordered,
            Fate::Corrupted,
            Fate::Truncated,
            Fate::EcnMarked,
            Fate::QueueMarked,
            Fate::ReleaseOf { number: 5 },
            Fate::AlteredOf { number: 6 },
            Fate::DuplicateOf { number: 7 },
        ] {
            let comment = fate.to_string();
            assert_eq!(Fate::from_comment(&comment), fate);
            assert!(!matches!(fate, Fate::Unknown(_)));
        }
        for foreign in ["retaken by hand", "fate=delayed soon", "fate=dropped twice", "fate=altered-of 6"] {
            assert_eq!(Fate::from_comment(foreign), Fate::Unknown(foreign.to_owned()));
            assert_eq!(Fate::from_comment(foreign).to_string(), foreign);
        }
    }

    #[test]
    fn what_is_sent_and_what_is_delivered_are_apart() {
        let of = |comment: &str| {
            let fate = Fate::from_comment(comment);
            (fate.is_sent(), fate.is_delivered(), fate.mark())
        };
        for both in ["fate=forwarded", "fate=queued 3 us", "seen by hand"] {
            assert_eq!(of(both), (true, true, "  "));
        }
        for lost in [
            "dropped",
            "link-cut",
            "port-full",
            "delayed 2 ms",
            "reordered",
            "corrupted",
            "truncated",
            "ecn-marked",
            "queue-marked",
        ] {
            assert_eq!(of(&format!("fate={lost}")), (true, false, "~ "));
        }
        for made in ["released #1", "altered-of #1", "duplicate-of #1"] {
            assert_eq!(of(&format!("fate={made}")), (false, true, "+ "));
        }
    }
}
