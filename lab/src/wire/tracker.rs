//! What each packet is to its connection: which queue pair it goes to, how far its PSN is from the first, and
//! how often it has come.
//!
//! Follows connection management where there is any; queue pairs that were connected otherwise begin with their
//! first packet. What it keeps is bounded.

use std::collections::HashMap;

use roce::cm::Message;
use roce::wire::{Frame, LinkType, Packet, Psn, Role as OpcodeRole};

use crate::base::role::Role;
use crate::scenario::fault::matcher::{Kind, Receiver};

/// A queue pair: its node and its number on the wire.
type QueuePair = (Role, u32);

/// The queue pair of connection management.
const GSI: u32 = 1;

/// Most packets of a queue pair whose transmissions are counted; the oldest are forgotten.
const REMEMBERED: usize = 1 << 16;

/// What a packet is to its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What it is.
    pub kind: Kind,
    /// Who receives it. Connection management goes to no queue pair.
    pub to: Receiver,
    /// What tells it from the other packets of its direction.
    pub identity: Identity,
    /// Whether it carries something new: no retransmission, and no part of one.
    pub is_first: bool,
    /// How often it was sent, this time included.
    pub transmission: u32,
}

impl Seen {
    /// Distance of its PSN from its requester's first; connection management has none.
    pub fn psn(&self) -> Option<u32> {
        match self.identity.kind {
            Kind::Opcode(_) => u32::try_from(self.identity.number).ok(),
            Kind::Cm(_) => None,
        }
    }
}

/// What tells a packet from the others of its direction: two transmissions of one have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// What it is.
    kind: Kind,
    /// Distance of its PSN from its requester's first, negative where that is not known; of connection
    /// management, the transaction.
    number: i64,
    /// What an acknowledgement says: yes, not ready, or no.
    says: u8,
}

/// What is known of every queue pair.
#[derive(Debug, Default)]
pub struct Tracker {
    queue_pairs: HashMap<QueuePair, State>,
    /// How many queue pairs of each node the wire has named.
    named: HashMap<Role, usize>,
    /// Queue pairs that asked for a connection, by their node and its communication id.
    asked: HashMap<(Role, u32), u32>,
    management: HashMap<Role, HashMap<Identity, u32>>,
}

/// What is known of one queue pair.
#[derive(Debug, Default)]
struct State {
    /// Its number in the order of naming, from 1.
    number: usize,
    peer: Option<QueuePair>,
    /// First PSN of the requests that it receives.
    first: Option<Psn>,
    /// The furthest of those requests, and of the responses to them, as a distance from the first.
    furthest: Option<i64>,
    /// How often each packet to this queue pair was sent.
    transmissions: HashMap<Identity, u32>,
}

impl State {
    /// The distance of a PSN from the first, and whether it is further than any before.
    fn number_of(&mut self, psn: Psn) -> (i64, bool) {
        let first = *self.first.get_or_insert(psn);
        let near = self.furthest.unwrap_or(0);
        let number = near + i64::from(psn.distance(first.plus((near & 0xff_ffff) as u32)));
        let is_ahead = self.furthest.is_none_or(|furthest| number > furthest);
        self.furthest = self.furthest.max(Some(number));
        (number, is_ahead)
    }
}

impl Tracker {
    /// Takes one frame in; nothing of it is known if it is no RoCEv2 packet.
    pub fn see(&mut self, from: Role, frame: &[u8]) -> Option<Seen> {
        match Frame::decode(LinkType::ETHERNET, frame) {
            Frame::Roce(packet) => self.see_packet(from, &packet),
            Frame::NotRoce(_) => None,
        }
    }

    fn see_packet(&mut self, from: Role, packet: &Packet<'_>) -> Option<Seen> {
        let bth = packet.bth?;
        if bth.destination_qpn() == GSI {
            return self.see_management(from, packet);
        }
        let to = (from.peer(), bth.destination_qpn());
        let opcode = bth.opcode();
        self.name(to);
        // Responses are numbered by the requests that they answer: those that the sender's queue pair received.
        let numbering = match opcode.role() {
            OpcodeRole::Request => Some(to),
            OpcodeRole::Response => self.peer_of(to, bth.psn()),
            OpcodeRole::Neither => None,
        };
        let (number, is_ahead) = match numbering.and_then(|queue_pair| self.queue_pairs.get_mut(&queue_pair))
        {
            Some(state) => state.number_of(bth.psn()),
            None => (i64::from(bth.psn().value()) - (1 << 24), true),
        };
        let kind = Kind::Opcode(opcode);
        // The three top bits tell an ACK from a NAK and an RNR NAK.
        let says = packet.aeth.map_or(0, |aeth| aeth.bytes()[0] & 0xe0);
        let identity = Identity { kind, number, says };
        let state = self.queue_pairs.get_mut(&to)?;
        let transmission = count(&mut state.transmissions, identity);
        Some(Seen {
            kind,
            to: Receiver { node: to.0, queue_pair: Some(state.number) },
            identity,
            // A READ that is asked for again may begin behind its first PSN.
            is_first: transmission == 1 && (!opcode.is_request() || is_ahead),
            transmission,
        })
    }

    fn see_management(&mut self, from: Role, packet: &Packet<'_>) -> Option<Seen> {
        let mad = packet.mad()?.ok().filter(roce::cm::Mad::is_cm)?;
        let kind = Kind::Cm(mad.attribute_id());
        let identity = Identity { kind, number: mad.transaction_id() as i64, says: 0 };
        let to = Receiver { node: from.peer(), queue_pair: None };
        let transmission = count(self.management.entry(from).or_default(), identity);
        if transmission == 1 {
            match mad.message() {
                Ok(Message::Req(req)) => {
                    self.asked.insert((from, req.local_comm_id()), req.local_qpn());
                    self.connect((from, req.local_qpn()), req.starting_psn(), None);
                }
                Ok(Message::Rep(rep)) => {
                    let asked = self.asked.remove(&(from.peer(), rep.remote_comm_id()));
                    let peer = asked.map(|qpn| (from.peer(), qpn));
                    let own = (from, rep.local_qpn());
                    self.connect(own, rep.starting_psn(), peer);
                    if let Some(state) = peer.and_then(|peer| self.queue_pairs.get_mut(&peer)) {
                        state.peer = Some(own);
                    }
                }
                _ => {}
            }
        }
        Some(Seen { kind, to, identity, is_first: transmission == 1, transmission })
    }

    /// A queue pair begins a connection: what it was before is forgotten, its name included.
    fn connect(&mut self, queue_pair: QueuePair, first: Psn, peer: Option<QueuePair>) {
        self.queue_pairs.remove(&queue_pair);
        let state = self.name(queue_pair);
        state.first = Some(first);
        state.peer = peer;
    }

    /// The queue pair, given its number if it has none.
    fn name(&mut self, queue_pair: QueuePair) -> &mut State {
        self.queue_pairs.entry(queue_pair).or_insert_with(|| {
            let named = self.named.entry(queue_pair.0).or_default();
            *named += 1;
            State { number: *named, ..State::default() }
        })
    }

    /// The other end of a queue pair that receives a response. One that was connected without connection
    /// management is paired with the queue pair whose requests the response fits best.
    fn peer_of(&mut self, receiver: QueuePair, psn: Psn) -> Option<QueuePair> {
        if let Some(peer) = self.queue_pairs.get(&receiver)?.peer {
            return Some(peer);
        }
        let behind = |state: &State| {
            let newest = state.first?.plus((state.furthest? & 0xff_ffff) as u32);
            Some(newest.distance(psn).unsigned_abs())
        };
        let peer = self
            .queue_pairs
            .iter()
            .filter(|((node, _), state)| *node != receiver.0 && state.peer.is_none())
            .filter_map(|(queue_pair, state)| Some((behind(state)?, *queue_pair)))
            .min()?
            .1;
        for (own, other) in [(receiver, peer), (peer, receiver)] {
            if let Some(state) = self.queue_pairs.get_mut(&own) {
                state.peer = Some(other);
            }
        }
        Some(peer)
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
        let mut tracker = Tracker::default();
        let seen: Vec<String> = example()
            .iter()
            .map(|(from, frame)| {
                let seen = tracker.see(*from, frame).unwrap();
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
        let mut tracker = Tracker::default();
        for (from, frame) in example() {
            tracker.see(from, &frame).unwrap();
            let again = tracker.see(from, &frame).unwrap();
            assert!(!again.is_first && again.transmission == 2, "{again:?}");
        }
    }

    #[test]
    fn read_asked_for_again_from_its_middle_is_not_new() {
        let mut tracker = Tracker::default();
        let pair = Pair::new(1);
        for (from, frame) in example() {
            tracker.see(from, &frame).unwrap();
        }
        let again = tracker.see(Role::Client, &pair.request(0x0c, 3).reth(0, 0, 2048).build()).unwrap();
        assert!(!again.is_first && again.transmission == 1 && again.psn() == Some(3), "{again:?}");
    }

    #[test]
    fn connection_without_management_is_paired_and_wraps() {
        let mut tracker = Tracker::default();
        let pair = Pair::new(1);
        for n in [0, 1, 0x7f_ffff, 0xff_fffe, 0x100_0001] {
            let request = tracker.see(Role::Client, &pair.request(0x04, n).build()).unwrap();
            assert_eq!((request.psn(), request.is_first), (Some(n), true));
            let ack = tracker.see(Role::Server, &pair.response(0x11, n).aeth(0x1f, n).build()).unwrap();
            assert_eq!((ack.psn(), ack.is_first), (Some(n), true));
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut transmissions = HashMap::new();
        for number in 0..200_000 {
            count(&mut transmissions, Identity { kind: Kind::Cm(0), number, says: 0 });
        }
        assert!(transmissions.len() <= REMEMBERED);
    }
}
