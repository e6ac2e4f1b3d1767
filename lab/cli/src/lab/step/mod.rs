//! `step`: each RoCE packet waits in the lab's switch until a key decides on it.
//!
//! - [`command`]: the command; [`lines`]: its form for pipes, keys in and lines out; [`screen`]: its form for a terminal
//! - [`stepper`]: the packets that wait, and decisions on them; [`key`]: what keys mean
//! - [`nodes`]: queue pairs and counters of both machines

pub(crate) mod command;
mod key;
mod lines;
mod nodes;
mod screen;
mod stepper;
