//! One catalogue on many guests, and what each does otherwise: by meaning, not by bytes.
//!
//! - [`facts`]: what of a run is compared
//! - [`departure`]: in what a run departs from that of another guest, and on what ground
//! - [`table`]: all of them, scenario by guest; [`text`] and [`sheet`] show it

pub mod departure;
pub mod facts;
pub mod sheet;
pub mod table;
pub mod text;
