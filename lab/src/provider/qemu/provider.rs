//! The provider of QEMU guests: freezes a server and a client once, and forks all nodes from there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::base::cache::Cache;
use crate::base::error::{Error, IoContext as _, Kind, Result};
use crate::base::progress::{Step, say};
use crate::base::role::Role;
use crate::base::selection::AccelChoice;
use crate::guest::contents::Contents;
use crate::guest::image::own::Own;
use crate::guest::image::recipe::Recipe;
use crate::guest::image::{Image, Release};
use crate::host::toolbox::Toolbox;
use crate::host::{files, memory};
use crate::node::{Node as _, NodePair, Plan, Provenance, Provider};
use crate::provider::qemu::accel::{self, Accel, Decision};
use crate::provider::qemu::agent::Agent;
use crate::provider::qemu::argv::{self, Origin};
use crate::provider::qemu::asleep::Asleep;
use crate::provider::qemu::control::Control;
use crate::provider::qemu::fork::Fork;
use crate::provider::qemu::frozen::{Frozen, FrozenMachines};
use crate::provider::qemu::guest::Guest;
use crate::provider::qemu::log::{came_not_up, console_log};
use crate::provider::qemu::pair::QemuPair;
use crate::provider::qemu::parts::{
    ACTIVE, MachineParts, Tools, WAKE_LIMIT, disk, known_hosts, reach_peer, wait_until_joined,
};
use crate::provider::qemu::process::{MachineWait, Process};
use crate::provider::qemu::qmp::Qmp;
use crate::provider::qemu::{deployment, sandbox, ssh};
use crate::scenario::network::Wire;

/// Memory that a node may take, in MiB; measured, with room.
const NODE_MEMORY_MIB: u64 = 350;

/// Files that a pair's guard may have open at once, and QEMU; measured, with room. A further node takes a socket or two.
const OPEN_FILES: u64 = 128;

/// The provider of QEMU guests.
#[derive(Debug)]
pub struct Qemu {
    cache: Cache,
    parts: MachineParts,
    origin: BTreeMap<Role, Provenance>,
    guard_program: PathBuf,
}

impl Qemu {
    /// Prepares the image of a release and chooses an accelerator. `guard_program` is the executable that runs
    /// [`crate::provider::qemu::guard::main`] when called with `__guard`. With a `seed`, forks do not draw
    /// fresh randomness: what they draw follows from the seed.
    ///
    /// # Errors
    ///
    /// The image cannot be built, or the asked accelerator does not work.
    pub fn new(
        guest: &'static Release,
        cache: Cache,
        choice: AccelChoice,
        guard_program: &Path,
        seed: Option<u64>,
    ) -> Result<Qemu> {
        Qemu::of(&Recipe::lab(guest), cache, choice, guard_program, seed)
    }

    /// The same for another kind of guest.
    ///
    /// # Errors
    ///
    /// As [`Qemu::new`].
    pub fn of(
        recipe: &Recipe,
        cache: Cache,
        choice: AccelChoice,
        guard_program: &Path,
        seed: Option<u64>,
    ) -> Result<Qemu> {
        Qemu::of_each(&|_| recipe.clone(), cache, choice, guard_program, seed)
    }

    /// The same for machines that may differ: each has its own recipe.
    ///
    /// # Errors
    ///
    /// As [`Qemu::new`].
    pub fn of_each(
        recipe: &dyn Fn(Role) -> Recipe,
        cache: Cache,
        choice: AccelChoice,
        guard_program: &Path,
        seed: Option<u64>,
    ) -> Result<Qemu> {
        let tools = Tools::of(&Toolbox::of(&cache))?;
        let (mut images, mut origin) = (BTreeMap::new(), BTreeMap::new());
        for role in Role::BOTH {
            let image = Image::ensure(&cache, &recipe(role))?;
            origin.insert(role, provenance(&image)?);
            images.insert(role, image);
        }
        // A kernel of the user's own that does not boot says nothing of KVM.
        let image = || Image::ensure(&cache, &recipe(Role::Server).with_own(Own::default()));
        let decision = accel::decide(choice, &cache, &image, &tools.qemu)?;
        let ssh_key = ssh::Key::ensure(&cache)?;
        let is_confined = sandbox::works(&cache, &tools.qemu);
        let guard_program = guard_program.to_owned();
        let parts = MachineParts { images, decision, tools, ssh_key, seed, is_confined };
        Ok(Qemu { cache, parts, origin, guard_program })
    }

    /// Description of each machine's software.
    pub fn origin(&self) -> &BTreeMap<Role, Provenance> {
        &self.origin
    }

    /// Accelerator of the machines, and the reason for it.
    pub fn decision(&self) -> &Decision {
        &self.parts.decision
    }

    /// The lab's key for SSH.
    pub fn ssh_key(&self) -> &ssh::Key {
        &self.parts.ssh_key
    }

    /// Starts a guard and forks the plan's machines under it.
    ///
    /// # Errors
    ///
    /// As [`Provider::bring_up`].
    pub fn fork(&self, plan: &Plan<'_>) -> Result<QemuPair> {
        let logs = plan.artifacts;
        memory::demand(plan.roles().len() as u64 * NODE_MEMORY_MIB)?;
        files::demand(OPEN_FILES)?;
        // Before the guard, whose machines it must not keep waiting.
        let frozen = self.frozen(logs)?;
        let control = Control::start(&self.guard_program)?;
        deployment::write(&self.parts.tools.mkfs, &disk(control.directory()), plan.programs)?;
        let mut pair = self.fork_under(control, frozen, plan.roles(), logs)?;
        pair.join(plan)?;
        pair.control.arm(plan.faults)?;
        if !plan.ports.is_empty() {
            pair.control.limit(plan.ports)?;
        }
        Ok(pair)
    }

    /// Forks machines under a guard that has none, with the deployment disk in its run directory. A
    /// frozen state that is to blame if they do not wake is thrown away and made again, once.
    ///
    /// # Errors
    ///
    /// The machines do not come up from a fresh state either, or for a reason of this computer's.
    pub fn fork_under(
        &self,
        control: Control,
        frozen: FrozenMachines,
        roles: &[Role],
        logs: &Path,
    ) -> Result<QemuPair> {
        let guests = match Fork::new(&self.parts, &control, &frozen, logs).wake(roles) {
            Ok(guests) => guests,
            Err(Asleep { error, blames_state: false }) => return Err(error),
            Err(Asleep { error, .. }) => {
                say(&format!("the frozen machines did not wake up and are made again: {error}"));
                control.kill_machines()?;
                frozen.discard()?;
                let frozen = self.frozen(logs)?;
                Fork::new(&self.parts, &control, &frozen, logs).wake(roles).map_err(|asleep| asleep.error)?
            }
        };
        Ok(QemuPair {
            guests,
            origin: roles.iter().map(|role| (*role, self.origin[&role.model()].clone())).collect(),
            decision: self.parts.decision.clone(),
            ssh_key: self.parts.ssh_key.copied_into(control.directory())?,
            user: self.parts.recipe().user.0,
            known_hosts: known_hosts(control.directory()),
            logs: logs.to_owned(),
            still_since: Mutex::default(),
            control,
        })
    }

    /// The frozen machines of both roles, made if need be. A pair that differs takes each from the frozen pair of its image.
    ///
    /// # Errors
    ///
    /// The machines do not come up.
    pub fn frozen(&self, logs: &Path) -> Result<FrozenMachines> {
        let mut machines = FrozenMachines::default();
        for (&role, image) in &self.parts.images {
            let key = image.recipe().image_key();
            if machines.share(role, &key) {
                continue;
            }
            let frozen = Frozen::ensure(
                &self.cache,
                image,
                self.parts.decision.accel,
                &self.parts.ssh_key,
                &self.parts.tools.qemu,
                |frozen| self.freeze(image, frozen, logs),
            )?;
            machines.add(role, key, frozen);
        }
        Ok(machines)
    }

    /// Boots both machines from an image, warms what the first connection and command would pay for, and saves them.
    fn freeze(&self, image: &Image, frozen: &Frozen, logs: &Path) -> Result<()> {
        let control = Control::start(&self.guard_program)?;
        deployment::write(&self.parts.tools.mkfs, &disk(control.directory()), &[])?;
        let mut guests = BTreeMap::new();
        // One after the other: two guests that boot side by side on few processors take longer.
        for role in Role::BOTH {
            let step = Step::begin(format!("boot {role}"));
            let agent =
                self.parts.start(&control, role, image, frozen, Origin::Boot, logs).and_then(|agent| {
                    let machine = control.status()?.machine(role);
                    wait_ready(&agent, &console_log(logs, role), self.parts.decision.accel, machine)?;
                    Ok(agent)
                });
            let guest = Guest::new(role, agent.map_err(|error| came_not_up(&control, role, logs, error))?);
            if self.parts.recipe().has_rxe {
                guest.demand("rxe is ACTIVE", ACTIVE)?;
            }
            guests.insert(role, guest);
            step.done(if self.parts.recipe().has_rxe { "rxe ACTIVE" } else { "" });
        }
        let step = Step::begin("freeze both machines");
        wait_until_joined(&control, &Role::BOTH)?;
        guests[&Role::Client].demand("the peer answers", &reach_peer())?;
        self.warm(&guests, frozen)?;
        for role in Role::BOTH {
            let state = Qmp::of(control.directory(), role)?.save()?;
            frozen.write_state(role, &state)?;
        }
        step.done("");
        Ok(())
    }

    fn warm(&self, guests: &BTreeMap<Role, Guest>, frozen: &Frozen) -> Result<()> {
        let mut known_hosts = String::new();
        for (role, guest) in guests {
            let server = ssh::server(self.parts.ssh_key.public(), self.parts.recipe().user);
            let host_key = guest.demand("the SSH server starts", &server)?;
            known_hosts.push_str(&ssh::known_host(*role, &host_key.stdout));
        }
        fs::write(frozen.known_hosts(), known_hosts).at("failed to write", &frozen.known_hosts())?;
        if !self.parts.recipe().has_rxe {
            return Ok(());
        }
        let address = argv::address(Role::Server);
        let mut server = guests[&Role::Server].start("rping -s -C 1")?;
        // The client asks again until the server listens.
        let client = format!(
            "for i in 1 2 3 4 5 6 7 8 9; do rping -c -a {address} -C 1 && exit; sleep 0.2; done; exit 1"
        );
        guests[&Role::Client].demand("an RDMA connection works", &client)?;
        server.wait(WAKE_LIMIT)?;
        for guest in guests.values() {
            guest
                .demand("tools run", "rdma resource show cm_id; date -s @$(date +%s); dmesg -r | tail -1")?;
        }
        Ok(())
    }

    /// Puts one machine back to the frozen state, beside a peer that goes on.
    ///
    /// # Errors
    ///
    /// It does not end, or does not come up.
    pub fn fork_again(&self, pair: &mut QemuPair, role: Role) -> Result<()> {
        pair.control.kill_machine(role)?;
        let frozen = self.frozen(&pair.logs)?;
        let awake = Fork::new(&self.parts, &pair.control, &frozen, &pair.logs).wake(&[role]);
        pair.guests.extend(awake.map_err(|asleep| asleep.error)?);
        Ok(())
    }
}

impl Provider for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn wire(&self) -> Wire {
        Wire::Switch
    }

    fn provenance(&self) -> BTreeMap<Role, Provenance> {
        self.origin.clone()
    }

    /// Contents that both machines have: programs are pushed onto either.
    fn contents(&self) -> Result<Option<Contents>> {
        let [server, client] = Role::BOTH.map(|role| self.parts.images[&role].contents());
        Ok(Some(server?.common(&client?)))
    }

    fn bring_up(&self, plan: &Plan<'_>) -> Result<Box<dyn NodePair>> {
        Ok(Box::new(self.fork(plan)?))
    }
}

/// Release, kernel and rdma-core of what an image boots.
fn provenance(image: &Image) -> Result<Provenance> {
    let recipe = image.recipe();
    Ok(Provenance {
        release: recipe.release.name.clone(),
        kernel: image.kernel_version()?,
        rdma_core: image.contents()?.rdma_core().unwrap_or_default().to_owned(),
        own: recipe.own.described.clone(),
    })
}

/// Waits for the agent of a booting machine with two limits: on silence, and in all.
fn wait_ready(agent: &Agent, console: &Path, accel: Accel, machine: Option<Process>) -> Result<()> {
    let (silence, total) = match accel {
        Accel::Kvm => (Duration::from_secs(15), Duration::from_secs(60)),
        Accel::Tcg => (Duration::from_secs(60), Duration::from_secs(240)),
    };
    let boot = MachineWait::begin(machine);
    let (mut heard, mut quiet) = (0, boot);
    loop {
        match agent.wait_ready(Duration::from_millis(200)) {
            Err(error) if error.kind() == Kind::Timeout => {}
            result => return result,
        }
        let length = fs::metadata(console).map_or(0, |file| file.len());
        if length != heard {
            heard = length;
            quiet.restart();
        }
        if quiet.lasted() > silence {
            return Err(Error::timeout("progress of the boot", silence).kind_is(Kind::Boot));
        }
        if boot.lasted() > total {
            return Err(Error::timeout("agent ready", total).kind_is(Kind::Boot));
        }
    }
}
