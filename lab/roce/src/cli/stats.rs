//! `roce stats`: counts of a capture, in constant memory.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::filter::PacketInfo;
use crate::cli::input::{FileArg, Input};
use crate::cli::messages::duration;
use crate::cli::output::{self, Output};
use crate::cli::{Common, Error};
use crate::{Analysis, Names, Report, RetransmissionClass};

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

fn text(report: &Report) -> String {
    let mut out = String::new();
    let stats = &report.stats;
    let time_ns = stats.last_ns.saturating_sub(stats.first_ns.unwrap_or(stats.last_ns));
    let _ = writeln!(
        out,
        "{} packets, {} bytes of payload in {}; {} other frames; {} findings; retransmissions: {}",
        report.packets,
        stats.payload_bytes(),
        duration(time_ns),
        report.records - report.packets,
        report.findings.len(),
        report.retransmissions
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
        for percent in PERCENTILES {
            let _ = write!(
                out,
                " {:>9}",
                counts.latencies.percentile_ns(percent).map_or_else(|| "-".to_owned(), duration)
            );
        }
        out.push('\n');
    }
    let _ = writeln!(
        out,
        "\n{:<40} {:>8} {:>12} {:>8} {:>12}  retransmissions",
        "connection", "packets", "bytes", "back", "bytes"
    );
    for connection in &report.connections {
        let end = |end: &crate::Endpoint| {
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
            connection.retransmissions
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

fn retransmissions(counts: &crate::Retransmissions) -> Value {
    RetransmissionClass::ALL
        .map(|class| (class.words().to_owned(), Value::from(counts.of(class))))
        .into_iter()
        .collect()
}

fn object(report: &Report) -> Value {
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
            let end = |end: &crate::Endpoint| {
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
                "roce.retransmissions": retransmissions(&connection.retransmissions),
            })
        })
        .collect();
    json!({
        "roce.type": "stats",
        "roce.records": report.records,
        "roce.packets": report.packets,
        "roce.payload_bytes": report.stats.payload_bytes(),
        "roce.not_roce": report.not_roce,
        "roce.findings": report.findings.len(),
        "roce.retransmissions": retransmissions(&report.retransmissions),
        "roce.opcodes": opcodes,
        "roce.percentiles": PERCENTILES,
        "roce.messages": kinds,
        "roce.connections": connections,
        "roce.connections_dropped": report.connections_dropped,
        "roce.requests_dropped": report.requests_dropped,
        "roce.packets_uncounted": report.packets_uncounted,
    })
}

impl Args {
    /// Prints the counts; with a filter, of the packets that match.
    ///
    /// # Errors
    /// The capture cannot be read, or cannot be read to its end.
    pub fn run(&self, defaults: Names) -> Result<ExitCode, Error> {
        let mut input = Input::open(&self.file.file)?;
        let mut names = self.common.names(defaults);
        let filter = self.common.filter(&self.file.file, &names)?;
        let mut analysis = Analysis::streaming(names.clone());
        let mut findings = Vec::new();
        let mut first = None;
        let stopped = input.for_each(|record| {
            let first_ns = *first.get_or_insert(record.timestamp_ns);
            if !filter.is_empty() {
                let Some(info) = PacketInfo::of_record(record, first_ns, false) else { return Ok(true) };
                for address in [info.source, info.destination] {
                    names.see(address);
                }
                if !filter.matches(&info, &names) {
                    return Ok(true);
                }
            }
            analysis.push(record);
            analysis.discard_messages();
            // Only their number is printed, so a flood of them must not take memory.
            if findings.len() < 1 << 16 {
                findings.append(&mut analysis.take_findings());
            } else {
                drop(analysis.take_findings());
            }
            Ok(true)
        })?;
        let mut report = analysis.finish();
        report.findings.append(&mut findings);
        let mut output = Output::new();
        if self.json {
            output.line(object(&report))?;
        } else {
            output.text(text(&report))?;
        }
        output.flush()?;
        output::note_in_vain(&filter, "packet", &input.name);
        stopped.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}
