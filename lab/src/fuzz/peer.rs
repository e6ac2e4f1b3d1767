//! The peer: a requester made of `roce`'s own headers, in the client's place at the switch.
//!
//! Connects by CM as a program would (REQ, REP, RTU), exchanges packets with the queue pair that it is given, and disconnects.

use std::time::{Duration, Instant};

use roce::cm::{Advert, Message};
use roce::synth::Pair;
use roce::wire::{Packet, Psn, Syndrome};

use crate::base::error::{Error, Result};
use crate::base::role::Role;
use crate::fuzz::frames::{addressed, gone, with_packet};
use crate::wire::plug::Plug;

/// Longest time until the other side answers a message of connection management, on a busy computer.
const CM_LIMIT: Duration = Duration::from_secs(8);

/// Longest time until it answers a request that it has to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// A connection to a program on the server, as its peer keeps it.
#[derive(Debug)]
pub struct Peer<'a> {
    plug: &'a mut Plug,
    /// Numbers of both sides.
    pub pair: Pair,
    /// Memory that the program offers, if it told any.
    pub region: Option<Advert>,
}

/// An answer of a responder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAnswer {
    /// Distance of its PSN from the requester's first.
    pub psn: i32,
    /// Syndrome of its AETH; `None` of what has none.
    pub syndrome: Option<Syndrome>,
    /// Payload, of a READ response.
    pub payload: Vec<u8>,
}

impl PeerAnswer {
    /// Returns true if it acknowledges.
    pub fn is_positive(&self) -> bool {
        matches!(self.syndrome, None | Some(Syndrome::Ack { .. }))
    }
}

impl<'a> Peer<'a> {
    /// Connects to whoever listens on `port`; all numbers of this side follow from `seed`.
    ///
    /// # Errors
    ///
    /// Nobody answers in time, or the answer is a REJ.
    pub fn connect(plug: &'a mut Plug, seed: u64, port: u16) -> Result<Peer<'a>> {
        let mut peer = Peer { plug, pair: Pair::new(seed), region: None };
        peer.drain()?;
        peer.send(&peer.pair.req(port, &[]))?;
        let asked = peer.pair.active.comm_id;
        let told = peer.wait(CM_LIMIT, "REP", |packet, _| match packet.mad()?.ok()?.message().ok()? {
            Message::Rep(rep) if rep.remote_comm_id() == asked => Some(Ok((
                rep.local_comm_id(),
                rep.local_qpn(),
                rep.starting_psn(),
                Advert::new(rep.private_data()),
            ))),
            Message::Rej(rej) if rej.remote_comm_id() == asked => Some(Err(rej.to_string())),
            _ => None,
        })?;
        let (comm_id, qpn, psn, region) = told
            .map_err(|refused| Error::setup(format!("the server on port {port} answers with {refused}")))?;
        (peer.pair.passive.comm_id, peer.pair.passive.qpn) = (comm_id, qpn);
        (peer.pair.active.psn, peer.region) = (psn, region);
        if let Some(Advert { va, rkey }) = region {
            (peer.pair.passive.va, peer.pair.passive.rkey) = (va, rkey);
        }
        peer.send(&peer.pair.rtu())?;
        Ok(peer)
    }

    /// Sends a frame, to the server's MAC from the client's.
    ///
    /// # Errors
    ///
    /// The switch has gone.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.plug.send(&addressed(frame, Role::Server)).map_err(gone)
    }

    /// Takes all answers that came, until there was none for `quiet`.
    ///
    /// # Errors
    ///
    /// The switch has gone.
    pub fn answers(&mut self, quiet: Duration) -> Result<Vec<PeerAnswer>> {
        let pair = self.pair;
        let mut answers = Vec::new();
        while let Some(frame) = self.plug.receive(quiet).map_err(gone)? {
            answers.extend(with_packet(&frame, Role::Client, |packet| answer(packet, &pair)));
        }
        Ok(answers)
    }

    /// Waits for the answer to the request with this PSN, as a distance from the first.
    ///
    /// # Errors
    ///
    /// There is none in time.
    pub fn answer_to(&mut self, psn: i32) -> Result<PeerAnswer> {
        self.wait(ANSWER_LIMIT, "answer", |packet, pair| {
            answer(packet, pair).filter(|answer| answer.psn == psn)
        })
    }

    /// Disconnects, and waits for the DREP.
    ///
    /// # Errors
    ///
    /// There is none in time.
    pub fn disconnect(mut self) -> Result<()> {
        self.send(&self.pair.dreq())?;
        let own = self.pair.active.comm_id;
        self.wait(CM_LIMIT, "DREP", |packet, _| match packet.mad()?.ok()?.message().ok()? {
            Message::Drep(drep) if drep.remote_comm_id() == own => Some(()),
            // Its own DREQ crossed this one.
            Message::Dreq(dreq) if dreq.remote_comm_id() == own => Some(()),
            _ => None,
        })
    }

    /// Forgets all that came.
    fn drain(&mut self) -> Result<()> {
        while self.plug.receive(Duration::ZERO).map_err(gone)?.is_some() {}
        Ok(())
    }

    /// Waits for a packet in which something is found.
    fn wait<T>(
        &mut self,
        limit: Duration,
        what: &str,
        find: impl Fn(&Packet<'_>, &Pair) -> Option<T>,
    ) -> Result<T> {
        let (pair, deadline) = (self.pair, Instant::now() + limit);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(frame) = self.plug.receive(left).map_err(gone)? else {
                return Err(Error::timeout(format_args!("{what} of the server's kernel"), limit));
            };
            if let Some(found) = with_packet(&frame, Role::Client, |packet| find(packet, &pair)) {
                return Ok(found);
            }
        }
    }
}

/// The answer that a packet of the pair's responder is.
fn answer(packet: &Packet<'_>, pair: &Pair) -> Option<PeerAnswer> {
    let bth = packet.bth.filter(|bth| bth.destination_qpn() == pair.active.qpn)?;
    Some(PeerAnswer {
        psn: Psn::distance(bth.psn(), pair.active.psn),
        syndrome: packet.aeth.map(|aeth| aeth.syndrome()),
        payload: packet.payload.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use roce::wire::{Frame, LinkType};

    use super::*;

    #[test]
    fn answer_is_told_by_its_distance_and_only_to_the_pairs_queue_pair() {
        let pair = Pair::new(1);
        let of = |frame: Vec<u8>| {
            let frame = Frame::decode(LinkType::ETHERNET, &frame);
            answer(frame.packet().unwrap(), &pair)
        };
        let nak = of(pair.response(0x11, 3).aeth(0x62, 0).build()).unwrap();
        assert_eq!((nak.psn, nak.is_positive()), (3, false));
        let read = of(pair.response(0x0e, 4).payload(b"abcd").build()).unwrap();
        assert_eq!((read.psn, read.is_positive(), &read.payload[..]), (4, true, &b"abcd"[..]));
        assert_eq!(of(pair.response(0x11, 3).destination_qpn(1).aeth(0, 0).build()), None);
    }
}
