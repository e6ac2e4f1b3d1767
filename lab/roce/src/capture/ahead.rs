//! A source that is read on a thread of its own, while the parser works on what came before.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::capture::buffer::{Buffer, Source};

/// Most bytes of one read: they stay in the cache that both processors share.
const CHUNK_BYTES: usize = 512 * 1024;
/// Free bytes before a chunk, for the beginning of a packet that ends in it.
const HEADROOM_BYTES: usize = 64 * 1024;
/// Chunks on their way: one is parsed, one waits, one is filled.
const CHUNKS: usize = 3;

/// Where a read begins in memory: a kernel's copy to any other place takes twice as long.
const ALIGNED_BYTES: usize = 4096;

/// Bytes that were read, as storage, where they begin in it and how many; none at the end.
type ReadChunk = io::Result<(Vec<u8>, usize, usize)>;

/// Reads a source ahead, in constant memory.
///
/// What is read is handed over and not copied, so a capture is checked while its next part is still being read or decompressed.
///
/// # Example
/// ```
/// # let mut bytes = Vec::new();
/// # roce::capture::Writer::new(&mut bytes, &["server"])?.write(0, 1_000, &[0; 60], "")?;
/// use roce::capture::{ReadAhead, Reader};
///
/// let mut reader = Reader::new(ReadAhead::new(std::io::Cursor::new(bytes))?)?;
/// assert_eq!(reader.next()?.expect("one packet").timestamp_ns, 1_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReadAhead {
    read: Receiver<ReadChunk>,
    spent: SyncSender<Vec<u8>>,
}

impl ReadAhead {
    /// Begins to read `source`, until its end, its first error, or the end of the [`ReadAhead`].
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn new(source: impl Read + Send + 'static) -> io::Result<Self> {
        let (chunks, read) = sync_channel(CHUNKS);
        let (spent, free) = sync_channel(CHUNKS);
        for _ in 0..CHUNKS {
            // There is room for as many.
            let _ = spent.send(Vec::new());
        }
        thread::Builder::new().name("read-ahead".to_owned()).spawn(move || fill(source, &free, &chunks))?;
        Ok(Self { read, spent })
    }
}

/// Fills chunks until nobody wants another.
fn fill(mut source: impl Read, free: &Receiver<Vec<u8>>, chunks: &SyncSender<ReadChunk>) {
    while let Ok(mut bytes) = free.recv() {
        bytes.resize(HEADROOM_BYTES + ALIGNED_BYTES + CHUNK_BYTES, 0);
        let headroom = HEADROOM_BYTES + bytes.as_ptr().align_offset(ALIGNED_BYTES).min(ALIGNED_BYTES);
        let space =
            bytes.get_mut(headroom..).and_then(|space| space.get_mut(..CHUNK_BYTES)).unwrap_or_default();
        let length = loop {
            match source.read(space) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                length => break length,
            }
        };
        let is_last = !matches!(length, Ok(1..));
        if chunks.send(length.map(|length| (bytes, headroom, length))).is_err() || is_last {
            return;
        }
    }
}

impl Source for ReadAhead {
    fn refill(&mut self, buffer: &mut Buffer, _need: usize) -> io::Result<usize> {
        let gone = |_| io::Error::other("the thread that reads it ended before its end");
        let (bytes, headroom, length) = self.read.recv().map_err(gone)??;
        let length = length.min(CHUNK_BYTES);
        // The reading thread may have ended: then nobody needs it.
        let _ = self.spent.try_send(buffer.go_on_in(bytes, headroom, length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Reader, Writer};

    /// Gives at most `step` bytes a read.
    struct Slowly<'a> {
        bytes: &'a [u8],
        step: usize,
    }

    impl Read for Slowly<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.step.min(buffer.len());
            self.bytes.read(&mut buffer[..length])
        }
    }

    fn records(source: impl Source) -> Vec<(u64, Vec<u8>)> {
        let mut reader = Reader::new(source).unwrap();
        let mut records = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            records.push((record.number, record.data.to_vec()));
        }
        records
    }

    #[test]
    fn packets_across_chunks_are_whole_whatever_their_length() {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, &["server"]).unwrap();
        let lengths = [60, HEADROOM_BYTES + 1, 1_500, 4 * HEADROOM_BYTES, 9_000, HEADROOM_BYTES - 28, 60];
        for (index, length) in lengths.iter().cycle().take(21).enumerate() {
            let frame: Vec<u8> = (0..*length).map(|at| (at * 7 + index) as u8).collect();
            writer.write(0, index as u64, &frame, "").unwrap();
        }
        let bytes: &'static [u8] = bytes.leak();
        let expected = records(bytes);
        assert_eq!(expected.len(), 21);
        for step in [4_093, HEADROOM_BYTES, CHUNK_BYTES, usize::MAX] {
            assert_eq!(
                records(ReadAhead::new(Slowly { bytes, step }).unwrap()),
                expected,
                "{step} bytes a read"
            );
        }
    }

    #[test]
    fn an_error_comes_behind_what_was_read_before_it() {
        struct Failing(bool);
        impl Read for Failing {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("disk on fire"));
                }
                let mut bytes = Vec::new();
                Writer::new(&mut bytes, &["server"]).unwrap().write(0, 1, &[1, 2, 3], "").unwrap();
                (&bytes[..]).read(buffer)
            }
        }
        let mut reader = Reader::new(ReadAhead::new(Failing(false)).unwrap()).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().data, [1, 2, 3]);
        let error = reader.next().unwrap_err().to_string();
        assert!(error.ends_with("disk on fire"), "{error}");
    }

    #[test]
    fn a_reading_thread_that_dies_is_no_end_of_the_capture() {
        struct Dying;
        impl Read for Dying {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                std::panic::resume_unwind(Box::new(()))
            }
        }
        let error = Reader::new(ReadAhead::new(Dying).unwrap()).err().unwrap().to_string();
        assert_eq!(
            error,
            "failed to read the capture at byte 0: the thread that reads it ended before its end"
        );
    }
}
