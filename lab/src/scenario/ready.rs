//! Readiness of a server for its client, and the end of one that serves for ever.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::names;

/// Moment at which a server is ready for its client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Ready {
    /// Something listens by RDMA CM or TCP that did not before.
    #[default]
    Listener,
    /// Somebody listens on this port, by RDMA CM or TCP.
    Port(u16),
    /// So much time has passed.
    Delay {
        /// In seconds.
        seconds: u64,
    },
}

/// Reads what [`fmt::Display`] writes: `listener`, `port:7471`, `delay:2`.
impl FromStr for Ready {
    type Err = Error;

    fn from_str(text: &str) -> Result<Ready> {
        let (word, number) = text.split_once(':').unwrap_or((text, ""));
        let wrong = || {
            Error::usage(format!("`{text}` does not say when a server is ready"))
                .next("write listener, port:7471 or delay:2 (seconds)")
        };
        match names::find("way to be ready", word, ["listener", "port", "delay"]) {
            Ok("listener") if number.is_empty() => Ok(Ready::Listener),
            Ok("port") => number.parse().map(Ready::Port).map_err(|_| wrong()),
            Ok("delay") => number.parse().map(|seconds| Ready::Delay { seconds }).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Ready {
    type Error = Error;

    fn try_from(text: String) -> Result<Ready> {
        text.parse()
    }
}

impl From<Ready> for String {
    fn from(ready: Ready) -> String {
        ready.to_string()
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ready::Listener => f.write_str("listener"),
            Ready::Port(port) => write!(f, "port:{port}"),
            Ready::Delay { seconds } => write!(f, "delay:{seconds}"),
        }
    }
}

/// A signal that asks a program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Stop {
    /// SIGTERM.
    #[serde(rename = "SIGTERM")]
    Term,
    /// SIGINT, as by Ctrl-C; only a program with a handler of its own heeds it.
    #[serde(rename = "SIGINT")]
    Int,
    /// SIGHUP.
    #[serde(rename = "SIGHUP")]
    Hup,
    /// SIGUSR1.
    #[serde(rename = "SIGUSR1")]
    Usr1,
}

impl Stop {
    /// Its name without SIG.
    pub fn name(self) -> &'static str {
        match self {
            Stop::Term => "TERM",
            Stop::Int => "INT",
            Stop::Hup => "HUP",
            Stop::Usr1 => "USR1",
        }
    }
}

/// Reads its name, with or without SIG.
impl FromStr for Stop {
    type Err = Error;

    fn from_str(text: &str) -> Result<Stop> {
        let upper = text.to_ascii_uppercase();
        match upper.trim_start_matches("SIG") {
            "TERM" => Ok(Stop::Term),
            "INT" => Ok(Stop::Int),
            "HUP" => Ok(Stop::Hup),
            "USR1" => Ok(Stop::Usr1),
            _ => Err(Error::usage(format!("`{text}` is no signal that ends a server"))
                .next("write SIGTERM, SIGINT, SIGHUP or SIGUSR1")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_be_ready_are_read_as_they_are_written() {
        for text in ["listener", "port:7471", "delay:2"] {
            assert_eq!(text.parse::<Ready>().unwrap().to_string(), text);
        }
        for wrong in ["", "prot:1", "port:", "port:70000", "delay:x", "listener:1"] {
            let error = wrong.parse::<Ready>().unwrap_err().to_string();
            assert!(error.contains("port:7471"), "{error}");
        }
        assert_eq!("sigint".parse::<Stop>().unwrap(), Stop::Int);
        assert!("SIGFOO".parse::<Stop>().unwrap_err().to_string().contains("SIGTERM"));
    }
}
