//! Two QEMU guests and the switch between them, behind the traits of [`crate::node`].

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::cache::{Cache, sha256, write_whole};
use crate::command::{Command, Output, tail};
use crate::error::{Error, IoContext as _, Kind, Result};
use crate::image::Image;
use crate::node::{Node, Pair, Provider, Role, Running};
use crate::programs::Program;
use crate::progress::Step;
use crate::provider::qemu::accel::{self, Accel, Choice, Decision};
use crate::provider::qemu::agent::Agent;
use crate::provider::qemu::argv::{self, Files};
use crate::provider::qemu::deployment;
use crate::provider::qemu::guard::Guard;
use crate::provider::qemu::qmp::Qmp;

/// How long a short command on a ready node may take, under software emulation on a busy host.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// How long QEMU may take to make its sockets.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Bytes of a file sent in one command over the serial line; a line's buffer in the guest is finite.
const PUSH_CHUNK_BYTES: usize = 24 * 1024;

/// The provider of QEMU guests.
#[derive(Debug)]
pub struct Qemu {
    cache: Cache,
    image: Image,
    decision: Decision,
    guard_program: PathBuf,
}

impl Qemu {
    /// Prepares the image and chooses an accelerator. `guard_program` is the executable that runs
    /// [`crate::provider::qemu::guard::main`] when called with `__guard`.
    ///
    /// # Errors
    ///
    /// The image cannot be built, or the asked accelerator does not work.
    pub fn new(cache: Cache, choice: Choice, guard_program: &Path) -> Result<Qemu> {
        let image = Image::ensure(&cache)?;
        let decision = accel::decide(choice, &cache, &image)?;
        Ok(Qemu { cache, image, decision, guard_program: guard_program.to_owned() })
    }
}

impl Provider for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn bring_up(&self, programs: &[Program], artifacts: &Path) -> Result<Box<dyn Pair>> {
        let guard = Guard::start(&self.guard_program)?;
        let disk = guard.directory().join("deployment");
        deployment::write(&disk, programs)?;
        let mut nodes = BTreeMap::new();
        // One after the other: two guests that boot side by side on few processors take longer.
        for role in Role::BOTH {
            let step = Step::begin(format!("boot {role}"));
            let node = self.boot(&guard, role, &disk, artifacts)?;
            nodes.insert(role, node);
            step.done("rxe ACTIVE");
        }
        let pair = QemuPair {
            nodes,
            guard,
            decision: self.decision.clone(),
            cache: self.cache.clone(),
            artifacts: artifacts.to_owned(),
        };
        pair.check_joined()?;
        Ok(Box::new(pair))
    }
}

impl Qemu {
    fn boot(&self, guard: &Guard, role: Role, disk: &Path, artifacts: &Path) -> Result<QemuNode> {
        let files = Files::new(guard.directory(), role);
        let console = console_log(artifacts, role);
        let machine = argv::machine(role, &self.image, self.decision.accel, &files, disk, &console);
        guard.start_machine(role, &machine, &machine_log(artifacts, role))?;
        let failed = |error: Error| {
            let ending = guard.ending(role).map(|status| format!("qemu: {status}\n")).unwrap_or_default();
            let said = fs::read(&console).unwrap_or_default();
            let said = tail(&String::from_utf8_lossy(&said), 8);
            Error::boot(format!("node {role} did not come up")).source(error).detail(ending + &said).next(format!(
                "the whole console is in {}, QEMU's own words in {}",
                console.display(),
                machine_log(artifacts, role).display()
            ))
        };
        let agent = connect(guard, role, &files).map_err(failed)?;
        wait_ready(&agent, &console, self.decision.accel).map_err(failed)?;
        let node = QemuNode { role, agent };
        node.demand("/sys/class/infiniband/rxe0/ports/1/state is ACTIVE", ACTIVE).map_err(failed)?;
        node.demand("the deployed programs are whole", deployment::UNPACK).map_err(failed)?;
        Ok(node)
    }
}

const ACTIVE: &str = "grep -q ACTIVE /sys/class/infiniband/rxe0/ports/1/state";

/// Connects to the agent's socket as soon as QEMU has made it.
fn connect(guard: &Guard, role: Role, files: &Files) -> Result<Agent> {
    let started = Instant::now();
    loop {
        match Agent::connect(&files.agent()) {
            Ok(agent) => return Ok(agent),
            Err(error) if guard.ending(role).is_some() => return Err(error),
            Err(_) if started.elapsed() < START_LIMIT => thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error),
        }
    }
}

/// Waits for the agent with two limits: on silence, and in all.
fn wait_ready(agent: &Agent, console: &Path, accel: Accel) -> Result<()> {
    let (silence, total) = match accel {
        Accel::Kvm => (Duration::from_secs(15), Duration::from_secs(60)),
        Accel::Tcg => (Duration::from_secs(60), Duration::from_secs(240)),
    };
    let started = Instant::now();
    let mut heard = (0, Instant::now());
    loop {
        match agent.wait_ready(Duration::from_millis(200)) {
            Err(error) if error.kind() == Kind::Timeout => {}
            result => return result,
        }
        let length = fs::metadata(console).map_or(0, |file| file.len());
        if length != heard.0 {
            heard = (length, Instant::now());
        }
        if heard.1.elapsed() > silence {
            return Err(Error::timeout("progress of the boot", silence).kind_is(Kind::Boot));
        }
        if started.elapsed() > total {
            return Err(Error::timeout("agent ready", total).kind_is(Kind::Boot));
        }
    }
}

fn console_log(artifacts: &Path, role: Role) -> PathBuf {
    artifacts.join(format!("console-{role}.log"))
}

fn machine_log(artifacts: &Path, role: Role) -> PathBuf {
    artifacts.join(format!("qemu-{role}.log"))
}

/// Both guests, ready. The guard is dropped last: it ends them.
#[derive(Debug)]
struct QemuPair {
    nodes: BTreeMap<Role, QemuNode>,
    guard: Guard,
    decision: Decision,
    cache: Cache,
    artifacts: PathBuf,
}

impl QemuPair {
    /// Checks what a pair on one wire needs: both ports connected, different MACs, the peer in reach.
    fn check_joined(&self) -> Result<()> {
        for role in Role::BOTH {
            if !self.guard.has_joined(role)? {
                return Err(Error::boot(format!("node {role} has not connected to the switch")));
            }
        }
        let macs = Role::BOTH.map(|role| self.nodes[&role].run("cat /sys/class/net/eth0/address", COMMAND_LIMIT));
        let [server, client] = macs;
        let (server, client) = (server?.stdout, client?.stdout);
        if server == client {
            return Err(Error::boot(format!("both nodes have the MAC {}", server.trim())));
        }
        let ping = format!("ping -c 1 -W 5 {}", Role::Server);
        self.nodes[&Role::Client].demand("the peer answers", &ping)
    }
}

impl Pair for QemuPair {
    fn node(&self, role: Role) -> &dyn Node {
        &self.nodes[&role]
    }

    fn description(&self) -> String {
        format!("qemu, {}", self.decision)
    }

    fn way_in(&self, role: Role) -> Result<String> {
        let node = &self.nodes[&role];
        let key = ssh_key(&self.cache)?;
        let public = key.with_extension("pub");
        let public = fs::read_to_string(&public).at("failed to read", &public)?;
        let host_key = node.demand_output("the SSH server starts", &ssh_server(public.trim()))?;
        let port = Qmp::connect(&Files::new(self.guard.directory(), role).qmp())?.ssh_port()?;
        let known_hosts = self.guard.directory().join("known_hosts");
        let mut known = fs::read_to_string(&known_hosts).unwrap_or_default();
        known.push_str(&format!("[127.0.0.1]:{port} {}\n", host_key.stdout.trim()));
        fs::write(&known_hosts, known).at("failed to write", &known_hosts)?;
        let command = Command::new(["ssh", "-F", "none", "-o", "IdentitiesOnly=yes", "-o"])
            .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
            .arg("-i")
            .arg(key)
            .args(["-p", &port.to_string(), "root@127.0.0.1"]);
        Ok(command.to_string())
    }

    fn start_capture(&self, file: &Path) -> Result<()> {
        self.guard.start_capture(file)
    }

    fn captured(&self) -> Result<BTreeMap<Role, u64>> {
        self.guard.captured()
    }

    fn stop_capture(&self) -> Result<()> {
        self.guard.stop_capture()
    }

    fn check_alive(&self) -> Result<()> {
        for role in Role::BOTH {
            if let Some(status) = self.guard.ending(role) {
                let console = fs::read(console_log(&self.artifacts, role)).unwrap_or_default();
                return Err(Error::boot(format!("node {role} ended: {status}"))
                    .detail(tail(&String::from_utf8_lossy(&console), 8)));
            }
        }
        Ok(())
    }
}

/// The lab's own key for people's SSH, made once.
fn ssh_key(cache: &Cache) -> Result<PathBuf> {
    let key = cache.path("ssh-key");
    let _lock = cache.lock("ssh-key")?;
    if !key.exists() {
        let scratch = cache.scratch()?;
        let fresh = scratch.path().join("key");
        Command::new(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "rdma-lab", "-f"])
            .arg(&fresh)
            .run(COMMAND_LIMIT)?;
        let public = fresh.with_extension("pub");
        let text = fs::read(&public).at("failed to read", &public)?;
        write_whole(&key.with_extension("pub"), &text)?;
        fs::rename(&fresh, &key).at("failed to keep the key", &key)?;
    }
    Ok(key)
}

/// Starts the guest's SSH server for one public key, and prints its own host key.
fn ssh_server(public: &str) -> String {
    format!(
        "mkdir -p /root/.ssh /etc/dropbear && chmod 700 /root /root/.ssh\n\
         echo '{public}' >/root/.ssh/authorized_keys\n\
         key=/etc/dropbear/dropbear_ed25519_host_key\n\
         [ -s $key ] || {{ dropbearkey -t ed25519 -f $key && dropbear -s -r $key; }} >/dev/null 2>&1\n\
         dropbearkey -y -f $key | grep ^ssh-"
    )
}

/// One guest.
#[derive(Debug)]
struct QemuNode {
    role: Role,
    agent: Agent,
}

impl QemuNode {
    fn demand(&self, what: &str, command: &str) -> Result<()> {
        self.demand_output(what, command).map(drop)
    }

    fn demand_output(&self, what: &str, command: &str) -> Result<Output> {
        let output = self.run(command, COMMAND_LIMIT)?;
        if output.code == Some(0) {
            return Ok(output);
        }
        Err(Error::boot(format!("node {}: not true: {what}", self.role)).detail(output.stdout + &output.stderr))
    }
}

impl Node for QemuNode {
    fn run(&self, command: &str, limit: Duration) -> Result<Output> {
        self.agent.run(command, limit).map_err(|error| named(self.role, error))
    }

    fn start(&self, command: &str) -> Result<Box<dyn Running + '_>> {
        let id = self.agent.send(command).map_err(|error| named(self.role, error))?;
        Ok(Box::new(Job { node: self, command: command.to_owned(), id, is_over: false }))
    }

    fn push(&self, file: &Path, to: &str) -> Result<()> {
        let bytes = fs::read(file).at("failed to read", file)?;
        self.demand("the file can be written", &format!(": >'{to}' && chmod 755 '{to}'"))?;
        for chunk in bytes.chunks(PUSH_CHUNK_BYTES) {
            let text = BASE64_STANDARD.encode(chunk);
            self.demand("the file can be written", &format!("echo {text} | base64 -d >>'{to}'"))?;
        }
        let sum = sha256(&bytes);
        self.demand("the file arrived whole", &format!("echo '{sum}  {to}' | sha256sum -c -s"))
    }

    fn pull(&self, path: &str) -> Result<Vec<u8>> {
        let command = format!("sha256sum <'{path}' && base64 -w 0 <'{path}'");
        let output = self.demand_output("the file can be read", &command)?;
        let (sum, text) = output.stdout.split_once('\n').unwrap_or_default();
        let bytes = BASE64_STANDARD
            .decode(text.trim())
            .map_err(|source| Error::setup(format!("{path} did not arrive whole")).source(source))?;
        if sum.split_whitespace().next() != Some(&sha256(&bytes)) {
            return Err(Error::setup(format!("{path} did not arrive whole: its checksum differs")));
        }
        Ok(bytes)
    }

    fn address(&self) -> IpAddr {
        argv::address(self.role).into()
    }
}

fn named(role: Role, error: Error) -> Error {
    let kind = error.kind();
    Error::new(kind, format!("node {role}")).source(error)
}

/// A command under way on a guest.
struct Job<'a> {
    node: &'a QemuNode,
    command: String,
    id: u64,
    is_over: bool,
}

impl Running for Job<'_> {
    fn wait(&mut self, limit: Duration) -> Result<Output> {
        match self.node.agent.answer(self.id, limit).map_err(|error| named(self.node.role, error))? {
            Some(output) => {
                self.is_over = true;
                Ok(output)
            }
            None => Err(Error::timeout(format_args!("end of `{}` on {}", self.command, self.node.role), limit)),
        }
    }

    fn stop(&mut self) -> Result<Output> {
        self.node.agent.signal(self.id, "KILL")?;
        self.wait(COMMAND_LIMIT)
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // The guest may have gone; then so has what ran on it.
            let _ = self.node.agent.signal(self.id, "KILL");
        }
    }
}
