//! `cargo xtask setup-git`: tells git how a capture's trace is shown and compared, in the configuration of the repository here.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use lab::{Error, Result};
use rdma_lab_cli::{front, output};

/// The arguments of `setup-git`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Take the settings away again.
    #[arg(long)]
    undo: bool,
}

/// Writes the settings, or takes them away.
///
/// # Errors
///
/// There is no git, or no repository here.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let [trace, diff] = match on_path("roce") {
        Some(_) => ["roce trace".to_owned(), "roce diff".to_owned()],
        None => {
            let program = quoted(&front::this_program()?);
            [format!("{program} decode"), format!("{program} diff")]
        }
    };
    for (name, value) in settings(&trace, &diff) {
        if args.undo {
            // 5: there is none.
            git(&["config", "--unset-all", name], &[0, 5])?;
        } else {
            git(&["config", name, &value], &[0])?;
            output::line(format_args!("{name} = {value}"))?;
        }
    }
    if !args.undo {
        output::line(
            "git diff, log -p and show print captures as traces; git difftool -t roce compares them",
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Settings by name: what shows a capture, and what compares two.
fn settings(trace: &str, diff: &str) -> [(&'static str, String); 3] {
    [
        ("diff.roce.textconv", trace.to_owned()),
        ("diff.roce.binary", "true".to_owned()),
        ("difftool.roce.cmd", format!("{diff} \"$LOCAL\" \"$REMOTE\"")),
    ]
}

fn git(arguments: &[&str], expected: &[i32]) -> Result<()> {
    let output = Command::new("git").args(arguments).output();
    let output = output
        .map_err(|source| Error::usage("git could not be started").source(source).next("install git"))?;
    if output.status.code().is_some_and(|code| expected.contains(&code)) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::usage(format!("git {}: {said}", arguments.join(" "))).next("run it in a git repository"))
}

/// A program on PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_one_word_of_a_shell() {
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
        let [trace, _, diff] = settings("roce trace", "roce diff");
        assert_eq!((trace.0, trace.1.as_str()), ("diff.roce.textconv", "roce trace"));
        assert_eq!(diff.1, "roce diff \"$LOCAL\" \"$REMOTE\"");
    }
}
