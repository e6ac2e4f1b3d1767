//! Arguments of servers.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};

use clap::{Args, Parser, ValueEnum};

use super::{CommonArgs, ProgramSpec, parse_bytes, parse_count};
use verbs::deadline::Deadline;

/// A server's options; `O` are those of one program.
#[derive(Clone, Debug, Parser)]
#[command(version, mut_arg("timeout", |arg| arg.help(
    "Limit of each wait of a connection, decimals allowed [default: 10]. Waiting for a client has no limit, unless --once or --clients is combined with an explicit --timeout"
)))]
pub struct ServerArgs<O: Args = Memory> {
    /// Port to listen on; 0 lets the system choose
    #[arg(value_name = "PORT")]
    pub port: u16,

    /// Address to listen on; `::` takes IPv4 and IPv6
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub bind: IpAddr,

    /// Serve one client, then exit with its result; without it serve clients as they come until SIGINT or SIGTERM
    #[arg(long)]
    pub once: bool,

    /// Serve this many clients at once, each with its own protection domain and memory, then exit with their results
    #[arg(long, value_name = "N", conflicts_with = "once", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub clients: Option<u16>,

    /// The most memory that a client may ask for with --size, in bytes, KiB or MiB
    #[arg(long, value_name = "BYTES", default_value = "16MiB", value_parser = parse_bytes)]
    pub max_size: usize,

    /// Arguments of all programs.
    #[command(flatten)]
    pub common: CommonArgs,

    /// Options of this program.
    #[command(flatten, next_help_heading = "This exchange")]
    pub options: O,

    /// Reject every client with REASON
    #[arg(long, value_name = "REASON", help_heading = "Wrong on purpose")]
    pub reject: Option<String>,

    /// Answer like a C sample: ignore what a client asks for and tell no length
    #[arg(long, help_heading = "Wrong on purpose")]
    pub no_length: bool,

    /// Die without a word, with exit code 9, when N messages were received; with 0 as soon as the client is connected
    #[arg(long, value_name = "N", help_heading = "Wrong on purpose")]
    pub die_after: Option<usize>,
}

impl<O: Args> ServerArgs<O> {
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

    /// Number of clients that are served before it exits; `None` for no end.
    #[must_use]
    pub fn client_limit(&self) -> Option<u16> {
        if self.once { Some(1) } else { self.clients }
    }

    /// The limit of waiting for a client: none, unless a number of clients and a limit were asked for.
    #[must_use]
    pub fn listen_deadline(&self) -> Deadline {
        match self.common.timeout {
            Some(limit) if self.client_limit().is_some() => Deadline::after(limit),
            _ => Deadline::never(),
        }
    }
}

/// Options in which one server differs from another.
pub trait ServerOptions: Args + Sync {
    /// Number of RECVs that it posts.
    fn recvs(&self) -> usize {
        0
    }
}

/// Of servers whose memory a client accesses.
#[derive(Args, Clone, Debug)]
pub struct Memory {
    /// Permissions of a client on the memory: read, write, flush, separated by commas, or none
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',', default_value = "read,write")]
    pub access: Vec<Permission>,
}

impl ServerOptions for Memory {}

/// Of servers that receive messages.
#[derive(Args, Clone, Debug)]
pub struct Receiving {
    /// Number of messages that the client sends: each takes a RECV, posted before the client is accepted
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_count)]
    pub count: usize,

    /// Post no RECV
    #[arg(long, help_heading = "Wrong on purpose", conflicts_with = "recv_after_ms")]
    pub no_recv: bool,

    /// Post the RECVs only this long after the client is connected
    #[arg(long, value_name = "MS", help_heading = "Wrong on purpose")]
    pub recv_after_ms: Option<u64>,
}

impl ServerOptions for Receiving {
    fn recvs(&self) -> usize {
        self.count
    }
}

/// Of the server of SENDs.
#[derive(Args, Clone, Debug)]
pub struct ReceivingSends {
    /// Messages that it receives.
    #[command(flatten)]
    pub receiving: Receiving,

    /// Take the message for the client's memory window: write into it, and make it invalid with a SEND
    #[arg(long, conflicts_with_all = ["count", "no_recv", "recv_after_ms"])]
    pub window: bool,

    /// Write into the window once more when it is invalid
    #[arg(long, requires = "window", help_heading = "Wrong on purpose")]
    pub late: bool,
}

impl ServerOptions for ReceivingSends {
    fn recvs(&self) -> usize {
        self.receiving.count
    }
}

/// Of the server of WRITEs with immediate: both.
#[derive(Args, Clone, Debug)]
pub struct MemoryAndReceiving {
    /// Access of a client to it.
    #[command(flatten)]
    pub memory: Memory,
    /// Messages that it receives.
    #[command(flatten)]
    pub receiving: Receiving,
}

impl ServerOptions for MemoryAndReceiving {
    fn recvs(&self) -> usize {
        self.receiving.count
    }
}

/// Of the server of atomics.
#[derive(Args, Clone, Debug)]
pub struct CounterArgs {
    /// One counter for all clients, in place of one for each
    #[arg(long)]
    pub shared: bool,
    /// Let no client change the counter
    #[arg(long, help_heading = "Wrong on purpose")]
    pub no_access: bool,
}

impl ServerOptions for CounterArgs {}

/// Access of a client to a server's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Permission {
    /// READ.
    Read,
    /// WRITE.
    Write,
    /// FLUSH, which goes with WRITE.
    Flush,
    /// Nothing.
    None,
}
