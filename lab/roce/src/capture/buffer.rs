//! The bytes between a capture's source and its parser.

use std::io::{self, Read};
use std::mem;

/// First size of a buffer in bytes.
const FIRST_BYTES: usize = 256 * 1024;

/// Input of a [`Reader`](super::Reader): any `impl Read`, or a [`ReadAhead`](super::ReadAhead).
pub trait Source {
    /// Puts bytes behind the unread ones of `buffer`, of which `need` are wanted in all; gives how many came, 0 at the end.
    ///
    /// # Errors
    /// What the source says.
    fn refill(&mut self, buffer: &mut Buffer, need: usize) -> io::Result<usize>;
}

impl<R: Read> Source for R {
    fn refill(&mut self, buffer: &mut Buffer, need: usize) -> io::Result<usize> {
        let space = buffer.space(need);
        let length = self.read(space)?.min(space.len());
        buffer.end += length;
        Ok(length)
    }
}

/// Bytes that a source gave and the parser has not taken yet.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; FIRST_BYTES], start: 0, end: 0 }
    }

    /// Number of unread bytes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// The unread bytes.
    #[inline]
    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Position of the first unread byte, as [`Buffer::at`] counts.
    #[inline]
    pub(super) fn position(&self) -> usize {
        self.start
    }

    /// Bytes that were unread after the last refill, also when they are consumed.
    #[inline]
    pub(super) fn at(&self, position: usize, length: usize) -> &[u8] {
        self.bytes.get(position..).and_then(|rest| rest.get(..length)).unwrap_or_default()
    }

    /// Takes up to `length` bytes away; gives how many.
    #[inline]
    pub(super) fn consume(&mut self, length: usize) -> usize {
        let length = length.min(self.len());
        self.start += length;
        length
    }

    /// Free space behind the unread bytes, after making room for `need` in all.
    fn space(&mut self, need: usize) -> &mut [u8] {
        if self.start > 0 && self.start + need > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() == self.end {
            // Grow by what is really there, never by what a length field claims.
            self.bytes.resize((self.bytes.len() * 2).min(need), 0);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Hands over the storage with everything that was consumed in it; the unread bytes go on in `spare`.
    pub(super) fn hand_over(&mut self, mut spare: Vec<u8>) -> Vec<u8> {
        spare.clear();
        spare.extend_from_slice(self.unread());
        let end = spare.len();
        mem::replace(self, Self { bytes: spare, start: 0, end }).bytes
    }

    /// Goes on in `chunk`, where `length` bytes stand behind `headroom` free ones; gives the storage that is not needed any more.
    ///
    /// The unread bytes move into the headroom, and only where they do not fit are the new ones copied.
    pub(super) fn go_on_in(&mut self, mut chunk: Vec<u8>, headroom: usize, length: usize) -> Vec<u8> {
        let unread = self.len();
        let start = headroom.saturating_sub(unread);
        if unread <= headroom
            && let Some(space) = chunk.get_mut(start..headroom)
        {
            space.copy_from_slice(self.unread());
            *self = Self {
                bytes: mem::replace(&mut chunk, mem::take(&mut self.bytes)),
                start,
                end: headroom + length,
            };
        } else {
            self.bytes.truncate(self.end);
            self.bytes.extend_from_slice(
                chunk.get(headroom..).and_then(|new| new.get(..length)).unwrap_or_default(),
            );
            self.end = self.bytes.len();
        }
        chunk
    }
}
