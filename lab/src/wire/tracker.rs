//! Tells of each frame on the wire which packet it is: by the connections that `roce` tracks, so in the names of the
//! trace, and how often it has come.
//!
//! In: frames as they are sent, who sends them and who gets them. What it keeps is bounded.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;

use roce::Names;
use roce::flow::Tracker;
use roce::wire::{Frame, LinkType, Packet};

use crate::base::role::Role;
use crate::scenario::fault::matcher::{PacketKind, Receiver};

/// The queue pair of connection management.
const GSI: u32 = 1;

/// Most connections that are followed at a time.
const CONNECTIONS: usize = 65_536;

/// Most addresses of all nodes.
const ADDRESSES: usize = 1_024;

/// Most receivers whose packets are counted.
const RECEIVERS: usize = 1_024;

/// Most packets of a receiver whose transmissions are counted; the oldest are forgotten.
const REMEMBERED: usize = 1 << 16;

/// A packet's place in its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackedPacket {
    /// Its kind.
    pub kind: PacketKind,
    /// Its receiver. Connection management goes to no queue pair.
    pub to: Receiver,
    /// Identity among the packets of its direction.
    pub identity: Identity,
    /// True if it carries something new: no retransmission, and no part of one.
    pub is_first: bool,
    /// Number of times that it was sent, this one included.
    pub transmission: u32,
}

impl TrackedPacket {
    /// Distance of its PSN from its requester's first; connection management has none.
    pub fn psn(&self) -> Option<u32> {
        match self.identity.kind {
            PacketKind::Opcode(_) => u32::try_from(self.identity.number).ok(),
            PacketKind::Cm(_) => None,
        }
    }
}

/// Identity of a packet among those of its direction: two transmissions of one have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its kind.
    kind: PacketKind,
    /// Distance of its PSN from its requester's first, negative where that is not known; of connection
    /// management, the transaction.
    number: i64,
    /// AETH class: ACK, RNR NAK or NAK.
    says: u8,
}

/// The packets that came, as far as faults ask.
#[derive(Debug)]
pub struct FaultTracker {
    connections: Tracker,
    /// The nodes by their addresses.
    names: Names,
    addresses: HashSet<IpAddr>,
    /// Number of times that each packet to a receiver was sent.
    transmissions: HashMap<Receiver, HashMap<Identity, u32>>,
    /// The receivers, the oldest first.
    receivers: VecDeque<Receiver>,
}

impl Default for FaultTracker {
    fn default() -> FaultTracker {
        FaultTracker {
            connections: Tracker::new(CONNECTIONS),
            names: Names::new(),
            addresses: HashSet::new(),
            transmissions: HashMap::new(),
            receivers: VecDeque::new(),
        }
    }
}

impl FaultTracker {
    /// Takes one frame in; nothing of it is known if it is no RoCEv2 packet.
    pub fn see(&mut self, from: Role, to: Role, frame: &[u8]) -> Option<TrackedPacket> {
        match Frame::decode(LinkType::ETHERNET, frame) {
            Frame::Roce(packet) => self.see_packet(from, to, &packet),
            Frame::NotRoce(_) => None,
        }
    }

    fn see_packet(&mut self, from: Role, node: Role, packet: &Packet<'_>) -> Option<TrackedPacket> {
        let bth = packet.bth?;
        self.name(packet.source, from)?;
        self.name(packet.destination, node)?;
        let sighting = self.connections.see(packet, &mut self.names)?;
        let (kind, number, says, queue_pair) = if bth.destination_qpn() == GSI {
            let mad = packet.mad()?.ok().filter(roce::cm::Mad::is_cm)?;
            (PacketKind::Cm(mad.attribute_id()), mad.transaction_id() as i64, 0, None)
        } else {
            let unknown = i64::from(bth.psn().value()) - (1 << 24);
            // The three top bits tell an ACK from a NAK and an RNR NAK.
            let says = packet.aeth.map_or(0, |aeth| aeth.bytes()[0] & 0xe0);
            (PacketKind::Opcode(bth.opcode()), sighting.distance.unwrap_or(unknown), says, sighting.to)
        };
        let identity = Identity { kind, number, says };
        let to = Receiver { node, queue_pair };
        let transmission = count(self.transmissions_to(to), identity);
        // A READ that is asked for again may begin behind its first PSN.
        Some(TrackedPacket {
            kind,
            to,
            identity,
            is_first: transmission == 1 && sighting.is_new,
            transmission,
        })
    }

    /// Takes note of an address of a node; `None` when there are too many.
    fn name(&mut self, address: IpAddr, node: Role) -> Option<()> {
        if self.addresses.contains(&address) {
            return Some(());
        }
        if self.addresses.len() >= ADDRESSES {
            return None;
        }
        self.addresses.insert(address);
        self.names = std::mem::take(&mut self.names).with(address, node.name());
        Some(())
    }

    fn transmissions_to(&mut self, to: Receiver) -> &mut HashMap<Identity, u32> {
        if !self.transmissions.contains_key(&to) {
            if self.receivers.len() >= RECEIVERS
                && let Some(oldest) = self.receivers.pop_front()
            {
                self.transmissions.remove(&oldest);
            }
            self.receivers.push_back(to);
        }
        self.transmissions.entry(to).or_default()
    }
}

/// Counts one more transmission.
fn count(transmissions: &mut HashMap<Identity, u32>, identity: Identity) -> u32 {
    if transmissions.len() >= REMEMBERED {
        let mut numbers: Vec<i64> = transmissions.keys().map(|identity| identity.number).collect();
        let (_, middle, _) = numbers.select_nth_unstable(REMEMBERED / 2);
        let middle = *middle;
        transmissions.retain(|identity, _| identity.number >= middle);
    }
    let count = transmissions.entry(identity).or_default();
    *count += 1;
    *count
}

#[cfg(test)]
mod tests {
    use roce::synth::Pair;

    use super::*;

    /// The frames of the first example and who sends them; the synthetic client is the active side.
    fn example() -> Vec<(Role, Vec<u8>)> {
        use Role::{Client, Server};
        let from =
            [Client, Server, Client, Client, Server, Client, Server, Server, Server, Server, Client, Server];
        from.into_iter().zip(Pair::new(1).write_then_read()).collect()
    }

    #[test]
    fn example_is_followed() {
        let mut tracker = FaultTracker::default();
        let seen: Vec<String> = example()
            .iter()
            .map(|(from, frame)| {
                let seen = tracker.see(*from, from.peer(), frame).unwrap();
                assert!(seen.is_first && seen.transmission == 1, "{seen:?}");
                let psn = seen.psn().map_or("-".to_owned(), |psn| psn.to_string());
                format!("{} to {} psn {psn}", seen.kind, seen.to)
            })
            .collect();
        assert_eq!(
            seen,
            [
                "CM REQ to server psn -",
                "CM REP to client psn -",
                "CM RTU to server psn -",
                "RC RDMA WRITE Only to server.qp1 psn 0",
                "RC Acknowledge to client.qp1 psn 0",
                "RC RDMA READ Request to server.qp1 psn 1",
                "RC RDMA READ response First to client.qp1 psn 1",
                "RC RDMA READ response Middle to client.qp1 psn 2",
                "RC RDMA READ response Middle to client.qp1 psn 3",
                "RC RDMA READ response Last to client.qp1 psn 4",
                "CM DREQ to server psn -",
                "CM DREP to client psn -",
            ]
        );
    }

    #[test]
    fn second_transmission_is_counted_and_is_not_new() {
        let mut tracker = FaultTracker::default();
        for (from, frame) in example() {
            tracker.see(from, from.peer(), &frame).unwrap();
            let again = tracker.see(from, from.peer(), &frame).unwrap();
            assert!(!again.is_first && again.transmission == 2, "{again:?}");
        }
    }

    #[test]
    fn read_asked_for_again_from_its_middle_is_not_new() {
        let mut tracker = FaultTracker::default();
        let pair = Pair::new(1);
        for (from, frame) in example() {
            tracker.see(from, from.peer(), &frame).unwrap();
        }
        let again =
            tracker.see(Role::Client, Role::Server, &pair.request(0x0c, 3).reth(0, 0, 2048).build()).unwrap();
        assert!(!again.is_first && again.transmission == 1 && again.psn() == Some(3), "{again:?}");
    }

    #[test]
    fn connection_without_management_is_paired_and_wraps() {
        let mut tracker = FaultTracker::default();
        let pair = Pair::new(1);
        let mut waiting = 0;
        // A request always waits for its answer, so that a far one is of the same connection.
        for n in [0, 1, 0x7f_ffff, 0xff_fffe, 0x100_0001] {
            let request = tracker.see(Role::Client, Role::Server, &pair.request(0x04, n).build()).unwrap();
            assert_eq!((request.psn(), request.is_first), (Some(n), true));
            let ack = tracker
                .see(Role::Server, Role::Client, &pair.response(0x11, waiting).aeth(0x1f, waiting).build())
                .unwrap();
            // The first is answered twice.
            assert_eq!((ack.psn(), ack.is_first), (Some(waiting), n != 1));
            waiting = n;
        }
    }

    /// Every order of some things.
    fn permutations<T: Clone>(things: &[T]) -> Vec<Vec<T>> {
        if things.is_empty() {
            return vec![Vec::new()];
        }
        let mut all = Vec::new();
        for at in 0..things.len() {
            let mut rest = things.to_vec();
            let first = rest.remove(at);
            all.extend(permutations(&rest).into_iter().map(|rest| [vec![first.clone()], rest].concat()));
        }
        all
    }

    /// The names of the receivers as the engine has them at each packet, and as the trace of the same capture has them.
    fn names(frames: &[(Role, Vec<u8>)]) -> [Vec<String>; 2] {
        let mut tracker = FaultTracker::default();
        let pair = Pair::new(1);
        let names = Names::new().with(pair.passive.address, "server").with(pair.active.address, "client");
        let mut analysis = roce::Analysis::new(names);
        let mut at_the_packet = Vec::new();
        for (number, (from, frame)) in (1..).zip(frames) {
            let seen = tracker.see(*from, from.peer(), frame).unwrap();
            at_the_packet.extend(seen.to.queue_pair.map(|_| {
                let number = seen.psn().unwrap();
                let counted =
                    if seen.kind.to_string().ends_with("Acknowledge") { from.peer() } else { *from };
                format!("{} {counted}{:+}", seen.to, number)
            }));
            analysis.push(&roce::capture::Record::ethernet(number, number * 1_000, frame));
        }
        let report = analysis.finish();
        let packets = report.packet_names().into_iter();
        let in_the_trace = packets.map(|packet| {
            let (node, distance) = packet.psn.unwrap();
            format!("{} {node}{distance:+}", packet.queue_pairs[1])
        });
        [at_the_packet, in_the_trace.collect()]
    }

    #[test]
    fn names_are_the_traces_in_every_order_of_answers() {
        use Role::{Client, Server};
        let pairs = [1, 2, 3].map(Pair::new);
        let send = |pair: &Pair, n| (Client, pair.request(0x04, n).ack_request().payload(b"text").build());
        let ack = |pair: &Pair, n| (Server, pair.response(0x11, n).aeth(0x1f, n + 1).build());
        let mut named = std::collections::BTreeSet::new();
        for has_cm in [true, false] {
            for asking in permutations(&pairs) {
                for answering in permutations(&pairs) {
                    let mut frames = Vec::new();
                    if has_cm {
                        frames.extend(asking.iter().map(|pair| (Client, pair.req(7471, &[]))));
                        frames.extend(answering.iter().map(|pair| (Server, pair.rep(&[]))));
                        frames.extend(pairs.iter().map(|pair| (Client, pair.rtu())));
                    }
                    frames.extend(pairs.iter().map(|pair| send(pair, 0)));
                    frames.extend(answering.iter().map(|pair| ack(pair, 0)));
                    // Each of them once more, in another order.
                    frames.extend(asking.iter().map(|pair| send(pair, 1)));
                    frames.extend(pairs.iter().map(|pair| ack(pair, 1)));
                    let [at_the_packet, in_the_trace] = names(&frames);
                    assert_eq!(at_the_packet, in_the_trace, "has_cm: {has_cm}");
                    named.insert(at_the_packet);
                }
            }
        }
        assert!(named.len() > 6, "the orders give the queue pairs other names");
    }

    #[test]
    fn refused_request_keeps_no_name() {
        use Role::{Client, Server};
        let [refused, pair] = [1, 2].map(Pair::new);
        let frames = [
            (Client, refused.req(7471, &[])),
            (Server, refused.rej(28, &[])),
            (Client, pair.req(7471, &[])),
            (Server, pair.rep(&[])),
            (Client, pair.request(0x04, 0).build()),
            (Server, pair.response(0x11, 0).aeth(0x1f, 1).build()),
        ];
        let [at_the_packet, in_the_trace] = names(&frames);
        assert_eq!(at_the_packet, ["server.qp1 client+0", "client.qp2 client+0"]);
        assert_eq!(at_the_packet, in_the_trace);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut transmissions = HashMap::new();
        for number in 0..200_000 {
            count(&mut transmissions, Identity { kind: PacketKind::Cm(0), number, says: 0 });
        }
        assert!(transmissions.len() <= REMEMBERED);
    }
}
