//! Packets while they pass, a line each: names and PSN distances are the trace's, as far as the packets before tell them.
//!
//! In: packets in the order in which they are sent. Out: [`LivePacket`]s. Nothing is kept but connections, in bounded memory.

use std::fmt;

use anstyle::{AnsiColor, Style};

use roce::flow::Tracker;
use roce::wire::{Icrc, Packet, Syndrome};
use roce::{Fate, Names};

/// Connections that are followed at a time.
const CONNECTIONS_MAX: usize = 131_072;

/// A packet in columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LivePacket {
    /// Number in the capture, from 1.
    pub number: u64,
    /// Nanoseconds since the first packet of all.
    pub since_first_ns: i64,
    /// Nanoseconds since the packet before.
    pub since_before_ns: i64,
    /// Sender's and receiver's queue pair: `client.qp1`.
    pub ends: [String; 2],
    /// Name of the packet: `RC RDMA WRITE Only`, `CM REQ`.
    pub words: String,
    /// PSN, `client+3`; empty where it has none.
    pub psn: String,
    /// Payload in bytes.
    pub payload_bytes: usize,
    /// Everything else, in words.
    pub meaning: String,
    /// Kind, which has a colour.
    pub kind: LiveKind,
}

/// Kind of a packet as far as a reader looks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LiveKind {
    /// Data or a request for the first time.
    #[default]
    Request,
    /// Answers that take a request.
    Answer,
    /// Connection management.
    Management,
    /// Requests that were sent before.
    Again,
    /// Refusals, and packets that are damaged.
    Refusal,
    /// Packets whose receiver did not get them, or not like this.
    Lost,
}

impl LiveKind {
    /// The style of its line on a terminal.
    pub fn style(self) -> Style {
        let of = |color: AnsiColor| color.on_default();
        match self {
            LiveKind::Request => Style::new(),
            LiveKind::Answer => of(AnsiColor::Green),
            LiveKind::Management => of(AnsiColor::Cyan),
            LiveKind::Again => of(AnsiColor::Yellow),
            LiveKind::Refusal => of(AnsiColor::Red).bold(),
            LiveKind::Lost => of(AnsiColor::Magenta),
        }
    }
}

/// Names of the packets that pass.
#[derive(Debug)]
pub struct LiveNames {
    tracker: Tracker,
    names: Names,
    times_ns: Option<(u64, u64)>,
}

impl LiveNames {
    /// Begins; nodes have these names.
    pub fn new(names: Names) -> Self {
        Self { tracker: Tracker::new(CONNECTIONS_MAX), names, times_ns: None }
    }

    /// The names of the nodes.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Takes note that a capture says a node's name.
    pub fn learn(&mut self, address: std::net::IpAddr, name: &str) {
        self.names.learn(address, name);
    }

    /// Names the next packet, by its number and its time in nanoseconds.
    pub fn see(&mut self, number: u64, time_ns: u64, packet: &Packet<'_>, fate: Option<&Fate>) -> LivePacket {
        let is_sent = fate.is_none_or(Fate::is_sent);
        // A changed copy may name another queue pair or PSN, and was seen when it was sent.
        let is_altered = matches!(fate, Some(Fate::AlteredOf { .. }));
        let sighting = if is_altered { None } else { self.tracker.see(packet, &mut self.names) };
        let (first_ns, before_ns) = self.times_ns.unwrap_or((time_ns, time_ns));
        self.times_ns = Some((first_ns, time_ns));
        let since = |from: u64| i64::try_from(i128::from(time_ns) - i128::from(from)).unwrap_or(i64::MAX);
        let [source, destination] = [packet.source, packet.destination].map(|node| self.names.get(node));
        let mad = packet.mad().and_then(Result::ok);
        let qpn = packet.bth.map(|bth| bth.destination_qpn());
        let mut ends = match (mad.is_some(), qpn) {
            (true, _) => [format!("{source}.GSI"), format!("{destination}.GSI")],
            (false, Some(qpn)) => [source.clone(), format!("{destination}.{qpn:#x}")],
            (false, None) => [source.clone(), destination.clone()],
        };
        if let Some(to) = sighting.and_then(|sighting| sighting.to) {
            ends[1] = format!("{destination}.{to}");
        }
        let is_response = packet.opcode().is_some_and(|opcode| opcode.is_response());
        let mut counted = source.clone();
        if let Some((index, sender)) = sighting.and_then(|sighting| sighting.connection)
            && let Some(connection) = self.tracker.connection(index)
        {
            let sides = [sender, sender.other()].map(|side| connection.endpoint(side));
            for (end, endpoint) in ends.iter_mut().zip(sides) {
                if let Some(number) = endpoint.number.filter(|_| endpoint.qpn.is_some()) {
                    *end = format!("{}.qp{number}", self.names.get(endpoint.address));
                }
            }
            if is_response {
                counted.clone_from(&destination);
            }
        }
        let psn = match (sighting.and_then(|sighting| sighting.distance), packet.bth) {
            (Some(distance), _) => format!("{counted}{distance:+}"),
            (None, Some(bth)) if mad.is_none() => bth.psn().to_string(),
            _ => String::new(),
        };
        let is_again = is_sent
            && sighting.is_some_and(|sighting| !sighting.is_new && sighting.connection.is_some())
            && packet.opcode().is_some_and(|opcode| opcode.is_request());
        LivePacket {
            number,
            since_first_ns: since(first_ns),
            since_before_ns: since(before_ns),
            ends,
            words: match (mad, packet.opcode()) {
                (Some(mad), _) => mad.to_string(),
                (None, Some(opcode)) => opcode.to_string(),
                (None, None) => "no BTH".to_owned(),
            },
            psn,
            payload_bytes: packet.payload_length_bytes,
            meaning: meaning(packet, is_again, fate),
            kind: kind(packet, is_again, fate),
        }
    }
}

fn kind(packet: &Packet<'_>, is_again: bool, fate: Option<&Fate>) -> LiveKind {
    let syndrome = packet.aeth.map(|aeth| aeth.syndrome());
    if fate.is_some_and(|fate| !fate.is_delivered()) {
        LiveKind::Lost
    } else if matches!(syndrome, Some(Syndrome::Nak(_) | Syndrome::RnrNak { .. }))
        || matches!(packet.icrc, Icrc::Bad { .. })
        || packet.stop.is_some()
    {
        LiveKind::Refusal
    } else if packet.mad().is_some() {
        LiveKind::Management
    } else if is_again {
        LiveKind::Again
    } else if packet.opcode().is_some_and(|opcode| opcode.is_response()) {
        LiveKind::Answer
    } else {
        LiveKind::Request
    }
}

/// Everything of a packet that has no column.
fn meaning(packet: &Packet<'_>, is_again: bool, fate: Option<&Fate>) -> String {
    let mut words: Vec<String> = Vec::new();
    if let Some(reth) = packet.reth {
        words.push(format!("va {:#x} rkey {:#x} len {}", reth.va(), reth.rkey(), reth.dma_length()));
    }
    if let Some(atomic) = packet.atomic_eth {
        words.push(format!("va {:#x} rkey {:#x}", atomic.va(), atomic.rkey()));
    }
    words.extend(packet.aeth.map(|aeth| format!("{} msn {}", aeth.syndrome(), aeth.msn())));
    words.extend(packet.immdt.map(|immdt| format!("imm {}", immdt.value())));
    words.extend(packet.ieth.map(|ieth| format!("invalidate {:#x}", ieth.rkey())));
    // Management datagrams have the same in all of these.
    let is_management = packet.mad().is_some();
    if !is_management {
        words.extend(packet.deth.map(|deth| format!("Q_Key {:#010x}", deth.q_key())));
    }
    if let Some(bth) = packet.bth.filter(|_| !is_management) {
        words.extend(bth.ack_request().then(|| "AckReq".to_owned()));
        words.extend(bth.solicited_event().then(|| "SE".to_owned()));
    }
    words.extend((packet.ecn == 3).then(|| "ECN congestion experienced".to_owned()));
    words.extend(matches!(packet.icrc, Icrc::Bad { .. }).then(|| "ICRC bad".to_owned()));
    words.extend(packet.stop.map(|stop| stop.to_string()));
    words.extend(is_again.then(|| "again".to_owned()));
    words.extend(fate.filter(|fate| **fate != Fate::Forwarded).map(|fate| told(&fate.to_string())));
    words.join(", ")
}

/// A fate without the word before it, and without what would move a terminal's cursor.
fn told(comment: &str) -> String {
    let plain = |character: char| if character.is_control() { '.' } else { character };
    comment.trim_start_matches("fate=").chars().map(plain).collect()
}

impl LivePacket {
    /// The columns' heads.
    pub fn heads() -> String {
        columns(["packet", "seconds", "delta", "from > to", "packet", "psn", "bytes", "meaning"])
    }
}

fn columns([number, since, delta, direction, words, psn, bytes, meaning]: [&str; 8]) -> String {
    let line = format!(
        "{number:>7} {since:>12} {delta:>12}  {direction:<23} {words:<33} {psn:<11} {bytes:>5}  {meaning}"
    );
    line.trim_end().to_owned()
}

impl fmt::Display for LivePacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ns: i64| ns as f64 / 1e9;
        let bytes = if self.payload_bytes == 0 { String::new() } else { self.payload_bytes.to_string() };
        f.write_str(&columns([
            &self.number.to_string(),
            &format!("{:.6}", seconds(self.since_first_ns)),
            &format!("{:+.6}", seconds(self.since_before_ns)),
            &self.ends.join(" > "),
            &self.words,
            &self.psn,
            &bytes,
            &self.meaning,
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roce::synth::Pair;
    use roce::wire::{Frame, LinkType};

    fn lines(frames: &[Vec<u8>], fates: &[(usize, Fate)]) -> Vec<LivePacket> {
        let mut names = LiveNames::new(
            Names::new().with([198, 51, 100, 1].into(), "server").with([198, 51, 100, 2].into(), "client"),
        );
        let mut lines = Vec::new();
        for (at, data) in frames.iter().enumerate() {
            let frame = Frame::decode(LinkType::ETHERNET, data);
            let packet = frame.packet().unwrap();
            let fate = fates.iter().find(|(place, _)| *place == at).map(|(_, fate)| fate);
            lines.push(names.see(at as u64 + 1, at as u64 * 1_500, packet, fate));
        }
        lines
    }

    #[test]
    fn columns_have_the_names_of_the_trace() {
        let lines = lines(&Pair::new(1).write_then_read(), &[]);
        assert_eq!((lines[0].words.as_str(), lines[0].kind), ("CM REQ", LiveKind::Management));
        assert_eq!(lines[0].ends, ["client.GSI", "server.GSI"]);
        let write = &lines[3];
        assert_eq!(write.ends, ["client.qp1", "server.qp1"]);
        assert_eq!((write.words.as_str(), write.psn.as_str()), ("RC RDMA WRITE Only", "client+0"));
        assert!(write.meaning.ends_with("len 18, AckReq"), "{}", write.meaning);
        let ack = &lines[4];
        assert_eq!(
            (ack.ends.join(" > "), ack.psn.as_str()),
            ("server.qp1 > client.qp1".to_owned(), "client+0")
        );
        assert_eq!((ack.kind, ack.meaning.as_str()), (LiveKind::Answer, "ACK msn 1"));
        assert_eq!((ack.since_first_ns, ack.since_before_ns), (6_000, 1_500));
        assert!(LivePacket::heads().starts_with(" packet      seconds        delta  from > to"));
        assert!(write.to_string().contains("client.qp1 > server.qp1 RC RDMA WRITE Only "), "{write}");
    }

    #[test]
    fn what_is_lost_and_what_comes_again_are_told() {
        let mut frames = Pair::new(1).write_then_read()[..4].to_vec();
        frames.push(frames[3].clone());
        let lines = lines(&frames, &[(3, Fate::Dropped)]);
        assert_eq!(lines[3].kind, LiveKind::Lost);
        assert!(lines[3].meaning.ends_with("AckReq, dropped"), "{}", lines[3].meaning);
        assert_eq!(lines[4].kind, LiveKind::Again);
        assert!(lines[4].meaning.ends_with("AckReq, again") && lines[4].psn == "client+0");
    }

    #[test]
    fn second_delivery_has_the_names_of_the_first() {
        let mut frames = Pair::new(1).write_then_read()[..4].to_vec();
        frames.push(frames[3].clone());
        let lines = lines(&frames, &[(4, Fate::DuplicateOf { number: 4 })]);
        assert_eq!((&lines[4].ends, lines[4].psn.as_str()), (&lines[3].ends, "client+0"));
        assert!(lines[4].meaning.ends_with("AckReq, duplicate-of #4"), "{}", lines[4].meaning);
    }

    #[test]
    fn comment_of_another_recorder_moves_no_cursor() {
        assert_eq!(told("fate=dropped"), "dropped");
        assert_eq!(told("\x1b[2Jhello\n"), ".[2Jhello.");
    }
}
