//! Faults on the wire, by what packets mean: which packets, and what becomes of them.
//!
//! - [`entry`]: a `[[fault]]` of a scenario file
//! - [`matcher`]: which packets
//! - [`action`]: what becomes of them
//! - [`met`]: how often they acted; [`netem`]: what of them machines without the switch can do

pub mod action;
pub mod entry;
pub mod matcher;
pub mod met;
pub mod netem;

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use action::Action;
pub use matcher::Matcher;
pub use met::Met;

use crate::base::error::{Error, Result};
use crate::scenario::inline;

/// A fault: every packet that matches meets the action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "entry::FaultEntry", into = "entry::FaultEntry")]
#[schemars(with = "entry::FaultEntry")]
pub struct Fault {
    /// The packets.
    pub matcher: Matcher,
    /// Effect on them.
    pub action: Action,
}

impl Fault {
    /// The same for machines that have changed places.
    #[must_use]
    pub fn swapped(&self) -> Fault {
        let mut fault = self.clone();
        if let Some(to) = &mut fault.matcher.to {
            to.node = to.node.peer();
        }
        fault
    }

    /// True if it changes a packet and makes the ICRC fit again, so that no receiver can see the change.
    pub fn is_resealed(&self) -> bool {
        matches!(self.action, Action::Corrupt { is_resealed: true, .. })
    }

    /// True if it changes data of a program in that way.
    pub fn changes_data(&self) -> bool {
        let is_data = |field| {
            matches!(
                field,
                action::PacketField::Payload | action::PacketField::Immediate | action::PacketField::Original
            )
        };
        let is_of_a_program = !matches!(self.matcher.kind, Some(matcher::PacketKind::Cm(_)));
        is_of_a_program
            && matches!(self.action, Action::Corrupt { field, is_resealed: true, .. } if is_data(field))
    }
}

/// Reads what stands between the braces of an inline table: `action = "drop", nth = 1`.
impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Fault> {
        inline::read("fault", text, "action=\"drop\",opcode=\"RC RDMA WRITE Middle\",nth=1")
    }
}

/// As people say it: `drop RC RDMA WRITE Middle, nth 1, times 1`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.action, self.matcher)
    }
}
