//! The trace: a capture as text that a person reviews.
//!
//! In: a [`Report`](crate::Report). Out: text. The same meaning gives the same bytes on every machine and in every run: what is random is renamed, never
//! erased, and keeps its relations.
//!
//! The legend stands at [`Report::trace`](crate::Report::trace).

mod cm;
mod labels;
mod ladder;
mod render;
mod summary;

pub(crate) use ladder::draw;
#[cfg(feature = "cli")]
pub(crate) use render::immediate_words;
pub(crate) use render::{packet_names, render, render_with};
pub(crate) use summary::summary;
