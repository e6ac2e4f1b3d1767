//! QEMU's own control socket: one JSON object a line, a command at a time.

use std::io::{BufRead as _, BufReader, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

use crate::base::error::{Error, IoContext as _, Kind, Result};
use crate::base::role::Role;
use crate::provider::qemu::argv::Files;

/// Longest time that QEMU may take to answer one command.
const LIMIT: Duration = Duration::from_secs(10);

/// Name of the channel that a machine's state goes through.
const CHANNEL: &str = "state";
const CHANNEL_URI: &str = "fd:state";

/// A connection to one QEMU.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects to the machine of a node, by its guard's run directory.
    ///
    /// # Errors
    ///
    /// As [`Qmp::connect`].
    pub fn of(run_directory: &Path, role: Role) -> Result<Qmp> {
        Qmp::connect(&Files::new(run_directory, role).qmp())
    }

    /// Connects and negotiates.
    ///
    /// # Errors
    ///
    /// Nobody listens, or what answers is not QMP.
    pub fn connect(socket: &Path) -> Result<Qmp> {
        let stream = UnixStream::connect(socket).at("failed to connect to QEMU's control socket", socket)?;
        stream.set_read_timeout(Some(LIMIT)).at("failed to set a limit on", socket)?;
        let mut qmp = Qmp { stream: BufReader::new(stream) };
        // The socket may be open before its greeting is sent: an event of that moment comes first.
        loop {
            let first = qmp.read()?;
            if first.get("QMP").is_some() {
                break;
            }
            if first.get("event").is_none() {
                return Err(Error::boot(format!("{}: not QMP: {first}", socket.display())));
            }
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
        self.answer(command)
    }

    /// The answer to a command that was sent.
    fn answer(&mut self, command: &str) -> Result<Value> {
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

    /// Saves the machine's state, without its memory; the machine stands still afterwards.
    ///
    /// # Errors
    ///
    /// QEMU refuses, or does not finish within the limit.
    pub fn save(&mut self) -> Result<Vec<u8>> {
        self.leave_memory_out()?;
        self.execute("stop", json!({}))?;
        let mut ours = self.pass_channel()?;
        let reader = thread::spawn(move || {
            let mut state = Vec::new();
            ours.read_to_end(&mut state).map(|_| state)
        });
        self.execute("migrate", json!({ "uri": CHANNEL_URI }))?;
        self.wait_migrated("state saved")?;
        let state = reader.join().unwrap_or_else(|_| Err(std::io::Error::other("its reader ended")));
        state.map_err(|source| Error::boot("failed to read the machine's state from QEMU").source(source))
    }

    /// Loads a saved state and lets the machine run on.
    ///
    /// # Errors
    ///
    /// The state is not one that this QEMU can load, or loading does not finish within the limit.
    pub fn load(&mut self, state: Vec<u8>) -> Result<()> {
        self.leave_memory_out()?;
        let mut ours = self.pass_channel()?;
        // QEMU says itself what it did not get; dropped, the channel tells it the end.
        thread::spawn(move || ours.write_all(&state));
        self.execute("migrate-incoming", json!({ "uri": CHANNEL_URI }))?;
        self.wait_migrated("state loaded")?;
        self.execute("cont", json!({}))?;
        Ok(())
    }

    /// Passes QEMU one end of a channel, under the name that [`CHANNEL_URI`] has, and returns the other. QEMU starts no
    /// process for it and opens no file, so that it can be kept from both.
    fn pass_channel(&mut self) -> Result<UnixStream> {
        let failed = |source: std::io::Error| {
            Error::setup("failed to pass a channel to QEMU (`getfd`)").source(source)
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        ours.set_read_timeout(Some(LIMIT)).map_err(failed)?;
        ours.set_write_timeout(Some(LIMIT)).map_err(failed)?;
        let request = json!({ "execute": "getfd", "arguments": { "fdname": CHANNEL } }).to_string() + "\n";
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        let descriptors = [theirs.as_fd()];
        rights.push(SendAncillaryMessage::ScmRights(&descriptors));
        let bytes = [IoSlice::new(request.as_bytes())];
        sendmsg(self.stream.get_ref(), &bytes, &mut rights, SendFlags::NOSIGNAL)
            .map_err(|errno| failed(errno.into()))?;
        self.answer("getfd").map(|_| ours)
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
                Some("failed") => {
                    let why = answer.get("error-desc").and_then(Value::as_str).unwrap_or("no reason given");
                    return Err(Error::boot(format!("failed: {what}: {why}")));
                }
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
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn forwarded_port_is_read_from_the_table() {
        let table = "Hub -1 (ssh):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
            TCP[HOST_FORWARD]  14       127.0.0.1 38651       10.0.2.15    22     0     0\r\n";
        assert_eq!(forwarded_port(table), Some(38651));
        assert_eq!(forwarded_port("nothing"), None);
    }

    #[test]
    fn event_may_come_before_the_greeting() {
        let directory = tempfile::tempdir().expect("a directory");
        let connect = |first: &'static str| {
            let socket = directory.path().join("qmp");
            let listener = UnixListener::bind(&socket).expect("a socket");
            let qemu = thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("a connection");
                stream.write_all(format!("{first}\n").as_bytes()).expect("to say the first");
                // Ends at once where the other side hangs up.
                if BufReader::new(&stream).read_line(&mut String::new()).is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(b"{\"return\": {}}\n");
                }
            });
            let connected = Qmp::connect(&socket).map(drop).map_err(|error| error.to_string());
            qemu.join().expect("the end of its side");
            std::fs::remove_file(&socket).expect("the socket");
            connected
        };
        let event = "{\"event\": \"NETDEV_STREAM_CONNECTED\", \"data\": {}}\n{\"QMP\": {}}";
        connect(event).expect("a connection");
        let refused = connect("{\"answer\": 42}").expect_err("another protocol");
        assert!(refused.contains("not QMP"), "{refused}");
    }
}
