//! Arguments of the bench programs.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};

use clap::{Args, Parser};

use super::{CommonArgs, ProgramSpec, parse_bytes, parse_count};
use crate::bench::plan::{BenchOperation, BenchPlan, BenchService, PlanError, Quantity, WaitStyle};

/// The bench's server.
pub const RDMA_BENCH_SERVER: ProgramSpec = ProgramSpec {
    name: "rdma_bench_server",
    about: "Answers the bench: memory, RECVs and pongs, as a client's plan asks for them",
    default_port: "7475",
    server: "rdma_bench_server",
};
/// The bench's client.
pub const RDMA_BENCH_CLIENT: ProgramSpec = ProgramSpec {
    name: "rdma_bench_client",
    about: "Measures bandwidth or latency of an operation, and says it as a line or as JSON",
    ..RDMA_BENCH_SERVER
};

/// Options of the bench's server.
#[derive(Clone, Debug, Parser)]
#[command(version, mut_arg("timeout", |arg| arg.help(
    "Limit of each wait without progress, decimals allowed [default: 10]. WaitStyle for a client has no limit, unless --once is combined with an explicit --timeout"
)))]
pub struct BenchServerArgs {
    /// Port to listen on; 0 lets the system choose
    #[arg(value_name = "PORT")]
    pub port: u16,

    /// Address to listen on; `::` takes IPv4 and IPv6
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub bind: IpAddr,

    /// Serve one bench, then exit with its result; without it serve one after the other until SIGINT or SIGTERM
    #[arg(long)]
    pub once: bool,

    /// The longest message that a client may plan, in bytes, KiB or MiB
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = parse_bytes)]
    pub max_size: usize,

    /// Listen by TCP, for clients with --tcp
    #[arg(long)]
    pub tcp: bool,

    /// Arguments of all programs.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Options of the bench's client.
#[derive(Clone, Debug, Parser)]
#[command(version, mut_arg("timeout", |arg| arg.help(
    "Limit of connection set-up as a whole, and of each wait without progress after it, decimals allowed [default: 10]"
)))]
pub struct BenchClientArgs {
    /// Name or address of the server
    #[arg(value_name = "SERVER")]
    pub server: String,

    /// Port of the server
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// Measure TCP instead, with a server that has --tcp: its streams have no depth and no operations
    #[arg(long)]
    pub tcp: bool,

    /// Tell each step of the histogram of latencies, in JSON
    #[arg(long, requires = "json")]
    pub histogram: bool,

    /// Arguments of all programs.
    #[command(flatten)]
    pub common: CommonArgs,

    /// Messages that are measured.
    #[command(flatten, next_help_heading = "The bench")]
    pub planning: Planning,
}

/// Options that make a plan.
#[derive(Args, Clone, Debug)]
pub struct Planning {
    /// The operation that is measured
    #[arg(long, value_enum, default_value_t = BenchOperation::Write)]
    pub op: BenchOperation,

    /// The quantity that is measured
    #[arg(long, value_enum, default_value_t = Quantity::Bandwidth)]
    pub measure: Quantity,

    /// Service of the queue pairs
    #[arg(long, value_enum, default_value_t = BenchService::Rc)]
    pub service: BenchService,

    /// Length of a message in bytes, KiB or MiB [default: 64KiB; 2 for latency; 8 for atomics]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub size: Option<usize>,

    /// Messages of each queue pair
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub iterations: u32,

    /// The most messages in flight on each queue pair [default: 128; 1 for latency, whatever is given]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub depth: Option<usize>,

    /// Queue pairs, or streams with --tcp
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub queue_pairs: u8,

    /// Send messages of at most this length inline [default: 0; 220 for latency]
    #[arg(long, value_name = "BYTES")]
    pub inline: Option<u16>,

    /// Gather each message from this many ranges of memory, and scatter it to as many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub ranges: u8,

    /// Signal each N-th request, and the last [default: a quarter of the depth; 64 for latency]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub signal_every: Option<u16>,

    /// Post this many requests by one call [default: as --signal-every]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub post_list: Option<u16>,

    /// Way in which both sides wait for completions [default: events; yield for the latency of WRITE]
    #[arg(long, value_enum)]
    pub wait: Option<WaitStyle>,
}

impl Planning {
    /// The plan, with what was not given as it fits the rest.
    ///
    /// # Errors
    ///
    /// [`PlanError::Contradiction`], with the options.
    pub fn plan(&self) -> Result<BenchPlan, PlanError> {
        let is_latency = self.measure == Quantity::Latency;
        let usual_size = match (self.op.is_atomic(), is_latency) {
            (true, _) => 8,
            (false, true) => 2,
            (false, false) => 64 << 10,
        };
        let size = self.size.unwrap_or(usual_size);
        let depth = if is_latency { 1 } else { self.depth.unwrap_or(128) };
        let quarter = u16::try_from((depth / 4).max(1)).unwrap_or(u16::MAX);
        let signal_every = self.signal_every.unwrap_or(if is_latency { 64 } else { quarter });
        let polls_memory = is_latency && self.op == BenchOperation::Write;
        let plan = BenchPlan {
            operation: self.op,
            quantity: self.measure,
            waiting: self.wait.unwrap_or(if polls_memory { WaitStyle::Yield } else { WaitStyle::Events }),
            size_bytes: u32::try_from(size).unwrap_or(u32::MAX),
            messages: self.iterations,
            depth: u32::try_from(depth).unwrap_or(u32::MAX),
            queue_pairs: self.queue_pairs,
            signal_every,
            post_list: if is_latency { 1 } else { self.post_list.unwrap_or(signal_every) },
            ranges: self.ranges,
            service: self.service,
            inline_bytes: self.inline.unwrap_or(if is_latency { 220 } else { 0 }),
        };
        plan.check().map(|()| plan)
    }
}

impl BenchServerArgs {
    /// Parses the command line; the first of `argv` is the program's name.
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

impl BenchClientArgs {
    /// Parses the command line and makes the plan; the first of `argv` is the program's name.
    ///
    /// # Errors
    ///
    /// clap's: a mistake, options that contradict each other, or a request for help. `exit()` on it prints and ends as it
    /// should.
    pub fn parse_for<I, T>(program: &ProgramSpec, argv: I) -> Result<(Self, BenchPlan), clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let args: Self = super::parse_for(program, argv)?;
        let contradiction = |error: PlanError| {
            clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, format!("{error}\n"))
        };
        let plan = args.planning.plan().map_err(contradiction)?;
        if plan.service.is_unreliable() && !args.common.connection.no_cm && !args.tcp {
            let name = plan.service.name();
            let text = format!(
                "--service {name}: CM connects reliable connections alone; give --no-cm, to the server too"
            );
            return Err(contradiction(PlanError::Contradiction(text)));
        }
        Ok((args, plan))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn plan(options: &str) -> Result<BenchPlan, clap::Error> {
        let argv = format!("rdma_bench_client server {options}");
        BenchClientArgs::parse_for(&RDMA_BENCH_CLIENT, argv.split_whitespace()).map(|(_, plan)| plan)
    }

    #[test]
    fn defaults_fit_each_other() {
        let usual = plan("").unwrap();
        assert_eq!(
            (usual.size_bytes, usual.depth, usual.signal_every, usual.post_list),
            (65536, 128, 32, 32)
        );
        assert_eq!((usual.waiting, usual.inline_bytes), (WaitStyle::Events, 0));
        let latency = plan("--measure latency --depth 16").unwrap();
        assert_eq!((latency.size_bytes, latency.depth, latency.signal_every), (2, 1, 64));
        assert_eq!((latency.waiting, latency.inline_bytes), (WaitStyle::Yield, 220));
        assert_eq!(plan("--measure latency --op send").unwrap().waiting, WaitStyle::Events);
        assert_eq!(plan("--op fetch-add").unwrap().size_bytes, 8);
        assert_eq!(plan("--depth 2").unwrap().signal_every, 1);
    }

    #[test]
    fn contradictions_are_mistakes_on_the_command_line() {
        for (options, named) in [
            ("--op fetch-add --size 64", "--size 64"),
            ("--depth 4 --signal-every 8", "--signal-every 8"),
            ("--measure latency --wait events", "--wait events"),
            ("--service uc", "--no-cm"),
            ("--service uc --no-cm --op read", "--op read"),
            ("--service ud --op send", "--no-cm"),
            ("--service ud --no-cm", "--op write"),
            ("--depth 0", "--depth"),
            ("--iterations 0", "--iterations"),
            ("--queue-pairs 65", "--queue-pairs"),
            ("--histogram", "--json"),
            ("--size 4GiB", "KiB or MiB"),
        ] {
            let error = plan(options).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{options}");
            assert!(error.to_string().contains(named), "{options}: {error}");
        }
    }

    #[test]
    fn definitions_are_consistent() {
        BenchServerArgs::command().debug_assert();
        BenchClientArgs::command().debug_assert();
        let server = BenchServerArgs::parse_for(&RDMA_BENCH_SERVER, ["x"]).unwrap();
        assert_eq!((server.port, server.max_size, server.tcp), (7475, 64 << 20, false));
    }
}
