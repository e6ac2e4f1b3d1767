//! Packets of one chunk of a capture, apart from its reader, so that they can be worked on while the next chunk is cut into packets.

use std::io;
use std::mem;
use std::sync::Arc;

use crate::capture::buffer::{Buffer, Source};
use crate::capture::reader::FoundRecord;
use crate::capture::{ReadError, Reader, Record};
use crate::wire::LinkType;

/// Bytes that were read: where they begin in their storage, and how many there are. Free bytes before them have room for the beginning of a packet.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) storage: Vec<u8>,
    pub(super) start: usize,
    pub(super) length: usize,
}

/// A source that is handed its chunks from outside.
#[derive(Debug, Default)]
pub(super) struct Handed {
    chunk: Option<Chunk>,
    spare: Vec<u8>,
}

impl Source for Handed {
    fn refill(&mut self, buffer: &mut Buffer, _need: usize) -> io::Result<usize> {
        let Some(Chunk { storage, start, length }) = self.chunk.take() else { return Ok(0) };
        self.spare = buffer.go_on_in(storage, start, length);
        Ok(length)
    }
}

/// A packet, by its places in the batch.
#[derive(Clone, Copy, Debug)]
struct Cut {
    timestamp_ns: u64,
    interface: u32,
    /// Index of the interface's name.
    name: Option<u32>,
    link_type: LinkType,
    data_start: usize,
    data_length: usize,
    original_length_bytes: u32,
    /// End of the comment; it begins where the one before it ends.
    comment_end: Option<usize>,
    lost_before: u64,
    /// Offset in the capture of what comes behind it.
    offset: u64,
}

/// Packets whose bytes lie in one piece of storage.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Number of the packet before the first.
    before: u64,
    cuts: Vec<Cut>,
    names: Vec<Arc<str>>,
    comments: String,
}

impl Batch {
    /// The storage, which nobody needs any more.
    pub(super) fn take_storage(&mut self) -> Vec<u8> {
        mem::take(&mut self.bytes)
    }

    /// How many packets there are.
    pub(super) fn len(&self) -> usize {
        self.cuts.len()
    }

    /// The packets in order, each with the offset in the capture of what comes behind it.
    pub(super) fn records(&self) -> impl Iterator<Item = (Record<'_>, u64)> {
        let mut comment_start = 0;
        self.cuts.iter().zip(self.before + 1..).map(move |(cut, number)| {
            let comment = cut.comment_end.and_then(|end| {
                let start = mem::replace(&mut comment_start, end);
                self.comments.get(start..end)
            });
            let record = Record {
                number,
                timestamp_ns: cut.timestamp_ns,
                interface: cut.interface,
                interface_name: cut.name.and_then(|name| self.names.get(name as usize)).map(|name| &**name),
                link_type: cut.link_type,
                data: self
                    .bytes
                    .get(cut.data_start..)
                    .and_then(|rest| rest.get(..cut.data_length))
                    .unwrap_or_default(),
                original_length_bytes: cut.original_length_bytes,
                comment,
                lost_before: cut.lost_before,
            };
            (record, cut.offset)
        })
    }

    fn add(&mut self, found: &FoundRecord, reader: &Reader<Handed>) {
        let interface = reader.interfaces.get(found.interface as usize);
        let name = interface.and_then(|interface| interface.name.as_ref()).map(|name| {
            if !self.names.last().is_some_and(|last| Arc::ptr_eq(last, name)) {
                self.names.push(Arc::clone(name));
            }
            (self.names.len() - 1) as u32
        });
        if found.has_comment {
            self.comments.push_str(&reader.comment);
        }
        self.cuts.push(Cut {
            timestamp_ns: found.timestamp_ns,
            interface: found.interface,
            name,
            link_type: interface.map_or(LinkType(-1), |interface| interface.link_type),
            data_start: found.data_start,
            data_length: found.data_length,
            original_length_bytes: found.original_length_bytes,
            comment_end: found.has_comment.then_some(self.comments.len()),
            lost_before: found.lost_before,
            offset: reader.offset(),
        });
    }
}

impl Reader<Handed> {
    /// Opens a capture that begins with `chunk`; `is_last` says that there is no other.
    pub(super) fn of_chunk(chunk: Chunk) -> Result<Self, ReadError> {
        Self::new(Handed { chunk: Some(chunk), spare: Vec::new() })
    }

    /// Takes a chunk in, which may be empty, and cuts everything into packets of which all is there. At the last chunk nothing may be left.
    ///
    /// # Errors
    /// As of [`next`](Reader::next), behind the packets that are in `batch`.
    pub(super) fn cut(&mut self, chunk: Chunk, is_last: bool, batch: &mut Batch) -> Result<(), ReadError> {
        batch.cuts.clear();
        batch.names.clear();
        batch.comments.clear();
        batch.before = self.number;
        if chunk.length > 0 {
            self.source.chunk = Some(chunk);
            let _ = self.source.refill(&mut self.buffer, 0);
        }
        self.at_end = is_last;
        let end = self.cut_buffer(is_last, batch);
        let spare = mem::take(&mut self.source.spare);
        // A packet that grows over many chunks is not copied for each.
        batch.bytes = if batch.cuts.is_empty() { spare } else { self.buffer.hand_over(spare) };
        end
    }

    fn cut_buffer(&mut self, is_last: bool, batch: &mut Batch) -> Result<(), ReadError> {
        while let Some(found) = self.next_of_buffer()? {
            if let Some(found) = found {
                self.number += 1;
                batch.add(&found, self);
            }
        }
        // What is left can only be cut, which the reader says.
        if is_last { self.next().map(|_| ()) } else { Ok(()) }
    }
}
