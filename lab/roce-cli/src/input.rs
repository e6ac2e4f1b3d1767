//! A capture as the user names it: a file, the rotated files of one capture, or standard input; plain or compressed.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use crate::progress::Progress;
use crate::{Common, Error, output};
use roce::capture::{ReadAhead, Reader, Record};
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
    reader: Reader<ReadAhead>,
    /// Further files of the same capture.
    later: VecDeque<PathBuf>,
    decoder: Decoder,
    lost_elsewhere: u64,
    /// Bytes of the file, where it is one.
    length: Option<u64>,
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
        let (name, source) = source(&first)?;
        let mut input = Self::new(name, source, common)?;
        input.length = length(&first);
        if !later.is_empty() {
            input.name = format!("{} and {} more", input.name, later.len());
        }
        input.later = later;
        Ok(input)
    }

    /// Reads a capture from `source`.
    pub(super) fn new(name: String, source: Box<dyn Read + Send>, common: &Common) -> Result<Self, Error> {
        let reader = reader(&name, source)?;
        let decoder = common.decoder();
        Ok(Self {
            file_name: name.clone(),
            name,
            reader,
            later: VecDeque::new(),
            decoder,
            lost_elsewhere: 0,
            length: None,
        })
    }

    /// Gives each record and its frame to `each` until that is not true; gives why the capture ended before its end. Numbers go on from file to file.
    pub(super) fn for_each(
        &mut self,
        mut each: impl FnMut(&Record<'_>, &Frame<'_>) -> Result<bool, Error>,
    ) -> Result<Option<Error>, Error> {
        let (mut earlier, mut lost) = (0, 0u64);
        let (mut number, mut last_ns) = (0, 0);
        let mut is_apart = false;
        let mut progress = Progress::new();
        loop {
            progress.at(number, self.reader.offset(), self.length);
            match self.reader.next() {
                Ok(Some(mut record)) => {
                    record.number += earlier;
                    if number == earlier && record.timestamp_ns < last_ns {
                        is_apart = true;
                    }
                    (number, last_ns) = (record.number, record.timestamp_ns);
                    lost = lost.saturating_add(record.lost_before);
                    let frame = self.decoder.decode(record.link_type, record.data);
                    if !each(&record, &frame)? {
                        return Ok(None);
                    }
                }
                Ok(None) => {
                    self.end_file(lost);
                    (earlier, lost) = (number, 0);
                    match self.next_file(number + 1) {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(error) => return Ok(Some(error)),
                    }
                }
                Err(error) => {
                    self.end_file(lost);
                    return Ok(Some(Error::read(&self.file_name, &error)));
                }
            }
        }
        drop(progress);
        if is_apart {
            output::note(
                "the files overlap in time, so they are not parts of one capture: merge them first, as with `mergecap`",
            );
        }
        Ok(None)
    }

    /// Takes note of what the file that was read says it lost, of which its records have told `lost`.
    fn end_file(&mut self, lost: u64) {
        let elsewhere = self.reader.lost_packets().saturating_sub(lost);
        self.lost_elsewhere = self.lost_elsewhere.saturating_add(elsewhere);
    }

    /// Goes on with the next file, whose first packet has that number.
    fn next_file(&mut self, number: u64) -> Result<bool, Error> {
        let Some(file) = self.later.pop_front() else { return Ok(false) };
        let (name, source) = source(&file)?;
        self.reader = reader(&name, source)?;
        output::note(&format!("{name} begins with packet {number}"));
        (self.file_name, self.length) = (name, length(&file));
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
            .map_err(|error| Error::read(&name, &error))?
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

/// Whether what `file` names is there a second time, which a pipe is not.
pub(super) fn can_be_read_again(file: &Path) -> bool {
    file != Path::new("-")
        && fs::metadata(file).map_or(true, |metadata| metadata.is_file() || metadata.is_dir())
}

/// Begins to read a capture.
fn reader(name: &str, source: Box<dyn Read + Send>) -> Result<Reader<ReadAhead>, Error> {
    let source = plain(source)
        .and_then(ReadAhead::new)
        .map_err(|error| Error::new(format!("failed to read {name}: {error}")))?;
    Reader::new(source).map_err(|error| Error::read(name, &error))
}

/// The arguments that name one capture.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct FileArg {
    /// A capture; `-` is standard input. Several files are the parts of one capture that was rotated, read in the order of their first packets.
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}
