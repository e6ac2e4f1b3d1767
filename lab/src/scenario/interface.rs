//! Interface of a node that carries its RDMA: the network port itself, or one of Linux's kinds above it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::names;

/// Largest identifier of a VLAN; 0 and 4095 are reserved (IEEE 802.1Q, 9.6).
const VLAN_MAX: u16 = 4094;

/// Kernel modules of all kinds, so that scenarios with any of them share their machines.
pub const MODULES: [&str; 4] = ["8021q", "macvlan", "bridge", "veth"];

/// Kind of interface that carries a node's RDMA.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RdmaInterface {
    /// The network port itself.
    #[default]
    Port,
    /// A VLAN of the port: packets are tagged with this identifier. rxe stays on the port, and the VLAN's address is one of its GIDs.
    Vlan(u16),
    /// A macvlan of the port, with a MAC of its own.
    Macvlan,
    /// A bridge that the port is a member of.
    Bridge,
    /// One end of a veth, whose other end is in a bridge with the port: a container's interface.
    Veth,
}

impl RdmaInterface {
    /// Tag of its packets; `None` where they have none.
    pub fn vlan(self) -> Option<u16> {
        match self {
            RdmaInterface::Vlan(id) => Some(id),
            _ => None,
        }
    }
}

/// Reads what [`fmt::Display`] writes: `port`, `vlan 7`, `macvlan`, `bridge`, `veth`.
impl FromStr for RdmaInterface {
    type Err = Error;

    fn from_str(text: &str) -> Result<RdmaInterface> {
        let (word, number) = text.trim().split_once(' ').unwrap_or((text, ""));
        let wrong = |why: String| Error::usage(why).next("write port, \"vlan 7\", macvlan, bridge or veth");
        let kind = names::find("interface", word, ["port", "vlan", "macvlan", "bridge", "veth"]);
        match (kind.map_err(wrong)?, number.trim()) {
            ("port", "") => Ok(RdmaInterface::Port),
            ("macvlan", "") => Ok(RdmaInterface::Macvlan),
            ("bridge", "") => Ok(RdmaInterface::Bridge),
            ("veth", "") => Ok(RdmaInterface::Veth),
            ("vlan", number) => match number.parse() {
                Ok(id @ 1..=VLAN_MAX) => Ok(RdmaInterface::Vlan(id)),
                _ => Err(wrong(format!("`{text}` has no number of a VLAN, which is 1 to {VLAN_MAX}"))),
            },
            (kind, number) => Err(wrong(format!("`{number}` says nothing of a {kind}"))),
        }
    }
}

impl TryFrom<String> for RdmaInterface {
    type Error = Error;

    fn try_from(text: String) -> Result<RdmaInterface> {
        text.parse()
    }
}

impl From<RdmaInterface> for String {
    fn from(interface: RdmaInterface) -> String {
        interface.to_string()
    }
}

impl fmt::Display for RdmaInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RdmaInterface::Port => f.write_str("port"),
            RdmaInterface::Vlan(id) => write!(f, "vlan {id}"),
            RdmaInterface::Macvlan => f.write_str("macvlan"),
            RdmaInterface::Bridge => f.write_str("bridge"),
            RdmaInterface::Veth => f.write_str("veth"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_as_they_are_written() {
        for text in ["port", "vlan 7", "vlan 4094", "macvlan", "bridge", "veth"] {
            assert_eq!(text.parse::<RdmaInterface>().unwrap().to_string(), text);
        }
        for (wrong, part) in [
            ("vlna 7", "the nearest is `vlan`"),
            ("vlan", "1 to 4094"),
            ("vlan 0", "1 to 4094"),
            ("vlan 4095", "1 to 4094"),
            ("bridge 2", "`2` says nothing of a bridge"),
            ("", "write port"),
        ] {
            let error = wrong.parse::<RdmaInterface>().unwrap_err().to_string();
            assert!(error.contains(part), "{wrong}: {error}");
        }
        assert_eq!(RdmaInterface::Vlan(7).vlan(), Some(7));
        assert_eq!(RdmaInterface::Veth.vlan(), None);
    }
}
