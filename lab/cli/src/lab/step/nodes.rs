//! Queue pairs and counters of a node, asked for again and again over one session.
//!
//! A session costs an emulated machine a second, a question within it little.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use lab::base::role::Role;
use lab::provider::resident::Resident;
use lab::{Error, Result};

/// Interval at which an answer that is waited for is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Line between two parts of an answer, and behind the last.
const PART: &str = "--";
const END: &str = "==";

/// Script of a session: an answer for each line that comes.
const SCRIPT: &str = "while read -r _; do rdma resource show qp 2>&1; echo --; \
     (cd /sys/class/infiniband/*/ports/1/hw_counters && grep . *) 2>/dev/null; echo ==; done";

/// Queue pairs and counters of a node at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NodeLook {
    /// Queue pairs of programs, a line each, as `rdma resource show qp` tells them.
    pub(super) queue_pairs: Vec<String>,
    /// The device's counters.
    pub(super) counters: BTreeMap<String, u64>,
}

impl NodeLook {
    /// Reads an answer.
    fn read(lines: &[String]) -> NodeLook {
        let (queue_pairs, counters) = match lines.iter().position(|line| line == PART) {
            Some(at) => lines.split_at(at),
            None => (lines, &[][..]),
        };
        // Those of the device itself are there whatever programs do.
        let is_of_a_program = |line: &&String| !line.contains(" type GSI ") && !line.contains(" type SMI ");
        let plain = |line: &String| {
            let rest = line.strip_prefix("link ").and_then(|rest| rest.split_once(' ')).map(|(_, rest)| rest);
            rest.unwrap_or(line).trim().to_owned()
        };
        NodeLook {
            queue_pairs: queue_pairs.iter().filter(is_of_a_program).map(plain).collect(),
            counters: counters
                .iter()
                .filter_map(|line| line.split_once(':'))
                .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
                .collect(),
        }
    }

    /// Counters that are not 0, each with what it grew by since `before`: `sent_pkts 3 (+1)`.
    pub(super) fn counter_words(&self, before: Option<&NodeLook>) -> Vec<String> {
        let words = |(name, value): (&String, &u64)| {
            let old = before.and_then(|before| before.counters.get(name)).copied().unwrap_or(*value);
            match value.saturating_sub(old) {
                0 => format!("{name} {value}"),
                more => format!("{name} {value} (+{more})"),
            }
        };
        self.counters.iter().filter(|(_, value)| **value > 0).map(words).collect()
    }
}

/// A session on a node. Dropped, it ends.
#[derive(Debug)]
pub(super) struct NodeSession {
    role: Role,
    child: Child,
    questions: Option<ChildStdin>,
    answers: Receiver<NodeLook>,
}

impl NodeSession {
    /// Opens a session on a node.
    ///
    /// # Errors
    ///
    /// The node is not reached.
    pub(super) fn open(lab: &dyn Resident, role: Role) -> Result<NodeSession> {
        let command = lab.command(role, SCRIPT)?;
        let (program, words) = command
            .argv()
            .split_first()
            .ok_or_else(|| Error::setup("there is no command to reach the node"))?;
        let mut child = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| Error::setup(format!("failed to open a session on {role}")).source(source))?;
        let (sender, answers) = channel();
        if let Some(output) = child.stdout.take() {
            thread::spawn(move || {
                let mut answer = Vec::new();
                for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
                    if line != END {
                        answer.push(line);
                        continue;
                    }
                    let look = NodeLook::read(&answer);
                    answer.clear();
                    if sender.send(look).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(NodeSession { role, questions: child.stdin.take(), child, answers })
    }

    /// Asks; the answer comes later.
    pub(super) fn ask(&mut self) {
        if let Some(questions) = &mut self.questions {
            // A session that has ended gives no answer.
            let _ = questions.write_all(b"\n").and_then(|()| questions.flush());
        }
    }

    /// Waits for an answer; `meanwhile` is called again and again until it comes.
    ///
    /// # Errors
    ///
    /// The session ended, or there is none within the limit; or as `meanwhile`.
    pub(super) fn answer(
        &self,
        limit: Duration,
        mut meanwhile: impl FnMut() -> Result<()>,
    ) -> Result<NodeLook> {
        let (role, started) = (self.role, Instant::now());
        loop {
            match self.answers.recv_timeout(LOOK) {
                Ok(look) => return Ok(look),
                Err(RecvTimeoutError::Disconnected) => {
                    let error = Error::boot(format!("the session on {role} ended"));
                    return Err(error.next("look whether the lab is up"));
                }
                Err(RecvTimeoutError::Timeout) if started.elapsed() < limit => meanwhile()?,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Error::timeout(format!("queue pairs of {role}"), limit));
                }
            }
        }
    }

    /// The newest answer that has come, if one has.
    pub(super) fn newest(&self) -> Option<NodeLook> {
        self.answers.try_iter().last()
    }
}

impl Drop for NodeSession {
    fn drop(&mut self) {
        drop(self.questions.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_queue_pairs_of_programs_and_counters() {
        let text = "link rxe0/1 lqpn 1 type GSI state RTS sq-psn 6 comm [ib_core]\n\
             link rxe0/1 lqpn 17 rqpn 17 type RC state RTS rq-psn 9 sq-psn 8 pid 231 comm rdma_server\n\
             --\nduplicate_request:0\nrcvd_pkts:12\nsent_pkts: 7\nnonsense\n";
        let lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        let look = NodeLook::read(&lines);
        let queue_pair = "lqpn 17 rqpn 17 type RC state RTS rq-psn 9 sq-psn 8 pid 231 comm rdma_server";
        assert_eq!(look.queue_pairs, [queue_pair]);
        assert_eq!(look.counter_words(None), ["rcvd_pkts 12", "sent_pkts 7"]);
        let mut before = look.clone();
        before.counters.insert("sent_pkts".to_owned(), 5);
        assert_eq!(look.counter_words(Some(&before)), ["rcvd_pkts 12", "sent_pkts 7 (+2)"]);
        assert_eq!(NodeLook::read(&[]), NodeLook::default());
    }
}
