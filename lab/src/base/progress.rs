//! Progress of long work on standard error, with times: on a terminal a line for each piece of work under way and one for the whole, plain
//! lines elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::base::terminal;

/// Lines of everything that is under way in this process. What else is printed goes above them.
static UNDER_WAY: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Line of the whole, which stays the last.
static LAST: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn last() -> MutexGuard<'static, Option<ProgressBar>> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// True if lines are drawn on a terminal.
fn is_drawn() -> bool {
    io::stderr().is_terminal()
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    bar.with_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner()),
    )
}

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
        let bar = is_drawn().then(|| {
            let bar = styled(ProgressBar::new_spinner(), "{spinner} {elapsed:>3} {wide_msg}");
            let bar = match &*last() {
                Some(last) => UNDER_WAY.insert_before(last, bar),
                None => UNDER_WAY.add(bar),
            };
            bar.set_message(what.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
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
        say(line);
    }

    /// Ends the work; `result` is a few words on what came of it, or empty.
    pub fn done(self, result: &str) -> Duration {
        let elapsed = self.started.elapsed();
        self.clear();
        let space = if result.is_empty() { "" } else { ": " };
        say(&format!("{}{space}{result} ({:.1} s)", self.what, elapsed.as_secs_f64()));
        elapsed
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            UNDER_WAY.remove(bar);
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A whole of many pieces: on a terminal a line that says how many have ended, how many of them badly, and about how long the rest takes.
#[derive(Debug)]
pub struct Tally {
    total: usize,
    started: Instant,
    /// Pieces that have ended, and those of them that ended badly.
    ended: Mutex<(usize, usize)>,
}

impl Tally {
    /// Begins a whole of `total` pieces.
    pub fn begin(total: usize) -> Tally {
        let tally = Tally { total, started: Instant::now(), ended: Mutex::default() };
        if is_drawn() && total > 1 {
            let bar = styled(ProgressBar::new(total as u64), "{bar:20} {pos}/{len}{wide_msg}");
            let bar = UNDER_WAY.add(bar);
            bar.enable_steady_tick(Duration::from_secs(1));
            *last() = Some(bar);
        }
        tally
    }

    /// Counts a piece that has ended.
    pub fn ended(&self, is_good: bool) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        *ended = (ended.0 + 1, ended.1 + usize::from(!is_good));
        if let Some(bar) = &*last() {
            bar.set_position(ended.0 as u64);
            bar.set_message(tally_words(*ended, self.total, self.started.elapsed()));
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if let Some(bar) = last().take() {
            bar.finish_and_clear();
            UNDER_WAY.remove(&bar);
        }
    }
}

/// Pieces that ended badly, and the time that the rest takes if it goes on as so far.
fn tally_words((ended, bad): (usize, usize), total: usize, elapsed: Duration) -> String {
    let red = if bad > 0 { format!(", {bad} red") } else { String::new() };
    let left = total.saturating_sub(ended);
    if ended == 0 || left == 0 {
        return red;
    }
    let seconds = elapsed.as_secs_f64() / ended as f64 * left as f64;
    match seconds {
        ..90.0 => format!("{red}, about {:.0} s left", (seconds / 5.0).ceil() * 5.0),
        _ => format!("{red}, about {:.0} min left", seconds / 60.0),
    }
}

/// One line for people, above whatever is under way.
pub fn say(line: &str) {
    let line = terminal::wrapped(&format!("  {line}"), terminal::width(io::stderr()));
    // Whoever closed standard error does not want to hear it.
    above(|| drop(writeln!(io::stderr(), "{line}")));
}

/// Prints something of one's own above the lines of what is under way.
pub fn above<T>(print: impl FnOnce() -> T) -> T {
    if is_drawn() { UNDER_WAY.suspend(print) } else { print() }
}

/// Takes the lines of what is under way from the terminal, before a process ends in the middle of it.
pub fn clear() {
    if is_drawn() {
        if let Some(bar) = last().take() {
            bar.finish_and_clear();
        }
        drop(UNDER_WAY.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tally_says_what_is_red_and_how_long_the_rest_takes() {
        let words = |ended, total, seconds| tally_words(ended, total, Duration::from_secs(seconds));
        assert_eq!(words((0, 0), 80, 5), "");
        assert_eq!(words((4, 0), 8, 40), ", about 40 s left");
        assert_eq!(words((20, 2), 80, 120), ", 2 red, about 6 min left");
        assert_eq!(words((80, 1), 80, 500), ", 1 red");
        assert_eq!(words((80, 0), 80, 500), "");
    }

    #[test]
    fn work_without_a_terminal_is_plain_lines() {
        // Standard error of a test is no terminal wherever the tests are run by a program.
        if !is_drawn() {
            assert!(Step::begin("work").bar.is_none());
            assert_eq!(above(|| 5), 5);
            let tally = Tally::begin(3);
            tally.ended(false);
            assert_eq!(*tally.ended.lock().unwrap(), (1, 1));
            assert!(last().is_none());
        }
    }
}
