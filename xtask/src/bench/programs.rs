//! `cargo xtask bench programs`: every RDMA program of Debian's that the guest can hold, once each by `run`; the verdicts are a table.
//!
//! Calls this program's own `run` as a user does, and reads what it prints.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use lab::base::cache::write_whole;
use lab::base::error::IoContext as _;
use lab::{Error, Result};
use serde::{Deserialize, Serialize};

use rdma_lab_cli::output;

use crate::workspace;

/// The programs and how they are called.
const TABLE: &str = include_str!("programs.toml");

/// Directory of programs that are the table's own, from which the paths in it begin.
const PAIRS: &str = "xtask/src/bench/pairs";

/// The name of every run, with which its verdict begins.
const NAME: &str = "program";

/// Beginning of a line of evidence below a cause.
const EVIDENCE: &str = "             ";

/// Number of lines of evidence that the table has.
const EVIDENCE_MOST: usize = 2;

/// Verdicts of the newest round, kept one by one: `--resume` goes on from there.
const KEPT: &str = "target/lab/programs.json";

/// The arguments of `bench programs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only pairs in whose commands this is.
    #[arg(value_name = "PART")]
    filter: Option<String>,
    /// Number of times that each pair is run; it is as the worst of its runs.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Longest time that a pair may take, in seconds.
    #[arg(long, default_value = "180")]
    timeout: u64,
    /// Go on with a round that did not come to its end: pairs that have a verdict are not run again.
    #[arg(long)]
    resume: bool,
    /// With --resume: run those again whose verdict is red; the table has both verdicts.
    #[arg(long, requires = "resume")]
    red: bool,
    /// The document that the table is written to [default: docs/programs-of-others.md, when every pair has a verdict].
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// The file of pairs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramPairs {
    group: Vec<Group>,
}

/// Pairs that are run the same way.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    title: String,
    ready: Option<String>,
    stop: Option<String>,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default)]
    modules: Vec<String>,
    pairs: Vec<[String; 2]>,
}

/// Verdict of `run` on a pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PairVerdict {
    is_green: bool,
    words: String,
    /// The red verdict that it had before it was run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
}

/// Verdicts of a round, by the commands of their pairs. Each is kept in [`KEPT`] when it is there.
type PairVerdicts = BTreeMap<String, PairVerdict>;

/// Runs the pairs, prints and writes the table; exit code 1 if one is red.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let table = table()?;
    let file = workspace::root().join(KEPT);
    let mut kept = if args.resume { read(&file)? } else { PairVerdicts::new() };
    let all = || table.group.iter().flat_map(|group| &group.pairs).map(|pair| pair.join("\n"));
    kept.retain(|known, _| all().any(|pair| pair == *known));
    let is_asked = |pair: &[String; 2]| {
        args.filter.as_ref().is_none_or(|part| pair.iter().any(|command| command.contains(part.as_str())))
    };
    for group in &table.group {
        for pair in group.pairs.iter().filter(|pair| is_asked(pair)) {
            let verdict = match kept.get(&pair.join("\n")) {
                Some(known) if known.is_green || !args.red => known.clone(),
                Some(known) => PairVerdict { before: Some(known.words.clone()), ..worst(args, group, pair)? },
                None => worst(args, group, pair)?,
            };
            output::line(row(pair, Some(&verdict)))?;
            kept.insert(pair.join("\n"), verdict);
            let text = serde_json::to_vec_pretty(&kept)
                .map_err(|source| Error::setup("failed to keep the verdicts").source(source))?;
            // A part of a round is none to go on from.
            if args.filter.is_none() || args.resume {
                write_whole(&file, &text)?;
            }
        }
    }
    let is_whole = all().all(|pair| kept.contains_key(&pair));
    let usual = workspace::root().join("docs/programs-of-others.md");
    if let Some(file) = args.write.clone().or(is_whole.then_some(usual)) {
        write_whole(&file, document(&table, &kept, args.rounds).as_bytes())?;
    }
    let red = kept.values().filter(|verdict| !verdict.is_green).count();
    output::line(format_args!("{} pairs, {red} red", kept.len()))?;
    Ok(if red == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The verdicts of a round that did not come to its end.
fn read(file: &Path) -> Result<PairVerdicts> {
    let text = std::fs::read(file).at("failed to read the verdicts to go on from", file)?;
    serde_json::from_slice(&text)
        .map_err(|source| Error::usage(format!("{} holds no verdicts", file.display())).source(source))
}

/// Runs a pair as often as was asked for; its first red verdict, else the last.
fn worst(args: &Args, group: &Group, pair: &[String; 2]) -> Result<PairVerdict> {
    let mut verdict = once(args, group, pair)?;
    for _ in 1..args.rounds {
        if verdict.is_green {
            verdict = once(args, group, pair)?;
        }
    }
    Ok(verdict)
}

fn row([server, client]: &[String; 2], verdict: Option<&PairVerdict>) -> String {
    let words = verdict.map_or_else(
        || "not run".to_owned(),
        |verdict| {
            let before =
                verdict.before.as_ref().map_or(String::new(), |words| format!("; the run before: {words}"));
            format!("{}{before}", verdict.words)
        },
    );
    format!("| `{server}` | `{client}` | {words} |")
}

/// The tables of all pairs; one without a verdict was not run.
fn document(table: &ProgramPairs, kept: &PairVerdicts, rounds: u16) -> String {
    let mut document = head();
    let mut not_run = 0;
    for group in &table.group {
        let _ = write!(document, "\n## {}\n\n", group.title);
        let options = options(group);
        if !options.is_empty() {
            let _ = write!(document, "Run with `{}`.\n\n", options.join(" "));
        }
        document.push_str("| server | client | verdict |\n|--|--|--|\n");
        for pair in &group.pairs {
            let verdict = kept.get(&pair.join("\n"));
            not_run += usize::from(verdict.is_none());
            document.push_str(&row(pair, verdict));
            document.push('\n');
        }
    }
    let (count, green) = (kept.len(), kept.values().filter(|verdict| verdict.is_green).count());
    let missing = if not_run == 0 { String::new() } else { format!(", {not_run} not run") };
    let _ = write!(
        document,
        "\n{count} pairs, {green} green, {} red{missing}; rounds: {rounds}.\n",
        count - green
    );
    document
}

fn table() -> Result<ProgramPairs> {
    toml::from_str(TABLE)
        .map_err(|error| Error::setup("xtask/src/bench/programs.toml").detail(error.to_string()))
}

fn head() -> String {
    "# Programs of others\n\n\
     RDMA programs of Debian's that nobody here wrote, each once by `run` between two fresh machines, and what the verdict says. Written by \
     `cargo xtask bench programs`, which runs the pairs of `xtask/src/bench/programs.toml`: change it there.\n\n\
     Green: both programs ended as they have to, the capture is complete, no rule is broken, counters and kernel logs are clean. A word \
     behind it names what SoftRoCE did otherwise and nobody is held to. Red: the cause, and what it is concluded from.\n"
        .to_owned()
}

/// The options of `run` that a group has.
fn options(group: &Group) -> Vec<String> {
    let ready = group.ready.iter().flat_map(|ready| ["--ready", ready]);
    let stop = group.stop.iter().flat_map(|stop| ["--stop", stop]);
    let mut options: Vec<String> = ready.chain(stop).map(str::to_owned).collect();
    for (option, names) in [("--packages", &group.packages), ("--load", &group.modules)] {
        if !names.is_empty() {
            options.extend([option.to_owned(), names.join(",")]);
        }
    }
    options
}

fn once(args: &Args, group: &Group, [server, client]: &[String; 2]) -> Result<PairVerdict> {
    let own = std::env::current_exe()
        .map_err(|source| Error::setup("failed to find this program").source(source))?;
    let ran = Command::new(&own)
        .args(["run", "--name", NAME, "--server", server, "--client", client])
        .args(["--timeout", &args.timeout.to_string()])
        .args(options(group))
        .current_dir(workspace::root().join(PAIRS))
        .stdin(Stdio::null())
        .output()
        .at("failed to run", &own)?;
    let said = String::from_utf8_lossy(&ran.stdout);
    match ran.status.code() {
        Some(0 | 1) => Ok(verdict(ran.status.success(), &said)),
        _ => Ok(PairVerdict {
            is_green: false,
            before: None,
            words: format!(
                "not run: {}",
                String::from_utf8_lossy(&ran.stderr).lines().last().unwrap_or_default()
            ),
        }),
    }
}

/// Reads what `run` printed: its first line, and the deviations that it tells, or the evidence of a cause.
fn verdict(is_green: bool, said: &str) -> PairVerdict {
    let begins = format!("{NAME}: ");
    let mut lines = said.lines().skip_while(|line| !line.starts_with(&begins));
    let first = lines.next().and_then(|line| line.strip_prefix(&begins)).unwrap_or_default();
    let evidence: Vec<&str> =
        lines.map_while(|line| line.strip_prefix(EVIDENCE)).take(EVIDENCE_MOST).collect();
    let causes = lab::scenario::cause::Cause::ALL.map(|cause| format!("{cause}"));
    let told = said.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("  ")?.split_once(": ")?;
        causes.iter().find(|cause| *cause == name).map(|cause| format!("; {cause}"))
    });
    let words = match is_green {
        true => format!("green: {first}{}", told.collect::<String>()),
        false if evidence.is_empty() => format!("**red**: {first}"),
        false => format!("**red**: {first} ({})", evidence.join("; ")),
    };
    PairVerdict { is_green, words: words.replace('|', "\\|"), before: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_a_placeholder_and_groups_are_run_as_run_takes_them() {
        let table = table().unwrap();
        for group in &table.group {
            for [server, client] in &group.pairs {
                let has_address = ["{server}", "{client}"].iter().any(|address| client.contains(address));
                assert!(has_address, "{server}, {client}");
                for command in [server, client] {
                    let own = command.split_whitespace().find(|word| word.starts_with("./"));
                    let is_there = |own: &str| workspace::root().join(PAIRS).join(own).is_file();
                    assert!(own.is_none_or(is_there), "{command}");
                }
            }
            if let Some(ready) = &group.ready {
                ready.parse::<lab::scenario::ready::Ready>().unwrap();
            }
        }
        assert!(table.group.iter().map(|group| group.pairs.len()).sum::<usize>() > 30);
    }

    #[test]
    fn document_has_all_pairs_under_their_group_and_says_which_were_not_run() {
        let table = table().unwrap();
        let group = &table.group[0];
        let verdict = PairVerdict { is_green: false, words: "**red**: X".to_owned(), before: None };
        let kept = PairVerdicts::from([(group.pairs[0].join("\n"), verdict)]);
        let text = document(&table, &kept, 2);
        assert!(
            text.contains(&format!("\n## {}\n", group.title)) && text.contains("| **red**: X |\n"),
            "{text}"
        );
        let others = table.group.iter().map(|group| group.pairs.len()).sum::<usize>() - 1;
        assert_eq!(text.matches(" | not run |\n").count(), others, "{text}");
        let end = format!("\n1 pairs, 0 green, 1 red, {others} not run; rounds: 2.\n");
        assert!(text.ends_with(&end), "{text}");
        let again =
            PairVerdict { before: Some("**red**: X".to_owned()), ..kept.values().next().unwrap().clone() };
        let again = PairVerdict { is_green: true, words: "green: Y".to_owned(), ..again };
        assert!(row(&group.pairs[0], Some(&again)).ends_with("| green: Y; the run before: **red**: X |"));
    }

    #[test]
    fn verdict_is_what_run_says_first_and_the_deviations() {
        let green = "program: 12 packets, complete\n  proven     both\n  SpuriousTimer: rxe's timer\n  artifacts  x\n";
        assert_eq!(verdict(true, green).words, "green: 12 packets, complete; SpuriousTimer");
        let red = "program: NobodyListens: nobody\n             packet 2: REJ\n  next       x\n             more: y\n";
        assert_eq!(verdict(false, red).words, "**red**: NobodyListens: nobody (packet 2: REJ)");
        let plain = "program: TIMEOUT: server\n  artifacts  x\n";
        assert_eq!(verdict(false, plain).words, "**red**: TIMEOUT: server");
    }
}
