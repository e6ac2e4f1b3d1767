//! The launch of an instance, and how long its first boot is waited for.
//!
//! `launch --timeout` is what the daemon waits for, too, whoever began it and whether that client lives: until then the
//! state is Unknown, a stop would block the daemon, and a restart would end it (observed: v1.16.3). So what a launch was
//! given is written down, in the cache's directory `labs`, until it has ended.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::base::cache::{self, Cache, write_record};
use crate::base::command::Output;
use crate::base::error::{IoContext as _, Result};
use crate::provider::multipass::client;
use crate::provider::multipass::shape::Shape;

/// Configuration of an instance's first boot.
const CLOUD_INIT: &str = include_str!("../../../guest/cloud-init.yaml");

/// Longest time that Multipass waits for a boot where nobody says otherwise.
const USUAL: Duration = Duration::from_secs(300);

/// Longest time that the client may take beyond its own limit.
pub(super) const BEYOND: Duration = Duration::from_secs(60);

/// Interval between two looks at a launch that another client began.
const LOOK: Duration = Duration::from_secs(2);

/// A launch that was begun and has not ended, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Time of it, in seconds since 1970.
    at_s: u64,
    /// Longest time that the daemon waits for its boot, in seconds.
    limit_s: u64,
}

impl Begun {
    /// The launch of the instance `name`, if one was begun here.
    ///
    /// # Errors
    ///
    /// Its record cannot be read.
    pub fn find(cache: &Cache, name: &str) -> Result<Option<Begun>> {
        cache::read_record(&path(cache, name))
    }

    fn keep(cache: &Cache, name: &str, limit: Duration) -> Result<()> {
        let path = path(cache, name);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).at("failed to create", directory)?;
        }
        let begun = Begun { at_s: now_s(), limit_s: limit.as_secs() };
        write_record(&path, &begun)
    }

    /// Forgets it: the instance has been seen to run, or its launch has ended.
    pub fn forget(cache: &Cache, name: &str) {
        let _ = fs::remove_file(path(cache, name));
    }

    /// Longest time that an instance may be Unknown from now on.
    ///
    /// The daemon's wait begins when the image is there, which nobody tells: so it is as long as the launch was given,
    /// but for one that was begun twice as long ago.
    fn patience_at(&self, now_s: u64) -> Duration {
        Duration::from_secs((self.at_s + 2 * self.limit_s).saturating_sub(now_s).min(self.limit_s))
    }
}

/// Longest time that an instance may be Unknown from now on; `limit` is what a start of it is given.
///
/// # Errors
///
/// As [`Begun::find`].
pub fn patience(cache: &Cache, name: &str, limit: Duration) -> Result<Duration> {
    Ok(match Begun::find(cache, name)? {
        Some(begun) => begun.patience_at(now_s()),
        // Somebody else's, who may have said nothing.
        None => USUAL.max(limit),
    })
}

fn path(cache: &Cache, name: &str) -> PathBuf {
    cache.path("labs").join(format!("{name}.launch"))
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Launches the instance `name`, or waits for another client that does; gives how the client ended.
///
/// # Errors
///
/// The client is not there, or does not end within `limit` and a minute.
pub fn launch(cache: &Cache, name: &str, shape: &Shape, limit: Duration) -> Result<Output> {
    let (cpus, seconds) = (shape.cpus.to_string(), limit.as_secs().to_string());
    let arguments = arguments(name, shape, &cpus, &seconds);
    let started = Instant::now();
    loop {
        let earlier = Begun::find(cache, name)?;
        Begun::keep(cache, name, limit)?;
        let output = client::launch(&arguments, CLOUD_INIT, limit + BEYOND)?;
        let is_refused = |why: &str| output.code == Some(2) && output.stderr.contains(why);
        // Another process launched it meanwhile, or an earlier one of ours that was killed: the daemon goes on, and
        // with `is being prepared` it has not even come so far that `info` knows it.
        let is_anothers = is_refused("already exists") || is_refused("is being prepared");
        match earlier {
            Some(earlier) if is_anothers => {
                Begun::keep(cache, name, Duration::from_secs(earlier.limit_s))?;
            }
            _ => Begun::forget(cache, name),
        }
        if is_refused("already exists") {
            return Ok(Output { code: Some(0), ..output });
        }
        if !is_refused("is being prepared") || started.elapsed() > limit {
            return Ok(output);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launch_says_all_and_reads_no_file() {
        let shape = Shape::default();
        assert_eq!(
            arguments("rdma-server", &shape, "2", "1200").join(" "),
            "launch 24.04 --name rdma-server --cpus 2 -m 2G --disk 10G --cloud-init - --timeout 1200"
        );
    }

    #[test]
    fn patience_with_a_first_boot_is_what_its_launch_was_given() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned()).unwrap();
        let seconds = Duration::from_secs;
        let of = |limit| patience(&cache, "rdma-server", seconds(limit)).unwrap();
        assert_eq!((of(20), of(1200)), (USUAL, seconds(1200)));
        Begun::keep(&cache, "rdma-server", seconds(3600)).unwrap();
        assert_eq!(of(20), seconds(3600));
        Begun::forget(&cache, "rdma-server");
        assert_eq!(of(20), USUAL);
    }

    #[test]
    fn launch_of_long_ago_is_not_waited_for() {
        let begun = Begun { at_s: 1000, limit_s: 300 };
        for (now, patience) in [(1000, 300), (1300, 300), (1400, 200), (1600, 0), (9000, 0)] {
            assert_eq!(begun.patience_at(now), Duration::from_secs(patience), "{now}");
        }
    }
}
