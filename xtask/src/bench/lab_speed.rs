//! `cargo xtask bench lab`: everything as a user types it, timed from outside.
//!
//! Runs this program's own commands as processes of their own, in a cache of their own, and reads the
//! results as a user would: exit codes and output.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::base::command::Command;
use lab::base::error::IoContext as _;
use lab::base::policy::Policy;
use lab::base::progress::Step;
use lab::base::selection::{ProviderName, Selection};
use lab::provider::Choice;
use lab::{Error, Result};
use serde_json::Value;

use rdma_lab_cli::{Front, machines, output};

use crate::workspace;

/// The longest that one command may take: the first brings the image and both machines about.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// The arguments of `bench lab`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each thing is measured.
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Once each, in the user's own cache, without the first run, cold boots and the catalogue: only to see that it runs.
    #[arg(long)]
    smoke: bool,
    #[command(flatten)]
    machines: Selection,
}

/// Both classic samples, one after the other.
const EXAMPLES: &[&str] = &["test-e2e", "--jobs", "1", "write_read", "write_with_imm"];

/// Measures and prints the table.
pub(crate) fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let choice = machines::choice(&args.machines, None)?;
    machines::prepare(&choice, &args.machines.means, true)?;
    let bench = LabBench::new(args, &choice, front)?;
    let mut table = BenchTable::default();

    let runs = if args.smoke { 1 } else { args.runs };

    let mut cold = Vec::new();
    if !args.smoke {
        let step = Step::begin("first run: image, cold boot, freeze, both examples");
        let first = bench.timed(EXAMPLES)?;
        table.row(
            "first run, programs built: packages, image, freeze, both examples",
            &[first],
            "at most 180 s",
        );
        step.done("");

        let step = Step::begin("cold boots");
        for _ in 0..3 {
            bench.forget_frozen()?;
            cold.push(bench.timed(&["lab", "up", "--name", &bench.name])?);
            bench.call(&["lab", "down", "--name", &bench.name])?;
        }
        step.done("");
    }

    let step = Step::begin("warm labs");
    let mut warm = Vec::new();
    let mut resets = Vec::new();
    let mut resident_mib = Vec::new();
    for _ in 0..runs {
        let started = Instant::now();
        bench.call(&["lab", "up", "--name", &bench.name])?;
        let state = bench.exec("server", "cat /sys/class/infiniband/rxe0/ports/1/state")?;
        warm.push(started.elapsed());
        demand(state.contains("ACTIVE"), "rxe is ACTIVE")?;
        bench.exec("server", "rping -s -C 1 >/dev/null 2>&1 & touch /tmp/left-before-a-reset")?;
        bench.exec(
            "client",
            "for i in 1 2 3 4 5; do rping -c -a server -C 1 && exit; sleep 0.1; done; exit 1",
        )?;
        resident_mib.extend(bench.resident_mib()?);
        resets.push(bench.timed(&["lab", "reset", "--name", &bench.name])?);
        bench.exec("server", "test ! -e /tmp/left-before-a-reset")?;
        bench.call(&["lab", "down", "--name", &bench.name])?;
    }
    step.done("");
    table.row("warm `lab up`, then `lab exec` says ACTIVE", &warm, "at most 1.0 s");
    if !cold.is_empty() {
        table.row("cold: the same without a frozen state", &cold, "");
        let ratio = median(&cold) / median(&warm);
        table.text("cold / warm", &format!("{ratio:.1} times"), "at least 10 times");
    }
    table.row("`lab reset`; a file left before is gone", &resets, "at most 1.0 s");

    let step = Step::begin("both examples");
    let mut examples = Vec::new();
    let mut harness = Vec::new();
    for _ in 0..runs {
        let started = Instant::now();
        let said = bench.call(EXAMPLES)?;
        examples.push(started.elapsed());
        harness.extend(harness_times(&said)?);
    }
    demand(harness.len() >= 2 * usize::from(runs), "each example left its times")?;
    step.done("");
    table.row("`test-e2e` of both examples, warm", &examples, "at most 4 s");
    table.row("what the harness adds to a scenario", &harness, "at most 1.5 s");

    if !args.smoke {
        let step = Step::begin("the whole catalogue");
        let catalogue = bench.timed(&["test-e2e", "--jobs", "2"])?;
        step.done("");
        table.row("the whole catalogue, two pairs side by side", &[catalogue], "at most 150 s");
    }

    let most = resident_mib.iter().max().copied().unwrap_or(0);
    table.text("memory of a node, resident, the most seen", &format!("{most} MiB"), "at most 350 MiB");
    table.text("the whole cache on disk", &format!("{} MB", bench.cache_mb()?), "at most 700 MiB");
    output::print(format_args!("\n{}\n{}", this_computer(), table.0))?;
    Ok(ExitCode::SUCCESS)
}

/// This program, with a cache of its own or, for a smoke run, the user's.
struct LabBench {
    program: PathBuf,
    cache: PathBuf,
    /// Removed in the end.
    _own_cache: Option<tempfile::TempDir>,
    /// The lab that is measured.
    name: String,
    selection: Selection,
}

impl LabBench {
    fn new(args: &Args, choice: &Choice, front: &Front) -> Result<LabBench> {
        let users = lab::base::cache::Cache::open()?;
        let own_cache = if args.smoke { None } else { Some(users.scratch()?) };
        let cache = own_cache.as_ref().map_or_else(|| users.path(""), |own| own.path().to_owned());
        let name = format!("bench-{}", std::process::id());
        let program = front.program.clone();
        let selection = Selection {
            provider: Some(ProviderName::Qemu),
            means: Policy::get().means(),
            ..choice.selection()
        };
        Ok(LabBench { program, cache, _own_cache: own_cache, name, selection })
    }

    fn call(&self, words: &[&str]) -> Result<String> {
        let (variable, selection) = self.selection.variable();
        let command = Command::new([&self.program])
            .args(words)
            .env("RDMA_LAB_CACHE", &self.cache)
            .env(variable, selection)
            .directory(workspace::root());
        Ok(command.run(LIMIT)?.stdout)
    }

    fn timed(&self, words: &[&str]) -> Result<Duration> {
        let started = Instant::now();
        self.call(words)?;
        Ok(started.elapsed())
    }

    fn exec(&self, node: &str, command: &str) -> Result<String> {
        self.call(&["lab", "exec", "--name", &self.name, node, command])
    }

    fn forget_frozen(&self) -> Result<()> {
        for entry in fs::read_dir(&self.cache).at("failed to list", &self.cache)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("frozen-") && entry.path().is_dir() {
                fs::remove_dir_all(entry.path()).at("failed to remove", &entry.path())?;
            }
        }
        Ok(())
    }

    /// Resident memory of each machine in MiB.
    fn resident_mib(&self) -> Result<Vec<u64>> {
        let status: Value = serde_json::from_str(&self.call(&["lab", "status", "--json"])?)
            .map_err(|source| Error::setup("failed to read `lab status --json`").source(source))?;
        let labs = status["labs"].as_array().cloned().unwrap_or_default();
        let lab = labs.iter().find(|lab| lab["name"] == self.name.as_str());
        let machines = lab.and_then(|lab| lab["machines"].as_array()).cloned().unwrap_or_default();
        demand(machines.len() == 2, "two machines run")?;
        machines
            .iter()
            .map(|pid| {
                let path = PathBuf::from(format!("/proc/{pid}/status"));
                let text = fs::read_to_string(&path).at("failed to read", &path)?;
                let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
                let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
                kib.map(|kib| kib / 1024)
                    .ok_or_else(|| Error::setup(format!("no VmRSS in {}", path.display())))
            })
            .collect()
    }

    fn cache_mb(&self) -> Result<u64> {
        let entries = lab::base::cache::Cache::at(self.cache.clone())?.entries()?;
        Ok(entries.iter().map(|entry| entry.size_bytes).sum::<u64>() / 1_000_000)
    }
}

impl Drop for LabBench {
    fn drop(&mut self) {
        let _ = self.call(&["lab", "down", "--name", &self.name]);
    }
}

fn demand(is_true: bool, what: &str) -> Result<()> {
    if is_true { Ok(()) } else { Err(Error::setup(format!("not true: {what}"))) }
}

/// Times that the harness of a run took beside each scenario's programs; `said` is what `test-e2e` printed.
fn harness_times(said: &str) -> Result<Vec<Duration>> {
    let kept = said.lines().find_map(|line| line.strip_prefix("results in ")?.split_once(": "));
    let (run, _) = kept.ok_or_else(|| Error::setup("`test-e2e` did not say where its results are"))?;
    let run = Path::new(run);
    let mut times = Vec::new();
    for entry in fs::read_dir(run).at("failed to list", run)?.flatten() {
        // The results of all of them are beside.
        if entry.path().join(lab::run::evidence::FILE).is_file() {
            let evidence = lab::run::evidence::RunEvidence::read(&entry.path())?;
            times.extend(evidence.seconds.get("harness").map(|&seconds| Duration::from_secs_f64(seconds)));
        }
    }
    Ok(times)
}

fn median(times: &[Duration]) -> f64 {
    let mut seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(0.0)
}

/// Rows of Markdown: what, median, range, bar.
#[derive(Default)]
struct BenchTable(String);

impl BenchTable {
    fn row(&mut self, what: &str, times: &[Duration], bar: &str) {
        let seconds = times.iter().map(Duration::as_secs_f64);
        let (least, most) = seconds.fold((f64::MAX, 0.0_f64), |(least, most), s| (least.min(s), most.max(s)));
        let spread = match times.len() {
            0 | 1 => String::new(),
            runs => format!(" ({least:.2} to {most:.2}, {runs} runs)"),
        };
        self.text(what, &format!("{:.2} s{spread}", median(times)), bar);
    }

    fn text(&mut self, what: &str, value: &str, bar: &str) {
        if self.0.is_empty() {
            self.0.push_str("| what | median | bar |\n|--|--|--|\n");
        }
        self.0.push_str(&format!("| {what} | {value} | {bar} |\n"));
    }
}

/// The processor, how many of them, and the kernel.
fn this_computer() -> String {
    let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let accelerator = lab::base::cache::Cache::open()
        .map(|cache| lab::provider::qemu::accel::known(&cache))
        .unwrap_or_default();
    format!(
        "{processors} x {}, Linux {}; {accelerator}\n",
        model.map_or("an unknown processor", |(_, model)| model.trim()),
        read("/proc/sys/kernel/osrelease").trim(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_median_range_and_bar() {
        let mut table = BenchTable::default();
        let times = [3, 1, 2].map(Duration::from_secs);
        table.row("x", &times, "at most 4 s");
        assert_eq!(
            table.0,
            "| what | median | bar |\n|--|--|--|\n| x | 2.00 s (1.00 to 3.00, 3 runs) | at most 4 s |\n"
        );
    }
}
