//! Calls of the kit's programs in the documentation: each is one that the program takes.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The three programs' command lines.
#[derive(Debug, Clone)]
pub(super) struct KitPrograms {
    xtask: clap::Command,
    rdma_lab: clap::Command,
    roce: clap::Command,
}

impl KitPrograms {
    /// Gathers them; `xtask` is this program's.
    pub(super) fn new(xtask: clap::Command) -> KitPrograms {
        KitPrograms { xtask, rdma_lab: rdma_lab_cli::standalone::command(), roce: roce_cli::command() }
    }

    /// Parses a line of a shell; returns the complaint of a program of the kit that does not take it.
    pub(super) fn complaint(&self, line: &str) -> Option<String> {
        let line = &plain(line);
        let words =
            shlex::split(line).unwrap_or_else(|| line.split_whitespace().map(str::to_owned).collect());
        let mut begins = true;
        for (at, word) in words.iter().enumerate() {
            if begins && let Some((program, rest)) = self.program(&words[at..]) {
                let end = rest.iter().position(|word| is_end(word)).unwrap_or(rest.len());
                // A command that ends in `;` has its last word before it.
                let last = rest.get(end).and_then(|word| word.strip_suffix(';'));
                let last = last.filter(|word| !word.is_empty() && !is_end(word));
                let words = rest[..end].iter().map(String::as_str).chain(last);
                let taken =
                    program.clone().try_get_matches_from(std::iter::once(program.get_name()).chain(words));
                if let Err(error) = taken.as_ref()
                    && is_complaint(error)
                {
                    let why = error.to_string();
                    return Some(format!("no command: {line}: {}", why.lines().next().unwrap_or_default()));
                }
            }
            begins = is_end(word) || begins && word.contains('=');
        }
        None
    }

    /// As [`KitPrograms::complaint`] of code in a sentence, which may leave out the program: `lab up --nodes 5`, `exec -d server CMD`.
    pub(super) fn span_complaint(&self, span: &str) -> Option<String> {
        // `[--all]` may be left out; `key = value` is of a file.
        let span = span.replace(['[', ']'], "");
        let (first, _) = span.split_once(' ').filter(|(_, rest)| !rest.starts_with("= "))?;
        let lab = self.xtask.find_subcommand("lab").unwrap_or(&self.xtask);
        let calls = [
            ("cargo xtask", &self.xtask),
            ("cargo xtask lab", lab),
            ("rdma-lab", &self.rdma_lab),
            ("roce", &self.roce),
        ];
        let having = calls.iter().filter(|(_, program)| program.find_subcommand(first).is_some());
        let mut complaints =
            having.map(|(program, _)| self.complaint(&format!("{program} {span}"))).peekable();
        match complaints.peek() {
            None => self.complaint(&span),
            // One that takes it is the one that is meant.
            Some(_) => complaints.try_fold(None, |_, complaint| complaint.map(Some)).flatten(),
        }
    }

    /// The program that is called by these words, and what it is given.
    fn program<'a>(&self, words: &'a [String]) -> Option<(&clap::Command, &'a [String])> {
        let name = |at: usize| words.get(at).map(String::as_str);
        match (name(0)?, name(1)) {
            // Any of its commands.
            ("cargo", Some("xtask")) if name(2) == Some("…") => None,
            ("cargo", Some("xtask")) => Some((&self.xtask, &words[2..])),
            ("rdma-lab", _) => Some((&self.rdma_lab, &words[1..])),
            ("roce", _) => Some((&self.roce, &words[1..])),
            _ => None,
        }
    }
}

/// A line with a number for each sum of the shell, and without `…` where that stands for arguments.
fn plain(line: &str) -> String {
    let mut parts = line.split("$((");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push('1');
        text.push_str(part.split_once("))").map_or(part, |(_, rest)| rest));
    }
    if text.contains("xtask … ") { text } else { text.replace(" … ", " ") }
}

/// True for a word that ends a command; another begins behind it.
fn is_end(word: &str) -> bool {
    ["|", "||", "&&", "&", "do"].contains(&word)
        || word.ends_with(';')
        || word.trim_start_matches('2').starts_with(['<', '>'])
}

/// True where it is more than what a sentence leaves out: an argument, or the value that `NAME` stands for.
fn is_complaint(error: &clap::Error) -> bool {
    match error.kind() {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = error.get(ContextKind::InvalidValue).map(ContextValue::to_string).unwrap_or_default();
            !value.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
        }
        kind => !matches!(
            kind,
            ErrorKind::DisplayHelp
                | ErrorKind::DisplayVersion
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                | ErrorKind::MissingRequiredArgument
                | ErrorKind::MissingSubcommand
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_no_program_takes_are_found_wherever_they_are() {
        let xtask = clap::Command::new("cargo xtask")
            .subcommand(clap::Command::new("lab").arg(clap::Arg::new("name").long("name")));
        let programs = KitPrograms::new(xtask);
        for line in [
            "cargo xtask lab --name x # a remark --nonesuch",
            "cargo build --nonesuch",
            "roce explain",
            "roce explain RULE",
            "cargo xtask … --nonesuch",
            "cargo xtask lab … --name '…'",
            "roce stats a.pcap >out; ls",
            "roce trace a.pcap | nonesuch --x && roce stats a.pcap >out --json",
            "for x in 1 2; do roce synth $x.pcap --data-packets $((x * 3)); done",
            "RUST_LOG=1 rdma-lab run --server a --client b",
            "it's no shell",
        ] {
            assert_eq!(programs.complaint(line), None, "{line}");
        }
        for line in [
            "cargo xtask lob",
            "cargo xtask lab --nime x",
            "roce tracee a.pcap",
            "roce explain NoRule",
            "ls | roce trace --jsn a.pcap",
            "for x in 1 2; do roce sinth $x.pcap; done",
            "A=1 rdma-lab rum",
        ] {
            assert!(programs.complaint(line).is_some(), "{line}");
        }
    }

    #[test]
    fn code_in_a_sentence_may_leave_out_the_program() {
        let lab = clap::Command::new("lab")
            .subcommand(clap::Command::new("up").arg(clap::Arg::new("nodes").long("nodes")));
        let programs = KitPrograms::new(clap::Command::new("cargo xtask").subcommand(lab));
        for span in [
            "up --nodes 5",
            "lab up --nodes 5",
            "check a.pcap",
            "lab",
            "make modules --x",
            "lab up [--nodes 5]",
            "check = false",
            "roce stats a.pcap",
        ] {
            assert_eq!(programs.span_complaint(span), None, "{span}");
        }
        for span in ["lab up --knots 5", "check --nonesuch", "roce statts a.pcap"] {
            assert!(programs.span_complaint(span).is_some(), "{span}");
        }
    }
}
