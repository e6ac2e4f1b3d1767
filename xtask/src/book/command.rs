//! The command: every page of the repository held against the programs, then the book.

use std::fs;
use std::process::ExitCode;

use lab::base::cache::write_whole;
use lab::base::error::IoContext as _;
use lab::{Error, Result};
use rdma_lab_cli::{front, output};

use super::blocks::{BlockOrigin, CodeBlock, PageCode, steps};
use super::build::{build, directory};
use super::calls::KitPrograms;
use super::likeness::missing;
use super::pages::pages;
use super::session::PageShell;
use crate::{setup_git, workspace};

/// The arguments of `book`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Compare what the pages show with what the commands do; build nothing.
    #[arg(long)]
    check: bool,
    /// Write outputs that differ into the pages; build nothing.
    #[arg(long, conflicts_with = "check")]
    write: bool,
    /// Run again what machines print and compare it, but for its figures; build nothing.
    #[arg(long, conflicts_with_all = ["check", "write"])]
    machines: bool,
}

/// Outputs to make anew, and the fate of those that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outputs {
    /// Outputs that need no machines; a difference is told.
    Compared,
    /// Outputs that need no machines; a difference is written into the page.
    Written,
    /// Outputs of machines; a difference that is more than figures is told.
    OfMachines,
}

/// Checks the pages of the documentation, and builds the book.
///
/// # Errors
///
/// A page is false, or mdBook is not there or fails.
pub(crate) fn run(args: &Args, xtask: clap::Command) -> Result<ExitCode> {
    let outputs = match (args.machines, args.write) {
        (true, _) => Outputs::OfMachines,
        (false, true) => Outputs::Written,
        (false, false) => Outputs::Compared,
    };
    let faults = check(KitPrograms::new(xtask), outputs)?;
    for fault in &faults {
        output::line(fault)?;
    }
    if !faults.is_empty() {
        return Err(Error::setup(format!(
            "the documentation is false or unclear in {} places",
            faults.len()
        ))
        .next(match outputs {
            Outputs::OfMachines => "mend the program, or write by hand what it prints today",
            _ => "write outputs that are meant anew: cargo xtask book --write",
        }));
    }
    if outputs == Outputs::Compared && !args.check {
        build()?;
        output::line(format_args!("book in {}", directory().join("index.html").display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Holds every page of the repository against the programs; returns what is wrong, a line each.
fn check(programs: KitPrograms, outputs: Outputs) -> Result<Vec<String>> {
    let program = front::this_program()?;
    let mut faults = Vec::new();
    for file in pages(workspace::root())? {
        let page = fs::read_to_string(&file).at("failed to read", &file)?;
        let code = PageCode::read(&page);
        let name = file.strip_prefix(workspace::root()).unwrap_or(&file).display().to_string();
        let mut found = code.faults.clone();
        let spans = code.spans.iter().map(|(line, span)| (*line, programs.span_complaint(span)));
        let calls = calls(&code).into_iter().map(|(line, call)| (line, programs.complaint(&call)));
        found.extend(spans.chain(calls).filter_map(|(line, why)| Some((line, why?))));
        let is_made = |block: &&CodeBlock| match block.origin {
            BlockOrigin::Session | BlockOrigin::MadeBy(_) => outputs != Outputs::OfMachines,
            BlockOrigin::OnMachines(_) => outputs == Outputs::OfMachines,
            BlockOrigin::Written | BlockOrigin::Seen(_) => false,
        };
        let made: Vec<&CodeBlock> = code.blocks.iter().filter(is_made).collect();
        if !made.is_empty() {
            let shell = PageShell::new(&program, outputs == Outputs::OfMachines)?;
            if outputs == Outputs::OfMachines {
                found.extend(seen_again(&shell, &name, &made)?);
            } else {
                let mut written = page.clone();
                let is_written = outputs == Outputs::Written;
                found.extend(made_anew(&shell, &name, &made, is_written.then_some(&mut written))?);
                if written != page {
                    write_whole(&file, written.as_bytes())?;
                }
            }
        }
        found.sort();
        faults.extend(found.into_iter().map(|(line, why)| format!("{name}:{line}: {why}")));
    }
    Ok(faults)
}

/// Makes outputs of a page anew; returns those that differ. With `written`, the page's text, they are put there instead.
fn made_anew(
    shell: &PageShell,
    name: &str,
    made: &[&CodeBlock],
    mut written: Option<&mut String>,
) -> Result<Vec<(usize, String)>> {
    let has_git = setup_git::on_path("git").is_some();
    let outputs: Vec<Result<String>> = made.iter().map(|block| today(shell, block)).collect();
    let mut found = Vec::new();
    // From the last on: what is written moves what is behind it.
    for (block, output) in made.iter().zip(outputs).rev() {
        match output {
            // Tests need nothing but Rust and a linker.
            Err(_) if !has_git && block.text.contains("git") => {
                output::line(format_args!("not compared: {name}:{}: there is no git here", block.line))?;
            }
            Err(error) => found.push((block.line, error.to_string())),
            Ok(text) if text == block.text => {}
            Ok(text) => match &mut written {
                // Within a list its lines are indented: that is written by hand.
                Some(page) if page[block.range.clone()] == block.text => {
                    page.replace_range(block.range.clone(), &text);
                }
                _ => found.push((block.line, difference(&block.text, &text))),
            },
        }
    }
    Ok(found)
}

/// Runs commands of a page on machines once more, in a lab where one of them is of a lab; returns outputs that differ in more
/// than figures.
fn seen_again(shell: &PageShell, name: &str, made: &[&CodeBlock]) -> Result<Vec<(usize, String)>> {
    let has_lab = made.iter().any(|block| block.text.contains("$ cargo xtask lab "));
    if has_lab {
        let status = shell.output("cargo xtask lab status")?;
        if !status.contains("no lab is up") {
            return Err(Error::setup("a lab is up, and these pages bring up one and end it")
                .next("end yours first: cargo xtask lab down"));
        }
        shell.output("cargo xtask lab up || exit 2")?;
    }
    let mut found = Vec::new();
    for block in made {
        output::line(format_args!("on machines: {name}:{}", block.line))?;
        // A verdict tells where the computer stood still: that is no difference unless it comes again.
        let why = seen_today(shell, block).and_then(|_| seen_today(shell, block));
        found.extend(why.map(|why| (block.line, why)));
    }
    if has_lab {
        shell.output("cargo xtask lab down")?;
    }
    Ok(found)
}

/// The text of a block as its command prints it today.
fn today(shell: &PageShell, block: &CodeBlock) -> Result<String> {
    match &block.origin {
        BlockOrigin::MadeBy(command) | BlockOrigin::OnMachines(Some(command)) => shell.output(command),
        _ => shell.session(&block.text),
    }
}

/// Makes an output of machines anew; returns the first line of the block that is not in it, in words.
fn seen_today(shell: &PageShell, block: &CodeBlock) -> Option<String> {
    match today(shell, block) {
        Err(error) => Some(error.to_string()),
        Ok(text) => missing(&block.text, &text)
            .map(|line| format!("no line of today is like `{line}`; today it is\n{text}")),
    }
}

/// The first line that differs, in words.
fn difference(shown: &str, printed: &str) -> String {
    let first = |text: &str, at: usize| {
        text.lines().nth(at).map_or_else(|| "nothing more".to_owned(), |line| format!("`{line}`"))
    };
    let at = shown.lines().zip(printed.lines()).take_while(|(shown, printed)| shown == printed).count();
    format!(
        "line {} of the output is shown as {}, and today is {}",
        at + 1,
        first(shown, at),
        first(printed, at)
    )
}

/// Lines of a shell in the blocks of a page, with their place in it.
fn calls(code: &PageCode) -> Vec<(usize, String)> {
    let mut calls = Vec::new();
    for block in &code.blocks {
        let session = match &block.origin {
            BlockOrigin::Session | BlockOrigin::OnMachines(None) | BlockOrigin::Seen(true) => {
                steps(&block.text).ok()
            }
            BlockOrigin::Seen(false) => Some(Vec::new()),
            BlockOrigin::MadeBy(command) | BlockOrigin::OnMachines(Some(command)) => {
                Some(vec![(command.clone(), String::new())])
            }
            BlockOrigin::Written => None,
        };
        let text = match session {
            Some(steps) => steps.into_iter().map(|(command, _)| command).collect(),
            None => block.text.clone(),
        };
        let text = text.replace("\\\n", " ");
        // In a workflow a command is behind `run:`.
        let lines = text.lines().map(|line| line.trim().trim_start_matches("- run: "));
        calls.extend(lines.map(|line| (block.line, line.to_owned())));
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_is_told_by_its_first_line() {
        assert_eq!(difference("a\nb\n", "a\nc\n"), "line 2 of the output is shown as `b`, and today is `c`");
        assert_eq!(
            difference("a\n", "a\nc\n"),
            "line 2 of the output is shown as nothing more, and today is `c`"
        );
    }

    #[test]
    fn commands_are_found_in_blocks_of_each_kind() {
        let page = "```sh\nroce \\\n  a\n```\n\n```yaml\n- run: roce b\n```\n\n```console seen 2026-11-30\n$ roce c\nroce is no command here\n```\n\n```text from roce d\nx\n```\n";
        let found: Vec<String> = calls(&PageCode::read(page)).into_iter().map(|(_, call)| call).collect();
        assert_eq!(found, ["roce    a", "roce b", "roce c", "roce d"]);
    }
}
