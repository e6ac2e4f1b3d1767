//! `cargo xtask lesson`: questions about RDMA, each answered by a run on the lab's machines.
//!
//! A lesson is one file in [`topics`]: its question, the runs (each a command of `cargo xtask run` that anybody can type), the
//! figures that are read off those runs, claims that the run has to bear out, and the answer. A lesson that is not true is run
//! once more, and is red if it is not true again. To add one:
//!
//! 1. write `topics/NAME.rs` beside the others, with a `pub(crate) const LESSON`
//! 2. name it in the list in `topics/mod.rs`
//! 3. `cargo xtask lesson NAME --write` runs it and writes its chapter, docs/lessons/NAME.md; docs/SUMMARY.md lists that
//!
//! - [`vocabulary`]: the words that a lesson is made of
//! - [`seen`]: its runs as they were seen, and the questions that claims ask of them
//! - [`figures`] and [`plot`]: tables and plots
//! - [`runner`]: runs a lesson and rules on its claims
//! - [`page`] and [`chapter`]: the result for a browser, and for the book
//! - [`command`]: the command line

mod chapter;
mod command;
mod figures;
mod page;
mod plot;
mod runner;
mod seen;
mod topics;
mod vocabulary;

pub(crate) use command::{Args, run};
