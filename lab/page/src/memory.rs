//! Memory regions, and what the messages did to them.

use std::collections::BTreeMap;

use roce::{MessageLine, Report};

/// A region as the wire shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownRegion {
    /// `server.mr1`.
    pub(crate) name: String,
    pub(crate) rkey: u32,
    /// Virtual address of its first byte, as far as the wire tells.
    pub(crate) base: u64,
    /// Messages that touch it, as indices into the report's, with the offset of their first byte.
    pub(crate) messages: Vec<(usize, i128)>,
}

/// The regions of a report, by name.
pub(crate) fn regions(report: &Report, lines: &[MessageLine]) -> Vec<ShownRegion> {
    let mut regions: BTreeMap<&str, ShownRegion> = BTreeMap::new();
    for (index, (message, line)) in report.messages.iter().zip(lines).enumerate() {
        let (Some((name, offset)), Some(va), Some(rkey)) = (&line.memory, message.va, message.rkey) else {
            continue;
        };
        let base = u64::try_from(i128::from(va) - offset).unwrap_or(va);
        let region = regions.entry(name).or_insert_with(|| ShownRegion {
            name: name.clone(),
            rkey,
            base,
            messages: Vec::new(),
        });
        region.messages.push((index, *offset));
    }
    regions.into_values().collect()
}
