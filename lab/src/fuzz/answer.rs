//! An answer of the peer's responder: its packets before they are built, and its demand on the requester.

use roce::synth::{FrameBuilder, Pair};
use roce::wire::AtomicAckEthValues;

/// Bits of a syndrome that acknowledges: no credits are counted.
pub const ACK: u8 = 0x1f;
/// Syndrome of a request that came too soon.
pub const SEQUENCE_ERROR: u8 = 0x60;
/// Syndrome of a request to memory that is not there.
pub const ACCESS_ERROR: u8 = 0x62;

/// First response of several to a READ.
pub const READ_FIRST: u8 = 0x0d;
/// Response to a READ between the first and the last.
pub const READ_MIDDLE: u8 = 0x0e;
/// Last response of several to a READ.
pub const READ_LAST: u8 = 0x0f;
/// Only response to a READ.
pub const READ_ONLY: u8 = 0x10;
/// Acknowledgement of either kind.
pub const ACKNOWLEDGE: u8 = 0x11;
/// Answer to an atomic.
pub const ATOMIC_ACKNOWLEDGE: u8 = 0x12;

/// Demand of an answer on the requester.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AnswerDue {
    /// It is as it should be.
    Right,
    /// It is not, and a requester makes good for it: the program ends as without it.
    Recovers,
    /// It is not, and anything may come of it but a success of the request.
    Anything,
    /// It refuses the request for good, which may not be a success.
    Fails,
}

/// An answer as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenAnswer {
    /// The request and the answer, in words.
    pub words: String,
    /// Its frames, in their order.
    pub frames: Vec<Vec<u8>>,
    /// Demand on the requester.
    pub due: AnswerDue,
    /// True if the answer that is due is among them.
    pub is_answered: bool,
}

/// One packet of an answer before it is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftAnswer {
    /// Its opcode.
    pub opcode: u8,
    /// Distance of its PSN from the requester's first.
    pub n: i32,
    /// Syndrome and MSN, if it has an AETH.
    pub aeth: Option<(u8, u32)>,
    /// Value before an atomic.
    pub original: Option<u64>,
    /// Payload.
    pub payload: Vec<u8>,
}

impl DraftAnswer {
    /// Begins its frame.
    pub fn builder(&self, pair: &Pair) -> FrameBuilder {
        let mut builder = pair.response(self.opcode, 0).psn(pair.active.psn.plus(self.n as u32));
        if let Some((syndrome, msn)) = self.aeth {
            builder = builder.aeth(syndrome, msn);
        }
        if let Some(original) = self.original {
            builder = builder.header(&AtomicAckEthValues { original }.emit());
        }
        builder.payload(&self.payload)
    }
}
