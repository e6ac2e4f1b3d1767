//! A lab that stays, as commands see it: one trait for the lab's own machines and for those of others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::base::command::Command;
use crate::base::error::{Error, Result};
use crate::base::foreground::Terminal;
use crate::base::invocation;
use crate::base::role::Role;
use crate::base::selection::Selection;
use crate::node::parcel::{Arrived, Destination, Parcel};
use crate::provider::choice::Choice;
use crate::provider::qemu::control::Control;
use crate::provider::resident::report::LabReport;

/// The name of a lab that was given none.
pub const DEFAULT_NAME: &str = "lab";

/// The exit code of a command that the lab did not run to its end.
pub const TROUBLE: u8 = 125;

/// Longest name, in bytes: it is part of file names.
const NAME_LIMIT: usize = 32;

/// Machines that stay until they are taken down: two, or with further clients up to eight.
///
/// # Errors
///
/// Of all that reaches a machine: it does not answer, or what was asked for fails there.
pub trait Resident {
    /// Its name.
    fn name(&self) -> &str;

    /// Its machines, for people.
    fn description(&self) -> &str;

    /// Its nodes, in the order in which they were brought up.
    fn roles(&self) -> &'static [Role] {
        Role::first(Role::BOTH.len())
    }

    /// Refuses a node that it has not.
    ///
    /// # Errors
    ///
    /// It has none of that name: with those that it has.
    fn demand(&self, role: Role) -> Result<()> {
        if self.roles().contains(&role) {
            return Ok(());
        }
        let names: Vec<&str> = self.roles().iter().map(|role| role.name()).collect();
        let error = Error::usage(format!(
            "the lab called {} has no node {role}; its nodes are: {}",
            self.name(),
            names.join(", ")
        ));
        let nodes = role.index() + 1;
        Err(error.next(format!(
            "bring up another with more: {} --nodes {nodes} --name OTHER",
            invocation::lab("up")
        )))
    }

    /// The directory of its logs, and of captures that were given no name.
    fn logs(&self) -> &Path;

    /// The options that its machines were chosen with.
    fn selection(&self) -> Selection;

    /// The machines that were chosen for it.
    ///
    /// # Errors
    ///
    /// Its record names none that there are.
    fn choice(&self) -> Result<Choice> {
        Choice::of(&self.selection())
    }

    /// Lists what of `choice` it has not: see [`Choice::differences`].
    fn differences(&self, choice: &Choice) -> Vec<String> {
        choice.differences(&self.selection())
    }

    /// Returns true if who asks for it with these differences is told of it as it is, and nothing of it is made ready again.
    fn stays_with(&self, differences: &[String]) -> bool;

    /// Returns true if files of the cache are in use by it.
    fn needs_cache(&self) -> bool;

    /// Describes it, its state included, for scripts.
    ///
    /// # Errors
    ///
    /// See [`Resident`].
    fn report(&self) -> Result<LabReport>;

    /// A node's address on the RDMA network.
    fn address(&self, role: Role) -> IpAddr;

    /// Command by which a person reaches each node from another terminal, or why there is none, in one line.
    ///
    /// # Errors
    ///
    /// See [`Resident`].
    fn ways_in(&self) -> Result<BTreeMap<Role, String>>;

    /// Runs a shell on a node, with this process's terminal or in its place; returns its exit code.
    ///
    /// # Errors
    ///
    /// See [`Resident`].
    fn shell(&self, role: Role) -> Result<u8>;

    /// Runs a shell command on a node with this process's input and outputs; returns its exit code as a shell tells it.
    ///
    /// # Errors
    ///
    /// See [`Resident`].
    fn exec(&self, role: Role, command: &str, terminal: Terminal) -> Result<u8>;

    /// Starts a shell command in the background of a node. Returns its process id, which is that of its process group too, and
    /// the file there that has both of its outputs.
    ///
    /// # Errors
    ///
    /// See [`Resident`].
    fn detach(&self, role: Role, command: &str) -> Result<(u32, String)>;

    /// Puts a parcel onto a node, verified. Returns the path there of its one item, or the directory of all, which ends with `/`.
    ///
    /// # Errors
    ///
    /// See [`Resident`].
    fn push(&self, role: Role, parcel: &Parcel, to: Destination<'_>) -> Result<String>;

    /// Gets a file from a node, or with `recursive` a directory, as `to`; verified.
    ///
    /// # Errors
    ///
    /// See [`Resident`].
    fn pull(&self, role: Role, path: &str, recursive: bool, to: &Path) -> Result<Arrived>;

    /// Files on this computer into which a node's machine logs, by what each is of.
    fn log_files(&self, role: Role) -> Vec<(&'static str, PathBuf)>;

    /// Reads the log of a node's kernel.
    ///
    /// # Errors
    ///
    /// See [`Resident`].
    fn kernel_log(&self, role: Role) -> Result<String>;

    /// Begins to record into `file`.
    ///
    /// # Errors
    ///
    /// It records already, or the recorder does not start.
    fn start_capture(&mut self, file: &Path) -> Result<()>;

    /// Ends the recording; returns its file, and how many packets of it each node sent.
    ///
    /// # Errors
    ///
    /// Nothing is being recorded, or the file cannot be completed.
    fn stop_capture(&mut self) -> Result<(PathBuf, BTreeMap<Role, u64>)>;

    /// Returns the recording that grows as packets pass; begins one, into `file`, if there is none.
    ///
    /// # Errors
    ///
    /// Packets are not seen while they pass, or the recorder does not start.
    fn follow_capture(&mut self, file: &Path) -> Result<PathBuf>;

    /// Returns a handle on the guard whose switch can hold packets.
    ///
    /// # Errors
    ///
    /// Its packets pass through no switch of the lab's own.
    fn gate(&self) -> Result<Control>;

    /// Makes the command of this computer that runs a shell command on a node, with its standard streams; whatever ends the
    /// command ends both sides.
    ///
    /// # Errors
    ///
    /// See [`Resident`].
    fn command(&self, role: Role, command: &str) -> Result<Command>;

    /// Puts its machines back to how they were when they came up; returns what is so then. `program` is this executable.
    ///
    /// # Errors
    ///
    /// See [`Resident`].
    fn reset(&mut self, program: &Path) -> Result<&'static str>;

    /// Ends it, or gives its machines back; returns which of both, or nothing if it was not up.
    ///
    /// # Errors
    ///
    /// See [`Resident`].
    fn down(&self) -> Result<Option<&'static str>>;
}

/// Words for that all of these nodes are ready.
pub fn ready(roles: &[Role]) -> &'static str {
    if roles.len() > Role::BOTH.len() { "all nodes are ready" } else { "both nodes are ready" }
}

/// The option that names a lab, behind a space; left out for the default one.
pub fn name_option(name: &str) -> String {
    if name == DEFAULT_NAME { String::new() } else { format!(" --name {name}") }
}

/// Refuses a name that a file cannot have.
pub(super) fn check_name(name: &str) -> Result<()> {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.is_empty() && name.len() <= NAME_LIMIT && name.bytes().all(is_good) && !name.starts_with('-') {
        return Ok(());
    }
    Err(Error::usage(format!("`{name}` is no name for a lab"))
        .next(format!("use small letters, digits and `-`, at most {NAME_LIMIT} of them")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_file_can_have() {
        for name in ["lab", "a-1"] {
            check_name(name).unwrap();
        }
        for name in ["", "../x", "a/b", "-x", "A", "a b", &"x".repeat(33)] {
            check_name(name).unwrap_err();
        }
    }
}
