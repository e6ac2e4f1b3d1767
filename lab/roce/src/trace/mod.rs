//! The trace: a capture as text that a person reviews.
//!
//! In: a [`Report`](crate::Report). Out: text. The same meaning gives the same bytes on every machine and in every run: what is random is renamed, never
//! erased, and keeps its relations.
//!
//! The legend stands at [`Report::trace`](crate::Report::trace).

mod cm;
mod datagrams;
mod labels;
mod ladder;
mod render;
mod running;
mod summary;

pub(crate) use ladder::draw;
pub(crate) use render::{immediate_words, packet_names, render, render_with};
pub use running::{Known, MessageNames, RunningNames};
pub(crate) use summary::summary;
