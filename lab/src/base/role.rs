//! The nodes, by the names that scenarios, traces and people use.
//!
//! A lab has a server and a client, and up to six further clients: what is said of two nodes is true of any lab.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Deserialize, Serialize};

use crate::base::names;

/// A node of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Listens: the passive side of a connection.
    Server,
    /// Connects: the active side of a connection.
    Client,
    /// A further client, of a lab of three nodes or more.
    Client2,
    /// Likewise, of four.
    Client3,
    /// Likewise, of five.
    Client4,
    /// Likewise, of six.
    Client5,
    /// Likewise, of seven.
    Client6,
    /// Likewise, of eight.
    Client7,
}

impl Role {
    /// The two that every lab has, in the order in which they are brought up.
    pub const BOTH: [Role; 2] = [Role::Server, Role::Client];

    /// All that a lab can have, in the order in which they are brought up.
    pub const ALL: [Role; 8] = [
        Role::Server,
        Role::Client,
        Role::Client2,
        Role::Client3,
        Role::Client4,
        Role::Client5,
        Role::Client6,
        Role::Client7,
    ];

    /// The nodes of a lab of so many; none above [`Role::ALL`].
    pub fn first(count: usize) -> &'static [Role] {
        static ALL: [Role; 8] = Role::ALL;
        &ALL[..count.min(ALL.len())]
    }

    /// Place in [`Role::ALL`], from 0.
    pub fn index(self) -> u8 {
        self as u8
    }

    /// `server`, `client`, `client2` and so on.
    pub fn name(self) -> &'static str {
        match self {
            Role::Server => "server",
            Role::Client => "client",
            Role::Client2 => "client2",
            Role::Client3 => "client3",
            Role::Client4 => "client4",
            Role::Client5 => "client5",
            Role::Client6 => "client6",
            Role::Client7 => "client7",
        }
    }

    /// True if it is a client, the first or a further one.
    pub fn is_client(self) -> bool {
        self != Role::Server
    }

    /// The one of [`Role::BOTH`] that it is like: what is made once for a server and a client serves all nodes.
    pub fn model(self) -> Role {
        if self.is_client() { Role::Client } else { Role::Server }
    }

    /// The node at the other end: a client's is the server, the server's the first client.
    pub fn peer(self) -> Role {
        if self.is_client() { Role::Server } else { Role::Client }
    }
}

/// Reads its name, whatever the case.
impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        let all = Role::ALL.map(Role::name);
        match names::find("node", text, all) {
            Ok(name) => Ok(Role::ALL.into_iter().find(|role| role.name() == name).unwrap_or(Role::Server)),
            // The two that every lab has, where no name is near.
            Err(_) if names::nearest(text, all).is_none() => {
                Err(names::find("node", text, Role::BOTH.map(Role::name)).err().unwrap_or_default())
            }
            Err(why) => Err(why),
        }
    }
}

/// Further clients are taken and not listed: most labs have none.
impl ValueEnum for Role {
    fn value_variants<'a>() -> &'a [Role] {
        Role::first(Role::ALL.len())
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).hide(!Role::BOTH.contains(self)))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_read_as_it_is_written() {
        for (index, role) in Role::ALL.into_iter().enumerate() {
            assert_eq!(role.to_string().to_uppercase().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
            assert_eq!(usize::from(role.index()), index);
        }
        assert_eq!(Role::first(3), [Role::Server, Role::Client, Role::Client2]);
        assert_eq!(Role::first(99).len(), 8);
    }

    #[test]
    fn name_of_no_node_has_the_nearest() {
        let why = |text: &str| text.parse::<Role>().unwrap_err();
        assert_eq!(why("clent2"), "no node is called `clent2`; the nearest is `client2`");
        assert_eq!(why("client1"), "no node is called `client1`; the nearest is `client`");
        assert_eq!(why("sever"), "no node is called `sever`; the nearest is `server`");
        assert_eq!(why("xyz"), "no node is called `xyz`; there are: server, client");
    }
}
