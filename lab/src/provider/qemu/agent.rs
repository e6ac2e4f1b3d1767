//! Commands over a serial line, served by `lab/guest/lab-agent` in the guest.
//!
//! A request is one line, an answer is one line; several requests can be under way. One thread reads
//! answers and hands each to whoever waits for its id. No cryptography, no network: the line works in the
//! first moment of a guest and in the first after a restore.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::base::command::Output;
use crate::base::error::{Error, IoContext as _, Result};

/// The host's end of one node's serial line.
#[derive(Debug)]
pub struct Agent {
    line: UnixStream,
    shared: Arc<AgentShared>,
}

#[derive(Debug, Default)]
struct AgentShared {
    state: Mutex<AgentState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct AgentState {
    last_id: u64,
    is_ready: bool,
    is_closed: bool,
    answers: HashMap<u64, Output>,
    noise: String,
}

impl Agent {
    /// Connects to the socket of a machine's second serial port.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub fn connect(socket: &Path) -> Result<Agent> {
        let line = UnixStream::connect(socket).at("failed to connect to the agent's line", socket)?;
        let reader = line.try_clone().at("failed to share", socket)?;
        let shared = Arc::<AgentShared>::default();
        let for_reader = Arc::clone(&shared);
        thread::spawn(move || for_reader.read(reader));
        Ok(Agent { line, shared })
    }

    /// Waits until the agent has said that it serves, or the line closes.
    ///
    /// # Errors
    ///
    /// Neither happens within `limit`, or the line closed.
    pub fn wait_ready(&self, limit: Duration) -> Result<()> {
        let ready = self.shared.wait(limit, |state| state.is_ready.then_some(()))?;
        ready.ok_or_else(|| Error::timeout("agent ready", limit))
    }

    /// Whether the line has closed: the machine has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.state().is_closed
    }

    /// Sends a shell command and gives the id of its answer.
    ///
    /// # Errors
    ///
    /// The line is closed.
    pub fn send(&self, command: &str) -> Result<u64> {
        let id = {
            let mut state = self.shared.state();
            state.last_id += 1;
            state.last_id
        };
        self.write(&format!("{id} {}\n", BASE64_STANDARD.encode(command)))?;
        Ok(id)
    }

    /// Sends a signal, as in `KILL`, to everything that a request started.
    ///
    /// # Errors
    ///
    /// The line is closed.
    pub fn signal(&self, id: u64, signal: &str) -> Result<()> {
        self.write(&format!("{id} !{signal}\n"))
    }

    /// Waits for the answer to a request.
    ///
    /// # Errors
    ///
    /// It does not come within `limit`, or the line closed.
    pub fn answer(&self, id: u64, limit: Duration) -> Result<Option<Output>> {
        self.shared.wait(limit, |state| state.answers.remove(&id))
    }

    /// Runs a shell command to its end.
    ///
    /// # Errors
    ///
    /// It does not end within `limit` (it is then killed), or the line closed.
    pub fn run(&self, command: &str, limit: Duration) -> Result<Output> {
        let id = self.send(command)?;
        if let Some(output) = self.answer(id, limit)? {
            return Ok(output);
        }
        self.signal(id, "KILL")?;
        Err(Error::timeout(format_args!("`{command}` on the node"), limit))
    }

    fn write(&self, text: &str) -> Result<()> {
        (&self.line)
            .write_all(text.as_bytes())
            .map_err(|source| Error::boot("failed to write to the agent's line").source(source))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Ends the reader, which holds a clone of the socket.
        let _ = self.line.shutdown(Shutdown::Both);
    }
}

impl AgentShared {
    fn state(&self) -> MutexGuard<'_, AgentState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `found` gives something; `None` at the limit.
    fn wait<T>(
        &self,
        limit: Duration,
        mut found: impl FnMut(&mut AgentState) -> Option<T>,
    ) -> Result<Option<T>> {
        let deadline = Instant::now() + limit;
        let mut state = self.state();
        loop {
            if let Some(value) = found(&mut state) {
                return Ok(Some(value));
            }
            if state.is_closed {
                return Err(
                    Error::boot("the machine ended: its serial line closed").detail(state.noise.clone())
                );
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn read(&self, line: UnixStream) {
        let mut line = BufReader::new(line);
        let mut text = Vec::new();
        while matches!(line.read_until(b'\n', &mut text), Ok(1..)) {
            let mut state = self.state();
            match parse(&String::from_utf8_lossy(&text)) {
                AgentLine::Ready => state.is_ready = true,
                AgentLine::Answer(id, output) => {
                    state.answers.insert(id, output);
                }
                AgentLine::Noise(noise) => state.noise.push_str(&noise),
            }
            drop(state);
            self.changed.notify_all();
            text.clear();
        }
        self.state().is_closed = true;
        self.changed.notify_all();
    }
}

enum AgentLine {
    Ready,
    Answer(u64, Output),
    Noise(String),
}

/// `@ ready`, `@ ID CODE OUT ERR`, or anything else.
fn parse(line: &str) -> AgentLine {
    let mut words = line.split_whitespace();
    let answer = (|| {
        (words.next()? == "@").then_some(())?;
        let id = words.next()?;
        if id == "ready" {
            return Some(AgentLine::Ready);
        }
        let code: i32 = words.next()?.parse().ok()?;
        let [stdout, stderr] = [words.next()?, words.next()?].map(|field| match field {
            "-" => Some(String::new()),
            field => Some(String::from_utf8_lossy(&BASE64_STANDARD.decode(field).ok()?).into_owned()),
        });
        let output = Output { code: Some(code), stdout: stdout?, stderr: stderr? };
        Some(AgentLine::Answer(id.parse().ok()?, output))
    })();
    answer.unwrap_or_else(|| AgentLine::Noise(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// An agent whose guest is a closure from request lines to what is written back.
    fn agent(guest: impl Fn(&str) -> String + Send + 'static) -> (tempfile::TempDir, Agent) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent");
        let listener = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut writer = stream.try_clone().unwrap();
            writer.write_all(b"garbage\n@ ready\n").unwrap();
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if line.ends_with("!HANGUP") {
                    return;
                }
                writer.write_all(guest(&line).as_bytes()).unwrap();
            }
        });
        let agent = Agent::connect(&socket).unwrap();
        agent.wait_ready(Duration::from_secs(5)).unwrap();
        (directory, agent)
    }

    fn echo(line: &str) -> String {
        let (id, script) = line.split_once(' ').unwrap();
        format!("noise\n@ {id} 3 {script} -\n")
    }

    #[test]
    fn answer_has_code_and_output() {
        let (_directory, agent) = agent(echo);
        let output = agent.run("true", Duration::from_secs(5)).unwrap();
        assert_eq!(output, Output { code: Some(3), stdout: "true".to_owned(), stderr: String::new() });
    }

    #[test]
    fn answers_find_their_requests_in_any_order() {
        let (_directory, agent) = agent(|line| match line.split_once(' ').unwrap().0 {
            "2" => "@ 2 2 - -\n@ 1 1 - -\n".to_owned(),
            _ => String::new(),
        });
        let ids = ["a", "b"].map(|command| agent.send(command).unwrap());
        for id in ids {
            let output = agent.answer(id, Duration::from_secs(5)).unwrap().unwrap();
            assert_eq!(output.code, Some(id as i32));
        }
    }

    #[test]
    fn silence_is_a_timeout_that_names_the_command() {
        let (_directory, agent) = agent(|_| String::new());
        let error = agent.run("sleep 99", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.to_string(), "`sleep 99` on the node: not within 0.1 s");
    }

    #[test]
    fn closed_line_ends_every_wait_at_once() {
        let (_directory, agent) = agent(echo);
        agent.signal(9, "HANGUP").unwrap();
        let started = Instant::now();
        let error = agent.answer(1, Duration::from_secs(30)).unwrap_err();
        assert!(error.to_string().contains("ended"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(5) && agent.is_closed());
    }
}
