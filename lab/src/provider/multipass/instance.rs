//! From any state in which an instance may be to one that runs: what is mended, how, and what is not.
//!
//! Nothing of the user's is lost on the way: an instance is recovered and started, never deleted. `purge` alone,
//! which takes every deleted instance of the user, is never called.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::progress::{Step, say};
use crate::provider::multipass::client::{self, Info, State};

/// What is launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The image, as `multipass find` names it.
    pub image: String,
    /// Processors of each.
    pub cpus: u32,
    /// Memory of each, as in "2G".
    pub memory: String,
    /// Disk of each, as in "10G".
    pub disk: String,
    /// How long one may take to launch, and to start, in seconds.
    pub launch_limit_s: u64,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            image: "24.04".to_owned(),
            cpus: 2,
            memory: "2G".to_owned(),
            disk: "10G".to_owned(),
            launch_limit_s: 1200,
        }
    }
}

/// What an instance is given at its first boot.
const CLOUD_INIT: &str = include_str!("../../../guest/cloud-init.yaml");

/// How long a short command may take.
const SHORT: Duration = Duration::from_secs(60);

/// How long Multipass itself waits for a boot; an instance that stays Unknown after that was given up.
const GIVEN_UP: Duration = Duration::from_secs(300);

/// `stop` on a guest that still boots blocks the whole daemon this long.
const STOP: Duration = Duration::from_secs(330);

/// How often an instance under way is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What to do about an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Use,
    Launch,
    Start,
    Recover,
    /// Stop it, so that it can be started.
    Stop,
    Wait,
}

/// What follows from a state; `unknown_for` is how long that has been Unknown.
fn next(info: Option<&Info>, unknown_for: Duration, patience: Duration) -> Next {
    let Some(info) = info else { return Next::Launch };
    match info.state {
        State::Running if info.addresses.is_empty() => Next::Wait,
        State::Running => Next::Use,
        State::Stopped | State::Suspended => Next::Start,
        State::Deleted => Next::Recover,
        // The first boot is Unknown too, most of the time.
        State::Unknown if unknown_for >= patience => Next::Stop,
        State::Unknown | State::Starting | State::Restarting | State::DelayedShutdown | State::Suspending => {
            Next::Wait
        }
    }
}

/// Brings the instance `name` to run, whatever its state; gives its address.
///
/// # Errors
///
/// It does not come up within the shape's limit, or is of another release than the shape's.
pub fn ensure(name: &str, shape: &Shape) -> Result<IpAddr> {
    let limit = Duration::from_secs(shape.launch_limit_s);
    let patience = GIVEN_UP.min(limit);
    // A launch that is given up, a wait until that is believed, a stop and a start.
    let total = limit * 2 + patience + STOP;
    let started = Instant::now();
    let mut unknown_since = None;
    let mut done = Vec::new();
    loop {
        let info = client::info(name)?;
        let is_unknown = info.as_ref().is_some_and(|info| info.state == State::Unknown);
        unknown_since = is_unknown.then(|| unknown_since.unwrap_or_else(Instant::now));
        let unknown_for = unknown_since.map_or(Duration::ZERO, |since| since.elapsed());
        let next = next(info.as_ref(), unknown_for, patience);
        if next == Next::Use {
            let info = info.unwrap_or_else(|| Info {
                state: State::Unknown,
                addresses: Vec::new(),
                release: String::new(),
            });
            check_release(name, &info, shape)?;
            return info
                .addresses
                .first()
                .copied()
                .ok_or_else(|| Error::boot(format!("{name} has no address")));
        }
        // Each may be needed twice (a launch that another process's `delete --purge` ended exits with 0), and a
        // third time helps nobody.
        if next != Next::Wait && done.iter().filter(|earlier| **earlier == next).count() >= 2 {
            return Err(Error::boot(format!("{name} does not come up: tried twice to {}", verb(next)))
                .next(format!("look at it: multipass info {name}\nor begin anew, which loses what is on it: multipass delete --purge {name}")));
        }
        if started.elapsed() > total {
            return Err(Error::timeout(format_args!("{name} runs"), total).next(format!(
                "look at it: multipass info {name}\na slow computer needs more: --launch-limit SECONDS"
            )));
        }
        if next == Next::Wait {
            thread::sleep(LOOK);
            continue;
        }
        act(name, next, shape, limit)?;
        done.push(next);
        unknown_since = None;
    }
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

fn act(name: &str, next: Next, shape: &Shape, limit: Duration) -> Result<()> {
    let step = Step::begin(format!("{} {name}", verb(next)));
    let seconds = limit.as_secs().to_string();
    match next {
        Next::Launch => launch(name, shape, limit)?,
        // With a limit of the client's own, which leaves the instance, and ours above it.
        Next::Start => {
            soften(client::call(&["start", name, "--timeout", &seconds], limit + SHORT)?, "start", name)?
        }
        Next::Recover => {
            say(&format!("{name} was deleted and not purged: it is recovered"));
            client::demand(&["recover", name], SHORT)?;
        }
        Next::Stop => {
            say(&format!("Multipass has lost sight of {name}, which only stop and start mend"));
            client::demand(&["stop", name], STOP)?;
        }
        Next::Use | Next::Wait => {}
    }
    step.done("");
    Ok(())
}

/// Takes a time-out of the client's own for nothing worse than a state to look at.
fn soften(output: crate::command::Output, what: &str, name: &str) -> Result<()> {
    match output.code {
        Some(0) => Ok(()),
        Some(5) => {
            say(&format!("{name}: Multipass gave up waiting; the instance is looked at"));
            Ok(())
        }
        _ => Err(client::explain(&format!("multipass {what} {name}"), &output)),
    }
}

fn launch(name: &str, shape: &Shape, limit: Duration) -> Result<()> {
    let (cpus, seconds) = (shape.cpus.to_string(), limit.as_secs().to_string());
    let arguments = arguments(name, shape, &cpus, &seconds);
    let started = Instant::now();
    loop {
        let output = client::launch(&arguments, CLOUD_INIT, limit + SHORT)?;
        let is_refused = |why: &str| output.code == Some(2) && output.stderr.contains(why);
        // Another process launched it meanwhile, or an earlier one of ours that was killed: the daemon went on.
        if is_refused("already exists") {
            return Ok(());
        }
        // The same, while the image is prepared: `info` does not know it yet.
        if !is_refused("is being prepared") || started.elapsed() > limit {
            return soften(output, "launch", name);
        }
        thread::sleep(LOOK);
    }
}

fn arguments<'a>(name: &'a str, shape: &'a Shape, cpus: &'a str, seconds: &'a str) -> Vec<&'a str> {
    // -m is what every version calls it.
    let mut words = vec!["launch", &shape.image, "--name", name, "--cpus", cpus, "-m", &shape.memory];
    words.extend(["--disk", &shape.disk, "--cloud-init", "-", "--timeout", seconds]);
    words
}

/// Refuses an instance of another Ubuntu release than the one that was asked for.
fn check_release(name: &str, info: &Info, shape: &Shape) -> Result<()> {
    let asks_for_release = shape.image.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if asks_for_release && info.release.starts_with("Ubuntu ") && !info.release.contains(&shape.image) {
        let release = &info.release;
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

    fn info(state: State) -> Info {
        Info { state, addresses: vec!["10.1.2.3".parse().unwrap()], release: "Ubuntu 24.04.3 LTS".to_owned() }
    }

    #[test]
    fn every_state_is_mended_or_waited_for() {
        let patience = Duration::from_secs(300);
        let after = |state, unknown_for| next(Some(&info(state)), Duration::from_secs(unknown_for), patience);
        assert_eq!(next(None, Duration::ZERO, patience), Next::Launch);
        for (state, next) in [
            (State::Running, Next::Use),
            (State::Stopped, Next::Start),
            (State::Suspended, Next::Start),
            (State::Deleted, Next::Recover),
            (State::Starting, Next::Wait),
            (State::Restarting, Next::Wait),
            (State::DelayedShutdown, Next::Wait),
            (State::Suspending, Next::Wait),
            (State::Unknown, Next::Wait),
        ] {
            assert_eq!(after(state, 0), next, "{state:?}");
        }
        // A boot is not disturbed; what Multipass gave up is.
        assert_eq!(after(State::Unknown, 299), Next::Wait);
        assert_eq!(after(State::Unknown, 300), Next::Stop);
        let silent = Info { addresses: Vec::new(), ..info(State::Running) };
        assert_eq!(next_of(&silent), Next::Wait);
    }

    fn next_of(info: &Info) -> Next {
        next(Some(info), Duration::ZERO, GIVEN_UP)
    }

    #[test]
    fn launch_says_all_and_reads_no_file() {
        let shape = Shape::default();
        assert_eq!(
            arguments("rdma-server", &shape, "2", "1200").join(" "),
            "launch 24.04 --name rdma-server --cpus 2 -m 2G --disk 10G --cloud-init - --timeout 1200"
        );
    }

    #[test]
    fn other_release_is_named_and_left_alone() {
        let shape = Shape::default();
        check_release("rdma-server", &info(State::Running), &shape).unwrap();
        let other = Info { release: "Ubuntu 22.04.5 LTS".to_owned(), ..info(State::Running) };
        let text = check_release("rdma-server", &other, &shape).unwrap_err().to_string();
        assert!(text.contains("22.04.5 LTS") && text.contains("--image 22.04\n"), "{text}");
        // A name or a file says nothing about a release.
        check_release("rdma-server", &other, &Shape { image: "jammy".to_owned(), ..shape }).unwrap();
    }
}
