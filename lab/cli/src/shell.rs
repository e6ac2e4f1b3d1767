//! `completions` and `man`: what a shell and `man` are told of a front end.

use std::process::ExitCode;

use lab::{Error, Result};

use crate::output;

/// The arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shell that they are for.
    shell: clap_complete::Shell,
}

/// Prints the completions of `command`, which a person calls by `name`, one word.
///
/// # Errors
///
/// Standard output cannot be written.
pub fn completions(args: &Args, command: clap::Command, name: &'static str) -> Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command.bin_name(name), name, &mut text);
    output::print(String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the pages of `command` and of its subcommands, one behind the other.
///
/// # Errors
///
/// Standard output cannot be written.
pub fn man(mut command: clap::Command) -> Result<ExitCode> {
    command.build();
    let mut text = Vec::new();
    pages(&command, &mut text).map_err(|source| Error::setup("failed to write the page").source(source))?;
    output::print(String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}

fn pages(command: &clap::Command, text: &mut Vec<u8>) -> std::io::Result<()> {
    clap_mangen::Man::new(command.clone()).render(text)?;
    let is_of_people = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "help";
    command.get_subcommands().filter(is_of_people).try_for_each(|command| pages(command, text))
}
