//! Both instances as a source of machines.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::base::cache::Cache;
use crate::base::error::{Error, Result};
use crate::base::progress::say;
use crate::base::role::Role;
use crate::node::{NodePair, Plan, Provider};
use crate::provider::multipass::client::{self, Instance};
use crate::provider::multipass::instance;
use crate::provider::multipass::shape::Shape;
use crate::provider::remote::host::RemoteHost as _;
use crate::provider::remote::machines::{Machines, both};
use crate::provider::remote::make::Maker;
use crate::provider::remote::pair::RemotePair;
use crate::provider::remote::setting::{Recorder, Setting};
use crate::scenario::network::Wire;

/// How long cloud-init may take beside the packages that the lab brings itself.
const CLOUD_INIT: Duration = Duration::from_secs(900);

/// The provider of Multipass instances.
#[derive(Debug)]
pub struct Multipass {
    cache: Cache,
    shape: Shape,
    version: OnceLock<String>,
    machines: Mutex<Option<Machines>>,
    maker: Maker,
}

/// The name of a node's instance.
pub fn name(role: Role) -> String {
    format!("rdma-{role}")
}

impl Multipass {
    /// The instances, of the given shape where they are launched. Nothing is launched yet.
    ///
    /// # Errors
    ///
    /// A size is none; there is no daemon, it lets nobody in, or its driver cannot connect two instances.
    pub fn new(cache: Cache, shape: Shape, maker: Maker) -> Result<Multipass> {
        shape.check()?;
        // What is wrong is told by a call that needs the daemon.
        let driver = client::driver()?;
        if driver == "virtualbox" {
            return Err(Error::setup("Multipass's driver is VirtualBox, which cannot connect two instances")
                .next(
                    "choose another: multipass set local.driver=qemu (or hyperv)\nor use --provider qemu",
                ));
        }
        Ok(Multipass { cache, shape, version: OnceLock::new(), machines: Mutex::new(None), maker })
    }

    fn version(&self) -> &str {
        self.version.get_or_init(|| crate::host::multipass::version().unwrap_or_default())
    }

    /// Both instances, running and prepared once.
    ///
    /// # Errors
    ///
    /// As [`instance::ensure`] and [`Machines::prepare`].
    pub fn machines(&self) -> Result<Machines> {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(machines) = &*machines {
            return Ok(machines.clone());
        }
        let states = both(|role| client::state(&name(role)))?;
        let missing: Vec<String> =
            states.iter().filter(|(_, state)| state.is_none()).map(|(role, _)| name(*role)).collect();
        if !missing.is_empty() {
            let Shape { cpus, memory, disk, .. } = &self.shape;
            say(&format!(
                "Multipass {} will launch {}: {}, each with {cpus} processors, {memory} memory, {disk} disk",
                self.version(),
                missing.join(" and "),
                self.shape.image_text()
            ));
        }
        // Side by side: a first boot is mostly waiting, and Multipass fetches an image once for both.
        let addresses = both(|role| instance::ensure(&self.cache, &name(role), &self.shape))?;
        let settings = addresses
            .into_iter()
            .map(|(role, address)| (role, setting(Arc::new(Instance { name: name(role) }), address)));
        both(|role| wait_for_cloud_init(&name(role)))?;
        let prepared = Machines::prepare(settings.collect())?;
        *machines = Some(prepared.clone());
        Ok(prepared)
    }

    /// The maker of programs for them.
    pub fn maker(&self) -> &Maker {
        &self.maker
    }

    /// Description of both instances.
    pub fn description(&self) -> String {
        format!("multipass {}, {} and {}", self.version(), name(Role::Server), name(Role::Client))
    }
}

/// An instance is ours: everything may be done there.
pub fn setting(host: Arc<Instance>, address: IpAddr) -> Setting {
    Setting { host, address, device: None, capture: Recorder::Tcpdump(None), setup_rxe: true, install: true }
}

/// Whether both run, which is found out without reaching them.
///
/// # Errors
///
/// As [`client::are_running`].
pub fn are_running() -> Result<bool> {
    client::are_running(&Role::BOTH.map(name))
}

/// Waits until cloud-init has ended, which launch does not if it was interrupted; an error of it is said, and what it
/// should have brought is looked for afterwards.
fn wait_for_cloud_init(name: &str) -> Result<()> {
    let host = Instance { name: name.to_owned() };
    let seconds = CLOUD_INIT.as_secs();
    let line = format!(
        "command -v cloud-init >/dev/null || exit 0; timeout {seconds} cloud-init status --wait >/dev/null 2>&1; \
         cloud-init status; exit 0"
    );
    let output = host.call(&line, CLOUD_INIT + Duration::from_secs(60))?;
    if output.code != Some(0) {
        return Err(host.explain(&output));
    }
    if output.stdout.contains("status: running") {
        return Err(Error::timeout(format_args!("the end of cloud-init in {name}"), CLOUD_INIT)
            .next(format!("look at it: multipass exec {name} -- tail /var/log/cloud-init-output.log")));
    }
    if output.stdout.contains("status: error") {
        say(&format!("{name}: cloud-init reports an error; what it should have brought is looked for"));
    }
    Ok(())
}

impl Provider for Multipass {
    fn name(&self) -> &'static str {
        "multipass"
    }

    fn wire(&self) -> Wire {
        // The instances are the lab's own.
        Wire::Netem { on: Role::BOTH.into() }
    }

    fn bring_up(&self, plan: &Plan<'_>) -> Result<Box<dyn NodePair>> {
        let alone = RemotePair::alone(&self.cache, "multipass")?;
        Ok(Box::new(RemotePair::ready(&self.machines()?, &self.maker, plan, self.description(), alone)?))
    }
}
