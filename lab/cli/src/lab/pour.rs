//! A recording that grows, poured into a pipe as it grows: whoever reads there sees the lab's wire live.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::base::error::IoContext as _;
use lab::provider::resident::Resident;
use lab::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Time between two looks at the recording's end.
const STEP: Duration = Duration::from_millis(50);

/// Time between two looks whether the lab records on.
const LOOK: Duration = Duration::from_secs(1);

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// Pours the recording of `lab` into `pipe` until its reader leaves or the recording ends.
///
/// # Errors
///
/// The recording cannot be read, or the pipe fails.
pub(super) fn pour(file: &Path, lab: &dyn Resident, mut pipe: impl Write + AsFd) -> Result<()> {
    let mut source = File::open(file).at("failed to open", file)?;
    let mut buffer = vec![0; CHUNK];
    let (mut looked, mut has_ended) = (Instant::now(), false);
    loop {
        let length = source.read(&mut buffer).at("failed to read", file)?;
        let bytes = buffer.get(..length).unwrap_or_default();
        match pipe.write_all(bytes).and_then(|()| pipe.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Error::setup("failed to write into the pipe").source(error)),
        }
        if length > 0 {
            continue;
        }
        if has_ended || has_left(&pipe) {
            return Ok(());
        }
        if looked.elapsed() >= LOOK {
            // Once more to the end: its last packets may have come since.
            has_ended = lab.report().is_ok_and(|report| report.recording.as_deref() != Some(file));
            looked = Instant::now();
        }
    }
}

/// Waits a moment; true if nobody reads the pipe any more.
fn has_left(pipe: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(pipe, PollFlags::empty())];
    let step = Timespec { tv_sec: 0, tv_nsec: i64::from(STEP.subsec_nanos()) };
    poll(&mut polled, Some(&step)).is_ok_and(|count| count > 0)
}
