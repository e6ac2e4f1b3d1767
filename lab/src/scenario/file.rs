//! Scenario files: what runs on the nodes, and what is expected of it.
//!
//! One TOML file each, in `lab/scenarios/`; the file's name is the scenario's. Unknown keys are errors.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::names;
use crate::base::role::Role;
use crate::scenario::expect::{Expect, ExpectProgram};
use crate::scenario::fault::{Fault, netem};
use crate::scenario::interface;
use crate::scenario::network::{Network, Wire};
use crate::scenario::placeholder;
use crate::scenario::port::LimitedPort;
use crate::scenario::ready::{Ready, Stop};

/// One scenario.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name: the file's, without `.toml`.
    #[serde(default)]
    #[schemars(skip)]
    pub name: String,
    /// Its purpose, in a sentence.
    pub summary: String,
    /// The command on the node `server`; it has to end by itself. `{server}` and `{client}` stand for the nodes' RDMA
    /// addresses.
    pub server: String,
    /// The command on the node `client`, and on each further client; likewise.
    pub client: String,
    /// Number of nodes: a server, and clients `client`, `client2`, `client3` and so on, started together.
    #[serde(default = "two_nodes", skip_serializing_if = "is_two_nodes")]
    #[schemars(range(min = 2, max = 8))]
    pub nodes: usize,
    /// The commands on further clients, by their names, where it is another than `client`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub on: BTreeMap<Role, String>,
    /// Further commands on the node `client`, started together with that one.
    #[serde(default)]
    pub more_clients: Vec<String>,
    /// Files for both nodes, by paths that begin where this file is: programs among them are found by name, libraries by the
    /// loader. A local path as a command's first word is pushed without being named here.
    #[serde(default)]
    pub push: Vec<PathBuf>,
    /// Packages of the machines' release that they need beside the usual ones, with all that those need: `python3-pyverbs`. The
    /// lab puts them on machines of its own; on others they have to be there.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Kernel modules that both nodes load before the programs start, with all that those need: `nvme-rdma`.
    #[serde(default)]
    pub modules: Vec<String>,
    /// The user that runs the programs, other than root, with the 8 MiB of locked memory that a login has; the lab's own machines make
    /// one of that name, on others there has to be one.
    #[serde(default)]
    pub user: Option<String>,
    /// True if the two machines change places: the first is the client's then. It tells where machines differ.
    #[serde(default)]
    pub swap: bool,
    /// A node whose RDMA device is made anew when both programs have ended, as by a restart; then both run again. The device is made anew
    /// before the first time as well, so that its queue pair numbers are the same in both.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("enum" = ["server", "client"]))]
    pub restart: Option<Role>,
    /// Moment at which the server is ready for its client: `listener` (something listens by RDMA CM or TCP that did not before),
    /// `port:N` (somebody listens on that port), `delay:SECONDS`.
    #[serde(default)]
    #[schemars(with = "String")]
    pub ready: Ready,
    /// The signal that ends the server once its client has, for one that serves for ever: it may end by that.
    #[serde(default)]
    pub stop: Option<Stop>,
    /// Longest time that both commands may take together, in seconds.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: u64,
    /// The network between the nodes.
    #[serde(default)]
    pub network: Network,
    /// Faults of packets on the way, in this order: the first that matches a packet acts on it.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
    /// Ports of the switch that carry less than comes, in this order: a frame waits in the queue of the first on its way.
    #[serde(default, rename = "port", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<LimitedPort>,
    /// Things that the machines must have beyond what all have; faults add what they need.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// Content of the snapshot.
    #[serde(default)]
    pub trace: Trace,
    /// Facts that must be true afterwards.
    #[serde(default)]
    pub expect: Expect,
    /// Directory of its file, from which its relative paths begin.
    #[serde(skip)]
    pub directory: PathBuf,
}

/// A thing that a scenario needs of its machines and that not all have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// The lab's own switch between the nodes.
    Switch,
}

/// Content of a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trace {
    /// Every packet.
    #[default]
    Full,
    /// Only facts that hold whatever the timing: for large scenarios and those in which time decides.
    Summary,
}

/// Reads its name, whatever the case.
impl std::str::FromStr for Need {
    type Err = String;

    fn from_str(text: &str) -> Result<Need, String> {
        names::find("thing that machines have", text, ["switch"]).map(|_| Need::Switch)
    }
}

fn default_timeout_s() -> u64 {
    30
}

fn two_nodes() -> usize {
    Role::BOTH.len()
}

fn is_two_nodes(nodes: &usize) -> bool {
    *nodes == two_nodes()
}

impl Scenario {
    /// One that says nothing but what runs, as a file may.
    pub fn new(name: &str, server: String, client: String) -> Scenario {
        Scenario {
            name: name.to_owned(),
            summary: String::new(),
            server,
            client,
            nodes: two_nodes(),
            on: BTreeMap::new(),
            more_clients: Vec::new(),
            push: Vec::new(),
            packages: Vec::new(),
            modules: Vec::new(),
            user: None,
            swap: false,
            restart: None,
            ready: Ready::default(),
            stop: None,
            timeout_s: default_timeout_s(),
            network: Network::default(),
            faults: Vec::new(),
            ports: Vec::new(),
            needs: Vec::new(),
            trace: Trace::default(),
            expect: Expect::default(),
            directory: PathBuf::new(),
        }
    }

    /// Reads one file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not a scenario: with the place and, for an unknown key, the nearest valid one.
    pub fn read(path: &Path) -> Result<Scenario> {
        let text = fs::read_to_string(path).at("failed to read the scenario", path)?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let mut scenario = Scenario::parse(&name, &text)
            .map_err(|error| Error::usage(format!("scenario {}", path.display())).source(error))?;
        scenario.directory = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(scenario)
    }

    /// Reads every `*.toml` of a directory, sorted by name.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed, or one of the files is not a scenario.
    pub fn read_all(directory: &Path) -> Result<Vec<Scenario>> {
        let mut scenarios = Vec::new();
        for entry in fs::read_dir(directory).at("failed to list the scenarios in", directory)? {
            let path = entry.at("failed to list the scenarios in", directory)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                scenarios.push(Scenario::read(&path)?);
            }
        }
        scenarios.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(scenarios)
    }

    /// Checks names that a person wrote, before anything runs, and writes them as they are.
    ///
    /// # Errors
    ///
    /// A counter, a rule or a placeholder has no such name: with the nearest; or expectations cannot be true together.
    pub fn check(&mut self) -> Result<()> {
        self.check_nodes()?;
        for command in self.all_commands() {
            if command.trim().is_empty() {
                return Err(Error::usage("a command is empty: there is nothing to run")
                    .next("name a program for each node; `sleep 5` does nothing for a while"));
            }
            placeholder::check(command, self.roles())?;
        }
        if let Some(user) = &self.user {
            check_user(user)?;
        }
        let is_module = |name: &&String| {
            let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            !name.is_empty() && name.bytes().all(is_of_name)
        };
        if let Some(name) = self.modules.iter().find(|name| !is_module(name)) {
            return Err(Error::usage(format!("`{name}` is no name of a kernel module"))
                .next("name it as modprobe does, without .ko: nvme-rdma"));
        }
        self.expect.check()
    }

    /// Refuses a number of nodes that no lab has, and what is said of nodes that there are not.
    fn check_nodes(&self) -> Result<()> {
        let most = Role::ALL.len();
        if !(two_nodes()..=most).contains(&self.nodes) {
            return Err(Error::usage(format!("key `nodes` is {}", self.nodes))
                .next(format!("a lab has 2 to {most} nodes: a server, and 1 to {} clients", most - 1)));
        }
        let names: Vec<&str> = self.roles().iter().map(|role| role.name()).collect();
        let there_are = format!("its nodes are: {}; more by `nodes`", names.join(", "));
        if let Some(role) = self.on.keys().find(|role| Role::BOTH.contains(role)) {
            return Err(Error::usage(format!("`on` names {role}, whose command is the key `{role}`"))
                .next("name further clients there, as client2"));
        }
        if let Some(role) = self.on.keys().find(|role| !self.roles().contains(role)) {
            return Err(
                Error::usage(format!("`on` names {role}, which the scenario has not")).next(there_are)
            );
        }
        let receivers = self.faults.iter().filter_map(|fault| fault.matcher.to);
        let filtered = self.network.filtered.into_iter();
        if let Some(role) =
            receivers.map(|to| to.node).chain(filtered).find(|role| !self.roles().contains(role))
        {
            return Err(Error::usage(format!("{role} is named, which the scenario has not")).next(there_are));
        }
        if let Some(role) = self.restart.filter(|role| !self.roles().contains(role)) {
            return Err(
                Error::usage(format!("`restart` names {role}, which the scenario has not")).next(there_are)
            );
        }
        if !self.network.is_on_ports() && self.nodes > two_nodes() {
            return Err(Error::usage(format!("{} nodes have RDMA on their ports", self.nodes))
                .next("another `interface` is for two nodes: leave it out, or `nodes`"));
        }
        if self.swap && self.nodes > two_nodes() {
            return Err(Error::usage(format!("{} nodes cannot change places", self.nodes))
                .next("`swap` is for two: leave it out, or `nodes`"));
        }
        LimitedPort::check(&self.ports, self.roles(), self.network.mtu)?;
        let ports: Vec<String> = self.ports.iter().map(LimitedPort::name).collect();
        for name in self.expect.ports.keys() {
            names::find("limited port", name, ports.iter().map(String::as_str)).map_err(Error::usage)?;
        }
        Ok(())
    }

    /// Its nodes, in the order in which they are brought up.
    pub fn roles(&self) -> &'static [Role] {
        Role::first(self.nodes)
    }

    /// The commands of all nodes.
    fn all_commands(&self) -> impl Iterator<Item = &str> {
        self.roles().iter().flat_map(|role| self.commands_of(*role))
    }

    /// The commands of one node, which run there side by side.
    pub fn commands_of(&self, role: Role) -> impl Iterator<Item = &str> {
        let more = if role == Role::Client { &self.more_clients[..] } else { &[] };
        std::iter::once(self.command(role)).chain(more.iter().map(String::as_str))
    }

    /// Kernel modules that its machines need beside the usual ones: those that it names, and those of its interfaces.
    pub fn all_modules(&self) -> Vec<String> {
        let of_interfaces = if self.network.is_on_ports() { &[][..] } else { &interface::MODULES };
        self.modules.iter().cloned().chain(of_interfaces.iter().map(|name| (*name).to_owned())).collect()
    }

    /// The first command of one node.
    pub fn command(&self, role: Role) -> &str {
        match role {
            Role::Server => &self.server,
            client => self.on.get(&client).unwrap_or(&self.client),
        }
    }

    /// All commands, a line each.
    pub fn commands(&self) -> String {
        self.all_commands().collect::<Vec<_>>().join("\n")
    }

    /// The same with every command as `called` gives it.
    ///
    /// # Errors
    ///
    /// As `called`.
    pub fn with_commands(&self, mut called: impl FnMut(&str) -> Result<String>) -> Result<Scenario> {
        let mut scenario = self.clone();
        scenario.server = called(&self.server)?;
        scenario.client = called(&self.client)?;
        scenario.more_clients =
            self.more_clients.iter().map(|command| called(command)).collect::<Result<_>>()?;
        for command in scenario.on.values_mut() {
            *command = called(command)?;
        }
        Ok(scenario)
    }

    /// Expectations of one node's program.
    pub fn expected(&self, role: Role) -> &ExpectProgram {
        if role.is_client() { &self.expect.client } else { &self.expect.server }
    }

    /// Reason that machines with such a wire between them cannot run it, in one line; `None` if they can.
    pub fn cannot_run_on(&self, wire: &Wire) -> Option<String> {
        let Wire::Netem { on } = wire else { return None };
        if self.nodes > two_nodes() {
            return Some(format!("it has {} nodes, and these machines are two", self.nodes));
        }
        if let Some(port) = self.ports.first() {
            return Some(format!(
                "it limits the port to {}, which only the lab's own switch does",
                port.name()
            ));
        }
        if self.needs.contains(&Need::Switch) {
            return Some("it needs the lab's own switch, which these machines have not".to_owned());
        }
        if let Some(role) = self.network.filtered {
            return Some(format!("it filters packets on {role}, which only the lab's own machines do"));
        }
        if !self.network.is_on_ports() {
            return Some("it puts RDMA on other interfaces, which only the lab's own machines do".to_owned());
        }
        if let Some(role) = self.restart {
            return Some(format!(
                "it makes the RDMA device of {role} anew, which only the lab's own machines do"
            ));
        }
        match netem::arguments(&self.faults) {
            Err(why) => Some(why),
            Ok(arguments) => arguments.keys().find(|sender| !on.contains(sender)).map(|sender| {
                format!("its faults need `tc netem` on {sender}, whose network the lab may not change: setup_rxe is not set")
            }),
        }
    }

    /// True if a requester's ACK timeout may run out for a reason that the scenario gives.
    pub fn explains_timeouts(&self) -> bool {
        let may_drop = self.ports.iter().any(LimitedPort::may_drop);
        !self.faults.is_empty() || may_drop || self.expect.timeouts
    }

    /// True if queue pairs may fail in the middle: by a fault, or so that a program ends with an error.
    pub fn may_fail_queue_pairs(&self) -> bool {
        self.explains_timeouts() || Role::BOTH.iter().any(|role| self.expected(*role).exit != 0)
    }

    /// Longest time that both commands may take together.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }

    pub(super) fn parse(name: &str, text: &str) -> Result<Scenario> {
        let mut scenario: Scenario = toml::from_str(text).map_err(|error| {
            // `name` is for what a run leaves, and no key of a file.
            let message = error.to_string().replace("`name`, ", "");
            let next = hint(&message);
            Error::usage("not a scenario").detail(message).next(next)
        })?;
        if !scenario.name.is_empty() {
            return Err(Error::usage("a scenario has the name of its file").next("leave out the key `name`"));
        }
        name.clone_into(&mut scenario.name);
        scenario.network.check()?;
        scenario.check()?;
        if scenario.timeout_s == 0 {
            return Err(Error::usage("key `timeout_s` is 0: no program ends in no time"));
        }
        Ok(scenario)
    }

    /// The JSON schema of a scenario file, for editors.
    pub fn schema() -> String {
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(Scenario)).unwrap_or_default();
        schema + "\n"
    }
}

/// Next step where a file is not taken, by the message of its reader.
fn hint(message: &str) -> String {
    let unknown = message.split_once("unknown field `").and_then(|(_, rest)| Some(rest.split_once('`')?.0));
    let place = unknown.and_then(|key| Some((key, table_of(key)?)));
    match (place, names::nearest_key(message)) {
        (Some((key, table)), _) => format!("`{key}` is a key {table}"),
        (None, Some(nearest)) => nearest,
        (None, None) => "docs/scenarios.md has all keys".to_owned(),
    }
}

/// Place in a scenario file at which there is a key of this name.
fn table_of(key: &str) -> Option<&'static str> {
    let schema = schemars::schema_for!(Scenario).to_value();
    let places = [
        ("", "of the file itself, above all tables"),
        ("/$defs/Network", "of [network]"),
        ("/$defs/Expect", "of [expect]"),
        ("/$defs/ExpectProgram", "of [expect.server] or [expect.client]"),
    ];
    let has = |at: &str| schema.pointer(&format!("{at}/properties/{key}")).is_some();
    places.into_iter().find(|(at, _)| has(at)).map(|(_, place)| place)
}

/// Refuses what no system calls a user.
fn check_user(name: &str) -> Result<()> {
    let is_of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
    match begins && name.len() <= 32 && name.bytes().all(is_of_name) {
        true => Ok(()),
        false => Err(Error::usage(format!("`{name}` is no name of a user"))
            .next("use a-z, 0-9, `_` and `-`, at most 32, a letter first")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "summary = \"s\"\nserver = \"a\"\nclient = \"b {server}\"\n";

    #[test]
    fn scenarios_of_what_was_found_are_told_of_in_the_findings() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let told = fs::read_to_string(root.join("../docs/findings.md")).unwrap();
        let found = Scenario::read_all(&root.join("findings")).unwrap();
        assert!(!found.is_empty());
        for scenario in found {
            assert!(told.contains(&format!("`lab/findings/{}.toml`", scenario.name)), "{}", scenario.name);
        }
    }

    #[test]
    fn minimal_scenario_expects_success_and_completions() {
        let scenario = Scenario::parse("x", MINIMAL).unwrap();
        assert_eq!(scenario.name, "x");
        assert_eq!(scenario.expected(Role::Client).exit, 0);
        assert!(scenario.expect.completions && scenario.expect.findings.is_empty());
    }

    #[test]
    fn unknown_key_names_the_nearest() {
        let error = Scenario::parse("x", &format!("{MINIMAL}sumary = \"\"\n")).unwrap_err().to_string();
        assert!(error.contains("key `sumary` is not known; the nearest is `summary`"), "{error}");
        let error = Scenario::parse("x", &format!("{MINIMAL}[expect.server]\nexits = 1\n")).unwrap_err();
        assert!(error.to_string().contains("nearest is `exit`"), "{error}");
    }

    #[test]
    fn key_in_another_table_and_value_of_another_kind_are_told() {
        for (text, part) in [
            ("mtu = 1500", "`mtu` is a key of [network]"),
            ("exit = 0", "`exit` is a key of [expect.server] or [expect.client]"),
            ("findings = []", "`findings` is a key of [expect]"),
            ("[network]\ntimeout_s = 3", "`timeout_s` is a key of the file itself, above all tables"),
            ("tamper = 1", "docs/scenarios.md has all keys"),
            ("timeout_s = \"3\"", "docs/scenarios.md has all keys"),
            ("[expect.server.counters]\nsent_pkts = \"sme\"", "by a number, or by \"some\" or \"any\""),
            ("[expect.server]\nexit = true", "a number, or by a signal"),
        ] {
            let error = Scenario::parse("x", &format!("{MINIMAL}{text}\n")).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("`name`"), "{text}: {error}");
        }
    }

    #[test]
    fn unknown_value_names_the_nearest() {
        let error = Scenario::parse("x", &format!("{MINIMAL}trace = \"sumary\"\n")).unwrap_err().to_string();
        assert!(error.contains("value `sumary` is not known; the nearest is `summary`"), "{error}");
        let text = format!("{MINIMAL}[[fault]]\naction = \"drop\"\nopcode = \"RC RDMA WRITE Onli\"\n");
        let error = Scenario::parse("x", &text).unwrap_err().to_string();
        assert!(error.contains("nearest is `RC RDMA WRITE Only`"), "{error}");
    }

    #[test]
    fn names_are_taken_whatever_their_case() {
        let text = format!(
            "{MINIMAL}[[fault]]\naction = \"Drop\"\nopcode = \"RC ATOMIC Acknowledge\"\nto = \"Client.QP2\"\n\
             [expect]\nfindings = [\"icrcmismatch\"]\n[expect.server.counters]\nDuplicate_Request = 1\n"
        );
        let scenario = Scenario::parse("x", &text).unwrap();
        assert_eq!(scenario.faults[0].to_string(), "drop RC Atomic Acknowledge, to client.qp2");
        assert_eq!(scenario.expect.findings, ["IcrcMismatch"]);
        assert!(scenario.expect.server.counters.contains_key("duplicate_request"));
    }

    #[test]
    fn placeholder_that_is_nearly_one_is_refused_with_the_nearest() {
        for (written, near) in
            [("{sever}", "{server}"), ("{server_ip}", "{server}"), ("{CLEINT}", "{client}")]
        {
            let text = MINIMAL.replace("{server}", written);
            let error = Scenario::parse("x", &text).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{written} stands for nothing; the nearest is {near}")),
                "{error}"
            );
        }
    }

    #[test]
    fn program_may_end_by_a_signal_and_a_node_have_several() {
        let text = format!(
            "{MINIMAL}more_clients = [\"c {{server}}\", \"d\"]\n[expect.server]\nexit = \"SIGTERM\"\n[expect.client]\nexit = 3\n"
        );
        let scenario = Scenario::parse("x", &text).unwrap();
        assert_eq!(Role::BOTH.map(|role| scenario.expected(role).exit), [143, 3]);
        assert_eq!(scenario.commands_of(Role::Client).collect::<Vec<_>>(), ["b {server}", "c {server}", "d"]);
        assert_eq!(scenario.commands_of(Role::Server).count(), 1);
        let called = scenario.with_commands(|command| Ok(format!("x {command}"))).unwrap();
        assert_eq!(called.commands(), "x a\nx b {server}\nx c {server}\nx d");
    }

    #[test]
    fn further_clients_run_what_the_first_does_or_their_own() {
        let text = format!(
            "{MINIMAL}nodes = 5\non.client3 = \"c {{server}} {{client4}}\"\nmore_clients = [\"d\"]\n\
             [[port]]\nto = \"server\"\nkbit_per_s = 8000\n[[fault]]\naction = \"drop\"\nto = \"client4\"\n"
        );
        let scenario = Scenario::parse("x", &text).unwrap();
        let names: Vec<&str> = scenario.roles().iter().map(|role| role.name()).collect();
        assert_eq!(names, ["server", "client", "client2", "client3", "client4"]);
        assert_eq!(scenario.commands(), "a\nb {server}\nd\nb {server}\nc {server} {client4}\nb {server}");
        assert_eq!(scenario.expected(Role::Client4).exit, scenario.expected(Role::Client).exit);
        assert!(scenario.explains_timeouts());
        let called = scenario.with_commands(|command| Ok(format!("x {command}"))).unwrap();
        assert_eq!(called.command(Role::Client3), "x c {server} {client4}");
        // What evidence keeps is read again, and of two nodes says nothing of nodes.
        let kept = serde_json::to_string(&scenario).unwrap();
        assert_eq!(serde_json::from_str::<Scenario>(&kept).unwrap().commands(), scenario.commands());
        let two = serde_json::to_value(Scenario::parse("x", MINIMAL).unwrap()).unwrap();
        assert!(["ports", "cnps"].iter().all(|key| two["expect"].get(key).is_none()), "{two}");
        assert!(["nodes", "on", "port"].iter().all(|key| two.get(key).is_none()), "{two}");
    }

    #[test]
    fn nodes_that_are_not_there_are_refused_with_those_that_are() {
        for (text, part) in [
            ("nodes = 0", "a lab has 2 to 8 nodes: a server, and 1 to 7 clients"),
            ("nodes = 1", "key `nodes` is 1"),
            ("nodes = 9", "key `nodes` is 9"),
            ("nodes = 3\non.clent2 = \"c\"", "the nearest is `client2`"),
            ("nodes = 3\non.client3 = \"c\"", "its nodes are: server, client, client2; more by `nodes`"),
            ("nodes = 3\non.client = \"c\"", "whose command is the key `client`"),
            ("nodes = 3\nswap = true", "3 nodes cannot change places"),
            ("nodes = 3\n[network]\ninterface = \"veth\"", "3 nodes have RDMA on their ports"),
            ("restart = \"client2\"", "`restart` names client2, which the scenario has not"),
            ("more_clients = [\"b {client2}\"]", "{client2} stands for nothing; the nearest is {client}"),
            (
                "[[fault]]\naction = \"drop\"\nto = \"client2\"",
                "client2 is named, which the scenario has not",
            ),
            ("[[port]]\nto = \"client2\"\nkbit_per_s = 1", "its nodes are: server, client"),
            (
                "[[port]]\nto = \"server\"\nkbit_per_s = 1\n[expect.ports.sever]\nmarked = \"some\"",
                "no limited port is called `sever`; the nearest is `server`",
            ),
        ] {
            let error = Scenario::parse("x", &format!("{MINIMAL}{text}\n")).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        for nodes in 2..=8 {
            Scenario::parse("x", &format!("{MINIMAL}nodes = {nodes}\n")).unwrap();
        }
    }

    #[test]
    fn machines_that_cannot_make_what_it_needs_are_refused() {
        let scenario = |rest: &str| Scenario::parse("x", &format!("{MINIMAL}{rest}")).unwrap();
        let why = |rest: &str, on: &[Role]| scenario(rest).cannot_run_on(&Wire::Netem { on: on.into() });
        let cut = "[[fault]]\naction = \"cut\"\n";
        assert_eq!(why("", &[]), None);
        assert_eq!(why(cut, &Role::BOTH), None);
        for (rest, part) in [
            ("needs = [\"switch\"]\n", "the lab's own switch"),
            ("nodes = 3\n", "it has 3 nodes, and these machines are two"),
            ("[[port]]\nto = \"server\"\nkbit_per_s = 8\n", "it limits the port to server"),
            ("restart = \"server\"\n", "makes the RDMA device of server anew"),
            ("[network]\ninterface = \"vlan 7\"\n", "puts RDMA on other interfaces"),
            ("[[fault]]\naction = \"drop\"\nnth = 1\n", "knows nothing of `nth`"),
            (cut, "`tc netem` on client, whose network the lab may not change"),
        ] {
            assert_eq!(scenario(rest).cannot_run_on(&Wire::Switch), None);
            assert!(why(rest, &[Role::Server]).unwrap().contains(part), "{rest}");
        }
    }

    #[test]
    fn mtu_too_small_for_ipv6_is_refused() {
        let error =
            Scenario::parse("x", &format!("{MINIMAL}[network]\nmtu = 1000\nip = \"v6\"\n")).unwrap_err();
        assert!(error.to_string().contains("at least 1280"), "{error}");
    }

    #[test]
    fn expectations_that_cannot_be_true_together_are_refused() {
        for (text, part) in [
            ("[expect.client]\nexit = 1\nresult = { ok = true }", "client cannot have both exit code 1"),
            ("[expect.server]\nresult = { ok = false }", "server cannot have both exit code 0"),
            ("[expect]\nfindings = [\"IcrcMismatch\", \"IcrcMismatch\"]", "expected twice"),
            ("[expect.server.counters]\nduplicate_requests = 1", "the nearest is `duplicate_request`"),
            ("[expect.server]\nkernel_log = [\"\"]", "is in every line"),
            ("timeout_s = 0", "no program ends in no time"),
            ("user = \"No One\"", "no name of a user"),
            ("[network]\ninterface = \"vlna 7\"", "the nearest is `vlan`"),
            ("[network]\nclient_interface = \"vlan 5000\"", "1 to 4094"),
            ("restart = \"sever\"", "the nearest is `server`"),
            ("modules = [\"nvme_rdma.ko\"]", "no name of a kernel module"),
            ("more_clients = [\"b {sever}\"]", "{sever} stands for nothing"),
            ("more_clients = [\" \"]", "a command is empty"),
            ("[expect]\nmay = [\"IcrcMissmatch\"]", "the nearest is `IcrcMismatch`"),
            ("[expect.server]\nexit = \"SIGTREM\"", "the nearest is `SIGTERM`"),
        ] {
            let error = Scenario::parse("x", &format!("{MINIMAL}{text}\n")).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn schema_beside_the_catalogue_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/scenario.schema.json");
        if std::env::var_os("LAB_UPDATE").is_some() {
            fs::write(&path, Scenario::schema()).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(kept, Scenario::schema(), "write it anew with LAB_UPDATE=1");
    }

    #[test]
    fn every_scenario_of_the_catalogue_is_valid() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let scenarios = Scenario::read_all(&directory).unwrap();
        assert!(scenarios.len() >= 2);
        for scenario in scenarios {
            let text = fs::read_to_string(directory.join(format!("{}.toml", scenario.name))).unwrap();
            assert!(text.starts_with("#:schema ./scenario.schema.json\n"), "{}", scenario.name);
        }
    }
}
