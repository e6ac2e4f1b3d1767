//! The lab's wire through the commands, on a guard with its switch and no machines: what a machine would send, a test sends.
//!
//! - [`step`]: packets that wait until a key decides on them
//! - [`live`]: packets in Wireshark's pipe
//! - [`terminal`]: the same on a terminal
//! - [`stage`]: the guard, the lab's record, the machines' ends of the wire

mod live;
mod stage;
mod step;
mod terminal;
