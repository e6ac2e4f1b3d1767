//! Rules that a packet's headers are held to, whatever came before.
//!
//! In: a packet. Out: the rule that its BTH, its AETH or its payload breaks. Such a packet is taken all the same: whoever sends one sends many, and the rules
//! that follow speak of other things. What a sender does in every packet is told once for each receiver ([`Once`]).

use std::collections::HashSet;
use std::net::IpAddr;

use crate::checker::broken::Broken;
use crate::finding::Evidence;
use crate::flow::Connection;
use crate::rule::{Rule, Severity};
use crate::wire::{Bth, NakCode, Opcode, Operation, Packet, Syndrome, Transport};

/// Largest path MTU in bytes.
const PAYLOAD_MAX_BYTES: usize = 4_096;

/// Bits of a P_Key that name the partition.
const PARTITION: u16 = 0x7fff;

/// Findings that are remembered, to tell each once; more only tells some again.
const ONCE_MAX: usize = 65_536;

/// What was told and is not told again.
#[derive(Debug, Default)]
pub(crate) struct Once(HashSet<(Rule, u8, IpAddr, u32)>);

impl Once {
    /// Whether it was not told yet.
    pub(crate) fn is_new(&mut self, rule: Rule, opcode: Opcode, receiver: IpAddr, qpn: u32) -> bool {
        let key = match rule {
            Rule::ReservedOpcode | Rule::ReliableDatagramUsed => opcode.0,
            Rule::TransportVersionUnknown | Rule::QueuePairZero | Rule::PartitionKeyInvalid => 0,
            Rule::PartitionKeyDiffers | Rule::CnpTooFrequent => 0,
            _ => return true,
        };
        self.0.len() >= ONCE_MAX || self.0.insert((rule, key, receiver, qpn))
    }
}

/// Whether an operation has headers and no payload.
const fn is_bare(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::ReadRequest
            | Operation::Acknowledge
            | Operation::AtomicAcknowledge
            | Operation::CmpSwap
            | Operation::FetchAdd
            | Operation::Flush
    )
}

/// Judges the headers of a packet that has a BTH.
#[inline]
pub(crate) fn judge(packet: &Packet<'_>) -> Option<Broken> {
    let bth = packet.bth?;
    let opcode = bth.opcode();
    let length = packet.payload_length_bytes;
    let is_usual = opcode.is_known()
        && opcode.transport() != Transport::Rd
        && bth.transport_version() == 0
        && bth.destination_qpn() != 0
        && bth.p_key() & PARTITION != 0
        && length <= PAYLOAD_MAX_BYTES
        && (length == 0 || !is_bare(opcode.operation()));
    if is_usual {
        return packet.aeth.filter(|_| opcode.is_response()).and_then(|aeth| syndrome(aeth.syndrome_byte()));
    }
    unusual(packet, opcode)
}

#[cold]
fn unusual(packet: &Packet<'_>, opcode: Opcode) -> Option<Broken> {
    let bth = packet.bth?;
    let number = |what, expected, got: u64| Evidence::Number { what, expected, got };
    let broken = |rule, evidence| Some(Broken::new(rule, evidence));
    if bth.transport_version() != 0 {
        let got = u64::from(bth.transport_version());
        return broken(Rule::TransportVersionUnknown, number("transport version", 0, got));
    }
    if !opcode.is_known() {
        let is_vendor = opcode.transport() == Transport::Vendor;
        let expected = if is_vendor { "an opcode of the standard" } else { "an opcode with a meaning" };
        return Some(Broken {
            rule: Rule::ReservedOpcode,
            severity: if is_vendor { Severity::Warning } else { Severity::Error },
            evidence: Evidence::Opcode { expected, got: opcode },
            at: None,
        });
    }
    if opcode.transport() == Transport::Rd {
        let evidence = Evidence::Opcode { expected: "no reliable datagram", got: opcode };
        return broken(Rule::ReliableDatagramUsed, evidence);
    }
    if bth.destination_qpn() == 0 {
        return broken(
            Rule::QueuePairZero,
            Evidence::Words { expected: "a queue pair from 1 on", got: "queue pair 0" },
        );
    }
    if bth.p_key() & PARTITION == 0 {
        let got = u64::from(bth.p_key());
        return broken(Rule::PartitionKeyInvalid, number("a partition such as", 0xffff, got));
    }
    let got = packet.payload_length_bytes as u64;
    if is_bare(opcode.operation()) {
        return broken(Rule::PayloadUnexpected, Evidence::Payload { most: 0, got });
    }
    broken(Rule::PayloadTooLarge, Evidence::Payload { most: PAYLOAD_MAX_BYTES as u64, got })
}

/// Holds the partition of a packet against that of its connection.
#[inline]
pub(crate) fn judge_partition(connection: &Connection, bth: Bth<'_>) -> Option<Broken> {
    let expected = connection.p_key?;
    let got = bth.p_key();
    let is_other = (expected ^ got) & PARTITION != 0 && got & PARTITION != 0;
    is_other.then(|| {
        let (expected, got) = (u64::from(expected), u64::from(got));
        Broken::new(Rule::PartitionKeyDiffers, Evidence::Number { what: "P_Key", expected, got })
    })
}

/// Whether an answer says nothing that has a meaning.
pub(crate) fn is_reserved(syndrome: Syndrome) -> bool {
    matches!(syndrome, Syndrome::Unknown(_) | Syndrome::Nak(NakCode::Unknown(_) | NakCode::InvalidRdRequest))
}

fn syndrome(byte: u8) -> Option<Broken> {
    is_reserved(Syndrome::from_byte(byte))
        .then(|| Broken::new(Rule::ReservedSyndrome, Evidence::Syndrome(byte)))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use crate::rule::{Rule, Severity};
    use crate::synth::{FrameBuilder, Pair};
    use crate::wire::{Frame, LinkType, Opcode};

    fn found(frame: &[u8]) -> Option<(Rule, Severity)> {
        let Frame::Roce(packet) = Frame::decode(LinkType::ETHERNET, frame) else { panic!() };
        super::judge(&packet).map(|broken| (broken.rule, broken.severity))
    }

    fn send(opcode: u8, qpn: u32) -> FrameBuilder {
        let address = |last| IpAddr::from([198, 51, 100, last]);
        FrameBuilder::new(address(1), address(2), Opcode(opcode)).destination_qpn(qpn).payload(&[7; 8])
    }

    fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    }

    #[test]
    fn an_opcode_without_a_meaning_and_its_neighbours() {
        assert_eq!(found(&send(0x04, 17).build()), None);
        for reserved in [0x15, 0x2c, 0x80] {
            assert_eq!(found(&send(reserved, 17).build()), Some((Rule::ReservedOpcode, Severity::Error)));
        }
        assert_eq!(found(&send(0xc0, 17).build()), Some((Rule::ReservedOpcode, Severity::Warning)));
        assert_eq!(found(&send(0x44, 17).build()), Some((Rule::ReliableDatagramUsed, Severity::Warning)));
    }

    #[test]
    fn a_transport_version_queue_pair_or_partition_that_no_receiver_takes() {
        let tver = with(send(0x04, 17).build(), 43, &[0x01]);
        assert_eq!(found(&tver), Some((Rule::TransportVersionUnknown, Severity::Error)));
        assert_eq!(found(&send(0x04, 0).build()), Some((Rule::QueuePairZero, Severity::Error)));
        assert_eq!(found(&send(0x04, 1).build()), None);
        let p_key = |high: u8| with(send(0x04, 17).build(), 44, &[high, 0]);
        assert_eq!(found(&p_key(0x80)), Some((Rule::PartitionKeyInvalid, Severity::Error)));
        assert_eq!(found(&p_key(0x81)), None, "another partition");
    }

    #[test]
    fn a_payload_where_none_belongs_or_beyond_every_path_mtu() {
        let pair = Pair::new(1);
        let ack = pair.response(0x11, 0).aeth(0x1f, 1);
        assert_eq!(found(&ack.clone().build()), None);
        assert_eq!(found(&ack.payload(&[1; 4]).build()), Some((Rule::PayloadUnexpected, Severity::Error)));
        let read = pair.request(0x0c, 0).reth(0, 1, 8);
        assert_eq!(found(&read.clone().build()), None);
        assert_eq!(found(&read.payload(&[1; 8]).build()), Some((Rule::PayloadUnexpected, Severity::Error)));
        let of = |bytes| found(&pair.request(0x04, 0).payload(&vec![1; bytes]).build());
        assert_eq!([of(4_096), of(4_097)], [None, Some((Rule::PayloadTooLarge, Severity::Error))]);
    }

    #[test]
    fn a_syndrome_without_a_meaning() {
        let of = |syndrome| found(&Pair::new(1).response(0x11, 0).aeth(syndrome, 1).build());
        for known in [0x00, 0x1f, 0x20, 0x3f, 0x60, 0x63] {
            assert_eq!(of(known), None, "{known:#x}");
        }
        for reserved in [0x45, 0x64, 0x65, 0x7f, 0x80, 0xff] {
            assert_eq!(of(reserved), Some((Rule::ReservedSyndrome, Severity::Error)), "{reserved:#x}");
        }
    }
}
