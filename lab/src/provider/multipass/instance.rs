//! From any state in which an instance may be to one that runs: what is mended, how, and what is not.
//!
//! Nothing of the user's is lost on the way: an instance is recovered and started, never deleted. `purge` alone,
//! which takes every deleted instance of the user, is never called.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::cache::Cache;
use crate::base::command::Output;
use crate::base::error::{Error, Result};
use crate::base::progress::say;
use crate::provider::multipass::client::{self, Instance, MultipassState};
use crate::provider::multipass::failure;
use crate::provider::multipass::launch::{self, BEYOND, Begun};
pub use crate::provider::multipass::shape::Shape;
use crate::provider::remote::host::RemoteHost as _;

/// How long a short command may take.
const SHORT: Duration = Duration::from_secs(60);

/// How long a guest may take to tell of itself; Multipass itself gives up connecting to it after 5 s.
pub(super) const GUEST: Duration = Duration::from_secs(30);

/// How long an instance may stay Unknown after Multipass has said that it gave up: a moment, since its client's clock
/// and its own are two.
const GIVEN_UP: Duration = Duration::from_secs(15);

/// How often a guest that runs is asked for an address that it has not yet.
const ASKED: usize = 5;

/// How often an instance under way is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Facts that a guest tells of itself: the address by which Multipass reaches it before its others, and its release.
const TELL: &str = "set -- $SSH_CONNECTION; for address in $3 $(hostname -I 2>/dev/null); do echo address=$address; done; \
                    . /etc/os-release; echo \"release=$PRETTY_NAME\"; exit 0";

/// Step that makes an instance ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Use,
    Launch,
    Start,
    Recover,
    /// End it, so that it can be started.
    Stop,
    Wait,
}

/// Step that follows from a state; `unknown_for` is how long that has been Unknown.
fn next(state: Option<MultipassState>, unknown_for: Duration, patience: Duration) -> Next {
    match state {
        None => Next::Launch,
        Some(MultipassState::Running) => Next::Use,
        Some(MultipassState::Stopped | MultipassState::Suspended) => Next::Start,
        Some(MultipassState::Deleted) => Next::Recover,
        // The first boot is Unknown too, most of the time.
        Some(MultipassState::Unknown) if unknown_for >= patience => Next::Stop,
        Some(
            MultipassState::Unknown
            | MultipassState::Starting
            | MultipassState::Restarting
            | MultipassState::DelayedShutdown
            | MultipassState::Suspending,
        ) => Next::Wait,
    }
}

/// Facts that a guest told of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct GuestTold {
    address: IpAddr,
    /// As in "Ubuntu 24.04.3 LTS".
    release: String,
}

/// Brings the instance `name` to run, whatever its state; gives its address.
///
/// # Errors
///
/// It does not come up within the shape's limit or its guest does not answer; or it is of another release than the
/// shape's.
pub fn ensure(cache: &Cache, name: &str, shape: &Shape) -> Result<IpAddr> {
    let limit = Duration::from_secs(shape.launch_limit_s);
    let mut patience = launch::patience(cache, name, limit)?;
    // A launch that is given up, a wait until that is believed, a stop and a start.
    let total = limit * 2 + patience + SHORT;
    let started = Instant::now();
    let mut unknown_since = None;
    let mut done = Vec::new();
    let mut asked = 1;
    loop {
        let state = client::state(name)?;
        if state == Some(MultipassState::Unknown) && unknown_since.is_none() {
            unknown_since = Some(Instant::now());
            if !patience.is_zero() {
                let seconds = patience.as_secs();
                say(&format!(
                    "{name} is Unknown to Multipass, as a first boot is: waited for, up to {seconds} s"
                ));
            }
        } else if state != Some(MultipassState::Unknown) {
            unknown_since = None;
        }
        let unknown_for = unknown_since.map_or(Duration::ZERO, |since| since.elapsed());
        let next = next(state, unknown_for, patience);
        if next == Next::Use {
            Begun::forget(cache, name);
            match ask(name)? {
                Some(told) => {
                    check_release(name, &told.release, shape)?;
                    return Ok(told.address);
                }
                None if asked >= ASKED => {
                    return Err(Error::boot(format!("{name} runs, and its guest has no address"))
                        .next(format!("look at it: multipass exec -n {name} -- ip address")));
                }
                None => asked += 1,
            }
        } else if next != Next::Wait && done.iter().filter(|earlier| **earlier == next).count() >= 2 {
            // Each may be needed twice (a launch that another process's `delete --purge` ended exits with 0), and a
            // third time helps nobody.
            return Err(Error::boot(format!("{name} does not come up: tried twice to {}", verb(next)))
                .next(format!("look at it: {}\nor begin anew, which loses what is on it: multipass delete --purge {name}", look_at(name))));
        }
        if started.elapsed() > total {
            return Err(Error::timeout(format_args!("{name} runs"), total).next(format!(
                "look at it: {}\na slow computer needs more: --launch-limit SECONDS",
                look_at(name)
            )));
        }
        if matches!(next, Next::Wait | Next::Use) {
            thread::sleep(LOOK);
            continue;
        }
        let is_given_up = act(cache, name, next, shape, limit)?;
        patience = if is_given_up { GIVEN_UP } else { launch::patience(cache, name, limit)? };
        done.push(next);
        unknown_since = None;
    }
}

/// The command that looks at an instance and cannot block the daemon.
fn look_at(name: &str) -> String {
    format!("multipass info --no-runtime-information {name}")
}

fn verb(next: Next) -> &'static str {
    match next {
        Next::Launch => "launch",
        Next::Start => "start",
        Next::Recover => "recover",
        Next::Stop => "stop",
        Next::Use | Next::Wait => "use",
    }
}

/// Does it, and says whether Multipass gave up waiting for a boot meanwhile. In lines and not as a step: both instances
/// are brought up side by side.
fn act(cache: &Cache, name: &str, next: Next, shape: &Shape, limit: Duration) -> Result<bool> {
    let started = Instant::now();
    say(&format!("{} {name} ...", verb(next)));
    let seconds = limit.as_secs().to_string();
    let is_given_up = match next {
        Next::Launch => is_given_up(&launch::launch(cache, name, shape, limit)?, "launch", name)?,
        // With a limit of the client's own, which leaves the instance, and ours above it.
        Next::Start => is_given_up(
            &client::call(&["start", name, "--timeout", &seconds], limit + BEYOND)?,
            "start",
            name,
        )?,
        Next::Recover => {
            say(&format!("{name} was deleted and not purged: it is recovered"));
            client::demand(&["recover", name], SHORT)?;
            false
        }
        Next::Stop => {
            // A plain stop would block the daemon for everybody if the guest hangs, which nothing tells.
            say(&format!("Multipass has lost sight of {name}, which only an end and a start mend"));
            client::demand(&["stop", "--force", name], SHORT)?;
            Begun::forget(cache, name);
            false
        }
        Next::Use | Next::Wait => false,
    };
    say(&format!("{} {name} ({:.1} s)", verb(next), started.elapsed().as_secs_f64()));
    Ok(is_given_up)
}

/// Takes a time-out of the client's own for nothing worse than a state to look at.
fn is_given_up(output: &Output, what: &str, name: &str) -> Result<bool> {
    match output.code {
        Some(0) => Ok(false),
        Some(5) => {
            say(&format!("{name}: Multipass gave up waiting; the instance is looked at"));
            Ok(true)
        }
        _ => Err(failure::explain(&[what, name], output)),
    }
}

/// Asks the guest of a running instance for its address and release; `None` if it has no address yet, or has stopped
/// since.
fn ask(name: &str) -> Result<Option<GuestTold>> {
    let host = Instance { name: name.to_owned() };
    let output = host.call(TELL, GUEST)?;
    if failure::is_silence(&output) {
        return Err(Error::boot(format!("{name} runs, and its guest does not answer"))
            .source(host.explain(&output))
            .next(format!("end it: multipass stop --force {name}, then run this again")));
    }
    Ok(parse_told(&output.stdout).filter(|_| output.code == Some(0)))
}

fn parse_told(text: &str) -> Option<GuestTold> {
    let values = |key| text.lines().filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='));
    let address = values("address").find_map(|address| address.parse::<IpAddr>().ok())?.to_canonical();
    Some(GuestTold { address, release: values("release").next().unwrap_or_default().to_owned() })
}

/// Refuses an instance of another Ubuntu release than the one that was asked for.
fn check_release(name: &str, release: &str, shape: &Shape) -> Result<()> {
    let asks_for_release = shape.image.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if asks_for_release && release.starts_with("Ubuntu ") && !release.contains(&shape.image) {
        let number = release.split(' ').nth(1).unwrap_or_default();
        let number = number.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
        return Err(Error::setup(format!("{name} runs {release}, and {} was asked for", shape.image)).next(format!(
            "use it as it is: --image {number}\nor begin anew, which loses what is on it: multipass delete --purge {name}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_mended_or_waited_for() {
        let patience = Duration::from_secs(300);
        let after = |state, unknown_for| next(Some(state), Duration::from_secs(unknown_for), patience);
        assert_eq!(next(None, Duration::ZERO, patience), Next::Launch);
        for (state, next) in [
            (MultipassState::Running, Next::Use),
            (MultipassState::Stopped, Next::Start),
            (MultipassState::Suspended, Next::Start),
            (MultipassState::Deleted, Next::Recover),
            (MultipassState::Starting, Next::Wait),
            (MultipassState::Restarting, Next::Wait),
            (MultipassState::DelayedShutdown, Next::Wait),
            (MultipassState::Suspending, Next::Wait),
            (MultipassState::Unknown, Next::Wait),
        ] {
            assert_eq!(after(state, 0), next, "{state:?}");
        }
        // A boot is not disturbed; what Multipass gave up is.
        assert_eq!(after(MultipassState::Unknown, 299), Next::Wait);
        assert_eq!(after(MultipassState::Unknown, 300), Next::Stop);
    }

    #[test]
    fn guest_tells_the_address_by_which_it_is_reached_first() {
        let told = parse_told("address=10.1.2.3\naddress=172.17.0.1\nrelease=Ubuntu 24.04.3 LTS\n").unwrap();
        let expected =
            GuestTold { address: "10.1.2.3".parse().unwrap(), release: "Ubuntu 24.04.3 LTS".to_owned() };
        assert_eq!(told, expected);
        assert_eq!(parse_told("address=::ffff:10.1.2.3\n").unwrap().address, expected.address);
        assert_eq!(parse_told("address=\naddress=N/A\nrelease=x\n"), None);
        assert_eq!(parse_told(""), None);
    }

    #[test]
    fn guest_is_asked_with_what_every_shell_has() {
        let command = crate::base::command::Command::new(["sh", "-c", TELL]);
        let output = command.env("SSH_CONNECTION", "10.1.2.1 50000 10.1.2.3 22").output(GUEST).unwrap();
        assert_eq!(output.code, Some(0));
        assert_eq!(parse_told(&output.stdout).unwrap().address, "10.1.2.3".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn other_release_is_named_and_left_alone() {
        let shape = Shape::default();
        check_release("rdma-server", "Ubuntu 24.04.3 LTS", &shape).unwrap();
        let other = "Ubuntu 22.04.5 LTS";
        let text = check_release("rdma-server", other, &shape).unwrap_err().to_string();
        assert!(text.contains("22.04.5 LTS") && text.contains("--image 22.04\n"), "{text}");
        // A name or a file says nothing about a release.
        check_release("rdma-server", other, &Shape { image: "jammy".to_owned(), ..shape }).unwrap();
    }
}
