//! `roce export`: packets and messages as Parquet, for DuckDB, pandas and the like.

use std::path::PathBuf;
use std::process::ExitCode;

use roce::Names;

use crate::input::FileArg;
use crate::{Common, Error};

/// The arguments of `export`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: FileArg,
    #[command(flatten)]
    common: Common,
    /// File to write the packets to, a row each.
    #[arg(long, value_name = "PARQUET", required_unless_present = "messages")]
    packets: Option<PathBuf>,
    /// File to write the messages to, a row each.
    #[arg(long, value_name = "PARQUET")]
    messages: Option<PathBuf>,
}

impl Args {
    /// Writes the files, in memory that does not grow with the capture.
    ///
    /// # Errors
    /// The capture cannot be read, or cannot be read to its end; what was read before that is written. A file cannot be written.
    #[cfg(feature = "parquet")]
    pub fn run(&self, defaults: Names) -> Result<ExitCode, Error> {
        crate::rows::write(
            &self.file,
            &self.common,
            self.packets.as_deref(),
            self.messages.as_deref(),
            defaults,
        )
    }

    /// Writes nothing.
    ///
    /// # Errors
    /// This `roce` was built without Parquet.
    #[cfg(not(feature = "parquet"))]
    pub fn run(&self, _: Names) -> Result<ExitCode, Error> {
        Err(Error::new("this `roce` was built without Parquet").next(
            "install it with the feature `parquet`, or take `roce trace --json` and `roce messages --json`",
        ))
    }
}
