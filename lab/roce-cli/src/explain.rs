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
        let mut text = broken_at(&self.rule.page(), output::width());
        text.push_str("\nFor example:\n\n");
        text.push_str(&synth::sample(self.rule).trace_with_times());
        output::print_with(|sink| sink.write_all(text.as_bytes()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The text with its lines broken between words, where there is a width.
fn broken_at(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let mut out = String::with_capacity(text.len() + 16);
    for line in text.lines() {
        let mut column = 0;
        for word in line.split(' ') {
            let length = word.chars().count();
            if column > 0 && column + 1 + length > width {
                out.push('\n');
                column = 0;
            } else if column > 0 {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += length;
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_broken_between_words_on_a_terminal_only() {
        let text = "## Name\n\none two three\n";
        assert_eq!(broken_at(text, Some(8)), "## Name\n\none two\nthree\n");
        assert_eq!(broken_at(text, Some(2)), "##\nName\n\none\ntwo\nthree\n");
        assert_eq!(broken_at(text, None), text);
    }
}
