//! Runs of a peer against one program: a connection each, then a look at whether the machine and its program still work.
//!
//! The other node's machine makes room for the peer; the program's goes on from run to run until something is wrong with it.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::base::cache::write_whole;
use crate::base::error::{IoContext as _, Result};
use crate::base::program::Program;
use crate::base::progress::Step;
use crate::base::role::Role;
use crate::fuzz::client::FuzzClient;
use crate::fuzz::judge;
use crate::fuzz::server::FuzzServer;
use crate::fuzz::target::{COMMAND_LIMIT, FuzzPlan, FuzzSide, FuzzTalk, FuzzTarget, mixed};
use crate::node::{NodePair as _, Plan};
use crate::provider::Qemu;
use crate::provider::qemu::pair::QemuPair;
use crate::run::kernel_log;
use crate::wire::capture::{CAPTURE, decode_named};

/// Moves of a run with what came of each, in words.
pub const MOVES: &str = "moves.txt";

/// One run: a connection, and a look at what is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FuzzRun {
    /// Its number, from 1.
    pub number: u64,
    /// Moves that were made.
    pub moves: usize,
    /// Answers by kind: of a server those that acknowledge and those that do not, to a client right ones and others.
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

impl Fuzzing<'_> {
    /// Makes the runs with these numbers, until `end` at most, and appends each to `runs`: an error takes none of them away.
    ///
    /// # Errors
    ///
    /// The machines do not come up, the program fails with a peer that is as it should be, or what was seen cannot be kept.
    pub fn run(
        &self,
        numbers: impl IntoIterator<Item = u64>,
        end: Option<Instant>,
        runs: &mut Vec<FuzzRun>,
    ) -> Result<()> {
        let mut left: VecDeque<u64> = numbers.into_iter().collect();
        let is_over = || end.is_some_and(|end| Instant::now() >= end);
        let step = Step::begin(format!("fuzz {}", self.plan.command));
        while !left.is_empty() && !is_over() {
            let logs = self.logs()?;
            let pair = self.qemu.fork(&Plan { programs: self.programs, ..Plan::new(&logs) })?;
            let mut target: Box<dyn FuzzTarget + '_> = match self.plan.side {
                FuzzSide::Server { port, moves } => {
                    Box::new(FuzzServer::start(&pair, &self.plan, port, moves)?)
                }
                FuzzSide::Client => Box::new(FuzzClient::start(&pair, &self.plan)?),
            };
            while let Some(number) = left.pop_front() {
                let run = self.one(&pair, target.as_mut(), number)?;
                let works = run.surprises.is_empty();
                runs.push(run);
                step.now(&told(runs));
                if !works || is_over() {
                    break;
                }
            }
        }
        step.done(&told(runs));
        Ok(())
    }

    /// A directory for the logs of a pair of machines.
    fn logs(&self) -> Result<PathBuf> {
        let mut names = (1..).map(|number| self.directory.join(format!("machines-{number}")));
        let logs = names.find(|path| !path.exists()).unwrap_or_default();
        fs::create_dir_all(&logs).at("failed to create", &logs)?;
        Ok(logs)
    }

    /// Makes one run and judges it; keeps it if something is wrong.
    fn one(&self, pair: &QemuPair, target: &mut dyn FuzzTarget, number: u64) -> Result<FuzzRun> {
        let directory = self.directory.join(format!("{number:04}"));
        fs::create_dir_all(&directory).at("failed to create", &directory)?;
        let capture = directory.join(CAPTURE);
        let role = self.plan.side.role();
        let node = pair.node(role);
        let began_s = kernel_log::parse_now(&node.run(kernel_log::NOW, COMMAND_LIMIT)?.stdout)?;
        pair.start_capture(&capture)?;
        let mut talk = target.exchange(mixed(self.plan.seed, number)).unwrap_or_else(|error| {
            let surprises = vec![error.to_string()];
            FuzzTalk { surprises, ..FuzzTalk::default() }
        });
        let machine =
            pair.check_alive().and_then(|()| node.run(&kernel_log::print_since(began_s), COMMAND_LIMIT));
        match machine {
            Ok(output) => {
                let log = kernel_log::lines_since(&output.stdout, began_s);
                let objection = judge::of_kernel_log(&log, role);
                talk.surprises.splice(..0, objection).for_each(drop);
                talk.deviations.extend(judge::known(&log));
                write_whole(&directory.join(format!("dmesg-{role}.txt")), log.as_bytes())?;
                if let Some(ended) = target.ended()? {
                    talk.surprises.push(format!("the {role}'s program {ended}"));
                }
            }
            Err(error) => {
                talk.surprises.insert(0, judge::of_machine(role, &error));
            }
        }
        pair.stop_capture()?;
        let addresses = Role::BOTH.map(|role| (role, pair.node(role).address()));
        let report = decode_named(&capture, addresses.into_iter())?;
        talk.surprises.extend(judge::of_wire(&report, role, talk.is_legal));
        let is_wrong = !talk.surprises.is_empty();
        match is_wrong || !talk.deviations.is_empty() {
            true => {
                let lines = talk.moves.iter().chain(Some(&talk.ending).filter(|ending| !ending.is_empty()));
                let moves: String = lines.map(|words| format!("{words}\n")).collect();
                write_whole(&directory.join(MOVES), moves.as_bytes())?;
            }
            false => fs::remove_dir_all(&directory).at("failed to remove", &directory)?,
        }
        Ok(FuzzRun {
            number,
            moves: talk.moves.len(),
            answers: talk.answers,
            packets: report.packets,
            surprises: talk.surprises,
            deviations: talk.deviations,
            artifacts: is_wrong.then_some(directory),
        })
    }
}

/// Progress, in a few words.
fn told(runs: &[FuzzRun]) -> String {
    let moves: usize = runs.iter().map(|run| run.moves).sum();
    let surprising = runs.iter().filter(|run| !run.surprises.is_empty()).count();
    format!("{} runs, {moves} moves, runs with surprises: {surprising}", runs.len())
}
