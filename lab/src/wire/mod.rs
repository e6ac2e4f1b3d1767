//! The wire between the lab's own machines: a switch in user space that records it and acts on it.
//!
//! - [`switch`]: the switch; [`captured`]: how much it recorded; [`capture`]: that, decoded
//! - [`whole`]: whether a capture lacks nothing, by what its own packets say of each other
//! - [`tracker`]: what each packet is to its connection; [`engine`]: the decision on each frame
//! - [`ethernet`]: their header; [`alter`]: frames that arrive changed; [`held`]: frames that leave later; [`gate`]: those that wait for somebody
//! - [`table`]: who is behind which port; [`limits`]: ports with a rate and a queue; [`plug`]: a port without a machine

pub mod alter;
pub mod capture;
pub mod captured;
pub mod engine;
pub mod ethernet;
pub mod gate;
pub mod held;
pub mod limits;
pub mod plug;
pub mod switch;
pub mod table;
pub mod tracker;
pub mod whole;
