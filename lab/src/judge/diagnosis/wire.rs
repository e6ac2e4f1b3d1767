//! Facts of the capture beyond its report: each message of connection management, what never arrived or arrived changed,
//! addresses that nobody answers to, and how soon requests came again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use roce::Report;
use roce::cm::{Message, PortSpace, RejReason};
use roce::wire::{Frame, Icrc, Packet, Psn, Syndrome, TransportService};

use crate::base::error::Result;
use crate::wire::capture::{CAPTURE, open, unreadable};
use crate::wire::ethernet::untagged;

/// ACK timeout that is taken for granted where no REQ tells one: 14, the default of perftest and of rdma-core's examples.
pub const ACK_TIMEOUT_USUAL_NS: u64 = 4_096 << 14;

/// One message of connection management.
#[derive(Debug, Clone)]
pub struct Management {
    /// Number of its packet in the capture, from 1.
    pub packet: u64,
    /// Time of sending, in nanoseconds.
    pub at_ns: u64,
    /// Its sender.
    pub source: IpAddr,
    /// Its receiver.
    pub destination: IpAddr,
    /// Its short name: `REQ`.
    pub name: &'static str,
    /// True if it reached its receiver.
    pub is_delivered: bool,
    /// Service that a REQ asks for.
    pub service: Option<PortSpace>,
    /// Initiator depth and responder resources, of a REQ and a REP.
    pub depths: Option<(u8, u8)>,
    /// Reason of a REJ.
    pub reason: Option<RejReason>,
}

/// Answers of one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// Number of them.
    pub count: u64,
    /// Number of the first in the capture.
    pub packet: u64,
    /// PSN of the first.
    pub psn: Psn,
}

/// Frames of one sender, by whether they arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Length of the largest that arrived, in bytes.
    pub arrived_most: usize,
    /// Length of the smallest that did not, in bytes.
    pub lost_least: Option<usize>,
}

/// The end of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Number of its packet in the capture.
    pub packet: u64,
    /// Address of the side that ended it.
    pub source: IpAddr,
    /// The other side.
    pub destination: IpAddr,
    /// By a reset, rather than in order.
    pub is_reset: bool,
}

/// Requests that came again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repeats {
    /// Runs of them that began before the ACK timeout had passed since the first of the run was sent.
    pub early: u64,
    /// Runs that began later.
    pub late: u64,
    /// Least time until one began, in nanoseconds.
    pub least_ns: u64,
    /// Longest time until one began, in nanoseconds.
    pub most_ns: u64,
    /// Number of the first packet of the first run.
    pub packet: u64,
}

/// Facts that were read from a capture.
#[derive(Debug, Default)]
pub struct WireFacts {
    /// Connection management, in its order; copies of the switch are not in it.
    pub management: Vec<Management>,
    /// Addresses that were asked for by ARP and never answered, in their VLAN: how often, and the first packet.
    pub unresolved: BTreeMap<(IpAddr, Option<u16>), (u64, u64)>,
    /// RoCE packets that arrived with a wrong ICRC, by receiver: how many, and the first.
    pub changed: BTreeMap<IpAddr, (u64, u64)>,
    /// RoCE packets that were sent and never delivered, by sender: how many, the first, and its fate.
    pub lost: BTreeMap<IpAddr, (u64, u64, String)>,
    /// Datagrams by receiver, queue pair number and Q_Key; those to the GSI are left out.
    pub datagrams: BTreeMap<(IpAddr, u32, u32), u64>,
    /// Acknowledgements of reliable connections, by sender and receiver.
    pub answers: BTreeMap<(IpAddr, IpAddr), Answers>,
    /// RoCE frames by sender.
    pub sizes: BTreeMap<IpAddr, Sizes>,
    /// Payloads of First and Middle packets in bytes, by sender: the path MTUs that it has.
    pub pieces: BTreeMap<IpAddr, BTreeSet<usize>>,
    /// RoCE packets of reliable and unreliable connections, by sender.
    pub connected: BTreeMap<IpAddr, u64>,
    /// The first end of a TCP connection.
    pub closed: Option<Closed>,
    /// Payload of the largest datagram that is no management, in bytes.
    pub datagram_bytes: usize,
    /// Fatal NAKs and RNR NAKs by their sender: the syndrome and the packet of the last.
    pub refusals: Vec<(IpAddr, Syndrome, u64)>,
    /// Requests that came again with nothing to ask for them.
    pub repeats: Repeats,
    /// From the first packet to the last that is no connection management, in nanoseconds.
    pub busy_ns: u64,
    /// From the first frame of any kind to that packet, in nanoseconds.
    pub ended_ns: u64,
}

/// Requests of one sender to one queue pair.
#[derive(Debug, Default)]
struct SentRequests {
    /// Time at which each PSN was sent last.
    at_ns: HashMap<u32, u64>,
    /// The last PSN of the repetition that goes on.
    repeating: Option<Psn>,
    /// True from a request for a repetition until it comes.
    is_asked: bool,
}

impl WireFacts {
    /// Reads the capture in `artifacts`, whose report this is.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read(artifacts: &Path, report: &Report) -> Result<WireFacts> {
        let path = artifacts.join(CAPTURE);
        let mut reader = open(&path)?;
        let mut wire = WireFacts::default();
        let mut streams: HashMap<(IpAddr, IpAddr, u32), SentRequests> = HashMap::new();
        let mut peers = HashMap::new();
        for connection in &report.connections {
            for (own, other) in
                [(&connection.active, &connection.passive), (&connection.passive, &connection.active)]
            {
                if let (Some(own_qpn), Some(other_qpn)) = (own.qpn, other.qpn) {
                    let timeout = connection.ack_timeout_ns.unwrap_or(ACK_TIMEOUT_USUAL_NS);
                    // What reaches a queue pair answers what its owner sent to the other.
                    peers.insert((own.address, own_qpn), (other.address, other_qpn, timeout));
                }
            }
        }
        let mut answered = BTreeSet::new();
        let mut first_ns = None;
        let mut first_frame_ns = None;
        while let Some(record) = reader.next().map_err(|source| unreadable(&path, source))? {
            let first_frame_ns = *first_frame_ns.get_or_insert(record.timestamp_ns);
            let fate = record.fate();
            match record.frame() {
                Frame::Roce(packet) => {
                    let first_ns = *first_ns.get_or_insert(record.timestamp_ns);
                    if packet.deth.is_none() {
                        wire.busy_ns = record.timestamp_ns.saturating_sub(first_ns);
                        wire.ended_ns = record.timestamp_ns.saturating_sub(first_frame_ns);
                    }
                    if fate.is_sent() {
                        wire.sent((record.number, record.timestamp_ns), fate.is_delivered(), &packet);
                        let sizes = wire.sizes.entry(packet.source).or_default();
                        let length = record.data.len();
                        match fate.is_delivered() {
                            true => sizes.arrived_most = sizes.arrived_most.max(length),
                            false => {
                                sizes.lost_least =
                                    Some(sizes.lost_least.map_or(length, |least| least.min(length)))
                            }
                        }
                        let words = fate.to_string();
                        if matches!(fate, roce::Fate::Dropped | roce::Fate::LinkCut | roce::Fate::PortFull) {
                            let lost = wire.lost.entry(packet.source);
                            lost.or_insert((0, record.number, words)).0 += 1;
                        }
                        wire.repeats(&mut streams, &peers, record.number, record.timestamp_ns, &packet);
                    }
                    if fate.is_delivered() && matches!(packet.icrc, Icrc::Bad { .. }) {
                        wire.changed.entry(packet.destination).or_insert((0, record.number)).0 += 1;
                    }
                }
                Frame::NotRoce(_) => {
                    if wire.closed.is_none() {
                        wire.closed = Closed::of(record.data, record.number);
                    }
                    if let Some(arp) = Arp::of(record.data) {
                        if arp.is_request {
                            let asked = wire.unresolved.entry((arp.target, arp.vlan));
                            asked.or_insert((0, record.number)).0 += 1;
                        }
                        answered.insert((arp.sender, arp.vlan));
                    }
                }
            }
        }
        wire.unresolved.retain(|asked, _| !answered.contains(asked));
        Ok(wire)
    }

    fn sent(&mut self, (number, at_ns): (u64, u64), is_delivered: bool, packet: &Packet<'_>) {
        if let Some(Ok(mad)) = packet.mad()
            && let Ok(message) = mad.message()
        {
            if let Some(name) = message.name() {
                self.management.push(Management {
                    packet: number,
                    at_ns,
                    source: packet.source,
                    destination: packet.destination,
                    name,
                    is_delivered,
                    service: match &message {
                        Message::Req(req) => Some(req.port_space()),
                        _ => None,
                    },
                    depths: match &message {
                        Message::Req(req) => Some((req.initiator_depth(), req.responder_resources())),
                        Message::Rep(rep) => Some((rep.initiator_depth(), rep.responder_resources())),
                        _ => None,
                    },
                    reason: match &message {
                        Message::Rej(rej) => Some(rej.reason()),
                        _ => None,
                    },
                });
            }
            return;
        }
        if let (Some(bth), Some(deth)) = (packet.bth, packet.deth)
            && bth.destination_qpn() > 1
        {
            let datagrams = self.datagrams.entry((packet.destination, bth.destination_qpn(), deth.q_key()));
            *datagrams.or_default() += 1;
            self.datagram_bytes = self.datagram_bytes.max(packet.payload_length_bytes);
        }
        if let Some(bth) = packet.bth.filter(|_| packet.deth.is_none()) {
            *self.connected.entry(packet.source).or_default() += 1;
            let opcode = bth.opcode();
            if !opcode.place().ends() && packet.payload_length_bytes > 0 {
                self.pieces.entry(packet.source).or_default().insert(packet.payload_length_bytes);
            }
            if opcode.transport() == TransportService::Rc && !opcode.is_request() {
                let first = Answers { count: 0, packet: number, psn: bth.psn() };
                self.answers.entry((packet.source, packet.destination)).or_insert(first).count += 1;
            }
        }
        if let Some(aeth) = packet.aeth
            && let syndrome @ (Syndrome::Nak(_) | Syndrome::RnrNak { .. }) = aeth.syndrome()
        {
            match self.refusals.iter_mut().find(|known| known.0 == packet.source && known.1 == syndrome) {
                Some(known) => known.2 = number,
                None => self.refusals.push((packet.source, syndrome, number)),
            }
        }
    }

    /// Takes note of requests that come again though nothing asked for them.
    fn repeats(
        &mut self,
        streams: &mut HashMap<(IpAddr, IpAddr, u32), SentRequests>,
        peers: &HashMap<(IpAddr, u32), (IpAddr, u32, u64)>,
        number: u64,
        now_ns: u64,
        packet: &Packet<'_>,
    ) {
        let Some(bth) = packet.bth.filter(|bth| bth.opcode().transport() == TransportService::Rc) else {
            return;
        };
        let receiver = (packet.destination, bth.destination_qpn());
        if !bth.opcode().is_request() {
            let is_refusal = packet
                .aeth
                .is_some_and(|aeth| matches!(aeth.syndrome(), Syndrome::Nak(_) | Syndrome::RnrNak { .. }));
            if let Some((address, qpn, _)) = peers.get(&receiver).filter(|_| is_refusal) {
                streams.entry((packet.destination, *address, *qpn)).or_default().is_asked = true;
            }
            return;
        }
        let stream = streams.entry((packet.source, packet.destination, receiver.1)).or_default();
        let Some(before_ns) = stream.at_ns.insert(Psn::value(bth.psn()), now_ns) else {
            stream.repeating = None;
            return;
        };
        // One that goes on is of the same cause; one that begins anew has its own.
        let goes_on = stream.repeating.replace(bth.psn()).is_some_and(|last| bth.psn().distance(last) > 0);
        if goes_on && !stream.is_asked {
            return;
        }
        if std::mem::take(&mut stream.is_asked) {
            return;
        }
        let timeout = peers.get(&receiver).map_or(ACK_TIMEOUT_USUAL_NS, |(_, _, timeout)| *timeout);
        let age_ns = now_ns.saturating_sub(before_ns);
        let repeats = &mut self.repeats;
        if repeats.early + repeats.late == 0 {
            (repeats.packet, repeats.least_ns) = (number, age_ns);
        }
        repeats.least_ns = repeats.least_ns.min(age_ns);
        repeats.most_ns = repeats.most_ns.max(age_ns);
        *if age_ns < timeout { &mut repeats.early } else { &mut repeats.late } += 1;
    }
}

impl Closed {
    /// Reads an Ethernet frame; `None` where it is no TCP segment with FIN or RST.
    fn of(frame: &[u8], packet: u64) -> Option<Closed> {
        const TCP: u8 = 6;
        const FIN: u8 = 0x01;
        const RST: u8 = 0x04;
        let (_, untagged) = untagged(frame)?;
        let network = untagged.get(2..)?;
        let (source, destination, tcp): (IpAddr, IpAddr, &[u8]) = match untagged.get(..2)? {
            [0x08, 0x00] if *network.get(9)? == TCP => {
                let address =
                    |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(network.get(at..at + 4)?).ok()?));
                let header = usize::from(network.first()? & 0x0f) * 4;
                (address(12)?.into(), address(16)?.into(), network.get(header..)?)
            }
            [0x86, 0xdd] if *network.get(6)? == TCP => {
                let address =
                    |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(network.get(at..at + 16)?).ok()?));
                (address(8)?.into(), address(24)?.into(), network.get(40..)?)
            }
            _ => return None,
        };
        let flags = *tcp.get(13)?;
        let is_reset = flags & RST != 0;
        (is_reset || flags & FIN != 0).then_some(Closed { packet, source, destination, is_reset })
    }
}

/// An ARP message for IPv4 on Ethernet.
struct Arp {
    vlan: Option<u16>,
    is_request: bool,
    sender: IpAddr,
    target: IpAddr,
}

impl Arp {
    /// Reads an Ethernet frame; `None` where it is no ARP.
    fn of(frame: &[u8]) -> Option<Arp> {
        let (vlan, untagged) = untagged(frame)?;
        let arp = untagged.strip_prefix(&[0x08, 0x06])?;
        let address = |at: usize| {
            let bytes: [u8; 4] = arp.get(at..at + 4)?.try_into().ok()?;
            Some(IpAddr::V4(Ipv4Addr::from(bytes)))
        };
        (arp.get(2..4)? == [0x08, 0x00]).then_some(())?;
        Some(Arp { vlan, is_request: arp.get(6..8)? == [0, 1], sender: address(14)?, target: address(24)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_a_tcp_connection_is_read_and_nothing_else() {
        let mut frame = vec![0xff; 12];
        frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 198, 51, 100, 2, 198, 51, 100, 1]);
        frame.extend([0; 13]);
        frame.extend([0x14, 0, 0, 0, 0, 0, 0]);
        let closed = Closed::of(&frame, 3).unwrap();
        assert!(closed.is_reset);
        assert_eq!(closed.source, IpAddr::from([198, 51, 100, 2]));
        assert_eq!(closed.destination, IpAddr::from([198, 51, 100, 1]));
        for length in 0..48 {
            assert!(Closed::of(&frame[..length], 3).is_none(), "{length}");
        }
        frame[47] = 0x11;
        assert!(!Closed::of(&frame, 3).unwrap().is_reset);
        frame[47] = 0x10;
        assert!(Closed::of(&frame, 3).is_none());
        frame[23] = 17;
        assert!(Closed::of(&frame, 3).is_none());
    }

    #[test]
    fn arp_is_read_and_nothing_else() {
        let mut frame = vec![0xff; 12];
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend([2, 0, 0, 0, 0, 1, 198, 51, 100, 2, 0, 0, 0, 0, 0, 0, 198, 51, 100, 9]);
        let arp = Arp::of(&frame).unwrap();
        assert!(arp.is_request);
        assert_eq!(arp.sender, IpAddr::from([198, 51, 100, 2]));
        assert_eq!(arp.target, IpAddr::from([198, 51, 100, 9]));
        for length in 0..frame.len() {
            assert!(Arp::of(&frame[..length]).is_none(), "{length}");
        }
        assert_eq!(arp.vlan, None);
        let tagged = [&frame[..12], &[0x81, 0x00, 0x60, 0x07], &frame[12..]].concat();
        let arp = Arp::of(&tagged).unwrap();
        assert_eq!((arp.vlan, arp.target), (Some(7), IpAddr::from([198, 51, 100, 9])));
        frame[13] = 0;
        assert!(Arp::of(&frame).is_none());
    }
}
