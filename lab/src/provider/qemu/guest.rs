//! One guest, behind the traits of [`crate::node`]: everything goes over its agent's serial line.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::cache::sha256;
use crate::command::Output;
use crate::error::{Error, IoContext as _, Result};
use crate::node::{Node, Role, Running};
use crate::provider::qemu::agent::Agent;
use crate::provider::qemu::argv;

/// How long a short command on a ready node may take, under software emulation on a busy host.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// Bytes of a file sent in one command over the serial line; a line's buffer in the guest is finite.
const PUSH_CHUNK_BYTES: usize = 24 * 1024;

/// One guest.
#[derive(Debug)]
pub struct Guest {
    role: Role,
    agent: Agent,
}

impl Guest {
    /// The guest at the other end of an agent's line.
    pub fn new(role: Role, agent: Agent) -> Guest {
        Guest { role, agent }
    }

    /// Runs a short command that has to succeed; `what` is true then.
    ///
    /// # Errors
    ///
    /// It fails, with its output, or the node does not answer.
    pub fn demand(&self, what: &str, command: &str) -> Result<Output> {
        let output = self.run(command, COMMAND_LIMIT)?;
        self.expect(what, output)
    }

    /// Takes an output whose exit code has to be 0; `what` is true then.
    ///
    /// # Errors
    ///
    /// Its exit code is another, with the output.
    pub fn expect(&self, what: &str, output: Output) -> Result<Output> {
        if output.code == Some(0) {
            return Ok(output);
        }
        Err(Error::boot(format!("node {}: not true: {what}", self.role))
            .detail(output.stdout + &output.stderr))
    }
}

impl Node for Guest {
    fn run(&self, command: &str, limit: Duration) -> Result<Output> {
        self.agent.run(command, limit).map_err(|error| named(self.role, error))
    }

    fn start(&self, command: &str) -> Result<Box<dyn Running + '_>> {
        let id = self.agent.send(command).map_err(|error| named(self.role, error))?;
        Ok(Box::new(Job { node: self, command: command.to_owned(), id, is_over: false }))
    }

    fn push(&self, file: &Path, to: &str) -> Result<()> {
        let bytes = fs::read(file).at("failed to read", file)?;
        self.demand("the file can be written", &format!(": >'{to}' && chmod 755 '{to}'"))?;
        for chunk in bytes.chunks(PUSH_CHUNK_BYTES) {
            let text = BASE64_STANDARD.encode(chunk);
            self.demand("the file can be written", &format!("echo {text} | base64 -d >>'{to}'"))?;
        }
        let sum = sha256(&bytes);
        self.demand("the file arrived whole", &format!("echo '{sum}  {to}' | sha256sum -c -s")).map(drop)
    }

    fn pull(&self, path: &str) -> Result<Vec<u8>> {
        let command = format!("sha256sum <'{path}' && base64 -w 0 <'{path}'");
        let output = self.demand("the file can be read", &command)?;
        let (sum, text) = output.stdout.split_once('\n').unwrap_or_default();
        let bytes = BASE64_STANDARD
            .decode(text.trim())
            .map_err(|source| Error::setup(format!("{path} did not arrive whole")).source(source))?;
        if sum.split_whitespace().next() != Some(&sha256(&bytes)) {
            return Err(Error::setup(format!("{path} did not arrive whole: its checksum differs")));
        }
        Ok(bytes)
    }

    fn address(&self) -> IpAddr {
        argv::address(self.role).into()
    }
}

fn named(role: Role, error: Error) -> Error {
    let kind = error.kind();
    Error::new(kind, format!("node {role}")).source(error)
}

/// A command under way on a guest.
struct Job<'a> {
    node: &'a Guest,
    command: String,
    id: u64,
    is_over: bool,
}

impl Running for Job<'_> {
    fn wait(&mut self, limit: Duration) -> Result<Output> {
        match self.node.agent.answer(self.id, limit).map_err(|error| named(self.node.role, error))? {
            Some(output) => {
                self.is_over = true;
                Ok(output)
            }
            None => {
                Err(Error::timeout(format_args!("end of `{}` on {}", self.command, self.node.role), limit))
            }
        }
    }

    fn stop(&mut self) -> Result<Output> {
        self.node.agent.signal(self.id, "KILL")?;
        self.wait(COMMAND_LIMIT)
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // The guest may have gone; then so has what ran on it.
            let _ = self.node.agent.signal(self.id, "KILL");
        }
    }
}
