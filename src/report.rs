//! The lines on standard output: one result, and with `--json` every completion before it.
//!
//! The host side parses them; their shape is a contract. With `--json` each line is one JSON object:
//!
//! ```text
//! {"completion":{"side":"requester","opcode":"RDMA_WRITE","status":"SUCCESS","wr_id":1,…}}
//! {"result":{"program":"rdma_client","ok":true,"written_bytes":18,"read_bytes":4096,"verified":true}}
//! {"result":{"program":"rdma_client","ok":false,"status":"REJECTED","error":"no server listens on …"}}
//! {"result":{"program":"rdma_server","ok":true,"clients":[{"ok":true,"received_bytes":18,…},…]}}
//! ```
//!
//! The last is that of several clients at once, in the order in which they came.

use std::io::{self, Write};

use serde::Serialize;

use crate::bench::measured::Measured;
use crate::bench::plan::{BenchOperation, Quantity};
use crate::error::Error;
use verbs::completion::Completion;

/// Result of one connection that went well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ProgramOutcome {
    /// Example 1, active side.
    Client {
        /// Bytes written to the server.
        written_bytes: usize,
        /// Bytes read back.
        read_bytes: usize,
        /// True if they are the same.
        verified: bool,
        /// Pattern that was written.
        #[serde(flatten)]
        pattern: Option<Pattern>,
        /// Regions that the messages were written from, if they were not one.
        #[serde(flatten)]
        registrations: Option<Registrations>,
    },
    /// Example 1, passive side: what it found after DISCONNECTED.
    Server {
        /// Length of the text with its NUL, or of the pattern.
        received_bytes: usize,
        /// Content of it.
        #[serde(flatten)]
        content: Content,
    },
    /// Example 2, active side.
    ClientImm {
        /// Bytes written to the server.
        written_bytes: usize,
        /// The immediate sent.
        imm: u32,
        /// Pattern that was written.
        #[serde(flatten)]
        pattern: Option<Pattern>,
    },
    /// Receiving side of WRITEs with immediate and SENDs: what its own completions say.
    Receiver {
        /// Bytes the completions count.
        received_bytes: u64,
        /// The immediate of the last completion, if it had one.
        imm: Option<u32>,
        /// Content that arrived.
        #[serde(flatten)]
        content: Content,
    },
    /// Receiving side that posted no RECV.
    NothingPosted {
        /// None.
        received_bytes: u64,
        /// The reason.
        note: &'static str,
    },
    /// Sending side of SENDs.
    Sender {
        /// Bytes sent.
        sent_bytes: usize,
        /// The immediate sent with each message.
        imm: Option<u32>,
        /// Pattern that was sent.
        #[serde(flatten)]
        pattern: Option<Pattern>,
    },
    /// Side whose memory window the peer wrote into.
    Window {
        /// Length of the text with its NUL.
        received_bytes: usize,
        /// Text without its NUL.
        text: String,
        /// True if the peer's answer has made the window invalid.
        invalidated: bool,
    },
    /// Side that wrote into the peer's memory window.
    WindowWriter {
        /// Bytes written.
        written_bytes: usize,
    },
    /// Atomics, active side.
    Counter {
        /// Number of FetchAdds that were done.
        fetch_adds: usize,
        /// Their sum, added to the number that was there.
        counted: u64,
        /// Number swapped in.
        swapped: u64,
        /// True if each operation found what the one before left.
        verified: bool,
    },
    /// Atomics on a counter that others change too, active side.
    SharedCounter {
        /// Number of FetchAdds that were done.
        fetch_adds: usize,
        /// Their sum.
        added: u64,
        /// True if the counter grew from each to the next by what was added, or more.
        verified: bool,
    },
    /// The bench, measuring side.
    Measured(Box<Measured>),
    /// The bench, its server.
    Answered {
        /// The operation.
        operation: BenchOperation,
        /// The quantity.
        quantity: Quantity,
        /// Length of a message in bytes.
        size_bytes: u32,
        /// Messages that it received, if it is told of them.
        received_messages: Option<u64>,
    },
    /// Atomics, passive side: what it found after DISCONNECTED.
    Value {
        /// The counter's value.
        value: u64,
        /// Reason that no client has changed it, if none could.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<&'static str>,
    },
}

/// Memory regions that were registered for messages, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Registrations {
    /// Number of them.
    pub registrations: u64,
    /// Time in registering and deregistering them, in nanoseconds.
    pub registering_ns: u64,
}

/// A pattern that went over the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pattern {
    /// CRC-32 of all of it, in hexadecimal.
    pub crc32: String,
}

impl Pattern {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { crc32: format!("{:08x}", crc32fast::hash(bytes)) }
    }
}

/// Message that a server received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// A sample's text.
    Text {
        /// Without its NUL.
        text: String,
    },
    /// The pattern, verified.
    Pattern(Pattern),
}

impl Content {
    fn sentence(&self) -> String {
        match self {
            Self::Text { text } => format!("{text:?}"),
            Self::Pattern(Pattern { crc32 }) => format!("the pattern, verified, CRC-32 {crc32}"),
        }
    }
}

impl ProgramOutcome {
    /// A receiver's that was told to post no RECV.
    pub const NOTHING_POSTED: Self =
        Self::NothingPosted { received_bytes: 0, note: "no RECV was posted, as told by --no-recv" };

    /// The outcome as the end of a sentence for people.
    fn sentence(&self) -> String {
        let with = |imm: &Option<u32>| imm.map_or(String::new(), |imm| format!(" with immediate {imm}"));
        match self {
            Self::Client { written_bytes, read_bytes, verified, .. } => format!(
                "wrote {written_bytes} bytes, read {read_bytes} bytes back, {}",
                if *verified { "verified" } else { "not verified" }
            ),
            Self::Server { received_bytes, content } => {
                format!("received {received_bytes} bytes: {}", content.sentence())
            }
            Self::ClientImm { written_bytes, imm, .. } => {
                format!("wrote {written_bytes} bytes with immediate {imm}")
            }
            Self::Receiver { received_bytes, imm, content } => {
                format!("received {received_bytes} bytes{}: {}", with(imm), content.sentence())
            }
            Self::Sender { sent_bytes, imm, .. } => format!("sent {sent_bytes} bytes{}", with(imm)),
            Self::Window { received_bytes, text, .. } => {
                format!("received {received_bytes} bytes through a memory window, now invalid: {text:?}")
            }
            Self::WindowWriter { written_bytes } => {
                format!("wrote {written_bytes} bytes into the client's memory window and made it invalid")
            }
            Self::Counter { fetch_adds, counted, swapped, .. } => {
                format!("added {counted} in {fetch_adds} FetchAdds, swapped {swapped} in, verified")
            }
            Self::SharedCounter { fetch_adds, added, .. } => {
                format!("added {added} in {fetch_adds} FetchAdds beside others, verified")
            }
            Self::NothingPosted { note, .. } => format!("received nothing: {note}"),
            Self::Measured(measured) => measured.sentence(),
            Self::Answered { operation, size_bytes, received_messages, .. } => {
                let count = received_messages.map_or(String::new(), |count| format!(": {count} received"));
                format!("answered {} of {size_bytes} bytes{count}", operation.name())
            }
            Self::Value { value, note: None } => format!("the counter is {value}"),
            Self::Value { value, note: Some(note) } => format!("the counter is {value}: {note}"),
        }
    }
}

/// Prints the lines of one program.
#[derive(Clone, Debug)]
pub struct Reporter {
    program: &'static str,
    json: bool,
}

impl Reporter {
    /// Reports for `program`, as JSON or as text.
    #[must_use]
    pub fn new(program: &'static str, json: bool) -> Self {
        Self { program, json }
    }

    /// Reports a completion; without `--json` the log has it already.
    pub fn completion(&self, completion: &Completion) {
        if self.json {
            self.print(&self.completion_line(completion));
        }
    }

    /// Reports how the connections went, in one result line. Returns whether it was written; if not, the log has it.
    pub fn results(&self, results: &[Result<ProgramOutcome, Error>]) -> bool {
        if self.json {
            // Without `--json` the result line says it to the user already.
            for error in results.iter().filter_map(|result| result.as_ref().err()) {
                tracing::error!("{error}");
            }
        }
        self.print(&self.result_line(results))
    }

    fn completion_line(&self, completion: &Completion) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            completion: &'a Completion,
        }
        to_json(&Line { completion })
    }

    fn result_line(&self, results: &[Result<ProgramOutcome, Error>]) -> String {
        #[derive(Serialize)]
        struct Line<T> {
            result: T,
        }
        #[derive(Serialize)]
        struct One<'a> {
            program: &'static str,
            #[serde(flatten)]
            fields: Fields<'a>,
        }
        #[derive(Serialize)]
        struct Many<'a> {
            program: &'static str,
            ok: bool,
            clients: Vec<Fields<'a>>,
        }
        let program = self.program;
        match (results, self.json) {
            ([result], true) => to_json(&Line { result: One { program, fields: Fields::of(result) } }),
            (results, true) => {
                let ok = results.iter().all(Result::is_ok);
                let clients = results.iter().map(Fields::of).collect();
                to_json(&Line { result: Many { program, ok, clients } })
            }
            (results, false) => {
                let lines = results.iter().map(|result| match result {
                    Ok(outcome) => format!("{program}: ok: {}", outcome.sentence()),
                    Err(error) => format!("{program}: failed: {error}"),
                });
                lines.collect::<Vec<_>>().join("\n")
            }
        }
    }

    fn print(&self, line: &str) -> bool {
        let mut stdout = io::stdout().lock();
        let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
        if let Err(error) = &written {
            tracing::warn!("failed to write to standard output: {error}; the line was: {line}");
        }
        written.is_ok()
    }
}

/// Fields of a result line on one connection.
#[derive(Serialize)]
struct Fields<'a> {
    ok: bool,
    #[serde(flatten)]
    outcome: Option<&'a ProgramOutcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl<'a> Fields<'a> {
    fn of(result: &'a Result<ProgramOutcome, Error>) -> Self {
        let (outcome, error) = (result.as_ref().ok(), result.as_ref().err());
        Self {
            ok: outcome.is_some(),
            outcome,
            status: error.map(Error::status),
            error: error.map(ToString::to_string),
        }
    }
}

fn to_json(value: &impl Serialize) -> String {
    // Strings and integers only: serialising them into memory cannot fail, and if it did the text says so.
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":{:?}}}", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use verbs::completion::{CompletionSide, WcOpcode, WcStatus, WrOpcode};

    fn json(program: &'static str) -> Reporter {
        Reporter::new(program, true)
    }

    fn text(text: &str) -> Content {
        Content::Text { text: text.into() }
    }

    fn pattern() -> Pattern {
        Pattern { crc32: "0123abcd".into() }
    }

    #[test]
    fn results_have_the_agreed_json_shape() {
        for (outcome, json_members) in [
            (
                ProgramOutcome::Client {
                    written_bytes: 18,
                    read_bytes: 4096,
                    verified: true,
                    pattern: None,
                    registrations: None,
                },
                r#""written_bytes":18,"read_bytes":4096,"verified":true"#,
            ),
            (
                ProgramOutcome::Client {
                    written_bytes: 1,
                    read_bytes: 1,
                    verified: true,
                    pattern: Some(pattern()),
                    registrations: Some(Registrations { registrations: 16, registering_ns: 2000 }),
                },
                r#""written_bytes":1,"read_bytes":1,"verified":true,"crc32":"0123abcd","registrations":16,"registering_ns":2000"#,
            ),
            (
                ProgramOutcome::Server { received_bytes: 18, content: text("client-wrote-this") },
                r#""received_bytes":18,"text":"client-wrote-this""#,
            ),
            (
                ProgramOutcome::Server { received_bytes: 1, content: Content::Pattern(pattern()) },
                r#""received_bytes":1,"crc32":"0123abcd""#,
            ),
            (
                ProgramOutcome::ClientImm { written_bytes: 22, imm: 22, pattern: None },
                r#""written_bytes":22,"imm":22"#,
            ),
            (
                ProgramOutcome::Receiver {
                    received_bytes: 22,
                    imm: Some(22),
                    content: text("client-wrote-with-imm"),
                },
                r#""received_bytes":22,"imm":22,"text":"client-wrote-with-imm""#,
            ),
            (
                ProgramOutcome::Sender { sent_bytes: 17, imm: None, pattern: None },
                r#""sent_bytes":17,"imm":null"#,
            ),
            (
                ProgramOutcome::Counter { fetch_adds: 2, counted: 10, swapped: 7, verified: true },
                r#""fetch_adds":2,"counted":10,"swapped":7,"verified":true"#,
            ),
            (
                ProgramOutcome::SharedCounter { fetch_adds: 2, added: 10, verified: true },
                r#""fetch_adds":2,"added":10,"verified":true"#,
            ),
            (
                ProgramOutcome::NOTHING_POSTED,
                r#""received_bytes":0,"note":"no RECV was posted, as told by --no-recv""#,
            ),
            (ProgramOutcome::Value { value: 7, note: None }, r#""value":7"#),
        ] {
            assert_eq!(
                json("rdma_client").result_line(&[Ok(outcome)]),
                format!(r#"{{"result":{{"program":"rdma_client","ok":true,{json_members}}}}}"#)
            );
        }
    }

    #[test]
    fn failure_carries_its_status_and_error() {
        assert_eq!(
            json("rdma_client").result_line(&[Err(Error::RegionTooSmall { have: 1, need: 2 })]),
            r#"{"result":{"program":"rdma_client","ok":false,"status":"REFUSED","error":"the server's memory region has 1 bytes, this exchange needs 2; start the server with a larger one"}}"#
        );
    }

    #[test]
    fn several_clients_share_a_line() {
        let results =
            [Ok(ProgramOutcome::Value { value: 7, note: None }), Err(Error::Refused { reason: "no".into() })];
        assert_eq!(
            json("rdma_server_atomic").result_line(&results),
            r#"{"result":{"program":"rdma_server_atomic","ok":false,"clients":[{"ok":true,"value":7},{"ok":false,"status":"REFUSED","error":"no"}]}}"#
        );
        assert_eq!(
            Reporter::new("rdma_server_atomic", false).result_line(&results),
            "rdma_server_atomic: ok: the counter is 7\nrdma_server_atomic: failed: no"
        );
    }

    #[test]
    fn completion_line_wraps_the_completion() {
        let completion = Completion {
            side: CompletionSide::Requester,
            opcode: WcOpcode::RdmaWrite,
            status: WcStatus::Success,
            wr_id: 1,
            qp_num: 17,
            peer_qp_num: None,
            posted: Some(WrOpcode::RdmaWriteWithImm),
            length_bytes: 22,
            imm: Some(22),
            vendor_err: 0,
            invalidated_rkey: None,
        };
        assert_eq!(
            json("rdma_client_imm").completion_line(&completion),
            r#"{"completion":{"side":"requester","opcode":"RDMA_WRITE","status":"SUCCESS","wr_id":1,"qp_num":17,"peer_qp_num":null,"posted":"RDMA_WRITE_WITH_IMM","length_bytes":22,"imm":22,"vendor_err":0}}"#
        );
    }

    #[test]
    fn people_get_one_sentence() {
        let reporter = Reporter::new("rdma_server_imm", false);
        let outcome = ProgramOutcome::Receiver {
            received_bytes: 22,
            imm: Some(22),
            content: text("client-wrote-with-imm"),
        };
        assert_eq!(
            reporter.result_line(&[Ok(outcome)]),
            r#"rdma_server_imm: ok: received 22 bytes with immediate 22: "client-wrote-with-imm""#
        );
        assert_eq!(
            reporter.result_line(&[Ok(ProgramOutcome::NOTHING_POSTED)]),
            "rdma_server_imm: ok: received nothing: no RECV was posted, as told by --no-recv"
        );
        let note = Some("no client could change it");
        assert_eq!(
            reporter.result_line(&[Ok(ProgramOutcome::Value { value: 100, note })]),
            "rdma_server_imm: ok: the counter is 100: no client could change it"
        );
        assert!(
            reporter
                .result_line(&[Err(verbs::Error::NoDevice.into())])
                .starts_with("rdma_server_imm: failed: no RDMA device found")
        );
    }
}
