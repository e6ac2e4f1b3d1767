//! Forks: machines that are started from the frozen state, become nodes of their own, and are awake.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::error::{Error, Kind, Result};
use crate::base::progress::say;
use crate::base::role::Role;
use crate::provider::qemu::argv::Origin;
use crate::provider::qemu::asleep::{self, Asleep};
use crate::provider::qemu::control::Control;
use crate::provider::qemu::frozen::FrozenMachines;
use crate::provider::qemu::guest::Guest;
use crate::provider::qemu::log::came_not_up;
use crate::provider::qemu::parts::{
    ACTIVE, MachineParts, WAKE_LIMIT, disk, known_hosts, reach_peer, wait_until_joined,
};
use crate::provider::qemu::qmp::Qmp;
use crate::provider::qemu::{deployment, identity, ssh};

/// Longest time that the forks of one machine may take to become nodes of their own: up to six do so at once.
const BECOME_LIMIT: Duration = Duration::from_secs(30);

/// A fork of frozen machines, under a guard.
pub(super) struct Fork<'a> {
    parts: &'a MachineParts,
    control: &'a Control,
    frozen: &'a FrozenMachines,
    logs: &'a Path,
}

impl<'a> Fork<'a> {
    pub(super) fn new(
        parts: &'a MachineParts,
        control: &'a Control,
        frozen: &'a FrozenMachines,
        logs: &'a Path,
    ) -> Fork<'a> {
        Fork { parts, control, frozen, logs }
    }

    /// Starts machines from the frozen state; gives them when each has answered.
    ///
    /// # Errors
    ///
    /// One does not, with whose fault that is.
    pub(super) fn wake(&self, roles: &[Role]) -> Result<BTreeMap<Role, Guest>, Asleep> {
        let Fork { parts, control, .. } = *self;
        let mut guests = self.load(roles)?;
        self.distinguish(&mut guests)?;
        let mount = deployment::mount_command(&disk(control.directory()))?;
        let mut started = Vec::new();
        for (&role, guest) in &guests {
            let wire = if role.is_client() && roles.len() > 1 { reach_peer() } else { "true".to_owned() };
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let ready =
                if parts.recipe().has_rxe { format!("{mount} && {ACTIVE}") } else { "true".to_owned() };
            let hosts = identity::hosts(roles);
            let awake = format!("{}{hosts}date -s @{now} >/dev/null\n{ready} && {wire}", draws(parts.seed));
            started.push((role, guest.begin(&awake)?));
        }
        for (role, mut started) in started {
            let what = "it is awake, sees its programs, rxe is ACTIVE and its peer answers";
            started.demand(what, WAKE_LIMIT, control).map_err(|error| {
                // Whose fault it is, either's: a machine that stands still keeps the other waiting.
                let endings: String =
                    roles.iter().filter_map(|&role| asleep::ending(control, role)).collect();
                let ending = Some(endings.as_str()).filter(|endings| !endings.is_empty());
                let stopped = control.status().is_ok_and(|status| !status.stopped.is_empty());
                let asleep = Asleep::not_awake(ending, stopped, error);
                Asleep { error: self.came_not_up(role, asleep.error), ..asleep }
            })?;
        }
        Ok(guests)
    }

    /// Starts machines and loads the frozen state of each.
    fn load(&self, roles: &[Role]) -> Result<BTreeMap<Role, Guest>, Asleep> {
        let Fork { parts, control, frozen, logs } = *self;
        let origin = if parts.seed.is_some() { Origin::ForkUntold } else { Origin::Fork };
        let mut guests = BTreeMap::new();
        for &role in roles {
            let frozen = frozen.of(role)?;
            ssh::keep_known_hosts(&frozen.known_hosts(), &[role], &known_hosts(control.directory()))?;
            let agent = parts.start(control, role, &parts.images[&role.model()], frozen, origin, logs)?;
            guests.insert(role, Guest::new(role, agent));
        }
        for &role in roles {
            let state = frozen.of(role)?.read_state(role)?;
            Qmp::of(control.directory(), role).and_then(|mut qmp| qmp.load(state)).map_err(|error| {
                let ending = asleep::ending(control, role);
                let asleep = Asleep::not_taken(ending.as_deref(), error);
                Asleep { error: self.came_not_up(role, asleep.error), ..asleep }
            })?;
        }
        wait_until_joined(control, roles)?;
        Ok(guests)
    }

    /// Lets the forks of one machine become nodes of their own, before any other node says something that they would answer. One
    /// that runs and does not answer is forked again, once.
    fn distinguish(&self, guests: &mut BTreeMap<Role, Guest>) -> Result<(), Asleep> {
        let mut forks: Vec<Role> = guests.keys().copied().filter(|role| !Role::BOTH.contains(role)).collect();
        let silent = self.become_themselves(guests, &forks)?;
        if silent.is_empty() {
            return Ok(());
        }
        forks = silent.iter().map(|(role, _)| *role).collect();
        for (role, error) in silent {
            say(&format!("node {role} has not woken up and is forked again: {error}"));
            self.control.kill_machine(role)?;
        }
        guests.extend(self.load(&forks)?);
        match self.become_themselves(guests, &forks)?.pop() {
            Some((role, error)) => Err(self.came_not_up(role, error).into()),
            None => Ok(()),
        }
    }

    /// Lets forks become nodes of their own; gives those that run and do not answer.
    fn become_themselves(
        &self,
        guests: &BTreeMap<Role, Guest>,
        forks: &[Role],
    ) -> Result<Vec<(Role, Error)>> {
        let Fork { parts, control, .. } = *self;
        let mut started = Vec::new();
        for &role in forks {
            // What they draw must differ: host keys, numbers of packets.
            let seed = parts.seed.map(|seed| seed.wrapping_add(u64::from(role.index())));
            let (draws, own) = (draws(seed), identity::commands(role));
            let server = ssh::server_anew(parts.ssh_key.public(), parts.recipe().user);
            started.push((role, guests[&role].begin(&format!("{draws}{own} || exit\n{server}"))?));
        }
        let mut silent = Vec::new();
        for (role, mut started) in started {
            let what = "it has an address, a name and a host key of its own";
            match started.demand(what, BECOME_LIMIT, control) {
                Ok(host_key) => {
                    ssh::keep_host_key(role, &host_key.stdout, &known_hosts(control.directory()))?;
                }
                Err(error) if error.kind() == Kind::Timeout && runs(control, role) => {
                    silent.push((role, error));
                }
                // The frozen state is not to blame: two nodes wake from it without this.
                Err(error) => return Err(self.came_not_up(role, error)),
            }
        }
        Ok(silent)
    }

    /// The error of a node that does not come up, with what it and its machine have logged.
    fn came_not_up(&self, role: Role, error: Error) -> Error {
        came_not_up(self.control, role, self.logs, error)
    }
}

/// Commands that make a fork's randomness follow a seed: each read of a byte moves the kernel's generator on by one
/// draw, and the seed says by how many.
fn draws(seed: Option<u64>) -> String {
    seed.map_or(String::new(), |seed| {
        let draws = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
        format!("dd if=/dev/urandom of=/dev/null bs=1 count={draws} 2>/dev/null\n")
    })
}

/// True if a machine has not ended, and no signal has stopped it.
fn runs(control: &Control, role: Role) -> bool {
    control
        .status()
        .is_ok_and(|status| status.machines.contains_key(&role) && !status.stopped.contains(&role))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_says_how_far_the_generator_moves_on() {
        assert_eq!(draws(None), "");
        assert_eq!(draws(Some(1)), "dd if=/dev/urandom of=/dev/null bs=1 count=2531 2>/dev/null\n");
        assert_ne!(draws(Some(1)), draws(Some(2)));
    }
}
