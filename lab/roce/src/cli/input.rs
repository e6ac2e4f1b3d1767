//! A capture as the user names it: a file or standard input, plain or compressed.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use crate::capture::{ReadAhead, Reader, Record};
use crate::cli::{Common, Error};
use crate::wire::{Decoder, Frame};

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Shortest gzip header; less is no file of any kind.
const GZIP_HEADER: usize = 10;
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// An opened capture and what to call it.
pub(super) struct Input {
    pub(super) name: String,
    reader: Reader<ReadAhead>,
    decoder: Decoder,
    lost_elsewhere: u64,
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
fn plain(mut source: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
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
    pub(super) fn open(file: &Path, common: &Common) -> Result<Self, Error> {
        let (name, source) = source(file)?;
        Self::new(name, source, common)
    }

    /// Reads a capture from `source`.
    pub(super) fn new(name: String, source: Box<dyn Read + Send>, common: &Common) -> Result<Self, Error> {
        let reader = reader(&name, source)?;
        Ok(Self { name, reader, decoder: common.decoder(), lost_elsewhere: 0 })
    }

    /// Gives each record and its frame to `each` until that is not true; gives why the capture ended before its end.
    pub(super) fn for_each(
        &mut self,
        mut each: impl FnMut(&Record<'_>, &Frame<'_>) -> Result<bool, Error>,
    ) -> Result<Option<Error>, Error> {
        let mut lost = 0u64;
        loop {
            match self.reader.next() {
                Ok(Some(record)) => {
                    lost = lost.saturating_add(record.lost_before);
                    let frame = self.decoder.decode(record.link_type, record.data);
                    if !each(&record, &frame)? {
                        return Ok(None);
                    }
                }
                Ok(None) => {
                    self.lost_elsewhere = self.reader.lost_packets().saturating_sub(lost);
                    return Ok(None);
                }
                Err(error) => return Ok(Some(Error::read(&self.name, &error))),
            }
        }
    }

    /// Packets that the capture says it lost, without those that a record tells of.
    pub(super) fn lost_elsewhere(&self) -> u64 {
        self.lost_elsewhere
    }
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
    /// A capture; `-` is standard input.
    pub(super) file: PathBuf,
}
