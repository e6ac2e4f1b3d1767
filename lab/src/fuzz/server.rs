//! A server under way, and a requester of the kit's own in the client's place.

use std::time::{Duration, Instant};

use crate::base::error::{Error, Kind, Result};
use crate::base::role::Role;
use crate::fuzz::grammar::{Grammar, MoveDue, PeerMove};
use crate::fuzz::judge;
use crate::fuzz::peer::{Peer, PeerAnswer};
use crate::fuzz::target::{COMMAND_LIMIT, FuzzPlan, FuzzTalk, FuzzTarget, ending, mixed, plug, prepared};
use crate::node::{NodePair as _, Running};
use crate::provider::qemu::pair::QemuPair;
use crate::run::observe::{LISTENERS, listens_on};
use crate::wire::plug::Plug;

/// Longest time until the server listens.
const LISTEN_LIMIT: Duration = Duration::from_secs(20);

/// Silence of the wire that is waited for behind a move that need not be answered.
const QUIET: Duration = Duration::from_millis(60);

/// A server that serves one connection after another.
pub struct FuzzServer<'a> {
    plan: &'a FuzzPlan,
    port: u16,
    moves: usize,
    server: Box<dyn Running + 'a>,
    plug: Plug,
}

impl<'a> FuzzServer<'a> {
    /// Starts the server, and makes room for the peer.
    ///
    /// # Errors
    ///
    /// It does not listen on that port.
    pub fn start(pair: &'a QemuPair, plan: &'a FuzzPlan, port: u16, moves: usize) -> Result<FuzzServer<'a>> {
        let node = pair.node(Role::Server);
        let mut server = node.start(&prepared(pair, plan)?)?;
        let started = Instant::now();
        while !listens_on(&node.run(LISTENERS, COMMAND_LIMIT)?.stdout, port) {
            if let Some(ended) = ending(server.as_mut())? {
                return Err(Error::setup(format!("the server does not serve: {ended}")));
            }
            if started.elapsed() > LISTEN_LIMIT {
                return Err(Error::timeout(
                    format_args!("listener on port {port} of the server"),
                    LISTEN_LIMIT,
                )
                .next("say on which port of RDMA CM it listens: --port N"));
            }
        }
        Ok(FuzzServer { plan, port, moves, server, plug: plug(pair, plan)? })
    }

    /// Connects anew, writes and reads back.
    fn fresh(&mut self, seed: u64) -> Result<()> {
        let region_bytes = self.plan.region_bytes;
        let mut peer = Peer::connect(&mut self.plug, mixed(seed, 0), self.port)?;
        let bytes = seed.to_be_bytes();
        if offered(&peer, region_bytes) >= bytes.len() as u64 {
            let (va, rkey, length) = (peer.pair.passive.va, peer.pair.passive.rkey, bytes.len() as u32);
            let write = peer.pair.request(0x0a, 0).ack_request().reth(va, rkey, length).payload(&bytes);
            peer.send(&write.build())?;
            peer.answer_to(0)?;
            peer.send(&peer.pair.request(0x0c, 1).ack_request().reth(va, rkey, length).build())?;
            let read = peer.answer_to(1)?;
            if read.payload != bytes {
                let (read, wrote) = (read.payload, bytes);
                return Err(Error::setup(format!("READ returns {read:02x?}, WRITE wrote {wrote:02x?}")));
            }
        }
        peer.disconnect()
    }

    fn make_moves(
        &mut self,
        seed: u64,
        told: &mut Vec<(PeerMove, Vec<PeerAnswer>)>,
        surprises: &mut Vec<String>,
    ) -> Result<()> {
        let plan = self.plan;
        let mut peer = Peer::connect(&mut self.plug, seed, self.port)?;
        let mut grammar = Grammar::new(seed, peer.pair, offered(&peer, plan.region_bytes), plan.illegal);
        let mut is_whole = true;
        for _ in 0..self.moves {
            let peer_move = grammar.draw();
            for frame in &peer_move.frames {
                peer.send(frame)?;
            }
            let answers = match peer_move.due {
                MoveDue::Acknowledged(psn) if is_whole => match peer.answer_to(psn) {
                    Ok(answer) => vec![answer],
                    Err(error) if error.kind() == Kind::Timeout => Vec::new(),
                    Err(error) => return Err(error),
                },
                _ => peer.answers(QUIET)?,
            };
            surprises.extend(judge::of_move(&peer_move, &answers, is_whole));
            is_whole &= judge::goes_on(&peer_move);
            told.push((peer_move, answers));
        }
        match peer.disconnect() {
            // Who was sent what none should be sent may have ended the connection.
            Err(error) if !is_whole && error.kind() == Kind::Timeout => Ok(()),
            ended => ended,
        }
    }
}

impl FuzzTarget for FuzzServer<'_> {
    fn exchange(&mut self, seed: u64) -> Result<FuzzTalk> {
        let (mut told, mut surprises) = (Vec::new(), Vec::new());
        if let Err(error) = self.make_moves(seed, &mut told, &mut surprises) {
            surprises.push(error.to_string());
        }
        if let Err(error) = self.fresh(seed) {
            surprises.push(format!("a fresh connection does not work: {error}"));
        }
        let count = |is_positive| {
            let all = told.iter().flat_map(|(_, answers)| answers);
            all.filter(|answer| answer.is_positive() == is_positive).count()
        };
        Ok(FuzzTalk {
            surprises,
            answers: [true, false].map(count),
            is_legal: told.iter().all(|(peer_move, _)| matches!(peer_move.due, MoveDue::Acknowledged(_))),
            moves: told.iter().map(in_words).collect(),
            ..FuzzTalk::default()
        })
    }

    fn ended(&mut self) -> Result<Option<String>> {
        ending(self.server.as_mut())
    }
}

/// Bytes that a program offers its peer.
fn offered(peer: &Peer<'_>, region_bytes: u64) -> u64 {
    if peer.region.is_some() { region_bytes } else { 0 }
}

/// A move with its answers.
fn in_words((peer_move, answers): &(PeerMove, Vec<PeerAnswer>)) -> String {
    let answers: Vec<String> = answers
        .iter()
        .map(|answer| match answer.syndrome {
            Some(syndrome) => format!("{syndrome} at +{}", answer.psn),
            None => format!("data at +{}", answer.psn),
        })
        .collect();
    let answers = if answers.is_empty() { "no answer".to_owned() } else { answers.join(", ") };
    format!("{}: {answers}", peer_move.words)
}

#[cfg(test)]
mod tests {
    use roce::wire::Syndrome;

    use super::*;

    #[test]
    fn moves_are_told_with_their_answers() {
        let of =
            |words: &str| PeerMove { words: words.to_owned(), frames: Vec::new(), due: MoveDue::Anything };
        let nak = PeerAnswer { psn: 2, syndrome: Some(Syndrome::from_byte(0x62)), payload: Vec::new() };
        assert_eq!(in_words(&(of("WRITE"), vec![nak])), "WRITE: NAK remote access error at +2");
        assert_eq!(in_words(&(of("SEND"), Vec::new())), "SEND: no answer");
    }
}
