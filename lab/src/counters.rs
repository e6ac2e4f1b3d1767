//! rxe's own counters of packets, which the capture is checked against.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::node::Node;

const LIMIT: Duration = Duration::from_secs(20);

/// RoCEv2 packets that a node's rxe device has sent and received since it was made, CM packets included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// `sent_pkts`.
    pub sent: u64,
    /// `rcvd_pkts`.
    pub received: u64,
}

impl Counters {
    /// Reads them from a node.
    ///
    /// # Errors
    ///
    /// The node does not answer, or its device has no such counters.
    pub fn read(node: &dyn Node) -> Result<Counters> {
        let output =
            node.run("cd /sys/class/infiniband/rxe0/ports/1/hw_counters && cat sent_pkts rcvd_pkts", LIMIT)?;
        parse(&output.stdout).ok_or_else(|| {
            Error::capture("the RDMA device has no counters of packets")
                .detail(output.stdout + &output.stderr)
        })
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

fn parse(text: &str) -> Option<Counters> {
    let mut numbers = text.lines().map(|line| line.trim().parse().ok());
    Some(Counters { sent: numbers.next()??, received: numbers.next()?? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_two_lines() {
        assert_eq!(parse("10\n9\n"), Some(Counters { sent: 10, received: 9 }));
        assert_eq!(parse("10\n"), None);
        assert_eq!(parse("cat: no such file\n"), None);
    }
}
