//! rxe's own counters of packets, which the capture is checked against.

use crate::error::{Error, Result};

/// RoCEv2 packets that a node's rxe device has sent and received since it was made, CM packets included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// `sent_pkts`.
    pub sent: u64,
    /// `rcvd_pkts`.
    pub received: u64,
}

impl Counters {
    /// The shell command that prints them on a node.
    pub const COMMAND: &str = "cd /sys/class/infiniband/rxe0/ports/1/hw_counters && cat sent_pkts rcvd_pkts";

    /// Reads what [`Counters::COMMAND`] printed.
    ///
    /// # Errors
    ///
    /// The node's device has no such counters.
    pub fn parse(output: &str) -> Result<Counters> {
        let mut numbers = output.lines().map(|line| line.trim().parse().ok());
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(sent), Some(received)) => Ok(Counters { sent, received }),
            _ => Err(Error::capture("the RDMA device has no counters of packets").detail(output)),
        }
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Counters) -> Counters {
        Counters {
            sent: self.sent.saturating_sub(earlier.sent),
            received: self.received.saturating_sub(earlier.received),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_two_lines() {
        assert_eq!(Counters::parse("10\n9\n").unwrap(), Counters { sent: 10, received: 9 });
        Counters::parse("10\n").unwrap_err();
        Counters::parse("cat: no such file\n").unwrap_err();
    }
}
