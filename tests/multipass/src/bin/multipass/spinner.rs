//! The spinner that Multipass writes to standard output, terminal or not.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Control sequence by which Multipass clears a line.
const CLEAR: &str = "\x1b[2K\x1b[0A\x1b[0E";

const FRAMES: [char; 4] = ['/', '-', '\\', '|'];
const FRAME: Duration = Duration::from_millis(100);

/// The spinner.
#[derive(Debug, Default)]
pub(crate) struct Spinner {
    drawn: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Spinner {
    /// Begins to spin beside a text; does nothing where it spins.
    pub(crate) fn start(&mut self, text: &str) {
        if self.drawn.is_some() {
            return;
        }
        say(&format!("{CLEAR}{text}  "));
        let is_over = Arc::new(AtomicBool::new(false));
        let for_thread = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            for frame in FRAMES.into_iter().cycle() {
                say(&format!("\x08{frame}"));
                thread::park_timeout(FRAME);
                if for_thread.load(Ordering::SeqCst) {
                    break;
                }
            }
            say("\x08 ");
        });
        self.drawn = Some((is_over, thread));
    }

    /// Ends it, and clears the line: also where it does not spin.
    pub(crate) fn stop(&mut self) {
        if let Some((is_over, thread)) = self.drawn.take() {
            is_over.store(true, Ordering::SeqCst);
            thread.thread().unpark();
            let _ = thread.join();
        }
        say(CLEAR);
    }
}

/// Writes to standard output, at once.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
