//! `roce check`: every rule over a capture, in constant memory.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::slice;

use crate::filter::{Filter, PacketInfo};
use crate::input::Input;
use crate::output::{self, BufferedOutput};
use crate::{Common, Error, json, side_by_side};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use roce::{Analysis, Finding, Known, Names, Profile, Report, Rule};

/// Exit code when there was nothing to check, or not all of it could be.
const TROUBLE: u8 = 2;

/// Exit code when a rule is broken.
const FINDINGS: u8 = 1;

/// Packets after which finished messages are dropped.
const SWEEP: u64 = 1024;

/// The arguments of `check`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A capture; `-` is standard input. Without `--each`, several files are the parts of one capture that was rotated, read in the order of their first packets.
    #[arg(required_unless_present = "rules", value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    common: Common,
    /// Check each file as a capture of its own, several at a time; the exit code is the greatest of theirs.
    #[arg(long)]
    each: bool,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
    /// Implementation of the peers: what `rxe`, Linux's SoftRoCE, is known for is told as a note, or not at all.
    #[arg(long, value_name = "NAME", default_value = "generic", value_parser = profiles())]
    profile: Profile,
    /// Do not let this rule fail the check; may be repeated.
    #[arg(long, value_name = "RULE", value_parser = parse_rule)]
    allow: Vec<Rule>,
    /// Print what each rule says behind the first finding of it.
    #[arg(long, conflicts_with = "json")]
    explain: bool,
    /// Print the catalogue of the rules instead.
    #[arg(long)]
    rules: bool,
}

/// A capture that was checked.
struct CheckedFile {
    name: String,
    filter: Filter,
    report: Report,
    /// Reason that it ended before its end.
    stopped: Option<Error>,
    is_clean: bool,
}

pub(super) fn parse_rule(name: &str) -> Result<Rule, String> {
    Rule::from_name(name).ok_or_else(|| format!("no rule {name:?}: `roce check --rules` lists them"))
}

fn profiles() -> impl TypedValueParser<Value = Profile> {
    PossibleValuesParser::new(["generic", "rxe"])
        .map(|name| if name == "rxe" { Profile::Rxe } else { Profile::Generic })
}

impl Args {
    /// Checks; exit code 0 when no rule is broken (notes aside), 1 when one is, 2 when the capture cannot be read to its end, holds nothing to check or
    /// nothing that the filter matches, or had more connections or requests than are followed.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn run(&self, defaults: Names) -> Result<ExitCode, Error> {
        self.check(defaults).or_else(|error| {
            output::error(&error);
            Ok(ExitCode::from(TROUBLE))
        })
    }

    fn check(&self, defaults: Names) -> Result<ExitCode, Error> {
        if self.rules {
            output::print_with(|sink| sink.write_all(Rule::catalogue().as_bytes()))?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.each {
            return self.check_each(&defaults).map(ExitCode::from);
        }
        let input = Input::open(&self.files, &self.common)?;
        self.examine(input, &self.files, defaults, &mut BufferedOutput::new())?.conclude().map(ExitCode::from)
    }

    /// Checks each file by itself; gives the greatest of their exit codes.
    fn check_each(&self, defaults: &Names) -> Result<u8, Error> {
        let at_a_time = self.common.threads();
        let of_each = NonZero::new(at_a_time.get() / self.files.len()).unwrap_or(NonZero::<usize>::MIN);
        let mut worst = 0;
        let examine = |file: &PathBuf, output: &mut BufferedOutput| {
            let files = slice::from_ref(file);
            let input = Input::open(files, &self.common)?.beside_others(of_each);
            self.examine(input, files, defaults.clone(), output)
        };
        side_by_side::each(&mut BufferedOutput::new(), &self.files, at_a_time, examine, |checked| {
            worst = worst.max(checked.and_then(CheckedFile::conclude).unwrap_or_else(|error| {
                output::error(&error);
                TROUBLE
            }));
            Ok(())
        })?;
        Ok(worst)
    }

    /// Checks a capture, and prints its findings and counts.
    fn examine(
        &self,
        mut input: Input,
        files: &[PathBuf],
        defaults: Names,
        output: &mut BufferedOutput,
    ) -> Result<CheckedFile, Error> {
        let names = self.common.names(defaults, files);
        let filter = self.common.filter(files, &names)?;
        let mut analysis = Analysis::streaming(names.clone()).with_profile(self.profile);
        let mut first_ns = None;
        let mut last_ns = 0;
        let mut counts = [0u64; 3];
        let mut explained = BTreeSet::new();
        let mut show = |output: &mut BufferedOutput,
                        finding: &Finding,
                        info: &PacketInfo,
                        known: Known<'_>|
         -> Result<(), Error> {
            if self.allow.contains(&finding.rule) || !filter.matches(info, known.names()) {
                return Ok(());
            }
            counts[finding.severity as usize] += 1;
            if self.json {
                return output.line(json::finding(finding, known.names()));
            }
            output.line(format_args!(
                "packet {}: {}: {}: {} ({})",
                finding.packet,
                finding.severity,
                finding.rule,
                known.evidence(finding),
                known.place(finding)
            ))?;
            if self.explain && explained.insert(finding.rule) {
                output.line(format_args!("  {}: {}", finding.rule.title(), finding.rule.explanation()))?;
            }
            Ok(())
        };
        let mut since_sweep = 0;
        let stopped = input.for_each(|record, frame| {
            let first_ns = *first_ns.get_or_insert(record.timestamp_ns);
            last_ns = record.timestamp_ns.saturating_sub(first_ns);
            analysis.push_frame(record, frame);
            if !filter.is_empty()
                && let Some(info) = PacketInfo::of_frame(record, frame, first_ns, true)
            {
                // That there is something to check is not said by the findings.
                filter.matches(&info, analysis.names());
            }
            since_sweep += 1;
            if since_sweep == SWEEP {
                since_sweep = 0;
                analysis.discard_messages();
            }
            if analysis.has_findings() {
                let findings = analysis.take_findings();
                for finding in findings {
                    let info = Some(record)
                        .filter(|record| record.number == finding.packet)
                        .and_then(|record| PacketInfo::of_frame(record, frame, first_ns, true))
                        .unwrap_or_else(|| PacketInfo::of_finding(&finding, last_ns));
                    show(output, &finding, &info, analysis.known())?;
                }
            }
            Ok(true)
        })?;
        analysis.lost_by_capture(input.lost_elsewhere());
        let report = analysis.finish();
        let has_forgotten = report.connections_dropped + report.requests_dropped > 0;
        for finding in &report.findings {
            let info = PacketInfo::of_finding(finding, last_ns);
            show(output, finding, &info, report.known())?;
        }
        if self.json {
            output.line(serde_json::json!({
                "roce.type": "summary",
                "roce.capture": input.name,
                "roce.packets": report.packets,
                "roce.errors": counts[2],
                "roce.warnings": counts[1],
                "roce.notes": counts[0],
                "roce.connections_dropped": report.connections_dropped,
                "roce.requests_dropped": report.requests_dropped,
                "roce.packets_uncounted": report.packets_uncounted,
                "roce.packets_without_bth": report.packets_without_bth,
                "roce.unread": report.unread,
                "roce.lost_by_capture": report.lost_by_capture,
                "roce.is_whole": stopped.is_none() && !has_forgotten,
            }))?;
        } else {
            output.line(format_args!(
                "{}: {}, {}, {}{}; retransmissions: {}",
                input.name,
                output::count(report.packets, "packet"),
                output::count(counts[2], "error"),
                output::count(counts[1], "warning"),
                if counts[0] > 0 { format!(", {}", output::count(counts[0], "note")) } else { String::new() },
                report.retransmissions
            ))?;
        }
        output.flush()?;
        Ok(CheckedFile { name: input.name, filter, report, stopped, is_clean: counts[1..] == [0, 0] })
    }
}

impl CheckedFile {
    /// Prints what else is to be said of the capture; gives its exit code.
    ///
    /// # Errors
    /// The capture could not be read to its end.
    fn conclude(self) -> Result<u8, Error> {
        let Self { name, filter, report, stopped, is_clean } = self;
        output::remarks(&name, &report, stopped.is_none());
        if report.packets_uncounted > 0 {
            output::note(&format!(
                "to bound the memory, {} packets were not counted at their addresses; they were checked all the same",
                report.packets_uncounted
            ));
        }
        match stopped {
            Some(error) => Err(error),
            None if filter.is_in_vain() => {
                output::note_in_vain(&filter, "packet", &name);
                Ok(TROUBLE)
            }
            None if report.packets == report.packets_without_bth
                || report.connections_dropped + report.requests_dropped > 0 =>
            {
                Ok(TROUBLE)
            }
            None => Ok(if is_clean { 0 } else { FINDINGS }),
        }
    }
}
