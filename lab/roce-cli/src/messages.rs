//! `roce messages`: one line a work request.

use std::process::ExitCode;

use crate::filter::PacketInfo;
use crate::input::{FileArg, Input};
use crate::output::{self, BufferedOutput};
use crate::{Common, Error, json};
use roce::{Analysis, Known, Message, MessageOutcome, Names};

/// The arguments of `messages`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: FileArg,
    #[command(flatten)]
    common: Common,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// A time in the unit that suits it.
pub(super) fn duration(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{} us", ns / 1_000),
        10_000_000..10_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{} s", ns / 1_000_000_000),
    }
}

/// A message in one line.
fn text(message: &Message, known: Known<'_>) -> String {
    let names = known.message(message);
    let psn = names.psn.unwrap_or_else(|| {
        if message.psn_first == message.psn_last {
            format!("psn {}", message.psn_first)
        } else {
            format!("psn {}..{}", message.psn_first, message.psn_last)
        }
    });
    let mut line = format!(
        "{:>7} {:<23} {:<25} {psn:<16} {:>9} bytes {}",
        message.packet_first,
        names.queue_pairs.join(" > "),
        message.kind,
        message.bytes,
        message.outcome
    );
    if let Some(immediate) = message.immediate_words() {
        line += &format!(", {immediate}");
    }
    if let (MessageOutcome::Refused(_), Some(va), Some(rkey)) = (message.outcome, message.va, message.rkey) {
        line += &format!(" (va {va:#x}, rkey {rkey:#x})");
    }
    if let Some(ended_ns) = message.ended_ns {
        line += &format!(", after {}", duration(ended_ns.saturating_sub(message.sent_ns)));
    }
    line
}

impl Args {
    /// Prints the messages in the order of their first packets.
    ///
    /// # Errors
    /// The capture cannot be read, or cannot be read to its end.
    pub fn run(&self, defaults: Names) -> Result<ExitCode, Error> {
        let mut input = Input::open(&self.file.files, &self.common)?;
        let names = self.common.names(defaults, &self.file.files);
        let filter = self.common.filter(&self.file.files, &names)?;
        let mut output = BufferedOutput::new();
        let mut analysis = Analysis::streaming(names);
        let mut first = None;
        let show = |output: &mut BufferedOutput,
                    names: &Names,
                    message: &Message,
                    first_ns: u64,
                    text: &dyn Fn() -> String| {
            if !filter.matches(&PacketInfo::of_message(message, first_ns, false), names) {
                Ok(())
            } else if self.json {
                output.line(json::message(message, names))
            } else {
                output.line(text())
            }
        };
        let stopped = input.for_each(|record, frame| {
            let first_ns = *first.get_or_insert(record.timestamp_ns);
            analysis.push_frame(record, frame);
            let messages = analysis.take_messages();
            for message in &messages {
                let text = || text(message, analysis.known());
                show(&mut output, analysis.names(), message, first_ns, &text)?;
            }
            drop(analysis.take_findings());
            Ok(!output.is_closed())
        })?;
        analysis.lost_by_capture(input.lost_elsewhere());
        let report = analysis.finish();
        for message in &report.messages {
            let text = || text(message, report.known());
            show(&mut output, &report.names, message, first.unwrap_or_default(), &text)?;
        }
        output.flush()?;
        output::remarks(&input.name, &report, stopped.is_none());
        output::note_in_vain(&filter, "message", &input.name);
        stopped.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}
