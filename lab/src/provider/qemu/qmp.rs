//! QEMU's own control socket: one JSON object a line, a command at a time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::command::shell_word;
use crate::error::{Error, IoContext as _, Kind, Result};

/// How long QEMU may take to answer one command.
const LIMIT: Duration = Duration::from_secs(10);

/// A connection to one QEMU.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects and negotiates.
    ///
    /// # Errors
    ///
    /// Nobody listens, or what answers is not QMP.
    pub fn connect(socket: &Path) -> Result<Qmp> {
        let stream = UnixStream::connect(socket).at("failed to connect to QEMU's control socket", socket)?;
        stream.set_read_timeout(Some(LIMIT)).at("failed to set a limit on", socket)?;
        let mut qmp = Qmp { stream: BufReader::new(stream) };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            return Err(Error::boot(format!("{}: not QMP: {greeting}", socket.display())));
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and gives what it returns.
    ///
    /// # Errors
    ///
    /// QEMU refuses it, does not answer, or has ended.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        self.stream
            .get_mut()
            .write_all(format!("{request}\n").as_bytes())
            .map_err(|source| Error::boot(format!("failed to send `{command}` to QEMU")).source(source))?;
        loop {
            let mut answer = self.read()?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                let text = error.get("desc").and_then(Value::as_str).unwrap_or("no reason given");
                return Err(Error::boot(format!("QEMU refused `{command}`: {text}")));
            }
            // Anything else is an event.
        }
    }

    /// The port on 127.0.0.1 that QEMU chose for the guest's port 22.
    ///
    /// # Errors
    ///
    /// QEMU names none.
    pub fn ssh_port(&mut self) -> Result<u16> {
        let answer = self.execute("human-monitor-command", json!({ "command-line": "info usernet" }))?;
        forwarded_port(answer.as_str().unwrap_or_default())
            .ok_or_else(|| Error::boot("QEMU forwards no port to the guest's SSH server"))
    }

    /// Saves the machine's state, without its memory, into `file`; the machine stands still afterwards.
    ///
    /// # Errors
    ///
    /// QEMU refuses, or does not finish within the limit.
    pub fn save(&mut self, file: &Path) -> Result<()> {
        self.leave_memory_out()?;
        self.execute("stop", json!({}))?;
        self.execute(
            "migrate",
            json!({ "uri": format!("exec:cat > {}", shell_word(&file.to_string_lossy())) }),
        )?;
        self.wait_migrated("state saved")
    }

    /// Loads a saved state and lets the machine run on.
    ///
    /// # Errors
    ///
    /// The state is not one that this QEMU can load, or loading does not finish within the limit.
    pub fn load(&mut self, file: &Path) -> Result<()> {
        self.leave_memory_out()?;
        self.execute(
            "migrate-incoming",
            json!({ "uri": format!("exec:cat {}", shell_word(&file.to_string_lossy())) }),
        )?;
        self.wait_migrated("state loaded")?;
        self.execute("cont", json!({}))?;
        Ok(())
    }

    /// Memory in a shared file is the file's business.
    fn leave_memory_out(&mut self) -> Result<()> {
        let capability = json!({ "capability": "x-ignore-shared", "state": true });
        self.execute("migrate-set-capabilities", json!({ "capabilities": [capability] })).map(drop)
    }

    fn wait_migrated(&mut self, what: &str) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            let answer = self.execute("query-migrate", json!({}))?;
            match answer.get("status").and_then(Value::as_str) {
                Some("completed") => return Ok(()),
                Some("failed") => return Err(Error::boot(format!("failed: {what}"))),
                _ => thread::sleep(Duration::from_millis(3)),
            }
        }
        Err(Error::timeout(what, LIMIT).kind_is(Kind::Boot))
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        let read = self
            .stream
            .read_line(&mut line)
            .map_err(|source| Error::boot("no answer from QEMU's control socket").source(source))?;
        if read == 0 {
            return Err(Error::boot("QEMU closed its control socket"));
        }
        serde_json::from_str(&line)
            .map_err(|source| Error::boot(format!("QEMU answered `{}`", line.trim())).source(source))
    }
}

/// `TCP[HOST_FORWARD]  FD  127.0.0.1  PORT  10.0.2.15  22 …`
fn forwarded_port(usernet: &str) -> Option<u16> {
    usernet
        .lines()
        .find(|line| line.trim_start().starts_with("TCP[HOST_FORWARD]"))?
        .split_whitespace()
        .nth(3)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_port_is_read_from_the_table() {
        let table = "Hub -1 (ssh):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
            TCP[HOST_FORWARD]  14       127.0.0.1 38651       10.0.2.15    22     0     0\r\n";
        assert_eq!(forwarded_port(table), Some(38651));
        assert_eq!(forwarded_port("nothing"), None);
    }
}
