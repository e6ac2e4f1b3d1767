//! Encounters of the faults of a run with packets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Packets that the faults of a run have met so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    /// Number of times that each fault acted, in their order.
    pub hits: Vec<u64>,
    /// The packets that came, by what they are and who receives them.
    pub passed: BTreeMap<String, u64>,
}
