//! Limited ports of the switch: each has a rate, and a queue that loses and marks what comes when it is long.
//!
//! In: frames as they come to a port; out: when each leaves, whether it finds the queue long, and whether there is room. It reads
//! no clock.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::base::role::Role;
use crate::scenario::port::LimitedPort;

/// Frames of a limited port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortCount {
    /// The port, by the nodes behind it: `server`, `client3+client4`.
    pub to: String,
    /// Frames that passed.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames among them that were marked "congestion experienced".
    pub marked: u64,
    /// Frames that found no room.
    pub dropped: u64,
    /// Most frames that were in the queue, the one on its way out included.
    pub queue_frames_max: u64,
    /// Most bytes that were.
    pub queue_bytes_max: u64,
}

/// `server: 412 frames, 40 marked, 0 dropped, at most 65000 bytes waited`.
impl fmt::Display for PortCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PortCount { to, frames, marked, dropped, queue_bytes_max, .. } = self;
        write!(
            f,
            "{to}: {frames} frames, {marked} marked, {dropped} dropped, at most {queue_bytes_max} bytes waited"
        )
    }
}

/// Way of a frame through a limited port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// No port of its way is limited.
    Free,
    /// Leaves so much later.
    Waits {
        /// By how much.
        by: Duration,
        /// True if the queue was so long that it is to be marked.
        is_above: bool,
        /// Place of the port among all.
        port: usize,
    },
    /// Found no room.
    Full,
}

/// The limited ports of a switch, in the order in which they are asked.
#[derive(Debug, Default)]
pub(super) struct LimitedPorts {
    ports: Vec<PortState>,
}

#[derive(Debug)]
struct PortState {
    limits: LimitedPort,
    /// Frames in the queue, by the time at which each has left, with their bytes.
    queue: VecDeque<(Instant, u64)>,
    bytes: u64,
    count: PortCount,
}

impl LimitedPorts {
    /// Ports that nothing has passed yet.
    pub(super) fn new(ports: Vec<LimitedPort>) -> LimitedPorts {
        let state = |limits: LimitedPort| {
            let count = PortCount { to: limits.name(), ..PortCount::default() };
            PortState { limits, queue: VecDeque::new(), bytes: 0, count }
        };
        LimitedPorts { ports: ports.into_iter().map(state).collect() }
    }

    /// Takes a frame of so many bytes to the first port on its way.
    pub(super) fn pass(&mut self, from: Role, to: Role, bytes: usize, now: Instant) -> Passage {
        let is_on_way = |state: &PortState| state.limits.is_between(from, to);
        let Some(port) = self.ports.iter().position(is_on_way) else { return Passage::Free };
        let state = &mut self.ports[port];
        state.empty(now);
        let (limits, bytes) = (&state.limits, bytes as u64);
        let has_room = limits.queue_bytes.is_none_or(|limit| state.bytes + bytes <= limit)
            && limits.queue_frames.is_none_or(|limit| (state.queue.len() as u64) < limit);
        if !has_room {
            state.count.dropped += 1;
            return Passage::Full;
        }
        let is_above = limits.mark_above_bytes.is_some_and(|threshold| state.bytes > threshold);
        let free_at = state.queue.back().map_or(now, |(leaves, _)| *leaves);
        let leaves = free_at + limits.duration(bytes);
        state.queue.push_back((leaves, bytes));
        state.bytes += bytes;
        let count = &mut state.count;
        count.frames += 1;
        count.bytes += bytes;
        count.queue_frames_max = count.queue_frames_max.max(state.queue.len() as u64);
        count.queue_bytes_max = count.queue_bytes_max.max(state.bytes);
        Passage::Waits { by: leaves - now, is_above, port }
    }

    /// Takes note that a frame was marked at a port.
    pub(super) fn has_marked(&mut self, port: usize) {
        if let Some(state) = self.ports.get_mut(port) {
            state.count.marked += 1;
        }
    }

    /// Counts of all.
    pub(super) fn counts(&self) -> Vec<PortCount> {
        self.ports.iter().map(|state| state.count.clone()).collect()
    }
}

impl PortState {
    /// Takes out of the queue what has left.
    fn empty(&mut self, now: Instant) {
        while let Some((leaves, bytes)) = self.queue.front().copied()
            && leaves <= now
        {
            self.queue.pop_front();
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A port of 8 Mbit/s: a frame of 1,000 bytes takes a millisecond.
    fn port(to: &[Role]) -> LimitedPort {
        LimitedPort { to: to.to_vec(), ..LimitedPort::of_rate(8000) }
    }

    fn waits(by: Duration, is_above: bool) -> Passage {
        Passage::Waits { by, is_above, port: 0 }
    }

    #[test]
    fn senders_to_one_port_wait_for_each_other() {
        let (mut ports, now) = (LimitedPorts::new(vec![port(&[Role::Server])]), Instant::now());
        let mut pass = |from, at| ports.pass(from, Role::Server, 1000, now + at);
        assert_eq!(pass(Role::Client, Duration::ZERO), waits(MS, false));
        assert_eq!(pass(Role::Client2, Duration::ZERO), waits(2 * MS, false));
        assert_eq!(pass(Role::Client, MS), waits(2 * MS, false));
        // The other way, and between others, nothing is limited.
        assert_eq!(ports.pass(Role::Server, Role::Client, 1000, now), Passage::Free);
        assert_eq!(ports.pass(Role::Client, Role::Client2, 1000, now), Passage::Free);
        assert_eq!(
            ports.pass(Role::Client, Role::Server, 1000, now + 9 * MS),
            waits(MS, false),
            "empty again"
        );
        let [count] = &ports.counts()[..] else { panic!() };
        assert_eq!((count.to.as_str(), count.frames, count.bytes), ("server", 4, 4000));
        assert_eq!((count.queue_frames_max, count.queue_bytes_max), (2, 2000));
    }

    #[test]
    fn queue_without_room_loses_and_takes_again_what_comes_later() {
        let now = Instant::now();
        for limits in [
            LimitedPort { queue_bytes: Some(2500), ..port(&[Role::Server]) },
            LimitedPort { queue_frames: Some(2), ..port(&[Role::Server]) },
        ] {
            let mut ports = LimitedPorts::new(vec![limits]);
            let mut pass = |at| ports.pass(Role::Client, Role::Server, 1000, now + at);
            pass(Duration::ZERO);
            pass(Duration::ZERO);
            assert_eq!(pass(Duration::ZERO), Passage::Full);
            assert_eq!(pass(MS), waits(2 * MS, false));
            assert_eq!((ports.counts()[0].dropped, ports.counts()[0].frames), (1, 3));
        }
    }

    #[test]
    fn frame_that_finds_a_long_queue_is_to_be_marked() {
        let limits = LimitedPort { mark_above_bytes: Some(1500), ..port(&[Role::Server]) };
        let (mut ports, now) = (LimitedPorts::new(vec![limits]), Instant::now());
        let found: Vec<Passage> = (0..4).map(|_| ports.pass(Role::Client, Role::Server, 1000, now)).collect();
        assert_eq!(found, [waits(MS, false), waits(2 * MS, false), waits(3 * MS, true), waits(4 * MS, true)]);
        ports.has_marked(0);
        assert_eq!(ports.counts()[0].marked, 1);
    }

    #[test]
    fn trunk_is_passed_by_what_crosses_it() {
        let trunk = port(&[Role::Client2, Role::Client3]);
        let (mut ports, now) = (LimitedPorts::new(vec![trunk, port(&[Role::Client])]), Instant::now());
        let mut passes = |from, to| ports.pass(from, to, 1000, now) != Passage::Free;
        assert!(passes(Role::Server, Role::Client2) && passes(Role::Client, Role::Client3));
        assert!(!passes(Role::Client2, Role::Client3) && !passes(Role::Client2, Role::Server));
        assert!(passes(Role::Client2, Role::Client));
        assert_eq!(
            ports.counts().iter().map(|count| count.to.as_str()).collect::<Vec<_>>(),
            ["client2+client3", "client"]
        );
    }
}
