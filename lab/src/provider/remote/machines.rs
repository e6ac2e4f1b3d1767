//! Both machines of others: prepared, given programs, reset.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;

use crate::base::cache::sha256_file;
use crate::base::command::shell_word;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::program::Program;
use crate::base::progress::Step;
use crate::base::role::Role;
use crate::provider::remote::machine::{Machine, SHORT};
use crate::provider::remote::setting::Setting;
use crate::provider::remote::survey::Survey;
use crate::provider::remote::{prepare, reset};
use crate::scenario::network::Network;

/// Directory in which programs are deployed.
pub(in crate::provider) const DEPLOYED: &str = "/opt/lab/deployed";

/// Both machines, prepared.
#[derive(Debug, Clone)]
pub struct Machines {
    /// Each, by its role.
    pub by_role: BTreeMap<Role, Machine>,
    /// Survey of each.
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
                &format!(
                    "cd {DEPLOYED} && find . -type f -exec sha256sum {{}} + | sed 's,  \\./,  ,' || true"
                ),
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
    pub fn reset(&self, network: Network) -> Result<()> {
        both(|role| reset::reset(&self.by_role[&role], network.mtu_of(role)))?;
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
