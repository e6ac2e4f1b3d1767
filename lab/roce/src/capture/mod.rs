//! Captures: pcap and pcapng read as a stream, pcapng written.
//!
//! In and out: `impl Read` and `impl Write`; files are the caller's business. Memory is bounded by the largest packet.

mod ahead;
mod batch;
mod buffer;
mod error;
mod in_turn;
mod interface;
mod losses;
mod parallel;
mod reader;
mod record;
mod writer;

pub use ahead::ReadAhead;
pub use buffer::{Buffer, Source};
pub use error::{ReadError, WriteError};
pub use interface::Interface;
pub use parallel::{Ended, ParallelReader, ReadAt};
pub use reader::Reader;
pub use record::Record;
pub use writer::Writer;
