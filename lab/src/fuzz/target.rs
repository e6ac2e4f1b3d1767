//! A program with a peer at the other end: interface of both sides of a connection.

use std::time::Duration;

use crate::base::error::{Error, IoContext as _, Kind, Result};
use crate::base::role::Role;
use crate::guest::contents::ENVIRONMENT;
use crate::node::{NodePair as _, Running};
use crate::provider::qemu::network;
use crate::provider::qemu::pair::QemuPair;
use crate::scenario::network::Network;
use crate::scenario::placeholder;
use crate::wire::plug::Plug;

/// Longest time of a short command on the machine, on a busy computer.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// Choice of the program, and of what is sent to it.
#[derive(Debug, Clone)]
pub struct FuzzPlan {
    /// The command, as it is called on its machine.
    pub command: String,
    /// Side of the connection that the program is on.
    pub side: FuzzSide,
    /// Bytes that WRITEs and READs may reach: of a server from the address on that its REP tells, for a client from the address on
    /// that the peer tells it.
    pub region_bytes: u64,
    /// The seed that all runs follow from.
    pub seed: u64,
    /// Percentage of what is sent that is not as it should be.
    pub illegal: u8,
}

/// Side of the connection that a program is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FuzzSide {
    /// It listens on this port of RDMA CM, and is sent so many requests a run.
    Server {
        /// The port.
        port: u16,
        /// Moves of a run.
        moves: usize,
    },
    /// It connects, and is answered.
    Client,
}

impl FuzzSide {
    /// The node that the program is on.
    pub fn role(self) -> Role {
        match self {
            FuzzSide::Server { .. } => Role::Server,
            FuzzSide::Client => Role::Client,
        }
    }
}

/// One connection's exchange between a peer and a program.
#[derive(Debug, Default)]
pub struct FuzzTalk {
    /// Surprises of the exchange, the gravest first.
    pub surprises: Vec<String>,
    /// Known deviations of the kernel that it shows, by name.
    pub deviations: Vec<String>,
    /// Each move and what came of it, in words.
    pub moves: Vec<String>,
    /// Ending of the program in words; empty of one that goes on.
    pub ending: String,
    /// Answers by kind: those that acknowledge, and all others.
    pub answers: [usize; 2],
    /// True if the peer did nothing that is not as it should be.
    pub is_legal: bool,
}

/// A program under way, or one that is started anew each time, and a peer's place beside its machine.
pub trait FuzzTarget {
    /// Makes one exchange, which follows from `seed`, and looks whether a fresh connection works.
    ///
    /// # Errors
    ///
    /// The machine does not answer.
    fn exchange(&mut self, seed: u64) -> Result<FuzzTalk>;

    /// Returns in words how the program ended, if it had to go on and has not.
    ///
    /// # Errors
    ///
    /// The machine does not answer.
    fn ended(&mut self) -> Result<Option<String>>;
}

/// Prepares the program's machine for a peer, in whose place nobody answers any more; returns the command as its shell is given it.
pub(super) fn prepared(pair: &QemuPair, plan: &FuzzPlan) -> Result<String> {
    let role = plan.side.role();
    let node = pair.node(role);
    let command = network::command(role, Network::default(), &Role::BOTH).unwrap_or_default();
    if node.run(&command, COMMAND_LIMIT)?.code != Some(0) {
        return Err(Error::boot(format!("not true: the {role} knows its peer's MAC")));
    }
    let address = |role| pair.node(role).address().to_string();
    Ok(format!("{ENVIRONMENT}; {}", placeholder::filled(&plan.command, address)))
}

/// Ends the machine at the other end and takes its place at the switch.
pub(super) fn plug(pair: &QemuPair, plan: &FuzzPlan) -> Result<Plug> {
    let socket = pair.vacate(plan.side.role().peer())?;
    Plug::connect(&socket).at("failed to connect to", &socket)
}

/// Returns in words how a program ended, if it has.
pub(super) fn ending(running: &mut dyn Running) -> Result<Option<String>> {
    match running.wait(Duration::ZERO) {
        Ok(output) => {
            let code = output.code.map_or("a signal".to_owned(), |code| format!("exit code {code}"));
            let last = output.stderr.lines().last().unwrap_or_default().to_owned();
            Ok(Some(format!("ended with {code}: {last}")))
        }
        Err(error) if error.kind() == Kind::Timeout => Ok(None),
        Err(error) => Err(error),
    }
}

/// A seed of its own for each number.
pub(super) fn mixed(seed: u64, number: u64) -> u64 {
    fastrand::Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).u64(..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_a_seed_of_its_own() {
        let seeds: std::collections::BTreeSet<u64> = (0..1000).map(|number| mixed(7, number)).collect();
        assert_eq!(seeds.len(), 1000);
        assert_ne!(mixed(7, 1), mixed(8, 1));
    }
}
