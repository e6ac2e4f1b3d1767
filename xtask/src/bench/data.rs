//! `cargo xtask bench data`: perftest and this project's own bench in turns, between the same two machines; medians and ratios.
//!
//! Nothing is recorded meanwhile. Both programs wait and are waited for in the same way; a ratio is of two runs that were
//! neighbours, since machines are shared. The wire's view is that of the devices' own counters: packets that each side
//! sent for a message.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use lab::base::cache::write_whole;
use lab::base::command::Output;
use lab::base::progress::Step;
use lab::base::role::Role;
use lab::base::selection::Selection;
use lab::guest::contents::ENVIRONMENT;
use lab::node::{NodePair, Plan, Provider as _};
use lab::run::observe::{LISTENERS, listens_on};
use lab::run::setup::Setup;
use lab::scenario::counters::Counters;
use lab::trial::artifacts::Artifacts;
use lab::{Error, Result};

use rdma_lab_cli::{Front, machines, output};

/// Longest time that one run of one program may take.
const RUN_LIMIT: Duration = Duration::from_secs(180);

/// Longest time that a server may take until it listens.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// Port of perftest's servers.
const PERFTEST_PORT: u16 = 18515;

/// Port of the bench's server.
const BENCH_PORT: u16 = 7475;

/// ACK timeout of both: rxe's own timer is patient enough with it on a busy computer.
const ACK_TIMEOUT: u8 = 19;

/// The arguments of `bench data`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only rows in whose title this is, as in "SEND bandwidth" or "4096 B"
    #[arg(value_name = "PART")]
    filter: Option<String>,
    /// Number of times that each row is measured, one program after the other.
    #[arg(long, default_value = "7", value_parser = clap::value_parser!(u16).range(1..))]
    turns: u16,
    /// Fresh machines, over which the turns are spread.
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u16).range(1..))]
    forks: u16,
    /// One row, one turn: only to see that it runs.
    #[arg(long)]
    smoke: bool,
    /// Options that this project's client is given beside, in every row, as in "--wait poll --post-list 1".
    #[arg(long, value_name = "OPTIONS", default_value = "", allow_hyphen_values = true)]
    options: String,
    /// A file that the table is written to as well.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    machines: Selection,
}

/// An operation, by perftest's program and ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Write,
    Read,
    Send,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Write => "write",
            Verb::Read => "read",
            Verb::Send => "send",
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DataRow {
    verb: Verb,
    size_bytes: u64,
    /// Messages in flight; `None` for a latency.
    depth: Option<u64>,
}

impl DataRow {
    /// All rows, in the order of the table.
    fn all() -> Vec<DataRow> {
        let mut rows = Vec::new();
        for verb in [Verb::Write, Verb::Read, Verb::Send] {
            for size_bytes in [64, 4 << 10, 64 << 10, 1 << 20] {
                rows.extend([16, 128].map(|depth| DataRow { verb, size_bytes, depth: Some(depth) }));
            }
        }
        for verb in [Verb::Write, Verb::Read, Verb::Send] {
            rows.extend([2, 4 << 10].map(|size_bytes| DataRow { verb, size_bytes, depth: None }));
        }
        rows
    }

    fn title(&self) -> String {
        let verb = self.verb.name().to_uppercase();
        match self.depth {
            Some(depth) => format!("{verb} bandwidth, {} B, depth {depth}", self.size_bytes),
            None => format!("{verb} latency, {} B", self.size_bytes),
        }
    }

    /// A figure of this row, for people.
    fn shown(&self, figure: f64) -> String {
        match self.depth {
            Some(_) => format!("{:.2} MiB/s", figure / f64::from(1 << 20)),
            None => format!("{:.1} us", figure / 1e3),
        }
    }

    /// Messages of one run: as many as tell something and take seconds on an emulated processor.
    fn messages(&self) -> u64 {
        /// Bytes of one run.
        const BYTES: u64 = 16 << 20;
        match self.depth {
            Some(depth) => (BYTES / self.size_bytes).clamp(depth + depth / 4, 2000),
            None => 500,
        }
    }

    fn perftest(&self) -> String {
        let Self { verb, size_bytes, depth } = self;
        let (kind, depth) = match depth {
            Some(depth) => ("bw", format!(" -t {depth}")),
            None => ("lat", String::new()),
        };
        let messages = self.messages();
        format!("ib_{}_{kind} -d rxe0 -u {ACK_TIMEOUT} -s {size_bytes} -n {messages}{depth}", verb.name())
    }

    fn ours(&self, options: &str) -> String {
        let Self { verb, size_bytes, depth } = self;
        let quantity = match depth {
            Some(depth) => format!("bandwidth --depth {depth}"),
            None => "latency".to_owned(),
        };
        let (verb, messages) = (verb.name(), self.messages());
        format!(
            "rdma_bench_client server --json --timeout 60 --ack-timeout {ACK_TIMEOUT} --op {verb} --measure {quantity} \
             --size {size_bytes} --iterations {messages} {options}"
        )
    }
}

/// Result of one run of one program.
#[derive(Debug, Clone, Copy, PartialEq)]
struct RunFigures {
    /// Bytes a second, or nanoseconds of the median latency.
    figure: f64,
    /// Packets that the client sent for a message.
    client_packets: f64,
    /// Packets that the server sent for a message.
    server_packets: f64,
    /// Counts of what went another way than straight.
    troubles: u64,
}

/// Both programs' runs of one turn.
#[derive(Debug, Clone, Copy)]
struct BenchTurn {
    perftest: RunFigures,
    ours: RunFigures,
}

/// Measures and prints the table; exit code 1 if a row has no turn.
pub(crate) fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let choice = machines::choice(&args.machines, None)?;
    machines::prepare(&choice, &args.machines.means, true)?;
    let rows = chosen(args)?;
    let setup = Setup::prepare(&front.samples, &choice, &front.program)?;
    let artifacts = Artifacts::create(&front.home)?;
    let (turns, forks) = if args.smoke { (1, 1) } else { (args.turns, args.forks.min(args.turns)) };
    let mut measured: Vec<Vec<BenchTurn>> = vec![Vec::new(); rows.len()];
    let mut description = String::new();
    for fork in 0..forks {
        // The first forks take what does not divide.
        let share = turns / forks + u16::from(fork < turns % forks);
        let step = Step::begin(format!("fork {} of {forks}", fork + 1));
        let logs = artifacts.scenario(&format!("bench-data-{}", fork + 1));
        fs::create_dir_all(&logs)
            .map_err(|source| Error::setup("failed to make a directory").source(source))?;
        let _slot = setup.slot()?;
        let plan = Plan { programs: &setup.programs, ..Plan::new(&logs) };
        let pair = setup.provider.bring_up(&plan)?;
        description = pair.description();
        for turn in 0..share {
            for (row, turns) in rows.iter().zip(&mut measured) {
                match take_turn(&*pair, row, turn % 2 == 1, &args.options) {
                    Ok(turn) => {
                        let (perftest, ours) = (row.shown(turn.perftest.figure), row.shown(turn.ours.figure));
                        output::note(&format!("{}: perftest {perftest}, ours {ours}", row.title()));
                        turns.push(turn);
                    }
                    Err(error) => {
                        pair.check_alive()?;
                        output::note(&format!("{}: {error}", row.title()));
                    }
                }
            }
        }
        step.done("");
    }
    let table = table(&rows, &measured);
    let text = format!("{description}; {turns} turns, {forks} forks\n\n{table}");
    output::print(format_args!("\n{text}"))?;
    if let Some(file) = &args.write {
        write_whole(file, text.as_bytes())?;
    }
    let is_whole = measured.iter().all(|turns| !turns.is_empty());
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The rows that were asked for.
fn chosen(args: &Args) -> Result<Vec<DataRow>> {
    let mut rows = DataRow::all();
    if let Some(part) = &args.filter {
        rows.retain(|row| row.title().contains(part.as_str()));
    }
    if rows.is_empty() {
        let titles: Vec<String> = DataRow::all().iter().map(DataRow::title).collect();
        return Err(
            Error::usage("no row has that in its title").next(format!("there are:\n{}", titles.join("\n")))
        );
    }
    if args.smoke {
        rows.truncate(1);
    }
    Ok(rows)
}

/// Runs both programs, one after the other.
fn take_turn(pair: &dyn NodePair, row: &DataRow, ours_first: bool, options: &str) -> Result<BenchTurn> {
    let perftest = || {
        let command = row.perftest();
        run_one(pair, row, &command, PERFTEST_PORT, &format!("{command} server"), figure_of_perftest)
    };
    let ours = || {
        let server = format!("rdma_bench_server --once --timeout 60 --ack-timeout {ACK_TIMEOUT}");
        run_one(pair, row, &server, BENCH_PORT, &row.ours(options), figure_of_ours)
    };
    if ours_first {
        let ours = ours()?;
        return Ok(BenchTurn { perftest: perftest()?, ours });
    }
    Ok(BenchTurn { perftest: perftest()?, ours: ours()? })
}

/// Runs a server and a client between two looks at the counters.
fn run_one(
    pair: &dyn NodePair,
    row: &DataRow,
    server: &str,
    port: u16,
    client: &str,
    figure: fn(&DataRow, &str) -> Option<f64>,
) -> Result<RunFigures> {
    let before = counters(pair)?;
    let mut serving = pair.node(Role::Server).start(&format!("{ENVIRONMENT}; exec {server}"))?;
    let started = Instant::now();
    while !listens_on(&pair.node(Role::Server).run(LISTENERS, READY_LIMIT)?.stdout, port) {
        if started.elapsed() > READY_LIMIT {
            let said = serving.stop()?;
            return Err(Error::timeout(format!("`{server}` to listen on port {port}"), READY_LIMIT)
                .detail(said.stderr));
        }
        thread::sleep(Duration::from_millis(20));
    }
    let mut calling = pair.node(Role::Client).start(&format!("{ENVIRONMENT}; exec {client}"))?;
    let called = pair.wait_for(calling.as_mut(), client, RUN_LIMIT)?;
    let served = pair.wait_for(serving.as_mut(), server, RUN_LIMIT)?;
    for (command, output) in [(client, &called), (server, &served)] {
        if output.code != Some(0) {
            return Err(failed(command, output));
        }
    }
    let after = counters(pair)?;
    let figure = figure(row, &called.stdout).ok_or_else(|| failed(client, &called))?;
    let since = |role: Role| -> Result<(f64, u64)> {
        let missing = || Error::setup(format!("no counters of {role}"));
        let counted = after.get(&role).ok_or_else(missing)?.clone();
        let counted = counted.since(before.get(&role).ok_or_else(missing)?);
        let sent = counted.packets().map_or(0, |(sent, _)| sent);
        let values = counted.values();
        let troubles = Counters::TROUBLES.iter().filter_map(|name| values.get(*name)).sum();
        Ok((sent as f64 / row.messages() as f64, troubles))
    };
    let ((client_packets, by_client), (server_packets, by_server)) =
        (since(Role::Client)?, since(Role::Server)?);
    Ok(RunFigures { figure, client_packets, server_packets, troubles: by_client + by_server })
}

fn failed(command: &str, output: &Output) -> Error {
    Error::setup(format!("`{command}` ended with exit code {:?} or told no figure", output.code))
        .detail(format!("{}{}", output.stdout, output.stderr))
}

fn counters(pair: &dyn NodePair) -> Result<BTreeMap<Role, Counters>> {
    let printed = pair.run_on_all(Counters::COMMAND, READY_LIMIT)?;
    printed.into_iter().map(|(role, output)| Ok((role, Counters::parse(&output.stdout)?))).collect()
}

/// Bytes a second by the message rate, which has more digits than the average; or nanoseconds of `t_typical`.
fn figure_of_perftest(row: &DataRow, said: &str) -> Option<f64> {
    let mut lines = said.lines().skip_while(|line| !line.trim_start().starts_with("#bytes"));
    let names: Vec<&str> = lines.next()?.split_whitespace().collect();
    let values: Vec<&str> = lines.next()?.split_whitespace().collect();
    if row.depth.is_some() {
        let rate = values.last()?.parse::<f64>().ok()?;
        return names.last()?.starts_with("MsgRate").then_some(rate * 1e6 * row.size_bytes as f64);
    }
    let at = names.iter().position(|name| name.starts_with("t_typical"))?;
    Some(values.get(at)?.parse::<f64>().ok()? * 1e3)
}

/// Bytes a second, or nanoseconds of the median.
fn figure_of_ours(row: &DataRow, said: &str) -> Option<f64> {
    let line: serde_json::Value = serde_json::from_str(said.lines().last()?).ok()?;
    let result = line.get("result")?;
    match row.depth {
        Some(_) => result.get("bytes_per_second")?.as_f64(),
        None => result.get("latency")?.get("p50_ns")?.as_f64(),
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let (below, above) = (numbers.len().saturating_sub(1) / 2, numbers.len() / 2);
    match (numbers.get(below), numbers.get(above)) {
        (Some(below), Some(above)) => (below + above) / 2.0,
        _ => f64::NAN,
    }
}

/// The table, as Markdown.
fn table(rows: &[DataRow], measured: &[Vec<BenchTurn>]) -> String {
    let mut table = "| row | perftest | ours | ours / perftest | packets a message: client, server; perftest | ours | troubles |\n\
                     |--|--|--|--|--|--|--|\n"
        .to_owned();
    for (row, turns) in rows.iter().zip(measured) {
        if turns.is_empty() {
            let _ = writeln!(table, "| {} | no turn succeeded | | | | | |", row.title());
            continue;
        }
        let of = |value: fn(&BenchTurn) -> f64| median(turns.iter().map(value).collect());
        let ratios = turns.iter().map(|turn| turn.ours.figure / turn.perftest.figure);
        let (least, most) = ratios.clone().fold((f64::MAX, 0.0_f64), |(a, b), r| (a.min(r), b.max(r)));
        let _ = writeln!(
            table,
            "| {} | {} | {} | {:.2} ({least:.2} to {most:.2}) | {:.2}, {:.2} | {:.2}, {:.2} | {}, {} |",
            row.title(),
            row.shown(of(|turn| turn.perftest.figure)),
            row.shown(of(|turn| turn.ours.figure)),
            median(ratios.collect()),
            of(|turn| turn.perftest.client_packets),
            of(|turn| turn.perftest.server_packets),
            of(|turn| turn.ours.client_packets),
            of(|turn| turn.ours.server_packets),
            turns.iter().map(|turn| turn.perftest.troubles).sum::<u64>(),
            turns.iter().map(|turn| turn.ours.troubles).sum::<u64>(),
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANDWIDTH: DataRow = DataRow { verb: Verb::Write, size_bytes: 64, depth: Some(16) };
    const LATENCY: DataRow = DataRow { verb: Verb::Send, size_bytes: 2, depth: None };

    #[test]
    fn figures_of_perftest_are_read_from_its_columns() {
        let said = " CQ Moderation   : 16\n---\n #bytes     #iterations    BW peak[MiB/sec]    BW average[MiB/sec]   MsgRate[Mpps]\n \
                    64         2000             1.20               1.10               0.018022\n---\n";
        let figure = figure_of_perftest(&BANDWIDTH, said).unwrap();
        assert!((figure - 18022.0 * 64.0).abs() < 1.0, "{figure}");
        let said = " #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   99% percentile[usec]   99.9% percentile[usec]\n \
                    2       500          80.11          900.22       95.50 \t       99.90        12.0 \t 130.00 \t 900.22\n";
        assert_eq!(figure_of_perftest(&LATENCY, said), Some(95_500.0));
        assert_eq!(figure_of_perftest(&LATENCY, "Couldn't connect to server:18515\n"), None);
    }

    #[test]
    fn figures_of_ours_are_read_from_its_json() {
        let said = r#"{"result":{"program":"rdma_bench_client","ok":true,"bytes_per_second":4096,"latency":{"p50_ns":1200}}}"#;
        assert_eq!(figure_of_ours(&BANDWIDTH, said), Some(4096.0));
        assert_eq!(figure_of_ours(&LATENCY, said), Some(1200.0));
        assert_eq!(figure_of_ours(&LATENCY, r#"{"result":{"ok":false}}"#), None);
    }

    #[test]
    fn rows_are_those_of_the_bar_and_both_programs_are_asked_for_the_same() {
        let rows = DataRow::all();
        assert_eq!(rows.len(), 3 * 4 * 2 + 3 * 2);
        for row in &rows {
            assert!(row.messages() >= row.depth.unwrap_or(1), "{row:?}");
        }
        assert_eq!(BANDWIDTH.perftest(), "ib_write_bw -d rxe0 -u 19 -s 64 -n 2000 -t 16");
        let ours = BANDWIDTH.ours("");
        for word in ["--op write", "--measure bandwidth --depth 16", "--size 64", "--iterations 2000"] {
            assert!(ours.contains(word), "{ours}");
        }
        assert_eq!(LATENCY.perftest(), "ib_send_lat -d rxe0 -u 19 -s 2 -n 500");
    }

    #[test]
    fn table_has_medians_and_ratios_of_neighbours() {
        let run = |figure: f64| RunFigures { figure, client_packets: 1.0, server_packets: 0.5, troubles: 0 };
        let turn = |perftest: f64, ours: f64| BenchTurn { perftest: run(perftest), ours: run(ours) };
        let mib = f64::from(1 << 20);
        let turns = vec![turn(mib, 2.0 * mib), turn(2.0 * mib, 2.0 * mib), turn(4.0 * mib, 6.0 * mib)];
        let table = table(&[BANDWIDTH, LATENCY], &[turns, Vec::new()]);
        let row = "| WRITE bandwidth, 64 B, depth 16 | 2.00 MiB/s | 2.00 MiB/s | 1.50 (1.00 to 2.00) | 1.00, 0.50 | 1.00, 0.50 | 0, 0 |";
        assert!(table.contains(row), "{table}");
        assert!(table.contains("| SEND latency, 2 B | no turn succeeded |"), "{table}");
    }
}
