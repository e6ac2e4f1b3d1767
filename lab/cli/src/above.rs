//! Standard output of code that knows of no progress, brought above the lines of what is under way.
//!
//! Where both standard output and standard error are a terminal, standard output is a pipe while `run` runs; what comes out of it is
//! printed a line at a time, above those lines. Elsewhere nothing is changed.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, PipeReader, Write as _};
use std::os::fd::AsFd as _;
use std::thread;

use lab::base::{progress, terminal};
use rustix::stdio::dup2_stdout;

/// The line that ends the pipe, in the place of its end: standard output stays open, and other processes may have inherited it.
const END: &[u8] = b"\0\n";

/// Runs `run`, told whether what it prints may have colours; all that it prints is on standard output when this returns.
pub(crate) fn printed<T>(run: impl FnOnce(bool) -> T) -> T {
    if !io::stdout().is_terminal() || !io::stderr().is_terminal() {
        return run(false);
    }
    let Ok((terminal, thread)) = redirected() else { return run(false) };
    let is_coloured = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let result = run(is_coloured);
    let _ = io::stdout().write_all(END);
    let _ = io::stdout().flush();
    let _ = thread.join();
    let _ = dup2_stdout(&terminal);
    result
}

/// Makes standard output a pipe; returns the terminal, and the thread that reads the pipe to its end.
fn redirected() -> io::Result<(File, thread::JoinHandle<()>)> {
    let terminal = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let own = terminal.try_clone()?;
    let (reader, writer) = io::pipe()?;
    dup2_stdout(&writer)?;
    Ok((terminal, thread::spawn(move || pass(reader, own))))
}

fn pass(reader: PipeReader, mut terminal: File) {
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let is_over = !matches!(reader.read_until(b'\n', &mut line), Ok(1..)) || line.ends_with(END);
        if line.ends_with(END) {
            line.truncate(line.len() - END.len());
        }
        if !line.is_empty() {
            let text = String::from_utf8_lossy(&line);
            let text = terminal::wrapped(&text, terminal::width(&terminal));
            progress::above(|| drop(terminal.write_all(text.as_bytes())));
        }
        if is_over {
            return;
        }
    }
}
