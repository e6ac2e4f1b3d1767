//! The machines behind instances: a pair of the lab's, of which each instance gets one.
//!
//! Two cheats, both said in docs/stand-in.md: an instance that is stopped is not powered off but undone as far as
//! a boot would (processes, kernel modules, `/tmp`, the boot id) and then stands still, since a boot takes 12 s
//! and its disk is in memory; and all of an instance's SSH goes through one connection.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lab::base::cache::Cache;
use lab::base::error::{Error, IoContext as _, Result};
use lab::base::role::Role;
use lab::base::selection::AccelChoice;
use lab::node::{NodePair as _, Plan};
use lab::provider::Qemu;

use lab::provider::qemu::pair::QemuPair;
use multipass_stand_in::guest;
use serde_json::json;

/// How long a script in a guest may take.
const SCRIPT_LIMIT: Duration = Duration::from_secs(60);

/// How long SSH may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// Script that undoes as much as a boot does.
const UNDO: &str = "
for unit in /run/systemd/transient/*.service; do [ -e $unit ] && systemctl stop ${unit##*/}; done
systemctl reset-failed
pkill -KILL -u ubuntu
for link in $(rdma link show | sed 's|^link \\([^/]*\\)/.*|\\1|'); do rdma link delete $link; done
modprobe -r rdma_rxe rdma_ucm ib_uverbs
ip link set ens3 mtu 1500
tc qdisc delete dev ens3 root
rm -rf /tmp/* /tmp/.[!.]* /run/rdma-lab
cat /proc/sys/kernel/random/uuid >/run/boot-id
mount --bind /run/boot-id /proc/sys/kernel/random/boot_id
true";

/// This program, which is the guard of its machines too.
pub(crate) fn own_program() -> Result<PathBuf> {
    std::env::current_exe().at("failed to find this program", Path::new("/proc/self/exe"))
}

/// The source of the machines that instances are.
pub(crate) fn machines() -> Result<Qemu> {
    Qemu::of(&guest::recipe()?, Cache::open()?, AccelChoice::Auto, &own_program()?, None)
}

/// Both machines, forked when the first instance needs one.
#[derive(Debug)]
pub(crate) struct Nodes {
    logs: PathBuf,
    forked: Option<Forked>,
}

#[derive(Debug)]
struct Forked {
    qemu: Qemu,
    pair: QemuPair,
    /// The SSH connection that an instance's commands share.
    masters: BTreeMap<Role, Master>,
    /// Machines that an instance has had.
    used: Vec<Role>,
}

#[derive(Debug)]
struct Master {
    socket: PathBuf,
    process: Child,
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Nodes {
    pub(crate) fn new(logs: PathBuf) -> Nodes {
        Nodes { logs, forked: None }
    }

    fn forked(&mut self) -> Result<&mut Forked> {
        self.forked.as_mut().ok_or_else(|| Error::boot("the stand-in has forked no machines yet"))
    }

    /// Makes a machine new: the frozen state, with a host name, and the name of an Ubuntu release where that is given.
    pub(crate) fn renew(&mut self, role: Role, name: &str, release: &str) -> Result<()> {
        if self.forked.is_none() {
            fs::create_dir_all(&self.logs).at("failed to create", &self.logs)?;
            let qemu = machines()?;
            let pair = qemu.fork(&Plan::new(&self.logs))?;
            self.forked = Some(Forked { qemu, pair, masters: BTreeMap::new(), used: Vec::new() });
        }
        let forked = self.forked()?;
        if forked.used.contains(&role) {
            forked.masters.remove(&role);
            forked.qemu.fork_again(&mut forked.pair, role)?;
        }
        forked.used.push(role);
        let script = format!(
            "umount /opt/lab/deployed; rm -r /opt/lab
             hostname {name}; echo {name} >/etc/hostname
             printf '127.0.0.1 localhost\\n127.0.1.1 {name}\\n' >/etc/hosts
             [ -z '{release}' ] || {{ rm -f /etc/os-release; echo 'PRETTY_NAME=\"Ubuntu {release}\"' >/etc/os-release; }}"
        );
        self.run(role, &script).map(drop)
    }

    /// Whether its machine is gone: its guest has powered it off.
    pub(crate) fn has_ended(&self, role: Role) -> bool {
        self.forked
            .as_ref()
            .is_some_and(|forked| forked.used.contains(&role) && forked.pair.qmp(role).is_err())
    }

    /// Runs a script as root; gives its exit code and output.
    pub(crate) fn run(&mut self, role: Role, script: &str) -> Result<(Option<i32>, String)> {
        let output = self.forked()?.pair.node(role).run(script, SCRIPT_LIMIT)?;
        Ok((output.code, output.stdout + &output.stderr))
    }

    /// The address that its peers know it by.
    pub(crate) fn address(&mut self, role: Role) -> Result<String> {
        Ok(self.forked()?.pair.node(role).address().to_string())
    }

    /// The words that reach it through SSH.
    pub(crate) fn way(&mut self, role: Role) -> Result<Vec<String>> {
        let forked = self.forked()?;
        let command = forked.pair.ssh(role)?;
        let words: Vec<String> =
            command.argv().iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let (program, rest) = words.split_first().ok_or_else(|| Error::boot("no way in"))?;
        let shared = match forked.masters.entry(role) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let socket = forked.pair.run_directory().join(format!("ssh-{role}"));
                entry.insert(master(program, rest, socket)?)
            }
        };
        let control = format!("ControlPath={}", shared.socket.display());
        let mut way = vec![program.clone(), "-T".to_owned(), "-o".to_owned(), control];
        way.extend(rest.iter().cloned());
        Ok(way)
    }

    /// Undoes what a boot would, and lets it stand still.
    pub(crate) fn power_off(&mut self, role: Role) -> Result<()> {
        self.run(role, UNDO)?;
        self.pause(role)
    }

    /// Lets it stand still.
    pub(crate) fn pause(&mut self, role: Role) -> Result<()> {
        self.forked()?.pair.qmp(role)?.execute("stop", json!({})).map(drop)
    }

    /// Lets it go on, with the time as it is now.
    pub(crate) fn go_on(&mut self, role: Role) -> Result<()> {
        self.forked()?.pair.qmp(role)?.execute("cont", json!({}))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.run(role, &format!("date -s @{now}")).map(drop)
    }
}

/// A connection that others share, and that no silence of the guest's ends. It ends with the machine.
fn master(program: &str, rest: &[String], socket: PathBuf) -> Result<Master> {
    let _ = fs::remove_file(&socket);
    let process = Command::new(program)
        .args(["-M", "-N", "-o", "ServerAliveInterval=0", "-o"])
        .arg(format!("ControlPath={}", socket.display()))
        .args(rest)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .at("failed to start", Path::new(program))?;
    let master = Master { socket, process };
    let started = Instant::now();
    while !master.socket.exists() {
        if started.elapsed() > CONNECT_LIMIT {
            return Err(Error::timeout("SSH connected", CONNECT_LIMIT));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(master)
}
