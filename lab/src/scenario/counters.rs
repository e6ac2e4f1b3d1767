//! rxe's own counters: of packets, which the capture is checked against, and of what went wrong, which a scenario
//! has to explain.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::base::error::{Error, Result};
use crate::base::names;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

/// Distance that a counter moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a counter moves on by a number, or by \"some\" or \"any\"")]
pub enum Count {
    /// By so much.
    Exactly(u64),
    /// By what timing decides.
    InWords(CountInWords),
}

/// Distance that a counter moves on where timing decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CountInWords {
    /// By one at least.
    Some,
    /// Or not at all.
    Any,
}

impl Count {
    /// True if a counter that moved on so far is as expected.
    pub fn is(self, counted: u64) -> bool {
        match self {
            Count::Exactly(count) => counted == count,
            Count::InWords(CountInWords::Some) => counted > 0,
            Count::InWords(CountInWords::Any) => true,
        }
    }
}

/// Reads what [`fmt::Display`] writes: `2`, `some`, `any`.
impl FromStr for Count {
    type Err = Error;

    fn from_str(text: &str) -> Result<Count> {
        match text {
            "some" => Ok(Count::InWords(CountInWords::Some)),
            "any" => Ok(Count::InWords(CountInWords::Any)),
            number => number.parse().map(Count::Exactly).map_err(|_| {
                Error::usage(format!("`{text}` is no count")).next("write a number, `some` or `any`")
            }),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Count::Exactly(count) => count.fmt(f),
            Count::InWords(CountInWords::Some) => f.write_str("some"),
            Count::InWords(CountInWords::Any) => f.write_str("any"),
        }
    }
}

/// Counters of a node's rxe device since it was made, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    values: BTreeMap<String, u64>,
}

impl Counters {
    /// The shell command that prints them on a node, behind a line that says that the device is there.
    pub const COMMAND: &str =
        "cd /sys/class/infiniband/${RDMA_DEVICE:-rxe0}/ports/1 && echo port:1 && cd hw_counters && grep . *";

    /// The names of rxe's.
    pub const ALL: [&str; 16] = [
        "ack_deferred",
        "completer_retry_err",
        "duplicate_request",
        "lifespan",
        "link_downed",
        "out_of_seq_request",
        "rcvd_pkts",
        "rcvd_rnr_err",
        "rcvd_seq_err",
        "rdma_recvs",
        "rdma_sends",
        "retry_exceeded_err",
        "retry_rnr_exceeded_err",
        "send_err",
        "send_rnr_err",
        "sent_pkts",
    ];

    /// Counters that network cards have beside, as the kernel's mlx5 driver names them.
    pub const CARDS: [&str; 15] = [
        "implied_nak_seq_err",
        "local_ack_timeout_err",
        "np_cnp_sent",
        "np_ecn_marked_roce_packets",
        "out_of_buffer",
        "out_of_sequence",
        "packet_seq_err",
        "req_cqe_error",
        "req_remote_access_errors",
        "req_remote_invalid_request",
        "resp_cqe_error",
        "resp_remote_access_errors",
        "rnr_nak_retry_err",
        "rp_cnp_handled",
        "rx_write_requests",
    ];

    /// Counters of rxe that move only when something went another way than straight.
    pub const TROUBLES: [&str; 10] = [
        "completer_retry_err",
        "duplicate_request",
        "link_downed",
        "out_of_seq_request",
        "rcvd_rnr_err",
        "rcvd_seq_err",
        "retry_exceeded_err",
        "retry_rnr_exceeded_err",
        "send_err",
        "send_rnr_err",
    ];

    /// Reads what [`Counters::COMMAND`] printed.
    ///
    /// # Errors
    ///
    /// The node has no such device.
    pub fn parse(output: &str) -> Result<Counters> {
        let mut values: BTreeMap<String, u64> = output
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
            .collect();
        match values.remove("port") {
            Some(_) => Ok(Counters { values }),
            None => {
                Err(Error::capture("the RDMA device is not there, so nothing tells its counters")
                    .detail(output))
            }
        }
    }

    /// RoCEv2 packets that it has sent and that it has received and taken, CM packets included; `None` where the
    /// device does not count them, as SoftRoCE does.
    pub fn packets(&self) -> Option<(u64, u64)> {
        self.of("sent_pkts").zip(self.of("rcvd_pkts"))
    }

    /// All of them, by name.
    pub fn values(self) -> BTreeMap<String, u64> {
        self.values
    }

    /// Counts since `earlier`.
    #[must_use]
    pub fn since(mut self, earlier: &Counters) -> Counters {
        for (name, value) in &mut self.values {
            *value = value.saturating_sub(earlier.of(name).unwrap_or(0));
        }
        self
    }

    fn of(&self, name: &str) -> Option<u64> {
        self.values.get(name).copied()
    }
}

/// The counter of this name, whatever its case: of rxe, or of a card.
///
/// # Errors
///
/// Nothing has that name; the error tells the nearest, as text.
pub fn name(name: &str) -> Result<&'static str, String> {
    names::find("counter", name, Counters::ALL.into_iter().chain(Counters::CARDS))
}

/// Objections of a node's counters to a scenario that expects these: each expected one has moved on by so
/// much, and no other that tells of trouble has moved.
pub fn objections(counted: &BTreeMap<String, u64>, expected: &BTreeMap<String, Count>) -> Vec<String> {
    let troubles = Counters::TROUBLES.into_iter().filter(|name| !expected.contains_key(*name));
    let named = expected.iter().map(|(name, value)| (name.as_str(), *value));
    named
        .chain(troubles.map(|name| (name, Count::Exactly(0))))
        .filter_map(|(name, expected)| match counted.get(name) {
            Some(counted) if expected.is(*counted) => None,
            Some(counted) => Some(format!("{name} = {counted}, expected {expected}")),
            // A device without a counter has no trouble to tell of by it.
            None if expected.is(0) => None,
            None => Some(format!("{name} is no counter of this device, expected {expected}")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_lines_with_names() {
        let counters = Counters::parse("port:1\nrcvd_pkts:9\nsend_err:0\nsent_pkts:10\n").unwrap();
        assert_eq!(counters.packets(), Some((10, 9)));
        let later =
            Counters::parse("port:1\nrcvd_pkts:9\nsend_err:2\nsent_pkts:13\n").unwrap().since(&counters);
        assert_eq!((later.packets(), later.of("send_err")), (Some((3, 0)), Some(2)));
        assert_eq!(Counters::parse("port:1\nout_of_sequence:0\n").unwrap().packets(), None);
        assert_eq!(Counters::parse("port:1\nsent_pkts:10\n").unwrap().packets(), None);
        Counters::parse("").unwrap_err();
        Counters::parse("grep: no such file\n").unwrap_err();
    }

    #[test]
    fn trouble_has_to_be_explained() {
        let map = |pairs: &[(&str, u64)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), Count::Exactly(*value))).collect()
        };
        let counted = [("duplicate_request", 1), ("send_err", 0), ("rdma_sends", 7)];
        let counted = counted.map(|(name, value)| (name.to_owned(), value)).into();
        assert_eq!(objections(&counted, &map(&[("duplicate_request", 1)])), Vec::<String>::new());
        assert_eq!(objections(&counted, &map(&[])), ["duplicate_request = 1, expected 0"]);
        assert_eq!(
            objections(&counted, &map(&[("duplicate_request", 1), ("rcvd_seq_err", 1)])),
            ["rcvd_seq_err is no counter of this device, expected 1"]
        );
    }
}
