//! `roce messages`: one line a work request.

use std::process::ExitCode;

use crate::cli::filter::PacketInfo;
use crate::cli::input::{FileArg, Input};
use crate::cli::output::{self, Output};
use crate::cli::{Common, Error, json};
use crate::{Analysis, Message, Names};

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

fn text(message: &Message, names: &Names) -> String {
    let qpn = message.requester_qpn.map_or_else(|| "?".to_owned(), |qpn| format!("{qpn:#x}"));
    let mut line = format!(
        "{:>7} {}.{qpn} > {}.{:#x} {:<25} psn {}..{} {:>9} bytes {}",
        message.packet_first,
        names.get(message.requester),
        names.get(message.responder),
        message.responder_qpn,
        message.kind,
        message.psn_first,
        message.psn_last,
        message.bytes,
        message.outcome
    );
    if let Some(immediate) = message.immediate {
        line += &format!(", imm {immediate}");
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
        let mut input = Input::open(&self.file.file)?;
        let names = self.common.names(defaults);
        let filter = self.common.filter(&self.file.file, &names)?;
        let mut output = Output::new();
        let mut analysis = Analysis::streaming(names.clone());
        let mut first = None;
        let show = |output: &mut Output, message: &Message, first_ns: u64| {
            if !filter.matches(&PacketInfo::of_message(message, first_ns, false)) {
                Ok(())
            } else if self.json {
                output.line(json::message(message, &names))
            } else {
                output.line(text(message, &names))
            }
        };
        let stopped = input.for_each(|record| {
            let first_ns = *first.get_or_insert(record.timestamp_ns);
            analysis.push(record);
            for message in analysis.take_messages() {
                show(&mut output, &message, first_ns)?;
            }
            drop(analysis.take_findings());
            Ok(!output.is_closed())
        })?;
        for message in analysis.finish().messages {
            show(&mut output, &message, first.unwrap_or_default())?;
        }
        output.flush()?;
        output::note_in_vain(&filter, "message", &input.name);
        stopped.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}
