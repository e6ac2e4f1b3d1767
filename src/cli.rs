//! The command lines of the four programs.
//!
//! Arguments in, options out; no I/O but what clap prints for `--help` and for mistakes (exit code 2).

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser};

use crate::deadline::Deadline;

/// The limit of each wait if `--timeout` is not given.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// What distinguishes one program's command line from another's.
#[derive(Clone, Copy, Debug)]
pub struct Program {
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
pub const RDMA_SERVER: Program = Program {
    name: "rdma_server",
    about: "Offers 4096 bytes to one-sided WRITE and READ, and reports what a client wrote",
    default_port: "7471",
    server: "rdma_server",
};
/// Example 1, active side.
pub const RDMA_CLIENT: Program = Program {
    name: "rdma_client",
    about: "Writes a text into the server's memory, reads it back and verifies it",
    default_port: "7471",
    server: "rdma_server",
};
/// Example 2, passive side.
pub const RDMA_SERVER_IMM: Program = Program {
    name: "rdma_server_imm",
    about: "Offers 4096 bytes to a WRITE with immediate, and reports its completion",
    default_port: "7472",
    server: "rdma_server_imm",
};
/// Example 2, active side.
pub const RDMA_CLIENT_IMM: Program = Program {
    name: "rdma_client_imm",
    about: "Writes a text into the server's memory, with its length as immediate",
    default_port: "7472",
    server: "rdma_server_imm",
};

/// What all four take.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Print completions and results as JSON, one object a line
    #[arg(long)]
    pub json: bool,

    /// Log each verb call, queue pair, work request and completion on standard error
    #[arg(short, long)]
    pub verbose: bool,

    // An Option, because a server tells "10 s" from "not given".
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    timeout: Option<Duration>,
}

impl Common {
    /// The limit of each wait.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// A deadline for a wait that begins now.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout())
    }
}

/// A server's options.
#[derive(Clone, Debug, Parser)]
#[command(version, mut_arg("timeout", |arg| arg.help(
    "Limit of each wait of a connection, decimals allowed [default: 10]. Waiting for a client has no limit, unless --once is combined with an explicit --timeout"
)))]
pub struct ServerArgs {
    /// Port to listen on; 0 lets the system choose
    #[arg(value_name = "PORT")]
    pub port: u16,

    /// Address to listen on; `::` takes IPv4 and IPv6
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub bind: IpAddr,

    /// Serve one client, then exit with its result; without it serve one after the other until SIGINT or SIGTERM
    #[arg(long)]
    pub once: bool,

    /// What all programs take.
    #[command(flatten)]
    pub common: Common,
}

impl ServerArgs {
    /// Parses the command line of `program`; the first of `argv` is the program's name.
    ///
    /// # Errors
    ///
    /// clap's: a mistake, or a request for help. `exit()` on it prints and ends as it should.
    pub fn parse_for<I, T>(program: &Program, argv: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        parse_for(program, argv)
    }

    /// The limit of waiting for a client: none, unless one client and a limit were asked for.
    #[must_use]
    pub fn listen_deadline(&self) -> Deadline {
        match self.common.timeout {
            Some(limit) if self.once => Deadline::after(limit),
            _ => Deadline::never(),
        }
    }
}

/// A client's options.
#[derive(Clone, Debug, Parser)]
#[command(version, mut_arg("timeout", |arg| arg.help(
    "Limit of connection set-up as a whole, and of each wait after it, decimals allowed [default: 10]"
)))]
pub struct ClientArgs {
    /// Name or address of the server
    #[arg(value_name = "SERVER")]
    pub server: String,

    /// Port of the server
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// Source address; without it the route decides
    #[arg(long, value_name = "ADDRESS")]
    pub bind: Option<IpAddr>,

    /// What all programs take.
    #[command(flatten)]
    pub common: Common,
}

impl ClientArgs {
    /// Parses the command line of `program`; the first of `argv` is the program's name.
    ///
    /// # Errors
    ///
    /// clap's: a mistake, or a request for help. `exit()` on it prints and ends as it should.
    pub fn parse_for<I, T>(program: &Program, argv: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        parse_for(program, argv)
    }
}

fn parse_for<A, I, T>(program: &Program, argv: I) -> Result<A, clap::Error>
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let args = ServerArgs::parse_for(&RDMA_SERVER_IMM, ["rdma_server_imm"]).unwrap();
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
    fn only_once_with_an_explicit_timeout_limits_the_wait_for_a_client() {
        for (argv, limit) in [
            ("rdma_server", None),
            ("rdma_server --once", None),
            ("rdma_server --timeout 3", None),
            ("rdma_server --once --timeout 3", Some(Duration::from_secs(3))),
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
        ] {
            let error = client(argv).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{argv}");
            assert!(error.to_string().contains(named), "{argv}: {error}");
        }
    }

    #[test]
    fn help_names_program_and_defaults() {
        let error = ServerArgs::parse_for(&RDMA_SERVER_IMM, ["x", "--help"]).unwrap_err();
        assert_eq!(error.exit_code(), 0);
        let help = error.to_string();
        assert!(help.contains("Usage: rdma_server_imm [OPTIONS] [PORT]"), "{help}");
        assert!(help.contains("[default: 7472]"), "{help}");
        assert!(help.contains("--once is combined"), "{help}");
    }

    #[test]
    fn definitions_are_consistent() {
        ServerArgs::command().debug_assert();
        ClientArgs::command().debug_assert();
    }
}
