//! The host side of the lab.
