//! The network between the nodes, as a run asks for it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::role::Role;

/// MTU of the nodes' port, in bytes, where a run asks for none: an InfiniBand path MTU of 1024.
pub const MTU_DEFAULT: u16 = 1500;

/// Least MTU, in bytes: an InfiniBand path MTU of 256 and what rxe leaves for its headers.
const MTU_MIN: u16 = 352;

/// Most: jumbo frames, with room for an InfiniBand path MTU of 4096.
const MTU_MAX: u16 = 9000;

/// Least MTU of a port that speaks IPv6, in bytes (RFC 8200, section 5).
const MTU_MIN_IPV6: u16 = 1280;

/// The network between the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// MTU of both nodes' ports in bytes: 352 gives an InfiniBand path MTU of 256, 608 of 512, 1500 of 1024,
    /// 2144 of 2048, 4192 of 4096.
    #[schemars(range(min = MTU_MIN, max = MTU_MAX))]
    pub mtu: u16,
    /// What the RDMA connection uses.
    pub ip: IpVersion,
}

/// A version of the internet protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IpVersion {
    /// Addresses from 198.51.100.0/24.
    #[default]
    V4,
    /// Addresses from 2001:db8::/32.
    V6,
}

impl Default for Network {
    fn default() -> Network {
        Network { mtu: MTU_DEFAULT, ip: IpVersion::V4 }
    }
}

impl Network {
    /// Checks that it can be.
    ///
    /// # Errors
    ///
    /// The MTU is out of bounds, which are named.
    pub fn check(self) -> Result<()> {
        let (least, reason) = match self.ip {
            IpVersion::V4 => (MTU_MIN, "below it rxe has no InfiniBand path MTU"),
            IpVersion::V6 => (MTU_MIN_IPV6, "the least that IPv6 works with"),
        };
        if self.mtu < least {
            let next = match self.ip {
                IpVersion::V6 if self.mtu >= MTU_MIN => "ask for more, or for ip = \"v4\"",
                _ => "ask for more",
            };
            return Err(Error::usage(format!("{self} is too small: at least {least}, {reason}")).next(next));
        }
        if self.mtu > MTU_MAX {
            let text = format!("{self} is too large: at most {MTU_MAX}");
            return Err(Error::usage(text).next("4192 gives the largest InfiniBand path MTU, 4096"));
        }
        Ok(())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self.ip {
            IpVersion::V4 => "IPv4",
            IpVersion::V6 => "IPv6",
        };
        write!(f, "{version} with an MTU of {} bytes", self.mtu)
    }
}

/// What can act on packets between two nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    /// The lab's own switch, which acts on any fault and records each packet's fate.
    Switch,
    /// `tc netem`, on what these nodes send: see [`crate::scenario::fault::netem`].
    Netem {
        /// Those whose network the lab may change.
        on: Vec<Role>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_named() {
        let check = |mtu, ip| Network { mtu, ip }.check().map_err(|error| error.to_string());
        check(352, IpVersion::V4).unwrap();
        check(1280, IpVersion::V6).unwrap();
        check(9000, IpVersion::V4).unwrap();
        assert!(check(351, IpVersion::V4).unwrap_err().contains("at least 352"));
        assert!(check(9001, IpVersion::V4).unwrap_err().contains("at most 9000"));
        let error = check(1279, IpVersion::V6).unwrap_err();
        assert!(error.contains("IPv6 with an MTU of 1279 bytes is too small: at least 1280"), "{error}");
    }
}
