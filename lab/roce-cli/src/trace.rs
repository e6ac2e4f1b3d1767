//! `roce trace`: packets, messages and findings of a capture.

use std::process::ExitCode;

use crate::analyse::analyse;
use crate::filter::PacketInfo;
use crate::input::{FileArg, Input};
use crate::output::{self, BufferedOutput};
use crate::stats::{self, Counts};
use crate::{Common, Error, Filter, json};
use roce::wire::Frame;
use roce::{Analysis, Names};

/// The arguments of `trace`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: FileArg,
    #[command(flatten)]
    common: Common,
    /// Print what must hold whatever the timing: messages with their packets folded, what was lost and sent again.
    #[arg(long, conflicts_with = "json")]
    summary: bool,
    /// Put number and times before each packet: seconds since the first, and since the one before; and behind it why it came again.
    #[arg(long, conflicts_with_all = ["json", "summary"])]
    times: bool,
    /// Print JSON, one object a line, as the capture is read.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Prints the trace; what was read before a fault in the file is printed before the error.
    ///
    /// # Errors
    /// The capture cannot be read, or cannot be read to its end.
    pub fn run(&self, defaults: Names) -> Result<ExitCode, Error> {
        let mut input = Input::open(&self.file.files, &self.common)?;
        let names = self.common.names(defaults, &self.file.files);
        let filter = self.common.filter(&self.file.files, &names)?;
        if self.json {
            return json_lines(&mut input, names, &filter);
        }
        let (report, stopped) = analyse(&self.common, &mut input, names, &filter)?;
        let text = match (self.summary, self.times) {
            (true, _) => report.summary(),
            (_, true) => report.trace_with_times(),
            _ => report.trace(),
        };
        let findings = report.findings.len() as u64 + report.findings_untraced;
        let counts = Counts { report, findings, is_filtered: !filter.is_empty() };
        output::print_with(|sink| {
            sink.write_all(text.as_bytes())?;
            match counts.report.packets_untraced {
                0 => Ok(()),
                _ => write!(sink, "\nof all packets:\n{}", stats::text(&counts)),
            }
        })?;
        output::remarks(&input.name, &counts.report, stopped.is_none());
        output::note_in_vain(&filter, "packet", &input.name);
        stopped.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}

/// Prints packets, and what is found at each, as they are read.
fn json_lines(input: &mut Input, names: Names, filter: &Filter) -> Result<ExitCode, Error> {
    let mut output = BufferedOutput::new();
    let mut analysis = Analysis::streaming(names);
    let mut first_ns = None;
    let stopped = input.for_each(|record, frame| {
        let first_ns = *first_ns.get_or_insert(record.timestamp_ns);
        analysis.push_frame(record, frame);
        let findings = analysis.take_findings();
        if let Frame::Roce(packet) = frame {
            let has_finding = findings.iter().any(|finding| finding.packet == record.number);
            if filter.matches(&PacketInfo::of_packet(record, packet, first_ns, has_finding), analysis.names())
            {
                output.line(json::packet(record, packet, analysis.names()))?;
                for finding in &findings {
                    output.line(json::finding(finding, analysis.names()))?;
                }
            }
        }
        analysis.discard_messages();
        Ok(!output.is_closed())
    })?;
    analysis.lost_by_capture(input.lost_elsewhere());
    let report = analysis.finish();
    for finding in &report.findings {
        output.line(json::finding(finding, &report.names))?;
    }
    output.flush()?;
    output::remarks(&input.name, &report, stopped.is_none());
    output::note_in_vain(filter, "packet", &input.name);
    stopped.map_or(Ok(ExitCode::SUCCESS), Err)
}
