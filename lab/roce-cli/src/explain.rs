//! `roce explain`: what a rule says, and a conversation that breaks it.

use std::process::ExitCode;

use crate::{Error, check, output};
use roce::{Rule, synth};

/// The arguments of `explain`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Name of a rule, as findings have it.
    #[arg(value_parser = check::parse_rule)]
    rule: Rule,
}

impl Args {
    /// Prints the page of the rule, and the trace of a sample of it.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn run(&self) -> Result<ExitCode, Error> {
        let mut text = self.rule.page();
        text.push_str("\nFor example:\n\n");
        text.push_str(&synth::sample(self.rule).trace_with_times());
        output::print_with(|sink| sink.write_all(text.as_bytes()))?;
        Ok(ExitCode::SUCCESS)
    }
}
