//! Ground of everything else: errors, commands, the cache and its records.
//!
//! - [`error`]: what went wrong, whose it is, what to do next; [`progress`]: what is happening; [`plain`]: text
//!   made fit for a terminal; [`terminal`]: how wide that is; [`invocation`]: how the lab was called
//! - [`command`]: local commands with a limit; [`foreground`]: those that have this one's terminal; [`program`]: programs that cargo has built
//! - [`role`]: server and client; [`names`]: the nearest valid name
//! - [`cache`]: where everything that is made once is kept; [`kept`]: directories of it; [`seal`]: files of it that are
//!   checked before they are used; [`disk`]: whether there is room
//! - [`selection`]: the machines and means that a command is about; [`own_parts`]: the user's own parts of them; [`policy`]: the means of this process

pub mod cache;
pub mod command;
pub mod disk;
pub mod error;
pub mod foreground;
pub mod invocation;
pub mod kept;
pub mod names;
pub mod own_parts;
pub mod plain;
pub mod policy;
pub mod program;
pub mod progress;
pub mod role;
pub mod seal;
pub mod selection;
pub mod terminal;
