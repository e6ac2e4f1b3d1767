//! The lines on standard output: one result a connection, and with `--json` every completion before it.
//!
//! The host side parses them; their shape is a contract. With `--json` each line is one JSON object:
//!
//! ```text
//! {"completion":{"side":"requester","opcode":"RDMA_WRITE","status":"SUCCESS","wr_id":1,…}}
//! {"result":{"program":"rdma_client","ok":true,"written_bytes":18,"read_bytes":4096,"verified":true}}
//! {"result":{"program":"rdma_client","ok":false,"error":"no server listens on …"}}
//! ```

use std::io::{self, Write};

use serde::Serialize;

use crate::completion::Completion;
use crate::error::Error;

/// What a program has to say about one connection that went well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// Example 1, active side.
    Client {
        /// Bytes written to the server.
        written_bytes: usize,
        /// Bytes read back.
        read_bytes: usize,
        /// Whether they are the same.
        verified: bool,
    },
    /// Example 1, passive side: what it found after DISCONNECTED.
    Server {
        /// Length of the text with its NUL.
        received_bytes: usize,
        /// The text.
        text: String,
    },
    /// Example 2, active side.
    ClientImm {
        /// Bytes written to the server.
        written_bytes: usize,
        /// The immediate sent.
        imm: u32,
    },
    /// Example 2, passive side: what its own completion says.
    ServerImm {
        /// Bytes the completion counts.
        received_bytes: u32,
        /// The immediate of the completion.
        imm: u32,
        /// The text in the region.
        text: String,
    },
}

impl Outcome {
    /// The outcome as the end of a sentence for people.
    fn sentence(&self) -> String {
        match self {
            Self::Client { written_bytes, read_bytes, verified } => format!(
                "wrote {written_bytes} bytes, read {read_bytes} bytes back, {}",
                if *verified { "verified" } else { "not verified" }
            ),
            Self::Server { received_bytes, text } => format!("received {received_bytes} bytes: {text:?}"),
            Self::ClientImm { written_bytes, imm } => {
                format!("wrote {written_bytes} bytes with immediate {imm}")
            }
            Self::ServerImm { received_bytes, imm, text } => {
                format!("received {received_bytes} bytes with immediate {imm}: {text:?}")
            }
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

    /// Reports how a connection went: its one result line. Returns whether it was written; if not, the log has it.
    pub fn result(&self, result: &Result<Outcome, Error>) -> bool {
        if let (true, Err(error)) = (self.json, result) {
            // Without `--json` the result line says it to the user already.
            tracing::error!("{error}");
        }
        self.print(&self.result_line(result))
    }

    fn completion_line(&self, completion: &Completion) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            completion: &'a Completion,
        }
        to_json(&Line { completion })
    }

    fn result_line(&self, result: &Result<Outcome, Error>) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            result: Fields<'a>,
        }
        #[derive(Serialize)]
        struct Fields<'a> {
            program: &'static str,
            ok: bool,
            #[serde(flatten)]
            outcome: Option<&'a Outcome>,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<String>,
        }
        let program = self.program;
        if self.json {
            let outcome = result.as_ref().ok();
            let error = result.as_ref().err().map(ToString::to_string);
            return to_json(&Line { result: Fields { program, ok: outcome.is_some(), outcome, error } });
        }
        match result {
            Ok(outcome) => format!("{program}: ok: {}", outcome.sentence()),
            Err(error) => format!("{program}: failed: {error}"),
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

fn to_json(value: &impl Serialize) -> String {
    // Strings and integers only: serialising them into memory cannot fail, and if it did the text says so.
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":{:?}}}", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completion::{Side, WcOpcode, WcStatus, WrOpcode};

    fn json(program: &'static str) -> Reporter {
        Reporter::new(program, true)
    }

    #[test]
    fn results_have_the_agreed_json_shape() {
        let client = Outcome::Client { written_bytes: 18, read_bytes: 4096, verified: true };
        assert_eq!(
            json("rdma_client").result_line(&Ok(client)),
            r#"{"result":{"program":"rdma_client","ok":true,"written_bytes":18,"read_bytes":4096,"verified":true}}"#
        );
        let server = Outcome::Server { received_bytes: 18, text: "client-wrote-this".into() };
        assert_eq!(
            json("rdma_server").result_line(&Ok(server)),
            r#"{"result":{"program":"rdma_server","ok":true,"received_bytes":18,"text":"client-wrote-this"}}"#
        );
        let client = Outcome::ClientImm { written_bytes: 22, imm: 22 };
        assert_eq!(
            json("rdma_client_imm").result_line(&Ok(client)),
            r#"{"result":{"program":"rdma_client_imm","ok":true,"written_bytes":22,"imm":22}}"#
        );
        let server = Outcome::ServerImm { received_bytes: 22, imm: 22, text: "client-wrote-with-imm".into() };
        assert_eq!(
            json("rdma_server_imm").result_line(&Ok(server)),
            r#"{"result":{"program":"rdma_server_imm","ok":true,"received_bytes":22,"imm":22,"text":"client-wrote-with-imm"}}"#
        );
    }

    #[test]
    fn failure_carries_its_error() {
        assert_eq!(
            json("rdma_client").result_line(&Err(Error::RegionTooSmall { have: 1, need: 2 })),
            r#"{"result":{"program":"rdma_client","ok":false,"error":"the server's memory region has 1 bytes, this exchange needs 2; start the server with a larger one"}}"#
        );
    }

    #[test]
    fn completion_line_wraps_the_completion() {
        let completion = Completion {
            side: Side::Requester,
            opcode: WcOpcode::RdmaWrite,
            status: WcStatus::Success,
            wr_id: 1,
            qp_num: 17,
            peer_qp_num: None,
            posted: Some(WrOpcode::RdmaWriteWithImm),
            length_bytes: 22,
            imm: Some(22),
            vendor_err: 0,
        };
        assert_eq!(
            json("rdma_client_imm").completion_line(&completion),
            r#"{"completion":{"side":"requester","opcode":"RDMA_WRITE","status":"SUCCESS","wr_id":1,"qp_num":17,"peer_qp_num":null,"posted":"RDMA_WRITE_WITH_IMM","length_bytes":22,"imm":22,"vendor_err":0}}"#
        );
    }

    #[test]
    fn people_get_one_sentence() {
        let reporter = Reporter::new("rdma_server_imm", false);
        let outcome =
            Outcome::ServerImm { received_bytes: 22, imm: 22, text: "client-wrote-with-imm".into() };
        assert_eq!(
            reporter.result_line(&Ok(outcome)),
            r#"rdma_server_imm: ok: received 22 bytes with immediate 22: "client-wrote-with-imm""#
        );
        assert!(
            reporter
                .result_line(&Err(Error::NoDevice))
                .starts_with("rdma_server_imm: failed: no RDMA device found")
        );
    }
}
