//! A client's program, started anew each time, and a responder of the kit's own in the server's place.

use std::time::{Duration, Instant};

use roce::cm::Message;
use roce::synth::Pair;
use roce::wire::Packet;

use crate::base::error::{Error, Kind, Result};
use crate::base::role::Role;
use crate::fuzz::answer::{AnswerDue, GivenAnswer};
use crate::fuzz::frames::{addressed, gone, with_packet};
use crate::fuzz::judge::{self, FuzzEnd};
use crate::fuzz::responder::BadResponder;
use crate::fuzz::spoiled;
use crate::fuzz::target::{COMMAND_LIMIT, FuzzPlan, FuzzTalk, FuzzTarget, mixed, plug, prepared};
use crate::node::{Node, NodePair as _, Running};
use crate::provider::qemu::pair::QemuPair;
use crate::wire::plug::Plug;

/// Longest time of one exchange.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(60);

/// Silence of the wire after which a program that usually ends by itself is stopped: longer than the samples' own limit.
const SILENCE_LIMIT: Duration = Duration::from_secs(14);

/// Silence after which one that never ends is stopped: longer than any requester's or CM's timer.
const ENDLESS_LIMIT: Duration = Duration::from_secs(5);

/// Time between two looks at the wire and at the program.
const LOOK: Duration = Duration::from_millis(20);

/// Silence behind the program's end: its kernel disconnects.
const QUIET: Duration = Duration::from_millis(100);

/// Longest time until the kernel has given up what a program had.
const RELEASE_LIMIT: Duration = Duration::from_secs(8);

/// Prints the numbers of a node's RDMA resources.
const RESOURCES: &str = "rdma resource show";

/// A client's machine, and the peer that its programs connect to.
pub struct FuzzClient<'a> {
    node: &'a dyn Node,
    plan: &'a FuzzPlan,
    command: String,
    plug: Plug,
    /// The ending of the program with a responder that is as it should be, once that is known.
    usual: Option<FuzzEnd>,
    /// Resources of the machine without a program.
    resources: String,
}

/// One run of the program, as the peer saw it.
struct Heard {
    /// The program's ending.
    end: FuzzEnd,
    given: Vec<GivenAnswer>,
    /// Distances of the PSNs of requests that nothing acknowledged.
    pending: Vec<i32>,
    /// Longest silence with such a request.
    silence: Duration,
    /// The program's last line.
    last_line: String,
}

impl Default for Heard {
    fn default() -> Heard {
        Heard {
            end: FuzzEnd::Stopped,
            given: Vec::new(),
            pending: Vec::new(),
            silence: Duration::ZERO,
            last_line: String::new(),
        }
    }
}

/// A connection, and its acceptance once it was asked for.
struct FuzzConnection {
    responder: BadResponder,
    frames: Vec<Vec<u8>>,
}

impl<'a> FuzzClient<'a> {
    /// Makes room for the peer, and runs the program once with a responder that is as it should be.
    ///
    /// # Errors
    ///
    /// The program fails with that.
    pub fn start(pair: &'a QemuPair, plan: &'a FuzzPlan) -> Result<FuzzClient<'a>> {
        let node = pair.node(Role::Client);
        let command = prepared(pair, plan)?;
        let resources = node.run(RESOURCES, COMMAND_LIMIT)?.stdout;
        let plug = plug(pair, plan)?;
        let mut client = FuzzClient { node, plan, command, plug, usual: None, resources };
        let mut heard = Heard::default();
        client.converse(mixed(plan.seed, 0), 0, &mut heard)?;
        client.usual = Some(heard.end);
        match heard.end {
            FuzzEnd::Code(0) | FuzzEnd::Stopped => Ok(client),
            end => Err(Error::setup(format!(
                "the client {end} with a responder that is as it should be: {}",
                heard.last_line
            ))
            .next("name a program that connects by RDMA CM, and the bytes it needs: --region BYTES")),
        }
    }

    /// Runs the program once; `illegal` in a hundred answers are not as they should be.
    fn converse(&mut self, seed: u64, illegal: u8, heard: &mut Heard) -> Result<()> {
        while self.plug.receive(Duration::ZERO).map_err(gone)?.is_some() {}
        let mut program = self.node.start(&self.command)?;
        let mut connections: Vec<FuzzConnection> = Vec::new();
        let (started, mut last, mut looked) = (Instant::now(), Instant::now(), Instant::now());
        let mut has_ended = false;
        loop {
            let frame = self.plug.receive(if has_ended { QUIET } else { LOOK }).map_err(gone)?;
            if connections.iter().any(|accepted| accepted.responder.pending().next().is_some()) {
                heard.silence = heard.silence.max(last.elapsed());
            }
            match &frame {
                Some(frame) => {
                    last = Instant::now();
                    self.take(frame, (seed, illegal), &mut connections, &mut heard.given)?;
                }
                None if has_ended => break,
                None => {}
            }
            if has_ended || frame.is_some() && looked.elapsed() < LOOK {
                continue;
            }
            looked = Instant::now();
            (has_ended, heard.end, heard.last_line) = match program.wait(Duration::ZERO) {
                Ok(output) => (true, FuzzEnd::of(output.code), last_line(&output.stderr)),
                Err(error) if error.kind() == Kind::Timeout => (false, FuzzEnd::Stopped, String::new()),
                Err(error) => return Err(error),
            };
            let is_endless = self.usual == Some(FuzzEnd::Stopped) && !connections.is_empty();
            let limit = if is_endless { ENDLESS_LIMIT } else { SILENCE_LIMIT };
            if !has_ended && (last.elapsed() > limit || started.elapsed() > EXCHANGE_LIMIT) {
                heard.last_line = stopped(program.as_mut())?;
                has_ended = true;
            }
        }
        heard.pending = connections.iter().flat_map(|accepted| accepted.responder.pending()).collect();
        Ok(())
    }

    /// Answers a frame of the client's machine.
    fn take(
        &mut self,
        frame: &[u8],
        (seed, illegal): (u64, u8),
        connections: &mut Vec<FuzzConnection>,
        given: &mut Vec<GivenAnswer>,
    ) -> Result<()> {
        let region_bytes = usize::try_from(self.plan.region_bytes).unwrap_or(usize::MAX);
        let frames = with_packet(frame, Role::Server, |packet| {
            if let Some(req) = requested(packet) {
                let asks = |accepted: &&FuzzConnection| {
                    let pair = accepted.responder.pair();
                    (pair.active.comm_id, pair.active.qpn) == (req.active.comm_id, req.active.qpn)
                };
                if let Some(accepted) = connections.iter().find(asks) {
                    return Some(accepted.frames.clone());
                }
                let seed = mixed(seed, connections.len() as u64 + 1);
                let pair = numbered(req, seed);
                let mut random = fastrand::Rng::with_seed(seed);
                // Most connections stand, so that there is something to answer.
                let acceptance = match random.u8(0..100) < illegal / 4 {
                    true => spoiled::acceptance(&mut random, &pair),
                    false => GivenAnswer {
                        words: "REP".to_owned(),
                        frames: vec![pair.rep(&pair.advert())],
                        due: AnswerDue::Right,
                        is_answered: true,
                    },
                };
                let frames = acceptance.frames.clone();
                let words = format!("CM REQ: {}", acceptance.words);
                given.push(GivenAnswer { words, ..acceptance });
                let responder = BadResponder::new(seed, pair, region_bytes, illegal);
                connections.push(FuzzConnection { responder, frames: frames.clone() });
                return Some(frames);
            }
            if let Some(frame) = disconnected(packet, connections) {
                return Some(vec![frame]);
            }
            let answer = connections.iter_mut().find_map(|accepted| accepted.responder.answer(packet))?;
            let frames = answer.frames.clone();
            given.push(answer);
            Some(frames)
        });
        for frame in frames.into_iter().flatten() {
            self.plug.send(&addressed(&frame, Role::Client)).map_err(gone)?;
        }
        Ok(())
    }

    /// Runs the program once more with a responder that is as it should be; tells how it ended if that is not as usual.
    fn fresh(&mut self, seed: u64) -> Result<Option<String>> {
        if self.usual == Some(FuzzEnd::Stopped) {
            return Ok(None);
        }
        let mut heard = Heard::default();
        self.converse(mixed(seed, 0), 0, &mut heard)?;
        let Heard { end, last_line, .. } = heard;
        let is_usual = Some(end) == self.usual;
        let told =
            || format!("behind it the client {end} with a responder that is as it should be: {last_line}");
        Ok((!is_usual).then(told))
    }

    /// Waits until the machine has the resources that it had before any program; tells what is left otherwise.
    fn left_over(&self) -> Result<Option<String>> {
        let started = Instant::now();
        loop {
            let now = self.node.run(RESOURCES, COMMAND_LIMIT)?.stdout;
            if now == self.resources {
                return Ok(None);
            }
            if started.elapsed() > RELEASE_LIMIT {
                let (now, before) = (now.trim(), self.resources.trim());
                return Ok(Some(format!(
                    "the client's kernel keeps `{now}` once the program is gone, and had `{before}` before"
                )));
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl FuzzTarget for FuzzClient<'_> {
    fn exchange(&mut self, seed: u64) -> Result<FuzzTalk> {
        let mut heard = Heard::default();
        let conversed = self.converse(seed, self.plan.illegal, &mut heard);
        let due = heard.given.iter().map(|given| given.due).max().unwrap_or(AnswerDue::Right);
        let is_right = |given: &&GivenAnswer| given.due == AnswerDue::Right;
        let right = heard.given.iter().filter(is_right).count();
        let mut talk = FuzzTalk {
            moves: heard.given.iter().map(|given| given.words.clone()).collect(),
            ending: format!("the client {}: {}", heard.end, heard.last_line),
            answers: [right, heard.given.len() - right],
            is_legal: due == AnswerDue::Right,
            ..FuzzTalk::default()
        };
        if let Err(error) = conversed {
            talk.surprises.push(error.to_string());
            return Ok(talk);
        }
        let usual = self.usual.unwrap_or(FuzzEnd::Stopped);
        for objection in judge::of_end((heard.end, usual), due, &heard.pending, heard.silence) {
            match judge::known_ending(&objection, &heard.given) {
                Some(name) => talk.deviations.push(name.to_owned()),
                None => talk.surprises.push(objection),
            }
        }
        match self.left_over().and_then(|left| Ok((left, self.fresh(seed)?))) {
            Ok((left, fresh)) => talk.surprises.extend(left.into_iter().chain(fresh)),
            Err(error) => talk.surprises.push(error.to_string()),
        }
        Ok(talk)
    }

    fn ended(&mut self) -> Result<Option<String>> {
        // Each run has a program of its own.
        Ok(None)
    }
}

/// The connection that a REQ asks for, with what it tells of the active side.
fn requested(packet: &Packet<'_>) -> Option<Pair> {
    let mad = packet.mad()?.ok()?;
    let Message::Req(req) = mad.message().ok()? else { return None };
    let mut pair = Pair::new(0);
    (pair.active.comm_id, pair.active.qpn) = (req.local_comm_id(), req.local_qpn());
    (pair.passive.psn, pair.salt) = (req.starting_psn(), mad.transaction_id());
    Some(pair)
}

/// The same connection with numbers of the passive side that follow from the seed.
fn numbered(asked: Pair, seed: u64) -> Pair {
    let drawn = Pair::new(seed);
    let mut pair = asked;
    pair.active.psn = drawn.active.psn;
    let psn = pair.passive.psn;
    pair.passive = drawn.passive;
    pair.passive.psn = psn;
    // A number that no connection had some seconds before, which a kernel would take for that one.
    pair.passive.qpn = 0x100 + (seed % 0xff_f000) as u32;
    pair
}

/// The DREP to a DREQ.
fn disconnected(packet: &Packet<'_>, connections: &[FuzzConnection]) -> Option<Vec<u8>> {
    let mad = packet.mad()?.ok()?;
    let Message::Dreq(dreq) = mad.message().ok()? else { return None };
    let mut pairs = connections.iter().map(|accepted| accepted.responder.pair());
    let pair = pairs.find(|pair| pair.active.comm_id == dreq.local_comm_id())?;
    Some(pair.drep())
}

/// Stops a program; gives its last line.
fn stopped(program: &mut dyn Running) -> Result<String> {
    Ok(last_line(&program.stop()?.stderr))
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_has_the_numbers_of_its_req_and_others_of_its_own_each_time() {
        let asking = Pair::new(5);
        let frame = asking.req(7471, &[]);
        let asked = with_packet(&frame, Role::Server, requested).unwrap();
        assert_eq!((asked.active.comm_id, asked.active.qpn), (asking.active.comm_id, asking.active.qpn));
        assert_eq!((asked.passive.psn, asked.salt), (asking.passive.psn, asking.salt));
        let pair = numbered(asked, 7);
        assert_eq!((pair.active.qpn, pair.passive.psn), (asking.active.qpn, asking.passive.psn));
        assert_ne!(pair.passive.qpn, numbered(asked, 8).passive.qpn);
        assert!(with_packet(&asking.rtu(), Role::Server, requested).is_none());
    }

    #[test]
    fn dreq_of_a_connection_is_answered_and_of_no_other() {
        let pair = Pair::new(5);
        let responder = BadResponder::new(1, pair, 64, 0);
        let connections = [FuzzConnection { responder, frames: Vec::new() }];
        let answer = |pair: &Pair| {
            with_packet(&pair.dreq(), Role::Server, |packet| disconnected(packet, &connections))
        };
        assert_eq!(answer(&pair), Some(pair.drep()));
        assert_eq!(answer(&Pair::new(6)), None);
    }
}
