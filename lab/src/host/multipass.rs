//! The Multipass that this computer has.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::base::command::Command;

/// Longest time that the client may take to say its version: nobody waits for a daemon to find out that there is none.
const VERSION: Duration = Duration::from_secs(3);

/// Version of Multipass here, where its client names a daemon.
pub fn version() -> Option<String> {
    version_of(Path::new("multipass"))
}

/// The same of the client `program`.
pub fn version_of(program: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Versions {
        // Without a daemon the client's own version stands alone, and the exit code is 0 all the same.
        multipassd: Option<String>,
    }
    let output = Command::new([program]).args(["version", "--format", "json"]).output(VERSION).ok()?;
    serde_json::from_str::<Versions>(&output.stdout).ok()?.multipassd
}
