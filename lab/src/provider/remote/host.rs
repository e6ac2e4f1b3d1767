//! What carries commands and files to a machine: the one thing that differs between machines of others.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::base::command::{Command, Output};
use crate::base::error::{Error, Result};

/// A carrier to one machine. Everything has a limit; nothing is retried.
pub trait RemoteHost: fmt::Debug + Send + Sync {
    /// Name of the machine for people: an instance's name, a destination of ssh.
    fn name(&self) -> String;

    /// Runs one line of shell as the user of the machine, without input.
    ///
    /// # Errors
    ///
    /// The carrier cannot be started, or does not end within `limit`. Its exit code is no error here: it says
    /// little about that of the line.
    fn call(&self, line: &str, limit: Duration) -> Result<Output>;

    /// Writes a file as that user.
    ///
    /// # Errors
    ///
    /// It cannot be written; that it arrived whole is not checked here.
    fn upload(&self, bytes: &[u8], path: &str, limit: Duration) -> Result<()>;

    /// Reads a file as that user, into the file `to`.
    ///
    /// # Errors
    ///
    /// It cannot be read; that it arrived whole is not checked here.
    fn download(&self, path: &str, to: &Path, limit: Duration) -> Result<()>;

    /// Why the carrier did not bring an answer, from what its program wrote.
    fn explain(&self, output: &Output) -> Error;

    /// The words that open a shell for a person, or run one line of it with the person's terminal.
    fn shell(&self, line: Option<&str>, terminal: bool) -> Command;
}
