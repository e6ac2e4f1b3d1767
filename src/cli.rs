//! The command lines of the programs.
//!
//! Arguments in, options out; no I/O but what clap prints for `--help` and for mistakes (exit code 2). What all programs
//! take is here; what servers and clients take, and the groups of options that only some of them have, is in a file each.

mod bench;
mod client;
mod server;

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches};

use verbs::deadline::Deadline;

pub use bench::{BenchClientArgs, BenchServerArgs, Planning, RDMA_BENCH_CLIENT, RDMA_BENCH_SERVER};
pub use client::{
    ClientArgs, ClientOptions, Counting, ReadingBack, Registering, Repeat, Sending, Sized, Writing,
    WrongAccess,
};
pub use server::{
    CounterArgs, Memory, MemoryAndReceiving, Permission, Receiving, ReceivingSends, ServerArgs, ServerOptions,
};

/// The limit of each wait if `--timeout` is not given.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Texts and defaults in which one program's command line differs from another's.
#[derive(Clone, Copy, Debug)]
pub struct ProgramSpec {
    /// Its name.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// The port it listens on or connects to.
    pub default_port: &'static str,
    /// The server that answers it; for a server itself.
    pub server: &'static str,
}

/// Example 1, passive side.
pub const RDMA_SERVER: ProgramSpec = ProgramSpec {
    name: "rdma_server",
    about: "Offers 4096 bytes to one-sided WRITE and READ, and reports what a client wrote",
    default_port: "7471",
    server: "rdma_server",
};
/// Example 1, active side.
pub const RDMA_CLIENT: ProgramSpec = ProgramSpec {
    name: "rdma_client",
    about: "Writes a text into the server's memory, reads it back and verifies it",
    ..RDMA_SERVER
};
/// Example 2, passive side.
pub const RDMA_SERVER_IMM: ProgramSpec = ProgramSpec {
    name: "rdma_server_imm",
    about: "Offers 4096 bytes to a WRITE with immediate, and reports its completion",
    default_port: "7472",
    server: "rdma_server_imm",
};
/// Example 2, active side.
pub const RDMA_CLIENT_IMM: ProgramSpec = ProgramSpec {
    name: "rdma_client_imm",
    about: "Writes a text into the server's memory, with its length as immediate",
    ..RDMA_SERVER_IMM
};
/// SEND, passive side.
pub const RDMA_SERVER_SEND: ProgramSpec = ProgramSpec {
    name: "rdma_server_send",
    about: "Receives a SEND, with immediate or without, and reports its completion",
    default_port: "7473",
    server: "rdma_server_send",
};
/// SEND, active side.
pub const RDMA_CLIENT_SEND: ProgramSpec = ProgramSpec {
    name: "rdma_client_send",
    about: "Sends a text to a RECV of the server",
    ..RDMA_SERVER_SEND
};
/// Atomics, passive side.
pub const RDMA_SERVER_ATOMIC: ProgramSpec = ProgramSpec {
    name: "rdma_server_atomic",
    about: "Offers a counter of 8 bytes to FetchAdd and CmpSwap, and reports its last value",
    default_port: "7474",
    server: "rdma_server_atomic",
};
/// Atomics, active side.
pub const RDMA_CLIENT_ATOMIC: ProgramSpec = ProgramSpec {
    name: "rdma_client_atomic",
    about: "Adds to the server's counter, and swaps it: once as it should be, once in vain",
    ..RDMA_SERVER_ATOMIC
};

/// Arguments of all programs.
#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    /// Print completions and results as JSON, one object a line
    #[arg(long)]
    pub json: bool,

    /// Log each verb call, queue pair, work request and completion on standard error
    #[arg(short, long)]
    pub verbose: bool,

    // An Option, because a server tells "10 s" from "not given".
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    timeout: Option<Duration>,

    /// The connection.
    #[command(flatten, next_help_heading = "Connection")]
    pub connection: ConnectionArgs,
}

impl CommonArgs {
    /// The limit of each wait.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// The limit that was given.
    #[must_use]
    pub fn asked_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// A deadline for a wait that begins now.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout())
    }
}

/// Options of a connection, on either side.
#[derive(Args, Clone, Debug)]
pub struct ConnectionArgs {
    /// Connect without CM: queue pair parameters are exchanged over TCP, at the same PORT
    #[arg(long)]
    pub no_cm: bool,

    /// PSN of the first packet that this side sends, 24 bits, decimal or 0x [default: random]
    #[arg(long, value_name = "PSN", requires = "no_cm", value_parser = parse_psn)]
    pub psn: Option<u32>,

    /// Path MTU in bytes: 256, 512, 1024, 2048 or 4096 [default: what both ports have]
    #[arg(long, value_name = "BYTES", requires = "no_cm", value_parser = parse_mtu)]
    pub mtu: Option<u32>,

    /// Send again after 4.096 us times two to this power without acknowledgement [default: 19, as CM has it on rxe]
    #[arg(long, value_name = "EXPONENT", value_parser = clap::value_parser!(u8).range(1..=31))]
    pub ack_timeout: Option<u8>,

    /// Number of times to send again without acknowledgement, 0 to 7; CM takes the client's for both sides
    #[arg(long, value_name = "TIMES", default_value_t = 7, value_parser = clap::value_parser!(u8).range(0..=7))]
    pub retry_count: u8,

    /// Number of times that the PEER sends again to this side when it has no RECV posted, 0 to 7; 7 is without end
    #[arg(long, value_name = "TIMES", default_value_t = 7, value_parser = clap::value_parser!(u8).range(0..=7))]
    pub rnr_retry: u8,
}

fn parse_for<A, I, T>(program: &ProgramSpec, argv: I) -> Result<A, clap::Error>
where
    A: CommandFactory + FromArgMatches,
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let mut command = A::command()
        .name(program.name)
        .bin_name(program.name)
        .about(program.about)
        .mut_arg("port", |arg| arg.required(false).default_value(program.default_port));
    let mut matches = command.try_get_matches_from_mut(argv)?;
    A::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// Reads a positive number of seconds, at most a day, decimals allowed.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    const LONGEST: f64 = 86_400.0;
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= LONGEST => Ok(Duration::from_secs_f64(seconds)),
        Ok(_) => Err(format!("must be more than 0 and at most {LONGEST} seconds")),
        Err(_) => Err("not a number of seconds".into()),
    }
}

/// Reads a length in bytes, with KiB or MiB behind it or nothing, below 4 GiB.
fn parse_bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = match text.find(|character: char| !character.is_ascii_digit()) {
        Some(end) => text.split_at(end),
        None => (text, ""),
    };
    let factor = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return Err("write bytes, or a number with KiB or MiB, such as 64KiB".into()),
    };
    match number.parse::<u32>().ok().and_then(|number| number.checked_mul(factor)) {
        Some(bytes) => Ok(bytes as usize),
        None => Err("not a number of bytes below 4 GiB".into()),
    }
}

/// Reads a number of messages that a queue can hold.
fn parse_count(text: &str) -> Result<usize, String> {
    const MOST: usize = 8192;
    match text.parse() {
        Ok(count @ 1..=MOST) => Ok(count),
        _ => Err(format!("must be 1 to {MOST}")),
    }
}

fn parse_psn(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.ok().filter(|&psn| psn < 1 << 24).ok_or_else(|| "must be 0 to 0xffffff".into())
}

fn parse_mtu(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(mtu @ (256 | 512 | 1024 | 2048 | 4096)) => Ok(mtu),
        _ => Err("must be 256, 512, 1024, 2048 or 4096".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use verbs::completion::WrOpcode;

    fn server(argv: &str) -> Result<ServerArgs, clap::Error> {
        ServerArgs::parse_for(&RDMA_SERVER, argv.split_whitespace())
    }

    fn client(argv: &str) -> Result<ClientArgs, clap::Error> {
        ClientArgs::parse_for(&RDMA_CLIENT, argv.split_whitespace())
    }

    #[test]
    fn defaults_are_the_samples() {
        let args = server("rdma_server").unwrap();
        assert_eq!((args.port, args.bind.to_string().as_str(), args.once), (7471, "0.0.0.0", false));
        assert_eq!(args.common.timeout(), DEFAULT_TIMEOUT);
        let args =
            ServerArgs::<MemoryAndReceiving>::parse_for(&RDMA_SERVER_IMM, ["rdma_server_imm"]).unwrap();
        assert_eq!(args.port, 7472);
        let args = client("rdma_client server").unwrap();
        assert_eq!((args.server.as_str(), args.port, args.bind), ("server", 7471, None));
    }

    #[test]
    fn everything_can_be_given() {
        let args = server("rdma_server 7000 --bind ::1 --once --json -v --timeout 0.5").unwrap();
        assert_eq!((args.port, args.bind.to_string().as_str(), args.once), (7000, "::1", true));
        assert!(args.common.json && args.common.verbose);
        assert_eq!(args.common.timeout(), Duration::from_millis(500));
        let args = client("rdma_client 198.51.100.2 7000 --bind 198.51.100.1").unwrap();
        assert_eq!((args.port, args.bind), (7000, Some("198.51.100.1".parse().unwrap())));
    }

    #[test]
    fn sizes_have_units_and_psns_are_hexadecimal() {
        let args = client("rdma_client server --size 8MiB --count 16 --depth 4").unwrap();
        let sized = &args.options.sized;
        assert_eq!((sized.size, sized.repeat.count, sized.repeat.depth), (Some(8 << 20), 16, 4));
        assert_eq!(client("rdma_client server --size 0").unwrap().options.size(), Some(0));
        assert_eq!(server("rdma_server").unwrap().max_size, 16 << 20);
        let args = client("rdma_client server --no-cm --psn 0xfffffe --mtu 256").unwrap();
        assert_eq!((args.common.connection.psn, args.common.connection.mtu), (Some(0xff_fffe), Some(256)));
    }

    #[test]
    fn permissions_are_a_list() {
        let access = |argv| server(argv).unwrap().options.access;
        assert_eq!(access("rdma_server"), [Permission::Read, Permission::Write]);
        assert_eq!(access("rdma_server --access write"), [Permission::Write]);
        assert_eq!(access("rdma_server --access none"), [Permission::None]);
    }

    #[test]
    fn operations_beyond_the_usual_ones_are_asked_for() {
        let operations = |argv: &str| {
            let args = ClientArgs::<ReadingBack>::parse_for(&RDMA_CLIENT, argv.split_whitespace());
            args.unwrap().options.operations()
        };
        assert_eq!(operations("rdma_client server"), []);
        assert_eq!(operations("rdma_client server --flush"), [WrOpcode::Flush]);
        assert_eq!(operations("rdma_client server --atomic-write"), [WrOpcode::AtomicWrite]);
    }

    #[test]
    fn window_goes_with_one_message_and_late_with_a_window() {
        let client = |argv: &str| {
            ClientArgs::<Sending>::parse_for(&RDMA_CLIENT_SEND, argv.split_whitespace()).map(|_| ())
        };
        client("rdma_client_send server --window").unwrap();
        for argv in ["--window --count 2", "--window --imm", "--window --size 64"] {
            assert_eq!(client(&format!("rdma_client_send server {argv}")).unwrap_err().exit_code(), 2);
        }
        let server = |argv: &str| {
            ServerArgs::<ReceivingSends>::parse_for(&RDMA_SERVER_SEND, argv.split_whitespace()).map(|_| ())
        };
        server("rdma_server_send --once --window --late").unwrap();
        for argv in ["--late", "--window --count 2", "--window --no-recv"] {
            assert_eq!(server(&format!("rdma_server_send {argv}")).unwrap_err().exit_code(), 2);
        }
    }

    #[test]
    fn only_once_with_an_explicit_timeout_limits_the_wait_for_a_client() {
        for (argv, limit) in [
            ("rdma_server", None),
            ("rdma_server --once", None),
            ("rdma_server --timeout 3", None),
            ("rdma_server --once --timeout 3", Some(Duration::from_secs(3))),
            ("rdma_server --clients 2 --timeout 3", Some(Duration::from_secs(3))),
        ] {
            assert_eq!(server(argv).unwrap().listen_deadline().limit(), limit, "{argv}");
        }
    }

    #[test]
    fn mistakes_exit_with_2_and_name_what_is_wrong() {
        for (argv, named) in [
            ("rdma_client", "<SERVER>"),
            ("rdma_client server 0", "PORT"),
            ("rdma_client server 65536", "PORT"),
            ("rdma_client server --timeout 0", "more than 0"),
            ("rdma_client server --timeout inf", "at most 86400"),
            ("rdma_client server --timeout NaN", "more than 0"),
            ("rdma_client server --timeout soon", "not a number"),
            ("rdma_client server --bind eth0", "--bind"),
            ("rdma_client server --jsn", "--json"),
            ("rdma_client server --size 64K", "KiB"),
            ("rdma_client server --size 4096MiB", "below 4 GiB"),
            ("rdma_client server --count 0", "1 to 8192"),
            ("rdma_client server --psn 1", "--no-cm"),
            ("rdma_client server --no-cm --psn 0x1000000", "0xffffff"),
            ("rdma_client server --no-cm --mtu 1000", "1024"),
            ("rdma_client server --no-cm --bind 198.51.100.1", "cannot be used with"),
            ("rdma_client server --rnr-retry 8", "7"),
            ("rdma_client server --wrong key", "rkey"),
        ] {
            let error = client(argv).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{argv}");
            assert!(error.to_string().contains(named), "{argv}: {error}");
        }
    }

    #[test]
    fn help_names_program_and_defaults() {
        let error =
            ServerArgs::<MemoryAndReceiving>::parse_for(&RDMA_SERVER_IMM, ["x", "--help"]).unwrap_err();
        assert_eq!(error.exit_code(), 0);
        let help = error.to_string();
        assert!(help.contains("Usage: rdma_server_imm [OPTIONS] [PORT]"), "{help}");
        assert!(help.contains("[default: 7472]"), "{help}");
        assert!(help.contains("--once or --clients is combined"), "{help}");
    }

    #[test]
    fn definitions_are_consistent() {
        ServerArgs::<Memory>::command().debug_assert();
        ServerArgs::<MemoryAndReceiving>::command().debug_assert();
        ServerArgs::<Receiving>::command().debug_assert();
        ServerArgs::<ReceivingSends>::command().debug_assert();
        ServerArgs::<CounterArgs>::command().debug_assert();
        ClientArgs::<Writing>::command().debug_assert();
        ClientArgs::<ReadingBack>::command().debug_assert();
        ClientArgs::<Sending>::command().debug_assert();
        ClientArgs::<Counting>::command().debug_assert();
    }
}
