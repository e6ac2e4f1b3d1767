//! Errors of a program's exchange: an error of the verbs library, or of the exchange itself.

use verbs::completion::{Completion, WcStatus};

use crate::bench::plan::PlanError;
use crate::private_data::PrivateDataError;

/// The result of an exchange.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed exchange.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A verb or a wait failed.
    #[error(transparent)]
    Verbs(#[from] verbs::Error),
    /// A completion of another kind than the exchange has here.
    #[error("expected a completion {expected}, got {got}")]
    UnexpectedCompletion {
        /// Its opcode.
        expected: String,
        /// The one that came.
        got: Box<Completion>,
    },
    /// Private data makes no sense.
    #[error(transparent)]
    PrivateData(#[from] PrivateDataError),
    /// The plan of a bench makes no sense.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A plan asks for more than a device or a server gives.
    #[error("{what} {asked} is beyond the limit of {who}, {limit}; give less")]
    BeyondLimit {
        /// The option.
        what: &'static str,
        /// Number asked for.
        asked: u64,
        /// The one that sets the limit.
        who: String,
        /// The limit.
        limit: u64,
    },
    /// The pattern does not fit into memory.
    #[error("failed to allocate {length_bytes} bytes for the messages")]
    Allocation {
        /// Length of all messages.
        length_bytes: usize,
    },
    /// The server's region is smaller than this exchange needs.
    #[error(
        "the server's memory region has {have} bytes, this exchange needs {need}; start the server with a larger one"
    )]
    RegionTooSmall {
        /// Bytes the server has.
        have: u64,
        /// Bytes needed.
        need: u64,
    },
    /// A client asks for more than this server gives.
    #[error("the client asks for a memory region of {asked} bytes, this server gives at most {limit}")]
    RegionTooLarge {
        /// Bytes asked for.
        asked: u64,
        /// Bytes there are.
        limit: u64,
    },
    /// A server refuses every client, as it was told to.
    #[error("{reason}")]
    Refused {
        /// Reason that it tells them.
        reason: String,
    },
    /// The bytes read back differ from those written.
    #[error(
        "read back differs from what was written at offset {offset}: wrote {wrote:#04x}, read {read:#04x}"
    )]
    ReadBackDiffers {
        /// The first byte that differs.
        offset: usize,
        /// Byte written there.
        wrote: u8,
        /// Byte read there.
        read: u8,
    },
    /// The bytes that arrived differ from the pattern that a client with `--size` sends.
    #[error(
        "what arrived differs from the pattern at offset {offset}: expected {expected:#04x}, got {got:#04x}"
    )]
    PatternDiffers {
        /// The first byte that differs.
        offset: usize,
        /// The pattern there.
        expected: u8,
        /// Byte that is there.
        got: u8,
    },
    /// An atomic operation found another value than this exchange has there.
    #[error("{operation} found {found} where {expected} must be; does another client use the same memory?")]
    ValueDiffers {
        /// The operation.
        operation: &'static str,
        /// Number that it found.
        found: u64,
        /// Number that should be there.
        expected: u64,
    },
    /// The client ended the connection and the server's region is as it was.
    #[error(
        "the client disconnected without writing: the region still holds {}; look at the client's own error", if .initial.is_empty() { "zeros".into() } else { format!("{:?}", .initial) }
    )]
    NothingWritten {
        /// Text that it holds.
        initial: String,
    },
    /// Immediate and payload contradict each other.
    #[error("the immediate says {imm} bytes, the completion {length_bytes}")]
    ImmediateDiffers {
        /// The immediate.
        imm: u32,
        /// The completion's length.
        length_bytes: u32,
    },
    /// A host name has no address.
    #[error("failed to look up `{host}`: {reason}; give an address, or add the name to /etc/hosts")]
    Lookup {
        /// The name.
        host: String,
        /// The reason.
        reason: String,
    },
}

impl Error {
    /// A program's exit code; 0 is success and 2 a mistake on the command line.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        use verbs::Error as Verbs;
        match self {
            Self::Verbs(Verbs::Completion(_)) => 3,
            Self::Verbs(Verbs::Disconnected { .. }) => 4,
            Self::Verbs(Verbs::Rejected { .. } | Verbs::CmEvent { .. }) => 5,
            Self::Verbs(Verbs::Timeout { .. }) => 6,
            Self::Verbs(Verbs::PrivateDataTooLong { .. } | Verbs::Parameters(_)) => 8,
            // The operating system refused a call.
            Self::Verbs(_) | Self::Allocation { .. } | Self::Lookup { .. } | Self::BeyondLimit { .. } => 1,
            Self::ReadBackDiffers { .. }
            | Self::PatternDiffers { .. }
            | Self::ValueDiffers { .. }
            | Self::NothingWritten { .. }
            | Self::ImmediateDiffers { .. }
            | Self::UnexpectedCompletion { .. } => 7,
            Self::PrivateData(_)
            | Self::Plan(_)
            | Self::RegionTooSmall { .. }
            | Self::RegionTooLarge { .. }
            | Self::Refused { .. } => 8,
        }
    }

    /// A failure in one word, for the result line: the name of a completion's status or of a CM event, else of the kind
    /// that [`Error::exit_code`] has a number for.
    #[must_use]
    pub fn status(&self) -> String {
        match (self, self.exit_code()) {
            (Self::Verbs(verbs::Error::Completion(completion)), _) => completion.status.to_string(),
            (Self::Verbs(verbs::Error::CmEvent { event, .. }), _) => event.to_string(),
            (_, 4) => "DISCONNECTED".into(),
            (_, 5) => "REJECTED".into(),
            (_, 6) => "TIMEOUT".into(),
            (_, 7) => "DATA_DIFFERS".into(),
            (_, 8) => "REFUSED".into(),
            _ => "FAILED".into(),
        }
    }

    /// True if the peer caused it, by what it sent or by leaving.
    #[must_use]
    pub fn is_the_peer_s(&self) -> bool {
        matches!(self.exit_code(), 4 | 6 | 8)
    }

    /// True if the peer can still be expected to answer a DREQ.
    #[must_use]
    pub fn peer_answers(&self) -> bool {
        match self {
            Self::Verbs(verbs::Error::Completion(completion)) => completion.status != WcStatus::RetryExcErr,
            Self::Verbs(verbs::Error::Disconnected { .. } | verbs::Error::Timeout { .. }) => false,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use verbs::cm_event::CmEventKind;
    use verbs::completion::{CompletionSide, WcOpcode, WrOpcode};
    use verbs::deadline::Deadline;

    use super::*;

    #[test]
    fn kinds_of_failure_have_their_status_and_exit_code() {
        let awaited = || "it".to_owned();
        let refused = Completion {
            side: CompletionSide::Requester,
            opcode: WcOpcode::RdmaRead,
            status: WcStatus::RemAccessErr,
            wr_id: 2,
            qp_num: 17,
            peer_qp_num: None,
            posted: Some(WrOpcode::RdmaRead),
            length_bytes: 0,
            imm: None,
            vendor_err: 0x88,
            invalidated_rkey: None,
        };
        let unreachable = verbs::Error::CmEvent {
            awaited: awaited(),
            event: CmEventKind::Unreachable,
            status: -110,
            elapsed: Duration::ZERO,
            hint: None,
        };
        let deadline = Deadline::after(Duration::ZERO);
        for (error, status, exit_code) in [
            (verbs::Error::NoDevice.into(), "FAILED", 1),
            (verbs::Error::Completion(Box::new(refused)).into(), "REM_ACCESS_ERR", 3),
            (verbs::Error::Disconnected { awaited: awaited() }.into(), "DISCONNECTED", 4),
            (unreachable.into(), "UNREACHABLE", 5),
            (verbs::Error::timeout(awaited(), &deadline).into(), "TIMEOUT", 6),
            (Error::ImmediateDiffers { imm: 1, length_bytes: 2 }, "DATA_DIFFERS", 7),
            (PrivateDataError::Zero.into(), "REFUSED", 8),
            (verbs::Error::Parameters("none".into()).into(), "REFUSED", 8),
        ] {
            assert_eq!((error.status().as_str(), error.exit_code()), (status, exit_code), "{error}");
        }
    }
}
