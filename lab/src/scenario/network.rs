//! The network between the nodes, as a run asks for it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::role::Role;
use crate::scenario::interface::RdmaInterface;

/// MTU of the nodes' port, in bytes, where a run asks for none: an InfiniBand path MTU of 1024.
pub const MTU_DEFAULT: u16 = 1500;

/// Bytes of an interface's MTU that rxe leaves for headers (`RXE_MAX_HDR_LENGTH` in the kernel's rxe_param.h).
pub const RXE_HEADERS: u16 = 80;

/// Bytes that rdma_cm leaves for headers when it resolves a route (`iboe_get_mtu` in the kernel's ib_addr.h).
const CM_HEADERS: u16 = 96;

/// Path MTUs of InfiniBand in bytes, the smallest first.
pub const PATH_MTUS: [u16; 5] = [256, 512, 1024, 2048, 4096];

/// Least MTU, in bytes: the least path MTU and its headers.
const MTU_MIN: u16 = PATH_MTUS[0] + RXE_HEADERS;

/// Most: jumbo frames, with room for an InfiniBand path MTU of 4096.
const MTU_MAX: u16 = 9000;

/// Least MTU of a port that speaks IPv6, in bytes (RFC 8200, section 5).
const MTU_MIN_IPV6: u16 = 1280;

/// The network between the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// MTU of both nodes' ports in bytes. The InfiniBand path MTU is 256 from 336 on, 512 from 592, 1024 from 1104,
    /// 2048 from 2128, 4096 from 4176; connections by rdma_cm want 16 bytes more.
    #[schemars(range(min = MTU_MIN, max = MTU_MAX))]
    pub mtu: u16,
    /// MTU of the server's port in bytes, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = MTU_MIN, max = MTU_MAX))]
    pub server_mtu: Option<u16>,
    /// MTU of the client's port in bytes, where it is another; of each client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = MTU_MIN, max = MTU_MAX))]
    pub client_mtu: Option<u16>,
    /// A node that drops the RoCEv2 packets which reach it, as the packet filter of a host does: all to UDP port 4791, connection
    /// management among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["server", "client"]))]
    pub filtered: Option<Role>,
    /// Interface that carries RDMA on both nodes: `port`, `vlan 7`, `macvlan`, `bridge` (the port is a member of it) or `veth` (its
    /// other end is in a bridge with the port, as a container's).
    #[schemars(with = "String")]
    pub interface: RdmaInterface,
    /// That of the server, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub server_interface: Option<RdmaInterface>,
    /// That of the client, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub client_interface: Option<RdmaInterface>,
    /// IP version of the RDMA connection.
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
        Network {
            mtu: MTU_DEFAULT,
            server_mtu: None,
            client_mtu: None,
            filtered: None,
            interface: RdmaInterface::Port,
            server_interface: None,
            client_interface: None,
            ip: IpVersion::V4,
        }
    }
}

impl Network {
    /// MTU of a node's port in bytes.
    pub fn mtu_of(self, role: Role) -> u16 {
        let own = if role.is_client() { self.client_mtu } else { self.server_mtu };
        own.unwrap_or(self.mtu)
    }

    /// Interface of a node that carries its RDMA.
    pub fn interface_of(self, role: Role) -> RdmaInterface {
        let own = if role.is_client() { self.client_interface } else { self.server_interface };
        own.unwrap_or(self.interface)
    }

    /// True if RDMA is on the port itself on both nodes.
    pub fn is_on_ports(self) -> bool {
        Role::BOTH.into_iter().all(|role| self.interface_of(role) == RdmaInterface::Port)
    }

    /// The same for machines that have changed places.
    #[must_use]
    pub fn swapped(self) -> Network {
        Network {
            server_mtu: self.client_mtu,
            client_mtu: self.server_mtu,
            filtered: self.filtered.map(Role::peer),
            server_interface: self.client_interface,
            client_interface: self.server_interface,
            ..self
        }
    }

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
        let [smallest, largest] = {
            let of = Role::BOTH.map(|role| self.mtu_of(role));
            [of[0].min(of[1]).min(self.mtu), of[0].max(of[1]).max(self.mtu)]
        };
        if smallest < least {
            let next = match self.ip {
                IpVersion::V6 if smallest >= MTU_MIN => "ask for more, or for ip = \"v4\"",
                _ => "ask for more",
            };
            return Err(Error::usage(format!("{self} is too small: at least {least}, {reason}")).next(next));
        }
        if largest > MTU_MAX {
            let text = format!("{self} is too large: at most {MTU_MAX}");
            return Err(Error::usage(text).next(format!("the InfiniBand path MTU is {}", path_mtu_words())));
        }
        Ok(())
    }
}

/// Says from which MTU on each path MTU is had: "256 from 336 on, 512 from 592, …".
fn path_mtu_words() -> String {
    let [least, others @ ..] = PATH_MTUS;
    let first = format!("{least} from {} on", least + RXE_HEADERS);
    let words = others.iter().fold(first, |words, mtu| format!("{words}, {mtu} from {}", mtu + RXE_HEADERS));
    format!("{words}; connections by rdma_cm want {} bytes more", CM_HEADERS - RXE_HEADERS)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self.ip {
            IpVersion::V4 => "IPv4",
            IpVersion::V6 => "IPv6",
        };
        let [server, client] = Role::BOTH.map(|role| self.mtu_of(role));
        match server == client {
            true => write!(f, "{version} with an MTU of {server} bytes")?,
            false => write!(f, "{version} with MTUs of {server} bytes (server) and {client} (client)")?,
        }
        let interfaces = Role::BOTH.map(|role| self.interface_of(role));
        match interfaces {
            _ if self.is_on_ports() => {}
            [server, client] if server == client => write!(f, ", on {server}")?,
            [server, client] => write!(f, ", on {server} (server) and {client} (client)")?,
        }
        match self.filtered {
            Some(role) => write!(f, ", with a filter on {role}"),
            None => Ok(()),
        }
    }
}

/// The part between two nodes that can act on packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    /// The lab's own switch, which acts on any fault and records each packet's fate.
    Switch,
    /// `tc netem`, on what these nodes send: see [`crate::scenario::fault::netem`].
    Netem {
        /// Nodes whose network the lab may change.
        on: Vec<Role>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_named() {
        let check =
            |mtu, ip| Network { mtu, ip, ..Network::default() }.check().map_err(|error| error.to_string());
        check(336, IpVersion::V4).unwrap();
        check(1280, IpVersion::V6).unwrap();
        check(9000, IpVersion::V4).unwrap();
        assert!(check(335, IpVersion::V4).unwrap_err().contains("at least 336"));
        let error = check(9001, IpVersion::V4).unwrap_err();
        assert!(error.contains("at most 9000") && error.contains(&path_mtu_words()), "{error}");
        let error = check(1279, IpVersion::V6).unwrap_err();
        assert!(error.contains("IPv6 with an MTU of 1279 bytes is too small: at least 1280"), "{error}");
        let unequal = Network { client_mtu: Some(300), ..Network::default() };
        let error = unequal.check().unwrap_err().to_string();
        assert!(error.contains("MTUs of 1500 bytes (server) and 300 (client) is too small"), "{error}");
        assert_eq!(unequal.mtu_of(Role::Server), 1500);
    }

    #[test]
    fn interfaces_are_told_where_they_are_no_ports() {
        assert_eq!(Network::default().to_string(), "IPv4 with an MTU of 1500 bytes");
        let both = Network { interface: RdmaInterface::Vlan(7), ..Network::default() };
        assert_eq!(both.to_string(), "IPv4 with an MTU of 1500 bytes, on vlan 7");
        let unequal = Network { client_interface: Some(RdmaInterface::Vlan(8)), ..both };
        assert!(unequal.to_string().ends_with(", on vlan 7 (server) and vlan 8 (client)"));
        let swapped = unequal.swapped();
        let of = Role::BOTH.map(|role| swapped.interface_of(role));
        assert_eq!(of, [RdmaInterface::Vlan(8), RdmaInterface::Vlan(7)]);
        assert!(!swapped.is_on_ports() && Network::default().is_on_ports());
    }

    #[test]
    fn documents_say_what_rxe_does() {
        let words = path_mtu_words();
        assert_eq!(
            words,
            "256 from 336 on, 512 from 592, 1024 from 1104, 2048 from 2128, 4096 from 4176; \
             connections by rdma_cm want 16 bytes more"
        );
        let bounds = format!("{MTU_MIN} to {MTU_MAX} bytes");
        let documents = [
            include_str!("../../../docs/scenarios.md"),
            include_str!("../../scenarios/scenario.schema.json"),
            include_str!("../../cli/src/programs.rs"),
        ];
        let documents = documents.map(|text| text.replace("\\n", " ").replace("\n    /// ", " "));
        for text in &documents {
            assert!(text.contains(&words), "{text}");
        }
        assert!(documents[0].contains(&bounds));
    }
}
