//! Filter of packets: terms that all must hold.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use roce::capture::Record;
use roce::wire::{Frame, Opcode, Packet, Psn};
use roce::{Finding, Message, MessageKind, Names, Report};

/// Properties of a packet that a filter looks at.
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
    /// True if a rule is broken at it.
    pub has_finding: bool,
}

/// A queue pair: its number, or its name in the trace.
#[derive(Clone, Debug)]
enum Qp {
    Number(u32),
    Name(String),
}

/// PSNs: numbers, or distances behind the first one of a node, as the trace has them.
#[derive(Clone, Debug)]
enum Psns {
    Numbers(RangeInclusive<u32>),
    Named(String, RangeInclusive<i64>),
}

/// Terms of a filter as the user wrote them; without any, everything matches.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    opcode: Option<String>,
    qp: Option<Qp>,
    psn: Option<Psns>,
    direction: Option<(String, String)>,
    time_ns: Option<RangeInclusive<u64>>,
    findings: bool,
}

/// Terms, with what their names are in one capture.
#[derive(Debug, Default)]
pub struct Filter {
    terms: Terms,
    /// Packets that the names of queue pairs and PSNs stand for.
    named: Option<HashSet<u64>>,
    has_matched: AtomicBool,
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

/// Opcode words that some opcode or kind of message has; a number.
fn opcode(words: &str) -> Result<String, String> {
    let words = words.to_ascii_lowercase();
    if number(&words).is_ok_and(|number| number <= 0xff) {
        return Ok(words);
    }
    let opcodes = (0..=u8::MAX).map(|byte| Opcode(byte).to_string());
    let kinds = (0..=u8::MAX).filter_map(|byte| MessageKind::of(Opcode(byte))).map(|kind| kind.to_string());
    let known: BTreeSet<String> = opcodes.chain(kinds).map(|known| known.to_ascii_lowercase()).collect();
    if known.iter().any(|known| known.contains(&words)) {
        return Ok(words);
    }
    // The nearest of all runs of as many words.
    let count = words.split(' ').count();
    let runs = known.iter().flat_map(|known| {
        let parts: Vec<&str> = known.split(' ').collect();
        parts.windows(count.min(parts.len())).map(|run| run.join(" ")).collect::<Vec<_>>()
    });
    let nearest =
        runs.max_by(|a, b| strsim::jaro_winkler(a, &words).total_cmp(&strsim::jaro_winkler(b, &words)));
    Err(format!("no opcode is called {words:?}: the nearest is {:?}", nearest.unwrap_or_default()))
}

/// `100..200`, or as in the trace `client+1`, `client+1..4`, `client+1..`.
fn psns(text: &str) -> Result<Psns, String> {
    let (from, to) = text.split_once("..").map_or((text, None), |(from, to)| (from, Some(to)));
    let Some((node, first)) = from.rsplit_once(['+', '-']).filter(|(node, _)| !node.is_empty()) else {
        return range(text, 0, u32::MAX, number).map(Psns::Numbers);
    };
    let distance = |text: &str| {
        let digits = text.strip_prefix(node).unwrap_or(text);
        digits.parse::<i64>().map_err(|_| format!("{text:?} is no distance: give {node}+1..4"))
    };
    let sign = from.get(node.len()..).unwrap_or_default();
    let from =
        distance(sign).map_err(|_| format!("{first:?} is no distance from the first PSN of {node}"))?;
    let to = match to {
        None => from,
        Some("") => i64::MAX,
        Some(to) => distance(to)?,
    };
    Ok(Psns::Named(node.to_owned(), from..=to))
}

fn seconds(text: &str) -> Result<u64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    if seconds >= 0.0 { Ok((seconds * 1e9) as u64) } else { Err(format!("{text:?} is before the capture")) }
}

impl FromStr for Terms {
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
                Some(("opcode", words)) => filter.opcode = Some(opcode(words)?),
                Some(("qp", name)) if name.contains('.') => filter.qp = Some(Qp::Name(name.to_owned())),
                Some(("qp", qpn)) => filter.qp = Some(Qp::Number(number(qpn)?)),
                Some(("psn", psn)) => filter.psn = Some(psns(psn)?),
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

impl Terms {
    /// True if they name what only the whole capture tells.
    pub(super) fn has_names(&self) -> bool {
        matches!(self.qp, Some(Qp::Name(_))) || matches!(self.psn, Some(Psns::Named(..)))
    }
}

impl Filter {
    /// Terms without such names.
    pub(super) fn new(terms: Terms) -> Self {
        Self { terms, ..Self::default() }
    }

    /// Looks the names up in the trace of a capture.
    ///
    /// # Errors
    /// The capture has no such queue pair, or no such node; says which it has.
    pub(super) fn named(terms: Terms, report: &Report) -> Result<Self, String> {
        let packets = report.packet_names();
        let has_qp =
            |wanted: &str| packets.iter().any(|packet| packet.queue_pairs.iter().any(|qp| qp == wanted));
        if let Some(Qp::Name(wanted)) = &terms.qp
            && !has_qp(wanted)
        {
            let known: BTreeSet<&str> =
                packets.iter().flat_map(|packet| &packet.queue_pairs).map(String::as_str).collect();
            return Err(format!("no queue pair {wanted:?}: there are {}", list(&known)));
        }
        if let Some(Psns::Named(wanted, _)) = &terms.psn
            && !packets.iter().any(|packet| packet.psn.as_ref().is_some_and(|(node, _)| node == wanted))
        {
            let known: BTreeSet<&str> = packets
                .iter()
                .filter_map(|packet| packet.psn.as_ref())
                .map(|(node, _)| node.as_str())
                .collect();
            return Err(format!("no PSN of {wanted:?}: there are some of {}", list(&known)));
        }
        let named = packets.into_iter().filter(|packet| {
            let is_qp = match &terms.qp {
                Some(Qp::Name(wanted)) => packet.queue_pairs.contains(wanted),
                _ => true,
            };
            let is_psn = match &terms.psn {
                Some(Psns::Named(wanted, distances)) => {
                    packet.psn.as_ref().is_some_and(|(node, distance)| {
                        node == wanted && distances.contains(&i64::from(*distance))
                    })
                }
                _ => true,
            };
            is_qp && is_psn
        });
        let named = Some(named.map(|packet| packet.number).collect());
        Ok(Self { terms, named, has_matched: AtomicBool::new(false) })
    }

    /// True if everything matches.
    pub fn is_empty(&self) -> bool {
        let Terms { opcode, qp, psn, direction, time_ns, findings } = &self.terms;
        opcode.is_none()
            && qp.is_none()
            && psn.is_none()
            && direction.is_none()
            && time_ns.is_none()
            && !findings
    }

    /// True if terms are set and no packet so far matched them (`findings` aside).
    pub fn is_in_vain(&self) -> bool {
        !self.is_empty() && !self.has_matched.load(Ordering::Relaxed)
    }

    /// True if all terms hold; `names` are those of the nodes.
    pub fn matches(&self, packet: &PacketInfo, names: &Names) -> bool {
        let is_node = |name: &str, address: IpAddr| {
            name.is_empty()
                || name == names.get(address)
                || name.parse::<IpAddr>().is_ok_and(|wanted| wanted == address)
        };
        let terms = &self.terms;
        let is_match = terms.opcode.as_ref().is_none_or(|words| {
            packet.opcode.is_some_and(|opcode| {
                number(words).is_ok_and(|wanted| wanted == u32::from(opcode.0))
                    || opcode.to_string().to_ascii_lowercase().contains(words.as_str())
            }) || packet
                .kind
                .is_some_and(|kind| kind.to_string().to_ascii_lowercase().contains(words.as_str()))
        }) && match &terms.qp {
            Some(Qp::Number(qpn)) => packet.qpns.contains(&Some(*qpn)),
            _ => true,
        } && match &terms.psn {
            Some(Psns::Numbers(psns)) => packet.psn.is_some_and(|psn| psns.contains(&psn.value())),
            _ => true,
        } && self.named.as_ref().is_none_or(|named| named.contains(&packet.number))
            && terms.time_ns.as_ref().is_none_or(|times| times.contains(&packet.since_first_ns))
            && terms
                .direction
                .as_ref()
                .is_none_or(|(from, to)| is_node(from, packet.source) && is_node(to, packet.destination));
        if is_match {
            self.has_matched.store(true, Ordering::Relaxed);
        }
        is_match && (!terms.findings || packet.has_finding)
    }
}

fn list(known: &BTreeSet<&str>) -> String {
    known.iter().copied().collect::<Vec<_>>().join(", ")
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

    /// Of a frame, when it is RoCE.
    pub(super) fn of_frame(
        record: &Record<'_>,
        frame: &Frame<'_>,
        first_ns: u64,
        has_finding: bool,
    ) -> Option<Self> {
        frame.packet().map(|packet| Self::of_packet(record, packet, first_ns, has_finding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roce::Analysis;
    use roce::synth::Pair;

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
        let matches = |text: &str| Filter::new(text.parse().unwrap()).matches(&info(), &names);
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
        for text in ["opcod=1", "qp=x", "psn=1..y", "psn=client+x", "direction=a", "time=-1", "write"] {
            assert!(text.parse::<Terms>().is_err(), "{text}");
        }
        for (text, nearest) in [
            ("opcode=wriet", "write"),
            ("opcode=read responce last", "read response last"),
            ("opcode=sned", "send"),
        ] {
            let error = text.parse::<Terms>().unwrap_err();
            assert!(error.ends_with(&format!("the nearest is {nearest:?}")), "{error}");
        }
        assert!("opcode=300".parse::<Terms>().is_err());
    }

    #[test]
    fn names_of_the_trace_stand_for_its_packets() {
        let frames = Pair::new(1).write_then_read();
        let mut analysis = Analysis::new(Names::new().with([198, 51, 100, 2].into(), "client"));
        for (at, data) in frames.iter().enumerate() {
            analysis.push(&Record::ethernet(at as u64 + 1, 0, data));
        }
        let report = analysis.finish();
        let numbers = |text: &str| {
            let filter = Filter::named(text.parse().unwrap(), &report).unwrap();
            let mut numbers: Vec<u64> = filter.named.unwrap().into_iter().collect();
            numbers.sort_unstable();
            numbers
        };
        assert_eq!(numbers("psn=client+0"), [4, 5]);
        assert_eq!(numbers("psn=client+1..2"), [6, 7, 8]);
        assert_eq!(numbers("psn=client+2.. qp=client.qp1"), [8, 9, 10]);
        assert_eq!(numbers("qp=client.qp1"), [4, 5, 6, 7, 8, 9, 10]);
        let error = |text: &str| Filter::named(text.parse().unwrap(), &report).unwrap_err();
        assert_eq!(error("qp=server.qp1"), "no queue pair \"server.qp1\": there are client.qp1, node1.qp1");
        assert_eq!(error("psn=server+1"), "no PSN of \"server\": there are some of client");
    }
}
