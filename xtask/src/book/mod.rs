//! `cargo xtask book`: the pages of `docs/` as a book, and what they show held against what the commands do today.
//!
//! 1. Each block of code in the repository's Markdown says where its text is from ([`blocks`]); outputs that a command makes
//!    without machines are made anew and compared, or written; with `--machines` those of machines are compared ([`likeness`]).
//! 2. Each call of `cargo xtask`, `rdma-lab` and `roce`, in blocks and in sentences, is one that the program takes.
//! 3. mdBook builds the book into `target/book`; pages of runs that it embeds are made there, from `fixtures/`.

mod blocks;
mod build;
mod calls;
mod command;
mod likeness;
mod pages;
mod session;

pub(crate) use build::build;
pub(crate) use command::{Args, run};
pub(crate) use session::ROCE;
