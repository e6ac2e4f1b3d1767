//! Captures: pcap and pcapng read as a stream, pcapng written.
//!
//! In and out: `impl Read` and `impl Write`; files are the caller's business. Memory is bounded by the largest packet.

mod ahead;
mod buffer;
mod error;
mod interface;
mod losses;
mod reader;
mod record;
mod writer;

pub use ahead::ReadAhead;
pub use buffer::{Buffer, Source};
pub use error::{ReadError, WriteError};
pub use interface::Interface;
pub use reader::Reader;
pub use record::Record;
pub use writer::Writer;
