//! The lab itself, on real machines: labs by hand, how everything ends, frozen state, red verdicts, results, anyone's programs.
//!
//! Needs what `cargo xtask doctor` lists; `cargo xtask ci` runs it as
//! `cargo test -p xtask --test lab -- --ignored --test-threads 1`. Labs have names of this process, and
//! caches that are damaged on purpose are linked copies of the user's.

#![forbid(unsafe_code)]

mod agent;
mod commands;
mod damage;
mod ends;
mod explore;
mod frozen;
mod guest_tests;
mod nodes;
mod process;
mod resident;
mod results;
mod run;
mod smoke;
mod step;
mod still;
mod support;
mod verdicts;
