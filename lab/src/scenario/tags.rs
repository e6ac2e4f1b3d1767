//! Tags of a scenario, worked out of its file, so that nobody has to keep them.

use std::collections::BTreeSet;

use crate::base::role::Role;
use crate::scenario::file::{Scenario, Trace};
use crate::scenario::network::{IpVersion, Network};

/// Tags that a scenario can have beside the names of fault actions, each with its meaning.
pub const TAGS: [(&str, &str); 16] = [
    ("cause", "expects causes of a failure"),
    ("clients", "several clients at once"),
    ("fails", "a program ends with an error, as expected"),
    ("fault", "a fault on the way; the action's name is a tag too"),
    ("filtered", "a node drops what reaches it"),
    ("finding", "expects rules to be broken"),
    ("interface", "RDMA on another interface than the port"),
    ("ipv6", "RDMA over IPv6"),
    ("modules", "kernel modules beside the usual ones"),
    ("mtu", "another MTU than 1500"),
    ("nodes", "more than two nodes"),
    ("packages", "packages beside the usual ones"),
    ("port", "a port of the switch that carries less than comes"),
    ("restart", "a node's RDMA device is made anew"),
    ("summary", "its snapshot is what holds whatever the timing"),
    ("timeouts", "programs that let an ACK timeout run out"),
];

impl Scenario {
    /// Its tags: of [`TAGS`], and the name of each fault's action.
    pub fn tags(&self) -> BTreeSet<&'static str> {
        let (network, usual) = (&self.network, Network::default());
        let is_failing = Role::BOTH.iter().any(|role| self.expected(*role).exit != 0);
        let has_own_mtu = [Some(network.mtu), network.server_mtu, network.client_mtu]
            .into_iter()
            .flatten()
            .any(|mtu| mtu != usual.mtu);
        let has = |tag: &str| match tag {
            "cause" => !self.expect.causes.is_empty(),
            "clients" => self.nodes > 2 || !self.more_clients.is_empty() || self.server.contains("--clients"),
            "fails" => is_failing,
            "fault" => !self.faults.is_empty(),
            "filtered" => network.filtered.is_some(),
            "finding" => !self.expect.findings.is_empty(),
            "interface" => !network.is_on_ports(),
            "ipv6" => network.ip == IpVersion::V6,
            "modules" => !self.modules.is_empty(),
            "mtu" => has_own_mtu,
            "nodes" => self.nodes > 2,
            "packages" => !self.packages.is_empty(),
            "port" => !self.ports.is_empty(),
            "restart" => self.restart.is_some(),
            "summary" => self.trace == Trace::Summary,
            "timeouts" => self.expect.timeouts,
            _ => false,
        };
        let own = TAGS.iter().map(|(tag, _)| *tag).filter(|tag| has(tag));
        own.chain(self.faults.iter().map(|fault| fault.action.name())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> Vec<&'static str> {
        let text = format!("summary = \"a\"\nserver = \"s\"\nclient = \"c\"\n{text}");
        Scenario::parse("a", &text).unwrap().tags().into_iter().collect()
    }

    #[test]
    fn tags_follow_from_what_a_scenario_says() {
        assert!(tags("").is_empty());
        assert_eq!(
            tags("trace = \"summary\"\n[[fault]]\naction = \"drop\"\nnth = 1\n"),
            ["drop", "fault", "summary"]
        );
        assert_eq!(tags("[network]\nmtu = 4200\nip = \"v6\"\n"), ["ipv6", "mtu"]);
        assert_eq!(
            tags("nodes = 3\n[expect]\nfindings = [\"RequestPsnGap\"]\n"),
            ["clients", "finding", "nodes"]
        );
        assert_eq!(tags("[expect.client]\nexit = 3\n"), ["fails"]);
    }

    #[test]
    fn catalogue_has_every_tag_and_tags_are_sorted() {
        assert!(TAGS.is_sorted());
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let scenarios = Scenario::read_all(&directory).unwrap();
        for (tag, _) in TAGS {
            // No scenario of the kit's own needs packages or modules of its own, or lets a timeout run out without a fault.
            let is_for_others = matches!(tag, "packages" | "modules" | "timeouts");
            assert!(is_for_others || scenarios.iter().any(|scenario| scenario.tags().contains(tag)), "{tag}");
        }
    }
}
