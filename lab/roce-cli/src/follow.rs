//! `roce follow`: a capture that still grows.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::slice;
use std::thread;
use std::time::{Duration, Instant};

use crate::filter::PacketInfo;
use crate::input::{self, Input};
use crate::output::{self, BufferedOutput};
use crate::{Common, Error, json};
use roce::wire::{Frame, Packet};
use roce::{Analysis, Finding, Names};

/// Time between two looks at the end of the file.
const STEP: Duration = Duration::from_millis(50);

/// The arguments of `follow`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A capture; `-` is standard input.
    file: PathBuf,
    #[command(flatten)]
    common: Common,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
    /// End when nothing has come for this many seconds; without, only Ctrl-C ends it.
    #[arg(long, value_name = "SECONDS")]
    idle: Option<u64>,
}

/// A source that waits at its end for more.
struct Growing {
    source: Box<dyn Read + Send>,
    idle: Option<Duration>,
}

impl Read for Growing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begin = Instant::now();
        loop {
            let length = self.source.read(buffer)?;
            if length > 0 || buffer.is_empty() || self.idle.is_some_and(|idle| begin.elapsed() >= idle) {
                return Ok(length);
            }
            thread::sleep(STEP);
        }
    }
}

/// A packet in one line, under the numbers of the wire.
fn text(info: &PacketInfo, packet: &Packet<'_>, names: &Names) -> String {
    let mut line = format!(
        "{:>7} {:>12.6} {} > {}",
        info.number,
        info.since_first_ns as f64 / 1e9,
        names.get(packet.source),
        names.get(packet.destination)
    );
    match packet.bth {
        Some(bth) => {
            line += &format!(
                " {} qp {:#x} psn {} {} bytes",
                bth.opcode(),
                bth.destination_qpn(),
                bth.psn(),
                packet.payload_length_bytes
            );
        }
        None => line += " no BTH",
    }
    if let Some(aeth) = packet.aeth {
        line += &format!(", {aeth}");
    }
    if let Some(Ok(mad)) = packet.mad() {
        line += &format!(", {mad}");
    }
    line
}

impl Args {
    /// Prints packets and findings as they come.
    ///
    /// # Errors
    /// The capture cannot be read.
    pub fn run(&self, defaults: Names) -> Result<ExitCode, Error> {
        let (name, source) = input::source(&self.file)?;
        let source = Growing { source, idle: self.idle.map(Duration::from_secs) };
        let mut input = Input::new(name, Box::new(source), &self.common)?;
        let names = self.common.names(defaults, slice::from_ref(&self.file));
        let filter = self.common.filter(slice::from_ref(&self.file), &names)?;
        let mut output = BufferedOutput::new();
        let mut analysis = Analysis::streaming(names);
        let (mut first, mut last_ns) = (None, 0);
        let show = |output: &mut BufferedOutput, finding: &Finding, names: &Names| {
            if self.json {
                output.line(json::finding(finding, names))
            } else {
                output.line(format_args!("        {}: {finding}", finding.severity))
            }
        };
        let stopped = input.for_each(|record, frame| {
            let first_ns = *first.get_or_insert(record.timestamp_ns);
            analysis.push_frame(record, frame);
            analysis.discard_messages();
            let findings = analysis.take_findings();
            last_ns = record.timestamp_ns.saturating_sub(first_ns);
            let Frame::Roce(packet) = frame else {
                return Ok(true);
            };
            let info = PacketInfo::of_packet(record, packet, first_ns, !findings.is_empty());
            if filter.matches(&info, analysis.names()) {
                if self.json {
                    output.line(json::packet(record, packet, analysis.names()))?;
                } else {
                    output.line(text(&info, packet, analysis.names()))?;
                }
                for finding in &findings {
                    show(&mut output, finding, analysis.names())?;
                }
                output.flush()?;
            }
            Ok(!output.is_closed())
        })?;
        analysis.lost_by_capture(input.lost_elsewhere());
        let report = analysis.finish();
        for finding in &report.findings {
            if filter.matches(&PacketInfo::of_finding(finding, last_ns), &report.names) {
                show(&mut output, finding, &report.names)?;
            }
        }
        output.flush()?;
        output::remarks(&input.name, &report, stopped.is_none());
        stopped.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}
