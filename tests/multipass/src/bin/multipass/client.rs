//! A command's client: its requests to the daemon, its exit codes, and how it tells a failure.

use std::io::Write as _;

use multipass_stand_in::instance::StandInInstance;
use multipass_stand_in::place::{Misbehaviour, StandInDirectory};
use multipass_stand_in::protocol::{ClientRequest, Notice};

use crate::daemon::ask;

/// Done.
pub(crate) const OK: u8 = 0;
/// The arguments are wrong.
pub(crate) const USAGE: u8 = 1;
/// Failed.
pub(crate) const FAILED: u8 = 2;
/// The client's own limit has passed.
pub(crate) const TIMED_OUT: u8 = 5;

/// A client of the daemon, which tells its user what failed.
pub(crate) struct CommandClient<'a> {
    pub(crate) place: &'a StandInDirectory,
}

impl CommandClient<'_> {
    /// Asks for something that has no output.
    pub(crate) fn plain(&self, command: &str, request: &ClientRequest) -> u8 {
        match ask(self.place, request).last() {
            Notice::Failed(why) => failed(command, &why),
            _ => OK,
        }
    }

    /// Asks for instances; `None` after a failure that was told.
    pub(crate) fn instances(&self, command: &str, request: &ClientRequest) -> Option<Vec<StandInInstance>> {
        match ask(self.place, request).last() {
            Notice::Instances(instances) => Some(instances),
            Notice::Failed(why) => {
                failed(command, &why);
                None
            }
            _ => None,
        }
    }
}

/// Writes a line to standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Tells a failure of the daemon's.
pub(crate) fn failed(command: &str, why: &str) -> u8 {
    if StandInDirectory::from_env().is_some_and(|place| place.switch(Misbehaviour::Noise).is_some()) {
        let address = "https://downloads.example/blueprints/main.zip";
        complain(&format!(
            "{0} [error] [url downloader] Failed to get {address}: Error opening {address}\n\
             {0} [error] [blueprint provider] Error fetching Blueprints: failed to download from '{address}': \
             Error opening {address}",
            stamp()
        ));
    }
    complain(&format!("{command} failed: {why}"));
    FAILED
}

/// The time, as Multipass's log has it.
fn stamp() -> String {
    let now = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
    format!("[{}]", now.trim_end_matches('Z'))
}

/// An exception that nothing of Multipass's has caught.
pub(crate) fn unhandled(what: &str) -> String {
    format!("{} [error] [client] Caught an unhandled exception: {what}", stamp())
}
