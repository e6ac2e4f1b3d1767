//! A capture of RoCEv2, and a run's verdict on it, as one HTML page.
//!
//! In: analysed captures with their frames' bytes ([`Capture`]) and what is known of the run ([`Run`]), all as values. Out: one string that needs nothing
//! else, no network and no file. It never does I/O and has no clock. Whatever stands in a capture or in a program's output is text in the page, never markup.
//!
//! The page works without JavaScript: verdict, findings, differences and logs are plain HTML, and the trace is there as text.
//!
//! ```no_run
//! use roce_page::{Collector, Page};
//!
//! let capture = std::fs::read("write_read.pcapng")?;
//! let mut reader = roce::capture::Reader::new(&capture[..])?;
//! let (mut analysis, mut collector) = (roce::Analysis::new(roce::Names::new()), Collector::new());
//! while let Some(record) = reader.next()? {
//!     let frame = record.frame();
//!     collector.push(&record, &frame);
//!     analysis.push_frame(&record, &frame);
//! }
//! let capture = collector.finish("write_read.pcapng", analysis.finish());
//! let html = Page::new("write_read", &capture).to_html();
//! assert!(html.starts_with("<!DOCTYPE html>") && html.contains("RC RDMA WRITE Only"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod answers;
mod article;
mod calls;
mod compare;
mod data;
mod fields;
mod frames;
mod grid;
mod html;
mod index;
mod memory;
mod page;
mod run;
mod table;
mod text;

pub use article::{Article, ArticlePart};
pub use calls::Calls;
pub use compare::Traces;
pub use frames::{Capture, Collector};
pub use grid::{Grid, GridColumn, GridNote};
pub use index::{Index, IndexRow, PacketTable};
pub use page::Page;
pub use run::{Cause, Counter, Run, RunState, RunText};
pub use table::{TableCell, TableRow};
