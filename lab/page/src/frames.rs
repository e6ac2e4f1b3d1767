//! The frames of a capture as a page keeps them: their first bytes, times, and fields.
//!
//! Bytes are bounded for all frames together: headers stay, payloads are cut first.

use std::collections::HashMap;

use roce::Report;
use roce::capture::Record;
use roce::wire::Frame;

use crate::fields::{self, Layout};

/// Bytes of all frames together.
const BUDGET: usize = 4 << 20;

/// Bytes of one frame that are kept whatever the number of frames.
const LEAST: usize = 72;

/// Bytes of one frame that are kept at most.
const MOST: usize = 9_216;

/// A frame.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    pub(crate) timestamp_ns: u64,
    /// Its first bytes.
    pub(crate) bytes: Vec<u8>,
    /// Bytes that the capture holds, and that were on the wire.
    pub(crate) captured: usize,
    pub(crate) original: u32,
    /// Bytes up to the payload.
    headers: usize,
    /// Index of its layout, and the values that the layout and the bytes do not tell.
    pub(crate) layout: usize,
    pub(crate) values: Vec<String>,
}

/// Collects the frames of a capture, beside its analysis.
#[derive(Debug, Default)]
pub struct Collector {
    frames: Vec<Kept>,
    layouts: Vec<Layout>,
    by_layout: HashMap<Layout, usize>,
    bytes: usize,
    first_ns: Option<u64>,
}

impl Collector {
    /// Begins a capture.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a record in; one that is no packet of RoCE is not kept.
    pub fn push(&mut self, record: &Record<'_>, frame: &Frame<'_>) {
        self.first_ns.get_or_insert(record.timestamp_ns);
        let Some(packet) = frame.packet() else { return };
        let fields = fields::of(record, packet);
        let (layout, values) = fields::split(fields, record.data);
        let next = self.layouts.len();
        let layouts = &mut self.layouts;
        let index = *self.by_layout.entry(layout).or_insert_with_key(|layout| {
            layouts.push(layout.clone());
            next
        });
        let headers = packet.payload_offset.min(record.data.len());
        let length = record.data.len().min(MOST);
        let bytes = record.data.get(..length).unwrap_or_default().to_vec();
        self.bytes += length;
        self.frames.push(Kept {
            number: record.number,
            timestamp_ns: record.timestamp_ns,
            bytes,
            captured: record.data.len(),
            original: record.original_length_bytes,
            headers,
            layout: index,
            values,
        });
        if self.bytes > 2 * BUDGET {
            self.shorten();
        }
    }

    /// Cuts payloads until all frames together are within the budget.
    fn shorten(&mut self) {
        let mut cap = MOST;
        while self.bytes > BUDGET && cap > LEAST {
            cap = (cap / 2).max(LEAST);
            for frame in &mut self.frames {
                frame.bytes.truncate(cap.max(frame.headers.min(512)));
            }
            self.bytes = self.frames.iter().map(|frame| frame.bytes.len()).sum();
        }
    }

    /// Ends the capture that is called `name`, with the report of its analysis.
    pub fn finish(mut self, name: impl Into<String>, report: Report) -> Capture {
        self.shorten();
        Capture {
            name: name.into(),
            report,
            remarks: Vec::new(),
            frames: self.frames,
            layouts: self.layouts,
            first_ns: self.first_ns.unwrap_or(0),
        }
    }
}

/// An analysed capture with its frames.
#[derive(Debug)]
pub struct Capture {
    /// Its name: a file's.
    pub name: String,
    /// Its report.
    pub report: Report,
    /// Remarks on it, each a sentence: that it ends in the middle of a packet, that it is a part.
    pub remarks: Vec<String>,
    pub(crate) frames: Vec<Kept>,
    pub(crate) layouts: Vec<Layout>,
    pub(crate) first_ns: u64,
}

impl Capture {
    /// A run's capture that is not there.
    pub fn none() -> Self {
        Collector::new().finish("", roce::Analysis::new(roce::Names::new()).finish())
    }

    /// Adds a remark.
    #[must_use]
    pub fn remark(mut self, remark: impl Into<String>) -> Self {
        self.remarks.push(remark.into());
        self
    }
}
