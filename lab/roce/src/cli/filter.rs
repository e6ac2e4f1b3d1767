//! Which packets to show: terms that all must hold.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::capture::Record;
use crate::wire::{Frame, Opcode, Packet, Psn};
use crate::{Finding, Message, MessageKind, Names};

/// What a filter looks at.
#[derive(Clone, Copy, Debug)]
pub struct PacketInfo {
    /// Number of the packet in the capture, from 1.
    pub number: u64,
    /// Time in nanoseconds since the capture's first packet.
    pub since_first_ns: u64,
    /// Address of its sender.
    pub source: IpAddr,
    /// Address of its receiver.
    pub destination: IpAddr,
    /// Opcode, when it is known.
    pub opcode: Option<Opcode>,
    /// Kind, of a message.
    pub kind: Option<MessageKind>,
    /// Queue pair numbers that it names: the receiver's, and the sender's when the packet or its message tells it.
    pub qpns: [Option<u32>; 2],
    /// PSN, when it is known.
    pub psn: Option<Psn>,
    /// Whether a rule is broken at it.
    pub has_finding: bool,
}

/// Terms of a filter; without any, everything matches.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    opcode: Option<String>,
    qpn: Option<u32>,
    psn: Option<RangeInclusive<u32>>,
    direction: Option<(String, String)>,
    time_ns: Option<RangeInclusive<u64>>,
    findings: bool,
}

fn number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("{text:?} is no number"))
}

fn range<T: Copy>(
    text: &str,
    least: T,
    most: T,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<RangeInclusive<T>, String> {
    match text.split_once("..") {
        None => parse(text).map(|value| value..=value),
        Some((from, to)) => {
            let from = if from.is_empty() { least } else { parse(from)? };
            let to = if to.is_empty() { most } else { parse(to)? };
            Ok(from..=to)
        }
    }
}

fn seconds(text: &str) -> Result<u64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    if seconds >= 0.0 { Ok((seconds * 1e9) as u64) } else { Err(format!("{text:?} is before the capture")) }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        // Opcodes have spaces in them, so a term goes up to the next one's name.
        let mut terms: Vec<String> = Vec::new();
        for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
            match terms.last_mut() {
                Some(last) if !word.contains('=') && word != "findings" && last.starts_with("opcode=") => {
                    last.push(' ');
                    last.push_str(word);
                }
                _ => terms.push(word.to_owned()),
            }
        }
        for term in &terms {
            match term.split_once('=') {
                None if term == "findings" => filter.findings = true,
                Some(("opcode", words)) => filter.opcode = Some(words.to_ascii_lowercase()),
                Some(("qp", qpn)) => filter.qpn = Some(number(qpn)?),
                Some(("psn", psn)) => filter.psn = Some(range(psn, 0, u32::MAX, number)?),
                Some(("time", time)) => filter.time_ns = Some(range(time, 0, u64::MAX, seconds)?),
                Some(("direction", direction)) => {
                    let (from, to) = direction
                        .split_once('>')
                        .ok_or("a direction is given as FROM>TO, as in client>server")?;
                    filter.direction = Some((from.trim().to_owned(), to.trim().to_owned()));
                }
                _ => {
                    return Err(format!(
                        "unknown term {term:?}: expected opcode=, qp=, psn=, direction=, time= or findings"
                    ));
                }
            }
        }
        Ok(filter)
    }
}

impl Filter {
    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.opcode.is_none()
            && self.qpn.is_none()
            && self.psn.is_none()
            && self.direction.is_none()
            && self.time_ns.is_none()
            && !self.findings
    }

    /// Whether all terms hold.
    pub fn matches(&self, packet: &PacketInfo, names: &Names) -> bool {
        let is_node = |name: &str, address: IpAddr| {
            name.is_empty()
                || name == names.get(address)
                || name.parse::<IpAddr>().is_ok_and(|wanted| wanted == address)
        };
        self.opcode.as_ref().is_none_or(|words| {
            packet.opcode.is_some_and(|opcode| {
                number(words).is_ok_and(|wanted| wanted == u32::from(opcode.0))
                    || opcode.to_string().to_ascii_lowercase().contains(words.as_str())
            }) || packet
                .kind
                .is_some_and(|kind| kind.to_string().to_ascii_lowercase().contains(words.as_str()))
        }) && self.qpn.is_none_or(|qpn| packet.qpns.contains(&Some(qpn)))
            && self.psn.as_ref().is_none_or(|psns| packet.psn.is_some_and(|psn| psns.contains(&psn.value())))
            && self.time_ns.as_ref().is_none_or(|times| times.contains(&packet.since_first_ns))
            && self
                .direction
                .as_ref()
                .is_none_or(|(from, to)| is_node(from, packet.source) && is_node(to, packet.destination))
            && (!self.findings || packet.has_finding)
    }
}

impl PacketInfo {
    /// Of a packet.
    pub(super) fn of_packet(
        record: &Record<'_>,
        packet: &Packet<'_>,
        first_ns: u64,
        has_finding: bool,
    ) -> Self {
        Self {
            number: record.number,
            since_first_ns: record.timestamp_ns.saturating_sub(first_ns),
            source: packet.source,
            destination: packet.destination,
            opcode: packet.opcode(),
            kind: None,
            qpns: [packet.bth.map(|bth| bth.destination_qpn()), packet.deth.map(|deth| deth.source_qpn())],
            psn: packet.bth.map(|bth| bth.psn()),
            has_finding,
        }
    }

    /// Of a finding whose packet is gone: what it tells.
    pub(super) fn of_finding(finding: &Finding, now_ns: u64) -> Self {
        Self {
            number: finding.packet,
            since_first_ns: now_ns,
            source: finding.source,
            destination: finding.destination,
            opcode: None,
            kind: None,
            qpns: [None; 2],
            psn: finding.psn,
            has_finding: true,
        }
    }

    /// Of a message: its first packet.
    pub(super) fn of_message(message: &Message, first_ns: u64, has_finding: bool) -> Self {
        Self {
            number: message.packet_first,
            since_first_ns: message.sent_ns.saturating_sub(first_ns),
            source: message.requester,
            destination: message.responder,
            opcode: None,
            kind: Some(message.kind),
            qpns: [Some(message.responder_qpn), message.requester_qpn],
            psn: Some(message.psn_first),
            has_finding,
        }
    }

    /// Of a record, when it is RoCEv2.
    pub(super) fn of_record(record: &Record<'_>, first_ns: u64, has_finding: bool) -> Option<Self> {
        match record.frame() {
            Frame::Roce(packet) => Some(Self::of_packet(record, &packet, first_ns, has_finding)),
            Frame::NotRoce(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> PacketInfo {
        PacketInfo {
            number: 3,
            since_first_ns: 1_500_000_000,
            source: [198, 51, 100, 2].into(),
            destination: [198, 51, 100, 1].into(),
            opcode: Some(Opcode(0x0c)),
            kind: None,
            qpns: [Some(0x11), None],
            psn: Some(Psn::new(100)),
            has_finding: false,
        }
    }

    #[test]
    fn every_term_must_hold() {
        let names = Names::new().with([198, 51, 100, 1].into(), "server");
        let matches = |text: &str| text.parse::<Filter>().unwrap().matches(&info(), &names);
        for text in [
            "",
            "opcode=read request",
            "opcode=0x0c",
            "opcode=12 qp=17",
            "qp=0x11, psn=100",
            "psn=50..150",
            "psn=..100",
            "direction=198.51.100.2>server",
            "direction=>server time=1..2",
        ] {
            assert!(matches(text), "{text}");
        }
        for text in ["opcode=write", "qp=18", "psn=101..", "direction=server>", "time=..1", "findings"] {
            assert!(!matches(text), "{text}");
        }
    }

    #[test]
    fn a_bad_term_is_named() {
        for text in ["opcod=1", "qp=x", "psn=1..y", "direction=a", "time=-1", "write"] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }
}
