//! `clean`: what the cache holds, how large it is, and its removal.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use lab::base::cache::{Cache, CacheEntry};
use lab::base::invocation;
use lab::{Error, Result};
use serde::Serialize;

use super::target::{json, labs};
use crate::output;

/// The arguments of `lab clean`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove without asking.
    #[arg(long)]
    yes: bool,
    /// Say what there is as JSON, one object; without --yes nothing is removed.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Holdings {
    directory: String,
    entries: Vec<CacheEntry>,
    size_bytes: u64,
    /// Whether it was removed.
    removed: bool,
}

/// Says what the cache holds, asks, and removes it.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let cache = Cache::open()?;
    let entries = cache.entries()?;
    let size_bytes = entries.iter().map(|entry| entry.size_bytes).sum();
    let holdings =
        Holdings { directory: cache.path("").display().to_string(), entries, size_bytes, removed: args.yes };
    if args.json && !args.yes {
        output::line(json(&holdings)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.json {
        output::line(&holdings.directory)?;
        for CacheEntry { name, size_bytes } in &holdings.entries {
            output::line(format_args!("  {:>8.1} MB  {name}", *size_bytes as f64 / 1e6))?;
        }
        output::line(format_args!("  {:>8.1} MB  in all, on disk", holdings.size_bytes as f64 / 1e6))?;
    }
    if let Some(lab) = labs()?.all()?.iter().find(|lab| lab.needs_cache()) {
        let name = lab.name();
        return Err(Error::usage(format!("the lab called {name} is up and needs its files"))
            .next(format!("end it first: {}", invocation::lab("down --all"))));
    }
    if !args.yes && !confirmed()? {
        return Ok(ExitCode::SUCCESS);
    }
    cache.clear()?;
    if args.json {
        output::line(json(&holdings)?)?;
    } else {
        output::line("removed; the next lab makes again what it needs")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn confirmed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        output::line(format_args!("remove it: {}", invocation::lab("clean --yes")))?;
        return Ok(false);
    }
    output::print("remove all of it? [y/N] ")?;
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|source| Error::setup("failed to read the answer").source(source))?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
