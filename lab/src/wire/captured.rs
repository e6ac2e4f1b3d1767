//! Extent of a recording.

use serde::{Deserialize, Serialize};

/// RoCEv2 packets of a node in a recording.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// That it sent.
    pub sent: u64,
    /// That reached it.
    pub delivered: u64,
    /// Frames of any kind that were dropped because it did not take what waited for it.
    #[serde(default)]
    pub refused: u64,
}
