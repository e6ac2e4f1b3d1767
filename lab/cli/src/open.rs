//! `open`: the pages of an invocation or of one run, in a browser.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use lab::Result;
use lab::trial::{artifacts, page};

use crate::{Front, output};

/// Programs that open a file with what the desktop has for it: that of Linux, and that of macOS.
const OPENERS: [&str; 2] = ["xdg-open", "open"];

/// The arguments of `open`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of an invocation, or of one run in it [default: the newest that left results].
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Print the page's path and open nothing, as where the output is no terminal.
    #[arg(long)]
    print: bool,
}

/// Prints the path of the page, and opens it on a terminal.
pub fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let newest = || artifacts::latest_with_results(&front.home);
    let directory = args.directory.clone().or_else(newest);
    let page = page::find(&directory.unwrap_or_else(|| artifacts::runs(&front.home).join("latest")))?;
    output::line(page.display())?;
    if !args.print && std::io::stdout().is_terminal() {
        let mut openers = OPENERS.iter().map(|opener| {
            let quiet = Command::new(opener).arg(&page).stdin(Stdio::null()).stdout(Stdio::null()).status();
            quiet.is_ok_and(|status| status.success())
        });
        if !openers.any(|is_open| is_open) {
            lab::base::progress::say("no browser could be started from here; open the file above in one");
        }
    }
    Ok(ExitCode::SUCCESS)
}
