//! Files that are worked on several at a time, with what is printed of each in the order of the files.
//!
//! In: files, and what is done with one. Out: their output, one behind the other, each followed by its result. Memory is bounded: a file whose turn to be
//! printed has not come waits when it is [`CHUNKS`] of output ahead.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::Error;
use crate::output::BufferedOutput;
use crate::progress::Progress;

/// Pieces of output that a file may be ahead.
const CHUNKS: usize = 16;

/// A piece of what comes of a file: output, then one result.
enum Piece<T> {
    Text(Vec<u8>),
    Result(T),
}

/// The output of a file on its way to the printing thread.
struct Ahead<T>(SyncSender<Piece<T>>);

impl<T: Send> Write for Ahead<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(Piece::Text(bytes.to_vec())).map_err(|_| ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Does `work` on each file, `at_a_time` of them at a time, and prints the output of each to `output`; gives its result to `end` behind that.
///
/// # Errors
/// Those of `end`, and of `output`.
pub(super) fn each<T: Send + 'static>(
    output: &mut BufferedOutput,
    files: &[PathBuf],
    at_a_time: NonZero<usize>,
    work: impl Fn(&PathBuf, &mut BufferedOutput) -> T + Sync,
    mut end: impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error> {
    let (senders, receivers): (Vec<_>, Vec<_>) = files.iter().map(|_| sync_channel(CHUNKS)).unzip();
    let waiting: Mutex<VecDeque<_>> = Mutex::new(files.iter().zip(senders).collect());
    // In order, so that the file whose output is due is always one that is worked on.
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..at_a_time.get().min(files.len()) {
            scope.spawn(|| {
                while let Some((file, sender)) = next() {
                    let mut output = BufferedOutput::to(Ahead(sender.clone()));
                    let result = work(file, &mut output);
                    // Nobody is there to take it when the printing failed.
                    let _ = sender.send(Piece::Result(result));
                }
            });
        }
        print(output, receivers, &mut end)
    })
}

/// Prints what comes of the files, one file after the other.
fn print<T>(
    output: &mut BufferedOutput,
    receivers: Vec<Receiver<Piece<T>>>,
    end: &mut impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut progress = Progress::new();
    let total = receivers.len();
    for (done, receiver) in receivers.into_iter().enumerate() {
        progress.files(done, total);
        for piece in receiver {
            match piece {
                Piece::Text(text) => output.attempt(|sink| sink.write_all(&text))?,
                Piece::Result(result) => {
                    output.flush()?;
                    end(result)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_files_though_the_last_is_done_first() {
        let files: Vec<PathBuf> = ["a", "b", "c"].map(PathBuf::from).into();
        let both = Barrier::new(2);
        let mut ended = Vec::new();
        let work = |file: &PathBuf, _: &mut BufferedOutput| {
            // Neither of the first two ends before both run.
            if file != &files[2] {
                both.wait();
            }
            file.clone()
        };
        each(&mut BufferedOutput::to(io::sink()), &files, NonZero::new(2).unwrap(), work, |file| {
            ended.push(file);
            Ok(())
        })
        .unwrap();
        assert_eq!(ended, files);
    }

    #[test]
    fn more_output_than_fits_ahead_waits_for_its_turn() {
        let files: Vec<PathBuf> = ["a", "b"].map(PathBuf::from).into();
        let sum = Mutex::new(0);
        let work = |_: &PathBuf, output: &mut BufferedOutput| {
            for _ in 0..2 * CHUNKS {
                output.text("line").unwrap();
                output.flush().unwrap();
            }
            *sum.lock().unwrap() += 1;
        };
        each(&mut BufferedOutput::to(io::sink()), &files, NonZero::new(2).unwrap(), work, |()| Ok(()))
            .unwrap();
        assert_eq!(*sum.lock().unwrap(), 2);
    }
}
