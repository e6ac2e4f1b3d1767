//! A capture as the user names it: a file, the rotated files of one capture, or standard input; plain or compressed.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Cursor, Read};
use std::mem;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use crate::error::unreadable;
use crate::progress::Progress;
use crate::{Common, Error, output};
use roce::capture::{ParallelReader, ReadAhead, ReadError, Reader, Record};
use roce::wire::{Decoder, Frame};

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Shortest gzip header; less is no file of any kind.
const GZIP_HEADER: usize = 10;
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// An opened capture and what to call it.
pub(super) struct Input {
    pub(super) name: String,
    /// Name of the file that is read now.
    file_name: String,
    from: From,
    /// Threads that work on a file, where there is more than one.
    threads: NonZero<usize>,
    /// Further files of the same capture.
    later: VecDeque<PathBuf>,
    decoder: Decoder,
    lost_elsewhere: u64,
    /// Bytes of the file, where it is one.
    length: Option<u64>,
    progress: Progress,
}

/// Input of a capture.
enum From {
    /// A stream that comes only once, or through one decompressor.
    Stream(Box<Reader<ReadAhead>>),
    /// A file that several threads read.
    File(Box<ParallelReader<File>>),
    /// Nothing any more.
    Ended,
}

impl From {
    /// Begins to read a capture; gives also its name and, where it is an uncompressed file, its length in bytes.
    fn open(file: &Path, threads: NonZero<usize>) -> Result<(String, Self, Option<u64>), Error> {
        let Some(length) = length(file) else {
            let (name, source) = source(file)?;
            return Ok((name.clone(), Self::Stream(Box::new(reader(&name, source)?)), None));
        };
        let name = file.display().to_string();
        let source =
            File::open(file).map_err(|error| Error::new(format!("failed to open {name}: {error}")))?;
        let reader = ParallelReader::new(source, threads).map_err(|error| unreadable(&name, &error))?;
        Ok((name, Self::File(Box::new(reader)), Some(length)))
    }
}

/// State that lasts from the beginning of a capture on, over all of its files.
#[derive(Default)]
struct Course {
    /// Number of the last packet of the files before.
    earlier: u64,
    /// Number and time of the last packet.
    number: u64,
    last_ns: u64,
    /// Packets lost before those of this file.
    lost: u64,
    /// True if a file begins before the end of the one before it.
    is_apart: bool,
}

impl Course {
    /// Takes note of the next record, and numbers it.
    #[inline]
    fn see(&mut self, record: &mut Record<'_>) {
        record.number += self.earlier;
        self.is_apart |= self.number == self.earlier && record.timestamp_ns < self.last_ns;
        (self.number, self.last_ns) = (record.number, record.timestamp_ns);
        self.lost = self.lost.saturating_add(record.lost_before);
    }
}

/// zstd frames, one behind the other.
struct Zstd<R: Read> {
    frame: Option<StreamingDecoder<BufReader<R>, FrameDecoder>>,
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {error}"))
}

impl<R: Read> Zstd<R> {
    fn new(source: BufReader<R>) -> io::Result<Self> {
        Ok(Self { frame: Some(StreamingDecoder::new(source).map_err(invalid)?) })
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(mut frame) = self.frame.take() {
            let length = frame.read(buffer).map_err(invalid)?;
            if length > 0 || buffer.is_empty() {
                self.frame = Some(frame);
                return Ok(length);
            }
            let mut source = frame.into_inner();
            if !source.fill_buf()?.is_empty() {
                *self = Self::new(source)?;
            }
        }
        Ok(0)
    }
}

/// Opens what `file` names; `-` is standard input.
pub(super) fn source(file: &Path) -> Result<(String, Box<dyn Read + Send>), Error> {
    if file == Path::new("-") {
        return Ok(("standard input".to_owned(), Box::new(io::stdin())));
    }
    let name = file.display().to_string();
    if file.is_dir() {
        return Err(
            Error::new(format!("{name} is a directory")).next("name a capture in it, such as capture.pcapng")
        );
    }
    let source = File::open(file).map_err(|error| Error::new(format!("failed to open {name}: {error}")))?;
    Ok((name, Box::new(source)))
}

/// Looks at the first bytes, and decompresses.
pub(super) fn plain(mut source: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut first = [0; GZIP_HEADER];
    let mut length = 0;
    while let Some(space) = first.get_mut(length..).filter(|space| !space.is_empty()) {
        match source.read(space) {
            Ok(0) => break,
            Ok(got) => length += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let head = first.get(..length).unwrap_or_default().to_vec();
    let (is_gzip, is_zstd) = (head.starts_with(&GZIP) && length == GZIP_HEADER, head.starts_with(&ZSTD));
    let whole = Cursor::new(head).chain(source);
    Ok(match (is_gzip, is_zstd) {
        (true, _) => Box::new(MultiGzDecoder::new(whole)),
        (_, true) => Box::new(Zstd::new(BufReader::new(whole))?),
        _ => Box::new(whole),
    })
}

impl Input {
    /// Opens a capture; several files are parts of one, and are read in the order of their first packets.
    pub(super) fn open(files: &[PathBuf], common: &Common) -> Result<Self, Error> {
        let mut later = if files.len() > 1 { in_order(files)? } else { files.iter().cloned().collect() };
        let first = later.pop_front().unwrap_or_else(|| PathBuf::from("-"));
        let threads = common.threads();
        let (name, from, length) = From::open(&first, threads)?;
        let mut input = Self { threads, length, ..Self::of(name, from, common) };
        if !later.is_empty() {
            input.name = format!("{} and {} more", input.name, later.len());
        }
        input.later = later;
        Ok(input)
    }

    /// Reads a capture from `source`.
    pub(super) fn new(name: String, source: Box<dyn Read + Send>, common: &Common) -> Result<Self, Error> {
        let from = From::Stream(Box::new(reader(&name, source)?));
        Ok(Self::of(name, from, common))
    }

    fn of(name: String, from: From, common: &Common) -> Self {
        Self {
            file_name: name.clone(),
            name,
            from,
            threads: NonZero::<usize>::MIN,
            later: VecDeque::new(),
            decoder: common.decoder(),
            lost_elsewhere: 0,
            length: None,
            progress: Progress::new(),
        }
    }

    /// Reads it as one of several at a time: without progress, on as many threads.
    pub(super) fn beside_others(self, threads: NonZero<usize>) -> Self {
        Self { threads, progress: Progress::silent(), ..self }
    }

    /// Passes each record and its frame to `each` until that is not true; returns the reason if the capture ended before its end. Numbers go on from file to file.
    pub(super) fn for_each(
        &mut self,
        mut each: impl FnMut(&Record<'_>, &Frame<'_>) -> Result<bool, Error> + Send,
    ) -> Result<Option<Error>, Error> {
        let mut course = Course::default();
        // What is printed behind the last packet is not of a capture that is being read.
        let mut progress = mem::replace(&mut self.progress, Progress::silent());
        loop {
            let (wants_more, fault) = self.file(&mut course, &mut progress, &mut each)?;
            if !wants_more {
                return Ok(None);
            }
            if let Some(fault) = fault {
                return Ok(Some(unreadable(&self.file_name, &fault)));
            }
            (course.earlier, course.lost) = (course.number, 0);
            match self.next_file(course.number + 1) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Ok(Some(error)),
            }
        }
        drop(progress);
        if course.is_apart {
            output::note(
                "the files overlap in time, so they are not parts of one capture: merge them first, as with `mergecap`, or `roce check --each`",
            );
        }
        Ok(None)
    }

    /// Passes the current file's records to `each`; returns whether that wants more, and the reason if the file ended before its end.
    fn file(
        &mut self,
        course: &mut Course,
        progress: &mut Progress,
        each: &mut (impl FnMut(&Record<'_>, &Frame<'_>) -> Result<bool, Error> + Send),
    ) -> Result<(bool, Option<ReadError>), Error> {
        let mut wants_more = true;
        let (lost_packets, fault) = match mem::replace(&mut self.from, From::Ended) {
            From::Ended => return Ok((true, None)),
            From::Stream(mut reader) => loop {
                progress.at(course.number, reader.offset(), self.length);
                match reader.next() {
                    Ok(Some(mut record)) => {
                        course.see(&mut record);
                        let frame = self.decoder.decode(record.link_type, record.data);
                        if !each(&record, &frame)? {
                            return Ok((false, None));
                        }
                    }
                    Ok(None) => break (reader.lost_packets(), None),
                    Err(error) => break (reader.lost_packets(), Some(error)),
                }
            },
            From::File(reader) => {
                let length = self.length;
                let ended = reader.for_each(&mut self.decoder, |record, frame, offset| {
                    let mut record = *record;
                    course.see(&mut record);
                    progress.at(record.number, offset, length);
                    wants_more = each(&record, frame)?;
                    Ok::<_, Error>(wants_more)
                })?;
                (ended.lost_packets, ended.fault)
            }
        };
        self.lost_elsewhere = self.lost_elsewhere.saturating_add(lost_packets.saturating_sub(course.lost));
        Ok((wants_more, fault))
    }

    /// Goes on with the next file, whose first packet has that number.
    fn next_file(&mut self, number: u64) -> Result<bool, Error> {
        let Some(file) = self.later.pop_front() else { return Ok(false) };
        let (name, from, length) = From::open(&file, self.threads)?;
        output::note(&format!("{name} begins with packet {number}"));
        (self.file_name, self.from, self.length) = (name, from, length);
        Ok(true)
    }

    /// Packets that the capture says it lost, without those that a record tells of.
    pub(super) fn lost_elsewhere(&self) -> u64 {
        self.lost_elsewhere
    }
}

/// Sorts the files of one capture by their first packets; a file without a packet is last.
fn in_order(files: &[PathBuf]) -> Result<VecDeque<PathBuf>, Error> {
    let mut timed = Vec::new();
    for file in files {
        if !can_be_read_again(file) {
            return Err(Error::new(format!("{} comes only once, beside other files", file.display()))
                .next("give files, or one pipe alone"));
        }
        let (name, source) = source(file)?;
        let first = reader(&name, source)?
            .next()
            .map_err(|error| unreadable(&name, &error))?
            .map(|record| record.timestamp_ns);
        timed.push((first.unwrap_or(u64::MAX), file.clone()));
    }
    timed.sort_by_key(|(first_ns, _)| *first_ns);
    Ok(timed.into_iter().map(|(_, file)| file).collect())
}

/// Bytes of a capture in a file; `None` of what is none or is compressed.
fn length(file: &Path) -> Option<u64> {
    let metadata = fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
    let mut first = [0; 4];
    File::open(file).ok()?.read_exact(&mut first).ok()?;
    (!first.starts_with(&GZIP) && first != ZSTD).then_some(metadata.len())
}

/// True if what `file` names is there a second time, which a pipe is not.
pub(super) fn can_be_read_again(file: &Path) -> bool {
    file != Path::new("-")
        && fs::metadata(file).map_or(true, |metadata| metadata.is_file() || metadata.is_dir())
}

/// Begins to read a capture.
fn reader(name: &str, source: Box<dyn Read + Send>) -> Result<Reader<ReadAhead>, Error> {
    let source = plain(source)
        .and_then(ReadAhead::new)
        .map_err(|error| Error::new(format!("failed to read {name}: {error}")))?;
    Reader::new(source).map_err(|error| unreadable(name, &error))
}

/// The arguments that name one capture.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct FileArg {
    /// A capture; `-` is standard input. Several files are the parts of one capture that was rotated, read in the order of their first packets.
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}
