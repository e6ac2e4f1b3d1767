//! Memory regions, and what the messages did to them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use roce::{Difference, Evidence, Report};

use crate::calls::Calls;

/// A region as the wire and the programs' logs show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownRegion {
    /// `server.mr1`.
    pub(crate) name: String,
    pub(crate) rkey: u32,
    /// Virtual address of its first byte, as far as the wire tells.
    pub(crate) base: u64,
    /// Its length in bytes, where its program logs it.
    pub(crate) length: Option<u64>,
    /// True if no region has the key: it was used and refused, and nobody gave it out.
    pub(crate) is_unknown: bool,
    /// Keys that its node did give out, where it is unknown: `0x584 (server.mr1)`.
    pub(crate) given: String,
    /// Messages that touch it, as indices into the report's, with the offset of their first byte.
    pub(crate) messages: Vec<(usize, i128)>,
}

/// The regions that messages touch or nodes advertise, by name.
pub(crate) fn regions(report: &Report, programs: &[Calls]) -> Vec<ShownRegion> {
    let mut regions: BTreeMap<String, (IpAddr, ShownRegion)> = BTreeMap::new();
    for line in report.memory_lines() {
        let node = report.names.get(line.node);
        let registered = programs
            .iter()
            .filter(|program| program.node == node)
            .flat_map(Calls::registered)
            .find(|registered| registered.rkey == line.rkey);
        let is_unknown =
            registered.is_none() && !line.is_advertised && is_refused(report, line.node, line.rkey);
        let region = ShownRegion {
            name: line.name.clone(),
            rkey: line.rkey,
            base: line.base,
            length: registered.filter(|registered| registered.va == line.base).map(|it| it.length_bytes),
            is_unknown,
            given: String::new(),
            messages: Vec::new(),
        };
        regions.insert(line.name, (line.node, region));
    }
    for (index, line) in report.message_lines().iter().enumerate() {
        if let Some((name, offset)) = &line.memory
            && let Some((_, region)) = regions.get_mut(name)
        {
            region.messages.push((index, *offset));
        }
    }
    let known: Vec<(IpAddr, String)> = regions
        .values()
        .filter(|(_, region)| !region.is_unknown)
        .map(|(node, region)| (*node, format!("{:#x} ({})", region.rkey, region.name)))
        .collect();
    for (node, region) in regions.values_mut().filter(|(_, region)| region.is_unknown) {
        let given = known.iter().filter(|(owner, _)| owner == node).map(|(_, words)| words.as_str());
        region.given = given.collect::<Vec<_>>().join(", ");
    }
    regions.into_values().map(|(_, region)| region).collect()
}

/// True if the key was refused and differs from every key that its node gave out.
fn is_refused(report: &Report, node: IpAddr, rkey: u32) -> bool {
    report.findings.iter().any(|finding| match &finding.evidence {
        Evidence::Refusal(refusal) => {
            // A refusal goes from the responder to the requester.
            finding.source == node
                && refusal.rkey == Some(rkey)
                && matches!(
                    refusal.difference,
                    Some(
                        Difference::KeySwapped(_)
                            | Difference::KeyFlipped(_)
                            | Difference::KeyUnknown
                            | Difference::NeverAdvertised
                    )
                )
        }
        _ => false,
    })
}
