//! Limits of the switch's ports, as a scenario asks for them: rate, queue, marks.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::error::{Error, Result};
use crate::base::role::Role;
use crate::scenario::inline;

/// Most limited ports.
const PORTS_MAX: usize = 16;

/// Bytes of an Ethernet header, which no MTU counts.
const ETHERNET_HEADER: u64 = 14;

/// A port of the switch that carries less than comes: frames wait in its queue, and leave it at its rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitedPort {
    /// The node behind it; of a trunk to a second switch, all nodes there. Frames from one of these to another do not pass it.
    #[serde(serialize_with = "one_or_more", deserialize_with = "from_one_or_more")]
    #[schemars(with = "WrittenNodes")]
    pub to: Vec<Role>,
    /// Its rate, in kbit/s.
    #[schemars(range(min = 1))]
    pub kbit_per_s: u64,
    /// Most bytes in its queue; what comes when they are there is dropped. Unnamed, none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_bytes: Option<u64>,
    /// Most frames in its queue, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub queue_frames: Option<u64>,
    /// RoCE packets that find more bytes in the queue are marked "congestion experienced"; unnamed, none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark_above_bytes: Option<u64>,
}

/// Nodes as they are written: one name, or a list of them.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
enum WrittenNodes {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

fn from_one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Role>, D::Error> {
    let names = match WrittenNodes::deserialize(from)? {
        WrittenNodes::One(name) => vec![name],
        WrittenNodes::Several(names) => names,
    };
    names.iter().map(|name| name.parse().map_err(serde::de::Error::custom)).collect()
}

fn one_or_more<S: Serializer>(to: &[Role], into: S) -> Result<S::Ok, S::Error> {
    match to {
        [one] => one.serialize(into),
        several => several.serialize(into),
    }
}

impl LimitedPort {
    /// A port of that rate to no node, whose queue has no limit.
    pub fn of_rate(kbit_per_s: u64) -> LimitedPort {
        let (queue_bytes, queue_frames, mark_above_bytes) = (None, None, None);
        LimitedPort { to: Vec::new(), kbit_per_s, queue_bytes, queue_frames, mark_above_bytes }
    }

    /// Its name: `server`, `client3+client4`.
    pub fn name(&self) -> String {
        self.to.iter().map(|role| role.name()).collect::<Vec<_>>().join("+")
    }

    /// True if its queue may be full.
    pub fn may_drop(&self) -> bool {
        self.queue_bytes.is_some() || self.queue_frames.is_some()
    }

    /// True if it is on the way of a frame.
    pub fn is_between(&self, from: Role, to: Role) -> bool {
        self.to.contains(&to) && !self.to.contains(&from)
    }

    /// Time that so many bytes take.
    pub fn duration(&self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes.saturating_mul(8_000_000) / self.kbit_per_s.max(1))
    }

    /// Checks the ports of a scenario with these nodes, whose frames have up to `mtu` bytes behind the Ethernet header.
    ///
    /// # Errors
    ///
    /// One leads to no node or to all, carries nothing, or has a queue into which no frame fits.
    pub fn check(ports: &[LimitedPort], nodes: &[Role], mtu: u16) -> Result<()> {
        if ports.len() > PORTS_MAX {
            return Err(Error::usage(format!("{} ports are limited: at most {PORTS_MAX}", ports.len())));
        }
        for port in ports {
            let names: Vec<&str> = nodes.iter().map(|role| role.name()).collect();
            let (name, there_are) = (port.name(), format!("its nodes are: {}", names.join(", ")));
            if let Some(role) = port.to.iter().find(|role| !nodes.contains(role)) {
                return Err(Error::usage(format!("a port leads to {role}, which the scenario has not"))
                    .next(format!("{there_are}; more by `nodes`")));
            }
            let is_twice = |(index, role): (usize, &Role)| port.to[..index].contains(role);
            if port.to.is_empty() || port.to.len() >= nodes.len() || port.to.iter().enumerate().any(is_twice)
            {
                return Err(Error::usage(format!("a port leads to `{name}`")).next(format!(
                    "name a node, or those behind a trunk, each once, and not all; {there_are}"
                )));
            }
            if port.kbit_per_s == 0 {
                return Err(Error::usage(format!("the port to {name} carries nothing: kbit_per_s is 0"))
                    .next("to lose all, use a fault: action = \"cut\""));
            }
            let frame = u64::from(mtu) + ETHERNET_HEADER;
            if port.queue_bytes.is_some_and(|bytes| bytes < frame) || port.queue_frames == Some(0) {
                return Err(Error::usage(format!("no frame fits into the queue of the port to {name}"))
                    .next(format!("give it a frame at least: queue_bytes = {frame}, or queue_frames = 1")));
            }
        }
        Ok(())
    }
}

/// Reads what stands between the braces of an inline table: `to = "server", kbit_per_s = 8000`.
impl FromStr for LimitedPort {
    type Err = Error;

    fn from_str(text: &str) -> Result<LimitedPort> {
        inline::read("port", text, "to=\"server\",kbit_per_s=8000,mark_above_bytes=8192")
    }
}

impl fmt::Display for LimitedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kbit/s to {}", self.kbit_per_s, self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    struct File {
        port: Vec<LimitedPort>,
    }

    fn read(text: &str) -> Result<Vec<LimitedPort>, String> {
        toml::from_str::<File>(&format!("[[port]]\n{text}\n"))
            .map(|file| file.port)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn port_leads_to_a_node_or_to_several() {
        let one = read("to = \"Server\"\nkbit_per_s = 8000").unwrap();
        assert_eq!(one, [LimitedPort { to: vec![Role::Server], ..LimitedPort::of_rate(8000) }]);
        let several = read("to = [\"client3\", \"client4\"]\nkbit_per_s = 1\nqueue_frames = 2").unwrap();
        assert_eq!(several[0].name(), "client3+client4");
        for port in [one, several] {
            let written = toml::to_string(&File { port: port.clone() }).unwrap();
            assert_eq!(toml::from_str::<File>(&written).unwrap().port, port, "{written}");
        }
        let error = read("to = \"clent3\"\nkbit_per_s = 1").unwrap_err();
        assert!(error.contains("no node is called `clent3`; the nearest is `client3`"), "{error}");
        assert!(read("to = \"server\"\nkbits = 1").unwrap_err().contains("unknown field `kbits`"));
    }

    #[test]
    fn time_follows_from_rate_and_bytes() {
        let port = LimitedPort::of_rate(8000);
        assert_eq!(port.duration(1000).as_micros(), 1000);
        assert_eq!(port.duration(1).as_nanos(), 1000);
    }

    #[test]
    fn port_that_cannot_be_is_refused() {
        let nodes = Role::first(3);
        for (text, part) in [
            ("to = \"client5\"\nkbit_per_s = 1", "leads to client5, which the scenario has not"),
            ("to = []\nkbit_per_s = 1", "name a node, or those behind a trunk"),
            ("to = [\"client\", \"client\"]\nkbit_per_s = 1", "each once"),
            ("to = [\"server\", \"client\", \"client2\"]\nkbit_per_s = 1", "and not all"),
            ("to = \"server\"\nkbit_per_s = 0", "carries nothing"),
            ("to = \"server\"\nkbit_per_s = 1\nqueue_bytes = 1513", "queue_bytes = 1514"),
            ("to = \"server\"\nkbit_per_s = 1\nqueue_frames = 0", "no frame fits"),
        ] {
            let error = LimitedPort::check(&read(text).unwrap(), nodes, 1500).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let most = read("to = \"server\"\nkbit_per_s = 1\nqueue_bytes = 1514").unwrap();
        LimitedPort::check(&most, nodes, 1500).unwrap();
        LimitedPort::check(&vec![most[0].clone(); 17], nodes, 1500).unwrap_err();
    }
}
