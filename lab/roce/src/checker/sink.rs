//! A packet on its way through the rules, and where what they find goes.

use crate::broken::Broken;
use crate::checker::adverts::Adverts;
use crate::checker::capture_faults::CaptureFaults;
use crate::flow::{ConnectionId, Side, StreamId};
use crate::message::MessageOutcome;
use crate::message_log::{MessageId, MessageLog};
use crate::profile::Profile;
use crate::stats::Stats;
use crate::wire::{Bth, Packet, Psn};

/// Messages between requests and answers that all streams together may remember; more only loses the oldest of a stream.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) left: usize,
    /// Requests that were forgotten before their answer.
    pub(crate) forgotten: u64,
}

/// One packet on its way through the rules.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub(crate) number: u64,
    pub(crate) timestamp_ns: u64,
    pub(crate) packet: &'a Packet<'a>,
    pub(crate) bth: Bth<'a>,
    pub(crate) flow: ConnectionId,
    /// True if this is where its sender sent it, not a copy or a late delivery.
    pub(crate) is_sent: bool,
    /// True if the capture tells the fates of its packets, so that what it lacks was not there.
    pub(crate) is_told: bool,
    /// True if it is the First that tells the path MTU.
    pub(crate) tells_mtu: bool,
}

/// A packet that its receiver discards, and that leaves a gap of which no other finding speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiscardedPacket {
    pub(crate) psn: Option<Psn>,
    pub(crate) number: u64,
    /// True if another packet shows that it is missing; an acknowledgement may be without a trace.
    pub(crate) leaves_gap: bool,
}

/// Destination of messages and findings, lent for one packet.
pub(crate) struct Sink<'a> {
    pub(crate) messages: &'a mut MessageLog,
    pub(crate) findings: &'a mut Vec<Broken>,
    pub(crate) discarded: &'a mut Vec<DiscardedPacket>,
    pub(crate) budget: &'a mut Budget,
    pub(crate) stats: &'a mut Stats,
    pub(crate) capture: &'a mut CaptureFaults,
    pub(crate) adverts: &'a mut Adverts,
    pub(crate) profile: Profile,
    /// Number of the packet, and of its connection.
    pub(crate) number: u64,
    pub(crate) flow: ConnectionId,
    /// Side whose requests it is, or answers.
    pub(crate) requester: Side,
}

/// DiscardedPacket packets whose gaps are still to come.
const DISCARDED_MAX: usize = 16;

/// A discarded packet leaves its gap within this many packets.
const DISCARDED_FOR: u64 = 4_096;

/// Remembers a discarded packet, and forgets those whose gap did not come.
pub(crate) fn remember(all: &mut Vec<DiscardedPacket>, new: DiscardedPacket) {
    all.retain(|discarded| discarded.number + DISCARDED_FOR > new.number);
    if all.len() >= DISCARDED_MAX {
        all.remove(0);
    }
    all.push(new);
}

impl Sink<'_> {
    /// The requests of that side of the packet's connection.
    pub(super) fn stream(&self, requester: Side) -> StreamId {
        StreamId { connection: self.flow, requester }
    }

    /// Reports a broken rule.
    pub(super) fn report(&mut self, broken: Broken) {
        self.findings.push(broken);
    }

    pub(super) fn end(&mut self, message: MessageId, outcome: MessageOutcome, timestamp_ns: u64) {
        if let Some(message) = self.messages.end(message, outcome, Some(timestamp_ns)) {
            self.stats.ended(message);
            if let (true, Some(va), Some(rkey)) = (outcome.is_done(), message.va, message.rkey) {
                self.adverts.take(message.responder, va, rkey);
            }
        }
    }

    /// Remembers a request that must have been there, at this PSN.
    pub(super) fn discard(&mut self, psn: Option<Psn>) {
        remember(self.discarded, DiscardedPacket { psn, number: self.number, leaves_gap: true });
    }

    /// True if a discarded packet can be the one that is missing; it is used up.
    pub(super) fn excuses(&mut self, psn: Psn, is_single: bool) -> bool {
        let mut gaps = self.discarded.iter().enumerate().filter(|(_, discarded)| discarded.leaves_gap);
        let exact = gaps.clone().find(|(_, discarded)| discarded.psn == Some(psn));
        let found = exact.or(gaps.next().filter(|_| is_single)).map(|(at, _)| at);
        found.map(|at| self.discarded.remove(at)).is_some()
    }
}
