//! The providers of machines that others own: the choice among them, `lab up` killed at each of its steps, and SSH on
//! two nodes that know nothing of the lab. What Multipass itself does wrong is in `traps.rs`.

mod bench;
mod choice;
mod killed;
mod ssh;
