//! Both instances given back: stopped, ended by force where the guest hangs, left where a stop would do harm.

use std::time::Duration;

use crate::base::error::Result;
use crate::base::progress::say;
use crate::provider::multipass::client::{self, Instance, MultipassState};
use crate::provider::multipass::failure;
use crate::provider::multipass::instance::GUEST;
use crate::provider::multipass::provider::name;
use crate::provider::remote::host::RemoteHost as _;
use crate::provider::remote::machines::both;

/// How long a guest that has just answered may take to stop.
const STOP: Duration = Duration::from_secs(120);

/// How long the end by force may take. Observed: 0.7 s; but a guest that began to hang in a plain stop keeps the daemon
/// busy for 300 s.
const FORCE: Duration = Duration::from_secs(330);

/// Stops both instances where they run; says what goes on running, and why.
///
/// # Errors
///
/// As [`client::state`]; one does not end.
pub fn stop() -> Result<()> {
    both(|role| stop_one(&name(role))).map(drop)
}

fn stop_one(name: &str) -> Result<()> {
    let Some(state) = client::state(name)? else { return Ok(()) };
    match state {
        MultipassState::Stopped | MultipassState::Suspended | MultipassState::Deleted => Ok(()),
        MultipassState::Running => end(name),
        MultipassState::Suspending | MultipassState::DelayedShutdown => {
            say(&format!("{name} stops by itself"));
            Ok(())
        }
        MultipassState::Unknown | MultipassState::Starting | MultipassState::Restarting => {
            say(&format!(
                "{name} goes on running: it boots, and a stop would block Multipass's daemon until it has; then: multipass stop {name}"
            ));
            Ok(())
        }
    }
}

/// Stops an instance that runs. Only a guest that answers is asked to: one that hangs would block the daemon.
fn end(name: &str) -> Result<()> {
    if answers(name)
        && let Ok(output) = client::call(&["stop", name], STOP)
        && output.code == Some(0)
    {
        return Ok(());
    }
    say(&format!("{name} runs, and its guest does not answer: it is ended by multipass stop --force {name}"));
    client::demand(&["stop", "--force", name], FORCE).map(drop)
}

/// Whether its guest answers, if only by refusing the question; one that is merely busy is asked again, since the power of
/// the others is cut.
fn answers(name: &str) -> bool {
    let host = Instance { name: name.to_owned() };
    host.call("true", GUEST).is_ok_and(|output| !failure::is_silence(&output))
}
