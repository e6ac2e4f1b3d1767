//! Progress of long work on standard error: a spinner on a terminal, plain lines elsewhere, with times.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A piece of work under way; say how it ended with [`Step::done`]. Dropped before that, it says nothing
/// more: the error that ended it speaks.
#[derive(Debug)]
pub struct Step {
    what: String,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Step {
    /// Begins a piece of work, named as in "boot server".
    pub fn begin(what: impl Into<String>) -> Step {
        let what = what.into();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_style(
                ProgressStyle::with_template("{spinner} {msg} {elapsed}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar.enable_steady_tick(Duration::from_millis(120));
            bar.set_message(what.clone());
            bar
        });
        if bar.is_none() {
            say(&format!("{what} ..."));
        }
        Step { what, started: Instant::now(), bar }
    }

    /// Says what is being done at the moment, on a terminal only.
    pub fn now(&self, detail: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {detail}", self.what));
        }
    }

    /// Says one line that stays, and goes on.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }

    /// Ends the work; `result` is a few words on what came of it, or empty.
    pub fn done(self, result: &str) -> Duration {
        let elapsed = self.started.elapsed();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let space = if result.is_empty() { "" } else { ": " };
        say(&format!("{}{space}{result} ({:.1} s)", self.what, elapsed.as_secs_f64()));
        elapsed
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// One line for people, beside whatever is under way.
pub fn say(line: &str) {
    // Whoever closed standard error does not want to hear it.
    let _ = writeln!(std::io::stderr(), "  {line}");
}
