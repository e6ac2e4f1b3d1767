//! The two nodes, by the names that scenarios, traces and people use.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::base::names;

/// One of the two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Listens: the passive side of a connection.
    Server,
    /// Connects: the active side of a connection.
    Client,
}

impl Role {
    /// Both, in the order in which they are brought up.
    pub const BOTH: [Role; 2] = [Role::Server, Role::Client];

    /// `server` or `client`.
    pub fn name(self) -> &'static str {
        match self {
            Role::Server => "server",
            Role::Client => "client",
        }
    }

    /// The other one.
    pub fn peer(self) -> Role {
        match self {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        }
    }
}

/// Reads its name, whatever the case.
impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        let name = names::find("node", text, Role::BOTH.map(Role::name))?;
        Ok(if name == Role::Server.name() { Role::Server } else { Role::Client })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
