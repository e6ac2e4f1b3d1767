//! Rules that a packet's headers are held to, whatever came before.
//!
//! In: a packet. Out: the rule that its BTH, its AETH or its payload breaks. Such a packet is taken all the same: whoever sends one sends many, and the rules
//! that follow speak of other things. A fault that is in every packet of a sender is told once for each receiver ([`ToldReceivers`]).

use std::collections::HashSet;
use std::net::IpAddr;

use crate::broken::Broken;
use crate::rule::{Once, Rule};
use crate::rules::{
    partition_key_invalid, payload_too_large, payload_unexpected, queue_pair_zero, reliable_datagram_used,
    reserved_opcode, reserved_syndrome, transport_version_unknown,
};
use crate::wire::{Opcode, Packet};

/// Findings that are remembered, to tell each once; more only tells some again.
const ONCE_MAX: usize = 65_536;

/// Rules that were told, and are not told again of the same receiver.
#[derive(Debug, Default)]
pub(crate) struct ToldReceivers(HashSet<(Rule, u8, IpAddr, u32)>);

impl ToldReceivers {
    /// True if it was not told yet.
    pub(crate) fn is_new(&mut self, rule: Rule, opcode: Opcode, receiver: IpAddr, qpn: u32) -> bool {
        let key = match rule.text().once {
            Once::Never => return true,
            Once::ByReceiver => 0,
            Once::ByOpcodeAndReceiver => opcode.0,
        };
        self.0.len() >= ONCE_MAX || self.0.insert((rule, key, receiver, qpn))
    }
}

/// Judges the headers of a packet that has a BTH.
#[inline]
pub(crate) fn judge(packet: &Packet<'_>) -> Option<Broken> {
    let bth = packet.bth?;
    let opcode = bth.opcode();
    transport_version_unknown::check(bth)
        .or_else(|| reserved_opcode::check(opcode))
        .or_else(|| reliable_datagram_used::check(opcode))
        .or_else(|| queue_pair_zero::check(bth))
        .or_else(|| partition_key_invalid::check(bth))
        .or_else(|| payload_unexpected::check(packet, opcode.operation()))
        .or_else(|| payload_too_large::check(packet))
        .or_else(|| {
            let aeth = packet.aeth.filter(|_| opcode.is_response())?;
            reserved_syndrome::check(aeth.syndrome_byte())
        })
}
