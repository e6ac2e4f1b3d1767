//! The packets of a lab that wait in its switch, one after the other, decoded, and the decisions on them.

use std::collections::BTreeMap;
use std::time::Duration;

use lab::Result;
use lab::base::names::unique;
use lab::provider::qemu::control::Control;
use lab::wire::gate::{GateDecision, GatePacket};
use roce::Names;
use roce::fields::placed_fields;
use roce::wire::{Frame, LinkType};
use roce_cli::live::{LiveNames, LivePacket};

/// Longest time that nothing may be heard of this process until the switch lets everything pass.
const PATIENCE: Duration = Duration::from_secs(5);

/// A packet that waits, decoded.
#[derive(Debug, Clone)]
pub(super) struct HeldPacket {
    /// Its number among those that were held, from 1.
    pub(super) number: u64,
    /// Packets behind it.
    pub(super) behind: usize,
    /// Its columns.
    pub(super) line: LivePacket,
    /// Its fields, header by header: header, name, value.
    pub(super) fields: Vec<(&'static str, &'static str, String)>,
}

/// The gate of a lab's switch, kept by this process. Dropped, it opens.
#[derive(Debug)]
pub(super) struct Stepper {
    control: Control,
    keeper: String,
    names: LiveNames,
    first: Option<HeldPacket>,
    /// Number of times that each decision was made.
    made: BTreeMap<&'static str, u64>,
}

impl Stepper {
    /// Closes the gate.
    ///
    /// # Errors
    ///
    /// Somebody else keeps it, or the lab has ended.
    pub(super) fn begin(control: Control, names: Names) -> Result<Stepper> {
        let keeper = unique();
        control.close_gate(&keeper, PATIENCE)?;
        Ok(Stepper { control, keeper, names: LiveNames::new(names), first: None, made: BTreeMap::new() })
    }

    /// The packet that waits for longest, if one does. To be called often: the switch hears of this process by it.
    ///
    /// # Errors
    ///
    /// The lab has ended, or heard nothing for too long.
    pub(super) fn first(&mut self) -> Result<Option<&HeldPacket>> {
        match self.control.at_gate(&self.keeper)? {
            None => self.first = None,
            Some(packet) => match &mut self.first {
                Some(first) if first.number == packet.number => first.behind = packet.behind,
                _ => self.first = Some(decoded(&packet, &mut self.names)),
            },
        }
        Ok(self.first.as_ref())
    }

    /// Decides on the packet that waits for longest; returns it.
    ///
    /// # Errors
    ///
    /// As [`Stepper::first`], and of a packet that has nothing to be changed.
    pub(super) fn decide(&mut self, decision: GateDecision) -> Result<Option<HeldPacket>> {
        let Some(first) = &self.first else { return Ok(None) };
        self.control.decide(&self.keeper, first.number, decision)?;
        *self.made.entry(word(decision)).or_default() += 1;
        Ok(self.first.take())
    }

    /// Fates of the packets so far: `3 forwarded, 1 dropped`.
    pub(super) fn summary(&self) -> String {
        if self.made.is_empty() {
            return "no packet was decided on".to_owned();
        }
        let counts: Vec<String> = self.made.iter().map(|(word, count)| format!("{count} {word}")).collect();
        counts.join(", ")
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        // A guard that has gone holds nothing.
        let _ = self.control.open_gate(&self.keeper);
    }
}

fn word(decision: GateDecision) -> &'static str {
    match decision {
        GateDecision::Forward => "forwarded",
        GateDecision::Drop => "dropped",
        GateDecision::Double => "doubled",
        GateDecision::Corrupt => "corrupted",
        GateDecision::Delay { .. } => "delayed",
    }
}

fn decoded(packet: &GatePacket, names: &mut LiveNames) -> HeldPacket {
    let frame = Frame::decode(LinkType::ETHERNET, &packet.frame);
    let (line, fields) = match frame.packet() {
        // The switch holds nothing else.
        None => (LivePacket::default(), Vec::new()),
        Some(roce) => {
            let fields = placed_fields(roce)
                .map(|placed| (placed.header.layer, placed.field.name(), placed.to_string()))
                .collect();
            (names.see(packet.number, packet.came_ns, roce, None), fields)
        }
    };
    HeldPacket { number: packet.number, behind: packet.behind, line, fields }
}
