//! `roce stats`: counts of a capture, in constant memory.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::filter::{Filter, PacketInfo};
use crate::input::{FileArg, Input};
use crate::messages::duration;
use crate::output::{self, BufferedOutput};
use crate::{Common, Error};
use roce::Latencies;
use roce::{Analysis, Message, Names, Report, RetransmissionClass, Retransmissions, Stats};

const PERCENTILES: [f64; 5] = [0.0, 50.0, 90.0, 99.0, 100.0];

/// The arguments of `stats`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: FileArg,
    #[command(flatten)]
    common: Common,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Printed counts: those of a report, and those that need every packet.
pub(super) struct Counts {
    pub(super) report: Report,
    pub(super) findings: u64,
    /// True if packets are left out, so that what was sent again cannot be told from what was sent.
    pub(super) is_filtered: bool,
}

/// The rest of a line: percentiles of times.
fn percentiles(out: &mut String, times: &Latencies) {
    for percent in PERCENTILES {
        let words = times.percentile_ns(percent).map_or_else(|| "-".to_owned(), duration);
        let _ = write!(out, " {words:>9}");
    }
    out.push('\n');
}

/// The counts as a table.
pub(super) fn text(Counts { report, findings, is_filtered }: &Counts) -> String {
    let mut out = String::new();
    let words =
        |counts: &Retransmissions| if *is_filtered { "not counted".to_owned() } else { counts.to_string() };
    let stats = &report.stats;
    let time_ns = stats.last_ns.saturating_sub(stats.first_ns.unwrap_or(stats.last_ns));
    let _ = writeln!(
        out,
        "{}, {} bytes of payload in {}; {}; {}; retransmissions: {}",
        output::count(report.packets, "packet"),
        stats.payload_bytes(),
        duration(time_ns),
        output::count(report.records - report.packets, "other frame"),
        output::count(*findings, "finding"),
        words(&report.retransmissions)
    );
    let _ = writeln!(out, "\n{:<34} {:>10} {:>14}", "opcode", "packets", "payload bytes");
    for (opcode, counts) in stats.opcodes() {
        let _ =
            writeln!(out, "{:<34} {:>10} {:>14}", opcode.to_string(), counts.packets, counts.payload_bytes);
    }
    let _ = writeln!(
        out,
        "\n{:<26} {:>8} {:>14} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "messages", "ended", "bytes", "least", "50 %", "90 %", "99 %", "most"
    );
    for (kind, counts) in stats.kinds() {
        let _ = write!(out, "{kind:<26} {:>8} {:>14}", counts.ended, counts.bytes);
        percentiles(&mut out, &counts.latencies);
    }
    if !*is_filtered && stats.intervals().next().is_some() {
        let _ = writeln!(
            out,
            "\n{:<26} {:>8} {:>14} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "sent again, quiet before", "runs", "", "least", "50 %", "90 %", "99 %", "most"
        );
        for (class, intervals) in stats.intervals() {
            let _ = write!(out, "{class:<26} {:>8} {:>14}", intervals.count(), "");
            percentiles(&mut out, intervals);
        }
    }
    let _ = writeln!(
        out,
        "\n{:<40} {:>8} {:>12} {:>8} {:>12}  retransmissions",
        "connection", "packets", "bytes", "back", "bytes"
    );
    for connection in &report.connections {
        let end = |end: &roce::ConnectionEnd| {
            let qpn = end.qpn.map_or_else(|| "?".to_owned(), |qpn| format!("{qpn:#x}"));
            format!("{}.{qpn}", report.names.get(end.address))
        };
        let name = format!("{} > {}", end(&connection.active), end(&connection.passive));
        let _ = writeln!(
            out,
            "{name:<40} {:>8} {:>12} {:>8} {:>12}  {}",
            connection.active.packets,
            connection.active.payload_bytes,
            connection.passive.packets,
            connection.passive.payload_bytes,
            words(&connection.retransmissions)
        );
    }
    if report.connections_dropped > 0 {
        let _ = writeln!(out, "and {} connections that were forgotten", report.connections_dropped);
    }
    if report.packets_uncounted > 0 {
        let _ = writeln!(
            out,
            "and {} packets that were not counted at their addresses",
            report.packets_uncounted
        );
    }
    out
}

fn retransmissions(counts: &Retransmissions, is_filtered: bool) -> Value {
    if is_filtered {
        return Value::Null;
    }
    RetransmissionClass::ALL
        .map(|class| (class.words().to_owned(), Value::from(counts.of(class))))
        .into_iter()
        .collect()
}

fn object(Counts { report, findings, is_filtered }: &Counts) -> Value {
    let opcodes: Vec<Value> = report
        .stats
        .opcodes()
        .map(|(opcode, counts)| {
            json!({
                "infiniband.bth.opcode": opcode.0,
                "roce.opcode": opcode.to_string(),
                "roce.packets": counts.packets,
                "roce.payload_bytes": counts.payload_bytes,
            })
        })
        .collect();
    let kinds: Vec<Value> = report
        .stats
        .kinds()
        .map(|(kind, counts)| {
            json!({
                "roce.kind": kind.to_string(),
                "roce.ended": counts.ended,
                "roce.bytes": counts.bytes,
                "roce.latency_ns": PERCENTILES.map(|percent| counts.latencies.percentile_ns(percent)),
            })
        })
        .collect();
    let connections: Vec<Value> = report
        .connections
        .iter()
        .map(|connection| {
            let end = |end: &roce::ConnectionEnd| {
                json!({
                    "roce.name": report.names.get(end.address),
                    "ip.addr": end.address.to_string(),
                    "roce.qp": end.qpn.map(|qpn| format!("{qpn:#08x}")),
                    "roce.packets": end.packets,
                    "roce.payload_bytes": end.payload_bytes,
                })
            };
            json!({
                "roce.active": end(&connection.active),
                "roce.passive": end(&connection.passive),
                "roce.path_mtu_bytes": connection.path_mtu_bytes,
                "roce.retransmissions": retransmissions(&connection.retransmissions, *is_filtered),
            })
        })
        .collect();
    let encapsulations: Map<String, Value> = report
        .encapsulations
        .iter()
        .map(|(encapsulation, packets)| (encapsulation.to_string(), Value::from(*packets)))
        .collect();
    let intervals: Map<String, Value> = report
        .stats
        .intervals()
        .filter(|_| !is_filtered)
        .map(|(class, intervals)| {
            let times = PERCENTILES.map(|percent| intervals.percentile_ns(percent));
            (class.words().to_owned(), json!(times))
        })
        .collect();
    json!({
        "roce.type": "stats",
        "roce.records": report.records,
        "roce.packets": report.packets,
        "roce.payload_bytes": report.stats.payload_bytes(),
        "roce.not_roce": report.not_roce,
        "roce.unread": report.unread,
        "roce.encapsulations": encapsulations,
        "roce.packets_version_1": report.packets_version_1,
        "roce.packets_without_bth": report.packets_without_bth,
        "roce.packets_cut_by_mirror": report.packets_cut_by_mirror,
        "roce.packets_rewritten": report.packets_rewritten,
        "roce.lost_by_capture": report.lost_by_capture,
        "roce.findings": findings,
        "roce.retransmissions": retransmissions(&report.retransmissions, *is_filtered),
        "roce.retransmission_intervals_ns": intervals,
        "roce.opcodes": opcodes,
        "roce.percentiles": PERCENTILES,
        "roce.messages": kinds,
        "roce.connections": connections,
        "roce.connections_dropped": report.connections_dropped,
        "roce.requests_dropped": report.requests_dropped,
        "roce.packets_uncounted": report.packets_uncounted,
    })
}

/// Counts the messages that match and have ended.
fn count_messages(ended: &mut Stats, messages: &[Message], filter: &Filter, first_ns: u64, names: &Names) {
    for message in messages.iter().filter(|message| message.ended_ns.is_some()) {
        if filter.matches(&PacketInfo::of_message(message, first_ns, false), names) {
            ended.ended(message);
        }
    }
}

impl Args {
    /// Prints the counts; with a filter, of the packets and the messages that match.
    ///
    /// # Errors
    /// The capture cannot be read, or cannot be read to its end.
    pub fn run(&self, defaults: Names) -> Result<ExitCode, Error> {
        let mut input = Input::open(&self.file.files, &self.common)?;
        let names = self.common.names(defaults, &self.file.files);
        let filter = self.common.filter(&self.file.files, &names)?;
        let mut analysis = Analysis::streaming(names.clone());
        // Of a part of the packets the rules would hold against each other what never met: messages and findings are those of all, as far as they match.
        let mut whole = (!filter.is_empty()).then(|| Analysis::streaming(names.clone()));
        let mut ended = Stats::default();
        let mut findings = 0;
        let (mut first, mut last_ns) = (None, 0);
        let stopped = input.for_each(|record, frame| {
            let first_ns = *first.get_or_insert(record.timestamp_ns);
            last_ns = record.timestamp_ns.saturating_sub(first_ns);
            let Some(whole) = &mut whole else {
                analysis.push_frame(record, frame);
                analysis.discard_messages();
                findings += analysis.take_findings().len() as u64;
                return Ok(true);
            };
            whole.push_frame(record, frame);
            count_messages(&mut ended, &whole.take_messages(), &filter, first_ns, whole.names());
            let found = whole.take_findings();
            if let Some(info) = PacketInfo::of_frame(record, frame, first_ns, !found.is_empty())
                && filter.matches(&info, whole.names())
            {
                findings += found.len() as u64;
                analysis.push_frame(record, frame);
                analysis.discard_messages();
                drop(analysis.take_findings());
            }
            Ok(true)
        })?;
        analysis.lost_by_capture(input.lost_elsewhere());
        let mut report = analysis.finish();
        if let Some(whole) = whole {
            let whole = whole.finish();
            count_messages(&mut ended, &whole.messages, &filter, first.unwrap_or_default(), &whole.names);
            let infos = whole.findings.iter().map(|finding| PacketInfo::of_finding(finding, last_ns));
            findings += infos.filter(|info| filter.matches(info, &whole.names)).count() as u64;
            report.stats = report.stats.with_messages_of(ended);
            report.names = whole.names;
        } else {
            findings += report.findings.len() as u64;
        }
        let counts = Counts { report, findings, is_filtered: !filter.is_empty() };
        let mut output = BufferedOutput::new();
        if self.json {
            output.line(object(&counts))?;
        } else {
            output.text(text(&counts))?;
        }
        output.flush()?;
        if filter.is_empty() {
            output::remarks(&input.name, &counts.report, stopped.is_none());
        }
        output::note_in_vain(&filter, "packet", &input.name);
        stopped.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}
