//! Both machines of others, behind the traits of [`crate::node`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::base::cache::{Cache, Lock};
use crate::base::command::Output;
use crate::base::error::{Error, Result};
use crate::base::role::Role;
use crate::node::{Node, NodePair, Plan, Provenance};
use crate::provider::remote::capture::Recording;
use crate::provider::remote::machines::Machines;
use crate::provider::remote::machines::both;
use crate::provider::remote::make::Maker;
use crate::provider::remote::survey::Survey;
use crate::provider::remote::{netem, reset};
use crate::scenario::fault;
use crate::scenario::fault::netem::Counted;
use crate::scenario::network::IpVersion;
use crate::wire::captured::Captured;

/// Both machines, ready for one scenario; nobody else uses them meanwhile.
#[derive(Debug)]
pub struct RemotePair {
    machines: Machines,
    description: String,
    /// Nodes on which netem makes the plan's faults.
    shaped: Vec<Role>,
    recording: Mutex<Option<Recording>>,
    _alone: Lock,
}

impl RemotePair {
    /// Makes both machines ready for a scenario: alone, reset, with its programs.
    ///
    /// # Errors
    ///
    /// The plan asks for what such machines cannot; they cannot be made ready.
    pub fn ready(
        machines: &Machines,
        maker: &Maker,
        plan: &Plan<'_>,
        description: String,
        alone: Lock,
    ) -> Result<RemotePair> {
        if plan.network.ip != IpVersion::V4 {
            return Err(Error::setup(format!("these machines have no address for {}", plan.network))
                .next("run it with --provider qemu"));
        }
        let arguments = fault::netem::arguments(plan.faults)
            .map_err(|why| Error::setup(why).next(fault::netem::WAYS_OUT))?;
        machines.reset(plan.network)?;
        machines.deploy(&maker.fitting(machines, plan.programs)?)?;
        let shaped = arguments.keys().copied().collect();
        // Dropped on an error, it takes away what was begun.
        let pair = RemotePair {
            machines: machines.clone(),
            description,
            shaped,
            recording: Mutex::new(None),
            _alone: alone,
        };
        both(|role| match arguments.get(&role) {
            Some(arguments) => pair.begin_netem(role, arguments),
            None => Ok(()),
        })?;
        Ok(pair)
    }

    fn begin_netem(&self, role: Role, arguments: &[String]) -> Result<()> {
        let Machines { by_role, surveys } = &self.machines;
        let machine = &by_role[&role];
        if !machine.setting.setup_rxe {
            return Err(Error::setup(format!("{}: the lab may not change its network", machine.title()))
                .next("let it, in the hosts file: setup_rxe = true\nor run it with --provider qemu"));
        }
        netem::begin(machine, &surveys[&role], &by_role[&role.peer()], arguments)
    }

    /// The right to be the only one on machines that `name` stands for.
    ///
    /// # Errors
    ///
    /// As [`Cache::lock`].
    pub fn alone(cache: &Cache, name: &str) -> Result<Lock> {
        cache.lock(&format!("machines-{name}"))
    }
}

impl NodePair for RemotePair {
    fn node(&self, role: Role) -> &dyn Node {
        &self.machines.by_role[&role]
    }

    fn run_on_all(&self, command: &str, limit: Duration) -> Result<BTreeMap<Role, Output>> {
        both(|role| self.machines.by_role[&role].run(command, limit))
    }

    fn description(&self) -> String {
        self.description.clone()
    }

    fn provenance(&self) -> BTreeMap<Role, Provenance> {
        let surveys = self.machines.surveys.iter();
        let of = |survey: &Survey| Provenance {
            release: survey.release.clone(),
            kernel: survey.kernel.clone(),
            rdma_core: survey.rdma_core.clone(),
            own: Vec::new(),
        };
        surveys.map(|(role, survey)| (*role, of(survey))).collect()
    }

    fn way_in(&self, role: Role) -> Result<String> {
        Ok(self.machines.by_role[&role].host().shell(None, true).to_string())
    }

    fn start_capture(&self, file: &Path) -> Result<()> {
        let recording = Recording::start(&self.machines.by_role[&Role::Server], file)?;
        *self.recording.lock().unwrap_or_else(PoisonError::into_inner) = Some(recording);
        Ok(())
    }

    fn captured(&self) -> Result<BTreeMap<Role, Captured>> {
        let recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        let recording = recording.as_ref().ok_or_else(|| Error::capture("nothing is being recorded"))?;
        let sent = recording.captured(&self.machines.by_role[&Role::Server], &self.machines.addresses())?;
        let of = |role: Role| sent.get(&role).copied().unwrap_or(0);
        let captured =
            |role: Role| Captured { sent: of(role), delivered: of(role.peer()), ..Captured::default() };
        Ok(Role::BOTH.map(|role| (role, captured(role))).into())
    }

    fn stop_capture(&self) -> Result<()> {
        let recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner).take();
        let recording = recording.ok_or_else(|| Error::capture("nothing is being recorded"))?;
        recording.stop(&self.machines.by_role[&Role::Server], &self.machines.addresses()).map(drop)
    }

    fn netem(&self) -> Result<BTreeMap<Role, Counted>> {
        if self.shaped.is_empty() {
            return Ok(BTreeMap::new());
        }
        let counted = both(|role| {
            let is_shaped = self.shaped.contains(&role);
            is_shaped.then(|| netem::counted(&self.machines.by_role[&role])).transpose()
        })?;
        Ok(counted.into_iter().filter_map(|(role, counted)| Some((role, counted?))).collect())
    }

    fn check_alive(&self) -> Result<()> {
        both(|role| self.machines.by_role[&role].check_answers()).map(drop)
    }
}

impl Drop for RemotePair {
    fn drop(&mut self) {
        // Machines that do not answer keep what the next reset ends.
        let _ = both(|role| reset::end_run(&self.machines.by_role[&role]));
    }
}
