//! Every kind of change, with what it must lead to.

use roce::Rule;
use roce::wire::{Operation, Place, Psn};

use crate::spot::{Entry, Spot, packet, seal, set_lengths};

/// Required effect of a change.
pub(crate) enum Expect {
    /// One of these rules, where the changed packet or its neighbour is named.
    Rules(&'static [Rule]),
    Silence,
    /// Legal all the same, or out of sight: not counted.
    Equivalent,
}

use Expect::{Equivalent, Rules, Silence};

pub(crate) type Change = fn(&Spot<'_>) -> Option<(Vec<Entry>, Expect)>;

fn changed(spot: &Spot<'_>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<Entry> {
    let mut entries = spot.entries.to_vec();
    let entry = &mut entries[spot.at];
    change(&mut entry.data);
    entry.original_length = entry.data.len();
    entries
}

/// A request that its answers prove is the recorder's loss, or another order of its.
const GAP: &[Rule] =
    &[Rule::RequestPsnGap, Rule::AckForUnsentPsn, Rule::CaptureLostPackets, Rule::CaptureReordered];
/// An answer that its requester got all the same is the recorder's loss, or another order of its.
const READ_GAP: &[Rule] =
    &[Rule::ReadResponsePsnGap, Rule::RequestNotAnswered, Rule::CaptureLostPackets, Rule::CaptureReordered];
const ATOMIC_GAP: &[Rule] =
    &[Rule::AtomicAckMissing, Rule::RequestNotAnswered, Rule::CaptureLostPackets, Rule::CaptureReordered];

/// Required effect of a packet that does not come, or not as itself.
fn missing(spot: &Spot<'_>) -> Expect {
    if !spot.is_connected() {
        let message = |entry: &Entry| {
            let mad = packet(entry)?.mad()?.ok()?;
            let message = mad.message().ok()?;
            Some((mad.attribute_id(), message.local_comm_id(), message.remote_comm_id()))
        };
        let own = message(&spot.entries[spot.at]);
        let is_answered =
            spot.entries.iter().skip(spot.at).filter_map(message).any(|(id, _, _)| {
                matches!((own.map(|own| own.0), id), (Some(0x13), 0x14) | (Some(0x15), 0x16))
            });
        // Both sides may ask to disconnect at once.
        let is_alone = !spot
            .entries
            .iter()
            .filter_map(message)
            .any(|(id, local, remote)| own.is_some_and(|own| own == (id, remote, local)));
        return if is_answered && is_alone { Rules(&[Rule::CmOutOfSequence]) } else { Silence };
    }
    let is_first = spot.previous().is_none();
    let has_later = spot.next().is_some_and(|(_, next)| next.psn().distance(spot.bth.psn()) > 0);
    match spot.op() {
        Operation::Acknowledge if spot.next().is_some() => Silence,
        Operation::Acknowledge if spot.has_cm => Rules(&[Rule::RequestNotAnswered]),
        Operation::ReadResponse if spot.has_cm || has_later => Rules(READ_GAP),
        Operation::AtomicAcknowledge if spot.has_cm || has_later => Rules(ATOMIC_GAP),
        _ if spot.opcode.is_response() => Equivalent,
        _ if is_first && !spot.has_cm => Equivalent,
        _ if spot.next().is_none() && spot.answer().is_none() => Equivalent,
        _ => Rules(GAP),
    }
}

fn drop_it(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    let mut entries = spot.entries.to_vec();
    // Its place stays, so that the numbers of the others do: the frame becomes something else.
    entries[spot.at].data[12..14].copy_from_slice(&[0x88, 0xcc]);
    Some((entries, missing(spot)))
}

fn duplicate(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    let mut entries = spot.entries.to_vec();
    entries.insert(spot.at, spot.entries[spot.at].clone());
    Some((entries, Silence))
}

fn swap(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    let (next, _) = spot.next()?;
    if next != spot.at + 1 || !spot.is_connected() {
        return None;
    }
    let mut entries = spot.entries.to_vec();
    entries.swap(spot.at, next);
    let is_first = (spot.previous().is_none() && !spot.has_cm) || spot.is_early();
    let expect = match spot.op() {
        Operation::Acknowledge => Silence,
        Operation::ReadResponse => Rules(READ_GAP),
        Operation::AtomicAcknowledge => Rules(ATOMIC_GAP),
        _ if is_first => Equivalent,
        _ => Rules(GAP),
    };
    Some((entries, expect))
}

fn with_psn(spot: &Spot<'_>, psn: Psn) -> Vec<Entry> {
    changed(spot, |data| {
        data[51..54].copy_from_slice(&psn.value().to_be_bytes()[1..]);
        seal(data);
    })
}

fn psn_plus(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    let expect = match spot.op() {
        _ if !spot.is_connected() => Silence,
        Operation::Acknowledge if spot.next_psn_is_sent() => return None,
        Operation::Acknowledge if spot.previous().is_none() && !spot.has_cm => Equivalent,
        Operation::Acknowledge => Rules(&[Rule::AckForUnsentPsn]),
        Operation::ReadResponse => {
            Rules(&[Rule::ReadResponsePsnGap, Rule::AckForUnsentPsn, Rule::ResponseOfWrongKind])
        }
        Operation::AtomicAcknowledge => {
            Rules(&[Rule::AtomicAckMissing, Rule::AckForUnsentPsn, Rule::MsnNotAdvanced])
        }
        _ if spot.previous().is_none() && !spot.has_cm => Equivalent,
        Operation::ReadRequest if spot.is_early() => Equivalent,
        _ => Rules(GAP),
    };
    Some((with_psn(spot, spot.bth.psn().plus(1)), expect))
}

fn psn_minus(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    let entries = with_psn(spot, spot.bth.psn().plus(Psn::new(u32::MAX).value()));
    let expect = match (spot.op(), missing(spot)) {
        // The message that the MSN counts is not covered any more, unless it was in the middle of one.
        (Operation::Acknowledge, _) if spot.is_connected() => {
            let known = spot.has_cm || spot.previous().is_some();
            if known {
                Rules(&[Rule::MsnBeyondCompleted, Rule::RequestNotAnswered, Rule::AckForUnsentPsn])
            } else {
                Equivalent
            }
        }
        _ if !spot.is_connected() => Silence,
        (_, Rules(_)) if spot.opcode.is_request() => Rules(&[
            Rule::RequestPsnGap,
            Rule::AckForUnsentPsn,
            Rule::CaptureLostPackets,
            Rule::RetransmissionDiffers,
            Rule::RequestBeforeFirstPsn,
        ]),
        (_, Rules(_)) => Rules(&[
            Rule::ReadResponsePsnGap,
            Rule::AtomicAckMissing,
            Rule::RequestNotAnswered,
            Rule::ResponseOfWrongKind,
            Rule::MsnBeyondCompleted,
            Rule::AtomicReplayDiffers,
            Rule::AckForUnsentPsn,
        ]),
        (_, expect) => expect,
    };
    Some((entries, expect))
}

fn flip_icrc(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    let end = 14
        + usize::from(u16::from_be_bytes([spot.entries[spot.at].data[16], spot.entries[spot.at].data[17]]));
    Some((changed(spot, |data| data[end - 1] ^= 0x10), Rules(&[Rule::IcrcMismatch])))
}

fn flip_payload(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    let found = packet(&spot.entries[spot.at])?;
    let at = found.payload_offset + found.payload.len() / 2;
    (!found.payload.is_empty())
        .then(|| (changed(spot, |data| data[at] ^= 1), Rules(&[Rule::IcrcMismatch] as &[Rule])))
}

fn pad_bit(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    let found = packet(&spot.entries[spot.at])?;
    let at = found.payload_offset + found.payload.len();
    (!found.pad.is_empty()).then(|| {
        let change = |data: &mut Vec<u8>| {
            data[at] |= 1;
            seal(data);
        };
        (changed(spot, change), Rules(&[Rule::PadNotZero] as &[Rule]))
    })
}

fn reth_length(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    let reth = packet(&spot.entries[spot.at])?.reth?;
    let change = |data: &mut Vec<u8>| {
        data[66..70].copy_from_slice(&(reth.dma_length() + 4).to_be_bytes());
        seal(data);
    };
    let rules: &[Rule] = match spot.op() {
        Operation::ReadRequest => {
            &[Rule::LengthMismatch, Rule::OpcodeOutOfSequence, Rule::RequestPsnGap, Rule::ReadResponsePsnGap]
        }
        _ => &[Rule::LengthMismatch],
    };
    Some((changed(spot, change), Rules(rules)))
}

fn middle_to_last(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    (spot.opcode.place() == Place::Middle && spot.op() != Operation::ReadResponse).then(|| {
        let change = |data: &mut Vec<u8>| {
            data[42] += 1;
            seal(data);
        };
        let rules: &[Rule] = match spot.op() {
            Operation::Write => &[Rule::LengthMismatch],
            _ => &[Rule::OpcodeOutOfSequence, Rule::MsnNotAdvanced],
        };
        (changed(spot, change), Rules(rules))
    })
}

fn last_to_middle(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    (spot.opcode.place() == Place::Last && spot.opcode.is_request()).then(|| {
        let change = |data: &mut Vec<u8>| {
            data[42] -= 1;
            seal(data);
        };
        let rules: &[Rule] = &[Rule::PathMtuViolated, Rule::OpcodeOutOfSequence, Rule::MsnBeyondCompleted];
        let is_whole =
            packet(&spot.entries[spot.at]).is_some_and(|found| found.payload.len().is_power_of_two());
        let is_seen = !is_whole || spot.next().is_some();
        (changed(spot, change), if is_seen { Rules(rules) } else { Equivalent })
    })
}

fn strip_immediate(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    spot.opcode.has_immediate().then(|| {
        let found = packet(&spot.entries[spot.at]).unwrap();
        let at = found.payload_offset - 4;
        let change = |data: &mut Vec<u8>| {
            data.drain(at..at + 4);
            set_lengths(data);
            seal(data);
        };
        let expect = if spot.op() == Operation::Write { Rules(&[Rule::LengthMismatch]) } else { Equivalent };
        (changed(spot, change), expect)
    })
}

/// Adds to the MSN of an answer; `None` for what has none.
fn with_msn(spot: &Spot<'_>, add: u32) -> Option<Vec<Entry>> {
    let aeth = packet(&spot.entries[spot.at])?.aeth?;
    Some(changed(spot, |data| {
        data[55..58].copy_from_slice(&Psn::new(aeth.msn().wrapping_add(add)).value().to_be_bytes()[1..]);
        seal(data);
    }))
}

/// Without connection management the first certain number teaches the count, and a wrong one shows at the next.
const EITHER_MSN: &[Rule] = &[Rule::MsnNotAdvanced, Rule::MsnBeyondCompleted];

fn msn_frozen(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    let entries = with_msn(spot, u32::MAX)?;
    let is_first = spot.previous().is_none();
    let expect = match (spot.op(), spot.opcode.place()) {
        // A READ may count when its last response is sent.
        (Operation::ReadResponse, Place::First) => Equivalent,
        // The first number of a capture without connection management is the only one that it has; later ones differ then.
        _ if !spot.has_cm && (is_first || spot.op() == Operation::ReadResponse) => Equivalent,
        _ if !spot.has_cm => Rules(EITHER_MSN),
        _ => Rules(&[Rule::MsnNotAdvanced]),
    };
    Some((entries, expect))
}

fn msn_ahead(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    let entries = with_msn(spot, 1)?;
    let is_first = spot.previous().is_none();
    let is_behind = spot.op() != Operation::Acknowledge && spot.next_psn_is_sent();
    Some((
        entries,
        if (!spot.has_cm && is_first) || is_behind || spot.op() == Operation::ReadResponse {
            Equivalent
        } else if !spot.has_cm {
            Rules(EITHER_MSN)
        } else {
            Rules(&[Rule::MsnBeyondCompleted])
        },
    ))
}

const NAK_RULES: &[Rule] = &[
    Rule::NakWithoutGap,
    Rule::NakForAcknowledgedPsn,
    Rule::NakWithoutRetransmission,
    Rule::MsnBeyondCompleted,
    Rule::TrafficAfterFatalNak,
];

fn with_syndrome(spot: &Spot<'_>, syndrome: u8) -> Option<(Vec<Entry>, Expect)> {
    let known = spot.has_cm || spot.previous().is_some();
    let is_followed = spot.next().is_some();
    (spot.is_ack() && spot.is_connected()).then(|| {
        let change = |data: &mut Vec<u8>| {
            data[54] = syndrome;
            seal(data);
        };
        (changed(spot, change), if known || is_followed { Rules(NAK_RULES) } else { Equivalent })
    })
}

fn ack_to_sequence_nak(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    with_syndrome(spot, 0x60)
}

fn ack_to_rnr_nak(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    with_syndrome(spot, 0x2e)
}

fn ack_to_access_nak(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    with_syndrome(spot, 0x62)
}

fn cut_by_snap_length(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    let mut entries = spot.entries.to_vec();
    let length = entries[spot.at].data.len();
    entries[spot.at].data.truncate((length / 2).max(74).min(length));
    Some((entries, Silence))
}

fn cut_on_the_wire(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    let entries = changed(spot, |data| data.truncate(data.len() - 3));
    Some((entries, Rules(&[Rule::MalformedPacket])))
}

fn vlan(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    Some((changed(spot, |data| drop(data.splice(12..12, [0x81, 0, 0, 5]))), Silence))
}

fn trailing_fcs(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    Some((changed(spot, |data| data.extend([0xde, 0xad, 0xbe, 0xef])), Silence))
}

fn hop(spot: &Spot<'_>) -> Option<(Vec<Entry>, Expect)> {
    let change = |data: &mut Vec<u8>| {
        data[15] |= 3;
        data[22] -= 1;
        data[24..26].fill(0);
        data[46] |= 0x80;
    };
    Some((changed(spot, change), Silence))
}

pub(crate) const CHANGES: [(&str, Change); 22] = [
    ("drop", drop_it),
    ("duplicate", duplicate),
    ("swap with the next", swap),
    ("PSN + 1", psn_plus),
    ("PSN - 1", psn_minus),
    ("flipped ICRC bit", flip_icrc),
    ("flipped payload bit", flip_payload),
    ("pad bit set", pad_bit),
    ("RETH length + 4", reth_length),
    ("Middle to Last", middle_to_last),
    ("Last to Middle", last_to_middle),
    ("ImmDt stripped", strip_immediate),
    ("MSN frozen", msn_frozen),
    ("MSN + 1", msn_ahead),
    ("ACK to NAK PSN sequence error", ack_to_sequence_nak),
    ("ACK to RNR NAK", ack_to_rnr_nak),
    ("ACK to NAK remote access error", ack_to_access_nak),
    ("cut by the snap length", cut_by_snap_length),
    ("cut on the wire", cut_on_the_wire),
    ("VLAN tag", vlan),
    ("trailing FCS", trailing_fcs),
    ("a router's TTL, ECN and FECN", hop),
];
