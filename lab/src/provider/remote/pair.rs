//! Both machines of others, behind the traits of [`crate::node`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::base::cache::{Cache, Lock, sha256_file};
use crate::base::command::{Output, shell_word};
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::progress::Step;
use crate::guest::programs::Program;
use crate::node::{Captured, Node, Pair, Plan, Provenance, Role};
use crate::provider::remote::capture::Recording;
use crate::provider::remote::machine::{Machine, SHORT, Setting};
use crate::provider::remote::make::Maker;
use crate::provider::remote::survey::Survey;
use crate::provider::remote::{netem, prepare, reset};
use crate::scenario::fault;
use crate::scenario::fault::netem::Counted;
use crate::scenario::network::IpVersion;

/// Where programs are deployed.
pub(super) const DEPLOYED: &str = "/opt/lab/deployed";

/// Both machines, prepared.
#[derive(Debug, Clone)]
pub struct Machines {
    /// Each, by its role.
    pub by_role: BTreeMap<Role, Machine>,
    /// What each is and has.
    pub surveys: BTreeMap<Role, Survey>,
}

impl Machines {
    /// Prepares both.
    ///
    /// # Errors
    ///
    /// As [`prepare::prepare`] and [`prepare::check_apart`].
    pub fn prepare(settings: BTreeMap<Role, Setting>) -> Result<Machines> {
        let step = Step::begin("prepare both machines");
        let addresses: BTreeMap<Role, IpAddr> =
            settings.iter().map(|(role, setting)| (*role, setting.address)).collect();
        if addresses[&Role::Server] == addresses[&Role::Client] {
            let address = addresses[&Role::Server];
            return Err(Error::setup(format!("both machines have the address {address}")).next(
                "two machines are needed: SoftRoCE takes a packet to itself for loopback, which no capture sees",
            ));
        }
        let prepared = both(|role| {
            let mut machine = Machine::new(role, settings[&role].clone());
            let survey = prepare::prepare(&mut machine, addresses[&role.peer()])?;
            if machine.setting.install {
                prepare::name(&machine, &addresses)?;
            }
            Ok((machine, survey))
        })?;
        let mut machines = Machines { by_role: BTreeMap::new(), surveys: BTreeMap::new() };
        let mut words = Vec::new();
        for (role, (machine, survey)) in prepared {
            words.push(format!("{role} {} on {}", machine.device, machine.interface));
            machines.by_role.insert(role, machine);
            machines.surveys.insert(role, survey);
        }
        prepare::check_apart(&machines.by_role, &machines.surveys)?;
        step.done(&words.join(", "));
        Ok(machines)
    }

    /// Puts programs there; what is there already and the same stays.
    ///
    /// # Errors
    ///
    /// A program cannot be read or does not arrive whole.
    pub fn deploy(&self, programs: &[Program]) -> Result<()> {
        if programs.is_empty() {
            return Ok(());
        }
        let sums = programs
            .iter()
            .map(|program| Ok((program, sha256_file(&program.path)?)))
            .collect::<Result<Vec<_>>>()?;
        both(|role| {
            let machine = &self.by_role[&role];
            let there = machine.demand(
                "programs can be listed",
                &format!("cd {DEPLOYED} && sha256sum -- * || true"),
                SHORT,
            )?;
            let mut files = Vec::new();
            for (program, sum) in &sums {
                if !there.lines().any(|line| line == format!("{sum}  {}", program.name)) {
                    let bytes =
                        std::fs::read(&program.path).at("failed to read the program", &program.path)?;
                    files.push((format!("{DEPLOYED}/{}", program.name), bytes));
                }
            }
            if !files.is_empty() {
                let files: Vec<(&str, &[u8])> =
                    files.iter().map(|(to, bytes)| (to.as_str(), bytes.as_slice())).collect();
                machine.push_all(&files, 0o755)?;
            }
            let stale: Vec<String> = there
                .lines()
                .filter_map(|line| line.split_once("  "))
                .filter(|(_, name)| !programs.iter().any(|program| program.name == *name))
                .map(|(_, name)| shell_word(name))
                .collect();
            if !stale.is_empty() {
                machine.demand(
                    "an old program can be removed",
                    &format!("cd {DEPLOYED} && rm -f -- {}", stale.join(" ")),
                    SHORT,
                )?;
            }
            Ok(())
        })
        .map(drop)
    }

    /// Ends what an earlier run left and makes both ready for the next.
    ///
    /// # Errors
    ///
    /// As [`reset::reset`]; the peer does not answer.
    pub fn reset(&self, mtu: u16) -> Result<()> {
        both(|role| reset::reset(&self.by_role[&role], mtu))?;
        reset::meet(&self.by_role[&Role::Client], &self.by_role[&Role::Server])
    }

    /// Their addresses on the RDMA network.
    pub fn addresses(&self) -> BTreeMap<Role, IpAddr> {
        self.by_role.iter().map(|(role, machine)| (*role, machine.setting.address)).collect()
    }
}

/// Does the same for both machines at once.
///
/// # Errors
///
/// The server's error, else the client's.
pub fn both<T: Send>(work: impl Fn(Role) -> Result<T> + Sync) -> Result<BTreeMap<Role, T>> {
    thread::scope(|scope| {
        let threads = Role::BOTH.map(|role| {
            (
                role,
                scope.spawn({
                    let work = &work;
                    move || work(role)
                }),
            )
        });
        threads
            .into_iter()
            .map(|(role, thread)| {
                let result = thread
                    .join()
                    .unwrap_or_else(|_| Err(Error::setup(format!("a thread for {role} panicked"))));
                result.map(|value| (role, value))
            })
            .collect::<Vec<_>>()
            .into_iter()
            .collect()
    })
}

/// Both machines, ready for one scenario; nobody else uses them meanwhile.
#[derive(Debug)]
pub struct RemotePair {
    machines: Machines,
    description: String,
    /// Where netem makes the plan's faults.
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
        machines.reset(plan.network.mtu)?;
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

impl Pair for RemotePair {
    fn node(&self, role: Role) -> &dyn Node {
        &self.machines.by_role[&role]
    }

    fn run_on_both(&self, command: &str, limit: Duration) -> Result<BTreeMap<Role, Output>> {
        both(|role| self.machines.by_role[&role].run(command, limit))
    }

    fn description(&self) -> String {
        self.description.clone()
    }

    fn provenance(&self) -> BTreeMap<Role, Provenance> {
        let surveys = self.machines.surveys.iter();
        let of =
            |survey: &Survey| Provenance { release: survey.release.clone(), kernel: survey.kernel.clone() };
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
