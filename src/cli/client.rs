//! Arguments of clients.

use std::ffi::OsString;
use std::net::IpAddr;

use clap::{Args, Parser, ValueEnum};

use super::{CommonArgs, ProgramSpec, parse_bytes, parse_count};
use crate::exchange::Payload;
use verbs::completion::WrOpcode;

/// A client's options; `O` are those of one program.
#[derive(Clone, Debug, Parser)]
#[command(version, mut_arg("timeout", |arg| arg.help(
    "Limit of connection set-up as a whole, and of each wait after it, decimals allowed [default: 10]"
)))]
pub struct ClientArgs<O: Args = Writing> {
    /// Name or address of the server
    #[arg(value_name = "SERVER")]
    pub server: String,

    /// Port of the server
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// Source address; without it the route decides
    #[arg(long, value_name = "ADDRESS", conflicts_with = "no_cm")]
    pub bind: Option<IpAddr>,

    /// Open this many connections, then do the exchange on each in turn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub clients: u16,

    /// Arguments of all programs.
    #[command(flatten)]
    pub common: CommonArgs,

    /// Options of this program.
    #[command(flatten, next_help_heading = "This exchange")]
    pub options: O,
}

impl<O: Args> ClientArgs<O> {
    /// Parses the command line of `program`; the first of `argv` is the program's name.
    ///
    /// # Errors
    ///
    /// clap's: a mistake, or a request for help. `exit()` on it prints and ends as it should.
    pub fn parse_for<I, T>(program: &ProgramSpec, argv: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        super::parse_for(program, argv)
    }
}

/// Options in which one client differs from another.
pub trait ClientOptions: Args {
    /// Number and pace of messages.
    fn repeat(&self) -> &Repeat;
    /// Length of each message in bytes, if it is not a sample's text.
    fn size(&self) -> Option<usize> {
        None
    }
    /// Operations beyond those of each queue pair, which its queue pairs have to be made for.
    fn operations(&self) -> Vec<WrOpcode> {
        Vec::new()
    }
    /// Error in the messages, made on purpose.
    fn wrong(&self) -> Option<WrongAccess> {
        None
    }
}

/// Number and pace of messages.
#[derive(Args, Clone, Debug)]
pub struct Repeat {
    /// Number of messages to send
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_count)]
    pub count: usize,

    /// Most of them that may be in flight
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_count)]
    pub depth: usize,

    /// Wait this long before each message
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub pause_ms: u64,
}

/// Size and number of messages.
#[derive(Args, Clone, Debug)]
pub struct Sized {
    /// Length of each message in bytes, KiB or MiB, of a pattern; the server is asked for room for all of them. Without
    /// it a message is the sample's text
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub size: Option<usize>,

    /// Number and pace of messages.
    #[command(flatten)]
    pub repeat: Repeat,
}

impl Sized {
    /// The messages: of the pattern, or each `text`.
    #[must_use]
    pub fn payload(&self, text: &'static [u8]) -> Payload {
        Payload::new(self.size, self.repeat.count, text)
    }
}

/// Of clients that write to the server's memory.
#[derive(Args, Clone, Debug)]
pub struct Writing {
    /// Messages that are written.
    #[command(flatten)]
    pub sized: Sized,
    /// Use the server's memory wrongly
    #[arg(long, value_enum, help_heading = "Wrong on purpose")]
    pub wrong: Option<WrongAccess>,
}

impl ClientOptions for Writing {
    fn repeat(&self) -> &Repeat {
        &self.sized.repeat
    }
    fn size(&self) -> Option<usize> {
        self.sized.size
    }
    fn wrong(&self) -> Option<WrongAccess> {
        self.wrong
    }
}

/// Of the client that writes and reads back.
#[derive(Args, Clone, Debug)]
pub struct ReadingBack {
    /// Messages that are written.
    #[command(flatten)]
    pub writing: Writing,
    /// FLUSH what was written, to be seen by all of the server's host; its --access has to permit it
    #[arg(long)]
    pub flush: bool,
    /// Write the first 8 bytes of the text last, by an ATOMIC WRITE
    #[arg(long, conflicts_with = "size")]
    pub atomic_write: bool,
    /// Regions that messages are written from; with `each` and `cached` one message is in flight
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Registering::Once)]
    pub register: Registering,
}

impl ClientOptions for ReadingBack {
    fn operations(&self) -> Vec<WrOpcode> {
        let beyond = [(self.flush, WrOpcode::Flush), (self.atomic_write, WrOpcode::AtomicWrite)];
        beyond.into_iter().filter_map(|(is_asked, opcode)| is_asked.then_some(opcode)).collect()
    }
    fn repeat(&self) -> &Repeat {
        self.writing.repeat()
    }
    fn size(&self) -> Option<usize> {
        self.writing.size()
    }
    fn wrong(&self) -> Option<WrongAccess> {
        self.writing.wrong()
    }
}

/// Memory that messages are written from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Registering {
    /// One region for all messages
    Once,
    /// A region for each message, registered before and deregistered after
    Each,
    /// A region from a cache of registered ones, given back after
    Cached,
}

/// Of the client of SENDs.
#[derive(Args, Clone, Debug)]
pub struct Sending {
    /// Messages that are sent.
    #[command(flatten)]
    pub sized: Sized,
    /// Send each message with its length as immediate
    #[arg(long)]
    pub imm: bool,
    /// Send one message, which tells of a memory window: the server writes into it and makes it invalid with its answer
    #[arg(long, conflicts_with_all = ["imm", "size", "count"])]
    pub window: bool,
}

impl ClientOptions for Sending {
    fn repeat(&self) -> &Repeat {
        &self.sized.repeat
    }
    fn size(&self) -> Option<usize> {
        self.sized.size
    }
}

/// Of the client of atomics.
#[derive(Args, Clone, Debug)]
pub struct Counting {
    /// Number that each FetchAdd adds; --count says how many there are
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub add: u64,
    /// Other clients add to the same counter: check that it grows, and swap nothing
    #[arg(long)]
    pub shared: bool,
    /// Number and pace of messages.
    #[command(flatten)]
    pub repeat: Repeat,
    /// Use the server's memory wrongly
    #[arg(long, value_enum, help_heading = "Wrong on purpose")]
    pub wrong: Option<WrongAccess>,
}

impl ClientOptions for Counting {
    fn repeat(&self) -> &Repeat {
        &self.repeat
    }
    fn wrong(&self) -> Option<WrongAccess> {
        self.wrong
    }
}

/// Wrong use of a server's memory by a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WrongAccess {
    /// An rkey whose lowest bit is flipped
    Rkey,
    /// An address from which the last byte of a message lies beyond the region
    Bounds,
    /// With --clients: all but the first connection use the region of the first
    Region,
    /// A request of a version that does not exist yet, with --size
    Version,
}
