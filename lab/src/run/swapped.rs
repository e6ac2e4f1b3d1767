//! Machines that change places: the server's command runs on the machine that is the client's otherwise.
//!
//! Whoever asks by role gets the other machine; logs of the machines themselves keep their own names.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::error::Result;
use crate::base::role::Role;
use crate::guest::contents::Contents;
use crate::node::{Node, NodePair, Plan, Provenance, Provider};
use crate::scenario::differences::Differences;
use crate::scenario::fault::netem::Counted;
use crate::scenario::fault::{Fault, Met};
use crate::scenario::network::Wire;
use crate::wire::captured::Captured;

/// A provider whose machines have changed places.
pub(super) struct Swapped<'a>(&'a dyn Provider);

impl<'a> Swapped<'a> {
    /// The machines of `provider`, each in the other's place.
    pub(super) fn new(provider: &'a dyn Provider) -> Swapped<'a> {
        Swapped(provider)
    }
}

impl Provider for Swapped<'_> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn wire(&self) -> Wire {
        match self.0.wire() {
            Wire::Netem { on } => Wire::Netem { on: on.into_iter().map(Role::peer).collect() },
            Wire::Switch => Wire::Switch,
        }
    }

    fn differences(&self) -> Differences {
        self.0.differences()
    }

    fn provenance(&self) -> BTreeMap<Role, Provenance> {
        exchanged(self.0.provenance())
    }

    fn contents(&self) -> Result<Option<Contents>> {
        self.0.contents()
    }

    fn bring_up(&self, plan: &Plan<'_>) -> Result<Box<dyn NodePair>> {
        let faults: Vec<Fault> = plan.faults.iter().map(Fault::swapped).collect();
        let plan = Plan { network: plan.network.swapped(), faults: &faults, ..*plan };
        Ok(Box::new(SwappedPair(self.0.bring_up(&plan)?)))
    }
}

/// Machines in each other's place.
struct SwappedPair(Box<dyn NodePair>);

/// Provenance of each machine, by the role that it has now.
fn exchanged<T>(by_role: BTreeMap<Role, T>) -> BTreeMap<Role, T> {
    by_role.into_iter().map(|(role, of)| (role.peer(), of)).collect()
}

/// The packets that came, with each receiver's name that it has now: `RC SEND Only to server.qp1`.
fn renamed(passed: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let rename = |what: String| match what.rsplit_once(" to ") {
        Some((kind, to)) => {
            let (node, rest) = to.split_at(to.find('.').unwrap_or(to.len()));
            let node = node.parse::<Role>().map_or(node.to_owned(), |role| role.peer().to_string());
            format!("{kind} to {node}{rest}")
        }
        None => what,
    };
    passed.into_iter().map(|(what, count)| (rename(what), count)).collect()
}

impl NodePair for SwappedPair {
    fn node(&self, role: Role) -> &dyn Node {
        self.0.node(role.peer())
    }

    fn description(&self) -> String {
        format!("{}, machines swapped", self.0.description())
    }

    fn provenance(&self) -> BTreeMap<Role, Provenance> {
        exchanged(self.0.provenance())
    }

    fn way_in(&self, role: Role) -> Result<String> {
        self.0.way_in(role.peer())
    }

    fn start_capture(&self, file: &Path) -> Result<()> {
        self.0.start_capture(file)
    }

    fn captured(&self) -> Result<BTreeMap<Role, Captured>> {
        Ok(exchanged(self.0.captured()?))
    }

    fn stop_capture(&self) -> Result<()> {
        self.0.stop_capture()
    }

    fn met(&self) -> Result<Option<Met>> {
        Ok(self.0.met()?.map(|met| Met { passed: renamed(met.passed), ..met }))
    }

    fn netem(&self) -> Result<BTreeMap<Role, Counted>> {
        Ok(exchanged(self.0.netem()?))
    }

    fn check_alive(&self) -> Result<()> {
        self.0.check_alive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::network::Network;

    #[test]
    fn network_faults_and_names_go_with_their_machines() {
        let network = Network { server_mtu: Some(9000), filtered: Some(Role::Client), ..Network::default() };
        let swapped = network.swapped();
        assert_eq!((swapped.server_mtu, swapped.client_mtu), (None, Some(9000)));
        assert_eq!(swapped.filtered, Some(Role::Server));
        assert_eq!(swapped.swapped(), network);
        let fault: Fault = "action=\"drop\",to=\"server.qp1\"".parse().unwrap();
        assert_eq!(fault.swapped().to_string(), "drop any packet, to client.qp1");
        let anywhere: Fault = "action=\"drop\"".parse().unwrap();
        assert_eq!(anywhere.swapped(), anywhere);
        let passed = [("RC SEND Only to server.qp1".to_owned(), 2), ("CM REQ to client".to_owned(), 1)];
        let names: Vec<String> = renamed(passed.into()).into_keys().collect();
        assert_eq!(names, ["CM REQ to server", "RC SEND Only to client.qp1"]);
    }
}
