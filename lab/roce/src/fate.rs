//! What became of a frame at the switch: the grammar of a packet's comment.
//!
//! In and out: `fate=forwarded | dropped | delayed 20 ms | corrupted | truncated | duplicate-of #n`. A comment outside the grammar stays visible.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// The fate of a frame that entered the switch, or of one that the switch made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Delivered as it came.
    Forwarded,
    /// Never delivered.
    Dropped,
    /// Delivered as it came, later.
    Delayed {
        /// By how much, in milliseconds.
        delay_ms: u64,
    },
    /// Not delivered as it came: a copy with a changed byte was.
    Corrupted,
    /// Not delivered as it came: a shorter copy was.
    Truncated,
    /// Made by the switch: a second delivery of packet `number`.
    DuplicateOf {
        /// Number of the packet in the capture, from 1.
        number: u64,
    },
    /// A comment that is not of this grammar, whole.
    Unknown(String),
}

impl Fate {
    /// Reads a packet's comment.
    pub fn from_comment(comment: &str) -> Self {
        let Some(fate) = comment.strip_prefix("fate=") else {
            return Self::Unknown(comment.to_owned());
        };
        let delay_ms = || fate.strip_prefix("delayed ")?.strip_suffix(" ms")?.parse().ok();
        let number = || fate.strip_prefix("duplicate-of #")?.parse().ok();
        match fate {
            "forwarded" => Self::Forwarded,
            "dropped" => Self::Dropped,
            "corrupted" => Self::Corrupted,
            "truncated" => Self::Truncated,
            _ => delay_ms()
                .map(|delay_ms| Self::Delayed { delay_ms })
                .or_else(|| number().map(|number| Self::DuplicateOf { number }))
                .unwrap_or_else(|| Self::Unknown(comment.to_owned())),
        }
    }

    /// Whether the receiver got the frame as the capture has it. A foreign comment says nothing of delivery, so it counts as delivered.
    pub fn is_delivered(&self) -> bool {
        !matches!(self, Self::Dropped | Self::Corrupted | Self::Truncated)
    }

    /// Whether the sender sent the frame; a duplicate is the switch's.
    pub fn is_sent(&self) -> bool {
        !matches!(self, Self::DuplicateOf { .. })
    }
}

impl fmt::Display for Fate {
    /// Writes the comment that [`Fate::from_comment`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forwarded => f.write_str("fate=forwarded"),
            Self::Dropped => f.write_str("fate=dropped"),
            Self::Delayed { delay_ms } => write!(f, "fate=delayed {delay_ms} ms"),
            Self::Corrupted => f.write_str("fate=corrupted"),
            Self::Truncated => f.write_str("fate=truncated"),
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
            Fate::Dropped,
            Fate::Delayed { delay_ms: 20 },
            Fate::Corrupted,
            Fate::Truncated,
            Fate::DuplicateOf { number: 7 },
            Fate::Unknown("retaken by hand".to_owned()),
            Fate::Unknown("fate=delayed soon".to_owned()),
        ] {
            assert_eq!(Fate::from_comment(&fate.to_string()), fate);
        }
    }

    #[test]
    fn only_what_reached_the_receiver_is_delivered() {
        assert!(
            Fate::Forwarded.is_delivered()
                && !Fate::Dropped.is_delivered()
                && Fate::Unknown(String::new()).is_delivered()
        );
        assert!(Fate::Dropped.is_sent() && !Fate::DuplicateOf { number: 1 }.is_sent());
    }
}
