//! Runs of a peer against one server: a connection each, then a look at whether the machine and its program still work.
//!
//! The client's machine makes room for the peer; the server's goes on from run to run until something is wrong with it.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::base::cache::write_whole;
use crate::base::error::{Error, IoContext as _, Kind, Result};
use crate::base::program::Program;
use crate::base::progress::Step;
use crate::base::role::Role;
use crate::fuzz::grammar::{Grammar, MoveDue, PeerMove};
use crate::fuzz::judge;
use crate::fuzz::peer::{Peer, PeerAnswer};
use crate::guest::contents::ENVIRONMENT;
use crate::node::{NodePair as _, Plan, Running};
use crate::provider::Qemu;
use crate::provider::qemu::network;
use crate::provider::qemu::pair::QemuPair;
use crate::run::kernel_log;
use crate::run::observe::{LISTENERS, listens_on};
use crate::scenario::network::Network;
use crate::scenario::placeholder;
use crate::wire::capture::{CAPTURE, decode_named};
use crate::wire::plug::Plug;

/// Moves of a run with the answers to each, in words.
pub const MOVES: &str = "moves.txt";

/// File of what the server's kernel logged in a run.
const KERNEL_LOG: &str = "dmesg-server.txt";

/// Longest time until the server listens.
const LISTEN_LIMIT: Duration = Duration::from_secs(20);

/// Longest time of a short command on the server, on a busy computer.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// Silence of the wire that is waited for behind a move that need not be answered.
const QUIET: Duration = Duration::from_millis(60);

/// Server, seed and size of all runs.
#[derive(Debug, Clone)]
pub struct FuzzPlan {
    /// The command on the server, as it is called there.
    pub server: String,
    /// The port of CM that it listens on.
    pub port: u16,
    /// Bytes that it offers to WRITE and READ, from the address on that its REP tells.
    pub region_bytes: u64,
    /// The seed that all runs follow from.
    pub seed: u64,
    /// Moves of a run.
    pub moves: usize,
    /// Percentage of moves that are not as they should be.
    pub illegal: u8,
}

/// One run: a connection, and a look at what is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FuzzRun {
    /// Its number, from 1.
    pub number: u64,
    /// Moves that were made.
    pub moves: usize,
    /// Answers that acknowledge, and NAKs of any kind.
    pub answers: [usize; 2],
    /// Packets on the wire.
    pub packets: u64,
    /// Surprises, the gravest first.
    pub surprises: Vec<String>,
    /// Known deviations of the kernel that it shows, by name.
    pub deviations: Vec<String>,
    /// Directory in which it is kept, if something is wrong.
    pub artifacts: Option<PathBuf>,
}

/// Runs of one plan.
#[derive(Debug)]
pub struct Fuzzing<'a> {
    /// Source of the machines.
    pub qemu: &'a Qemu,
    /// Programs that are deployed.
    pub programs: &'a [Program],
    /// The plan.
    pub plan: FuzzPlan,
    /// Directory in which everything is kept.
    pub directory: &'a Path,
}

/// A server under way, with a peer's place beside it.
struct FuzzTarget<'a> {
    pair: &'a QemuPair,
    server: Box<dyn Running + 'a>,
    plug: Plug,
}

impl Fuzzing<'_> {
    /// Makes the runs with these numbers, until `end` at most.
    ///
    /// # Errors
    ///
    /// The machines do not come up, the server does not listen, or what was seen cannot be kept.
    pub fn run(&self, numbers: impl IntoIterator<Item = u64>, end: Option<Instant>) -> Result<Vec<FuzzRun>> {
        let mut left: VecDeque<u64> = numbers.into_iter().collect();
        let is_over = || end.is_some_and(|end| Instant::now() >= end);
        let step = Step::begin(format!("fuzz {}", self.plan.server));
        let mut runs: Vec<FuzzRun> = Vec::new();
        while !left.is_empty() && !is_over() {
            let logs = self.logs()?;
            let pair = self.qemu.fork(&Plan { programs: self.programs, ..Plan::new(&logs) })?;
            let mut target = self.target(&pair)?;
            while let Some(number) = left.pop_front() {
                let run = self.one(&mut target, number)?;
                let works = run.surprises.is_empty();
                runs.push(run);
                step.now(&told(&runs));
                if !works || is_over() {
                    break;
                }
            }
        }
        step.done(&told(&runs));
        Ok(runs)
    }

    /// A directory for the logs of a pair of machines.
    fn logs(&self) -> Result<PathBuf> {
        let mut names = (1..).map(|number| self.directory.join(format!("machines-{number}")));
        let logs = names.find(|path| !path.exists()).unwrap_or_default();
        fs::create_dir_all(&logs).at("failed to create", &logs)?;
        Ok(logs)
    }

    /// Starts the server, and makes room for the peer.
    fn target<'a>(&self, pair: &'a QemuPair) -> Result<FuzzTarget<'a>> {
        let node = pair.node(Role::Server);
        // Nobody answers for the client's address any more.
        let command = network::command(Role::Server, Network::default(), &Role::BOTH).unwrap_or_default();
        expect_done(node.run(&command, COMMAND_LIMIT)?.code, "the server knows its peer's MAC")?;
        let address = |role| pair.node(role).address().to_string();
        let command = format!("{ENVIRONMENT}; {}", placeholder::filled(&self.plan.server, address));
        let mut server = node.start(&command)?;
        let started = Instant::now();
        while !listens_on(&node.run(LISTENERS, COMMAND_LIMIT)?.stdout, self.plan.port) {
            if let Some(ended) = ended(server.as_mut())? {
                return Err(Error::setup(format!("the server does not serve: {ended}")));
            }
            if started.elapsed() > LISTEN_LIMIT {
                return Err(Error::timeout(
                    format_args!("listener on port {} of the server", self.plan.port),
                    LISTEN_LIMIT,
                )
                .next("say on which port of RDMA CM it listens: --port N"));
            }
        }
        let socket = pair.vacate(Role::Client)?;
        let plug = Plug::connect(&socket).at("failed to connect to", &socket)?;
        Ok(FuzzTarget { pair, server, plug })
    }

    /// Makes one run and judges it; keeps it if something is wrong.
    fn one(&self, target: &mut FuzzTarget<'_>, number: u64) -> Result<FuzzRun> {
        let directory = self.directory.join(format!("{number:04}"));
        fs::create_dir_all(&directory).at("failed to create", &directory)?;
        let capture = directory.join(CAPTURE);
        let node = target.pair.node(Role::Server);
        let began_s = kernel_log::parse_now(&node.run(kernel_log::NOW, COMMAND_LIMIT)?.stdout)?;
        target.pair.start_capture(&capture)?;
        let seed = mixed(self.plan.seed, number);
        let (mut surprises, told) = self.converse(&mut target.plug, seed);
        if let Err(error) = self.fresh(&mut target.plug, seed) {
            surprises.push(format!("a fresh connection does not work: {error}"));
        }
        let mut deviations = Vec::new();
        let machine = target.pair.check_alive().and_then(|()| node.run(kernel_log::PRINT, COMMAND_LIMIT));
        match machine {
            Ok(output) => {
                let log = kernel_log::lines_since(&output.stdout, began_s);
                let objection = judge::of_kernel_log(&log);
                surprises.splice(..0, objection).for_each(drop);
                deviations = judge::known(&log);
                write_whole(&directory.join(KERNEL_LOG), log.as_bytes())?;
                if let Some(ended) = ended(target.server.as_mut())? {
                    surprises.push(format!("the server's program {ended}"));
                }
            }
            Err(error) => surprises.insert(0, format!("the server's machine does not answer: {error}")),
        }
        target.pair.stop_capture()?;
        let addresses = Role::BOTH.map(|role| (role, target.pair.node(role).address()));
        let report = decode_named(&capture, addresses.into_iter())?;
        let is_legal = told.iter().all(|(peer_move, _)| matches!(peer_move.due, MoveDue::Acknowledged(_)));
        surprises.extend(judge::of_wire(&report, is_legal));
        let is_wrong = !surprises.is_empty();
        match is_wrong || !deviations.is_empty() {
            true => write_whole(&directory.join(MOVES), in_words(&told).as_bytes())?,
            false => fs::remove_dir_all(&directory).at("failed to remove", &directory)?,
        }
        let artifacts = is_wrong.then_some(directory);
        let count = |is_positive| {
            let all = told.iter().flat_map(|(_, answers)| answers);
            all.filter(|answer| answer.is_positive() == is_positive).count()
        };
        let answers = [true, false].map(count);
        let (moves, packets) = (told.len(), report.packets);
        Ok(FuzzRun { number, moves, answers, packets, surprises, deviations, artifacts })
    }

    /// Makes all moves of a connection; gives what is wrong with the answers, and both.
    fn converse(&self, plug: &mut Plug, seed: u64) -> (Vec<String>, Vec<(PeerMove, Vec<PeerAnswer>)>) {
        let mut told = Vec::new();
        let mut surprises = Vec::new();
        if let Err(error) = self.moves(plug, seed, &mut told, &mut surprises) {
            surprises.push(error.to_string());
        }
        (surprises, told)
    }

    /// Connects anew, writes and reads back.
    fn fresh(&self, plug: &mut Plug, seed: u64) -> Result<()> {
        let mut peer = Peer::connect(plug, mixed(seed, 0), self.plan.port)?;
        let bytes = seed.to_be_bytes();
        if self.offered(&peer) >= bytes.len() as u64 {
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

    /// Bytes that a program offers its peer.
    fn offered(&self, peer: &Peer<'_>) -> u64 {
        if peer.region.is_some() { self.plan.region_bytes } else { 0 }
    }

    fn moves(
        &self,
        plug: &mut Plug,
        seed: u64,
        told: &mut Vec<(PeerMove, Vec<PeerAnswer>)>,
        surprises: &mut Vec<String>,
    ) -> Result<()> {
        let mut peer = Peer::connect(plug, seed, self.plan.port)?;
        let mut grammar = Grammar::new(seed, peer.pair, self.offered(&peer), self.plan.illegal);
        let mut is_whole = true;
        for _ in 0..self.plan.moves {
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

/// Returns in words how a program ended, if it has.
fn ended(server: &mut dyn Running) -> Result<Option<String>> {
    match server.wait(Duration::ZERO) {
        Ok(output) => {
            let code = output.code.map_or("a signal".to_owned(), |code| format!("exit code {code}"));
            let last = output.stderr.lines().last().unwrap_or_default().to_owned();
            Ok(Some(format!("ended with {code}: {last}")))
        }
        Err(error) if error.kind() == Kind::Timeout => Ok(None),
        Err(error) => Err(error),
    }
}

fn expect_done(code: Option<i32>, what: &str) -> Result<()> {
    match code {
        Some(0) => Ok(()),
        _ => Err(Error::boot(format!("not true: {what}"))),
    }
}

/// A seed of its own for each number.
fn mixed(seed: u64, number: u64) -> u64 {
    fastrand::Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).u64(..)
}

/// Progress, in a few words.
fn told(runs: &[FuzzRun]) -> String {
    let moves: usize = runs.iter().map(|run| run.moves).sum();
    let surprising = runs.iter().filter(|run| !run.surprises.is_empty()).count();
    format!("{} runs, {moves} moves, runs with surprises: {surprising}", runs.len())
}

/// Moves with their answers, a line each.
fn in_words(told: &[(PeerMove, Vec<PeerAnswer>)]) -> String {
    let line = |(peer_move, answers): &(PeerMove, Vec<PeerAnswer>)| {
        let answers: Vec<String> = answers
            .iter()
            .map(|answer| match answer.syndrome {
                Some(syndrome) => format!("{syndrome} at +{}", answer.psn),
                None => format!("data at +{}", answer.psn),
            })
            .collect();
        let answers = if answers.is_empty() { "no answer".to_owned() } else { answers.join(", ") };
        format!("{}: {answers}\n", peer_move.words)
    };
    told.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use roce::wire::Syndrome;

    #[test]
    fn every_run_has_a_seed_of_its_own() {
        let seeds: std::collections::BTreeSet<u64> = (0..1000).map(|number| mixed(7, number)).collect();
        assert_eq!(seeds.len(), 1000);
        assert_ne!(mixed(7, 1), mixed(8, 1));
    }

    #[test]
    fn moves_are_told_with_their_answers() {
        let of =
            |words: &str| PeerMove { words: words.to_owned(), frames: Vec::new(), due: MoveDue::Anything };
        let nak = PeerAnswer { psn: 2, syndrome: Some(Syndrome::from_byte(0x62)), payload: Vec::new() };
        let text = in_words(&[(of("WRITE"), vec![nak]), (of("SEND"), Vec::new())]);
        assert_eq!(text, "WRITE: NAK remote access error at +2\nSEND: no answer\n");
    }
}
