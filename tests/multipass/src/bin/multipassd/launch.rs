//! The launch of an instance: what is refused, the phases, the first boot.

use std::path::Path;
use std::thread;
use std::time::Duration;

use lab::base::role::Role;
use multipass_stand_in::instance::{InstanceState, StandInInstance};
use multipass_stand_in::place::Misbehaviour;
use multipass_stand_in::protocol::{Launch, Notice, size_bytes};

use crate::daemon::{Daemon, HeldInstance, RequestError, told};
use crate::user_data;

/// The least memory and disk of an instance, in bytes.
const LEAST: (u64, u64) = (128 << 20, 512 << 20);

/// The least disk for an image, in bytes.
const IMAGE_BYTES: u64 = 2_422_210_560;

/// Images by release, with their other names.
const RELEASES: [(&str, &[&str]); 4] = [
    ("22.04 LTS", &["22.04", "jammy"]),
    ("24.04 LTS", &["24.04", "noble", "lts", "default"]),
    ("25.10", &["25.10", "questing"]),
    ("26.04 LTS", &["26.04", "resolute"]),
];

impl Daemon {
    pub(crate) fn launch(
        &self,
        launch: &Launch,
        step: &mut dyn FnMut(String),
    ) -> Result<Notice, RequestError> {
        let Launch { name, .. } = launch;
        check(launch)?;
        {
            let mut known = self.known();
            if known.preparing.contains(name) {
                return Err(format!("instance \"{name}\" is being prepared"));
            }
            if known.instances.contains_key(name) {
                return Err(format!("instance \"{name}\" already exists"));
            }
            known.preparing.insert(name.clone());
        }
        let ended = self.launch_prepared(launch, step);
        self.known().preparing.remove(name);
        ended
    }

    fn launch_prepared(&self, launch: &Launch, step: &mut dyn FnMut(String)) -> Result<Notice, RequestError> {
        let Launch { name, image, .. } = launch;
        if self.place.switch(Misbehaviour::NoKvm).is_some() {
            return Err("KVM support is not enabled on this machine.".to_owned());
        }
        let release = self.release(image)?;
        step(format!("Creating {name}"));
        self.linger(100);
        if let Some(path) = image.strip_prefix("file://") {
            if !Path::new(path).exists() {
                return Err(format!("Custom image `{path}` does not exist."));
            }
        } else if let Some(address) = image.strip_prefix("http://") {
            return Err(format!("failed to download from 'https://{address}': Network unreachable"));
        }
        step(format!("Preparing image for {name}"));
        self.linger(200);
        let disk = size_bytes(&launch.disk).unwrap_or(0);
        if disk < IMAGE_BYTES {
            return Err(format!(
                "Requested disk ({disk} bytes) below minimum for this image ({IMAGE_BYTES} bytes)"
            ));
        }
        step(format!("Configuring {name}"));
        let role = self.free_role(name)?;
        let held = HeldInstance::launched(launch, &release, role);
        self.known().instances.insert(name.clone(), held);
        self.known().preparing.remove(name);
        step(format!("Starting {name}"));
        self.linger(0);
        thread::sleep(self.milliseconds(Misbehaviour::SlowBoot));
        let address = {
            let mut nodes = self.nodes();
            nodes.renew(role, name, &release).and_then(|()| nodes.address(role)).map_err(told)?
        };
        if let Some(held) = self.known().instances.get_mut(name) {
            held.address = vec![address];
        }
        let late = self.place.switch(Misbehaviour::LaunchTimesOut);
        if late.as_deref() == Some("ssh") {
            self.booted(name, InstanceState::Unknown);
            return Ok(Notice::TimedOut);
        }
        let fails = self.place.switch(Misbehaviour::CloudInitFails).is_some();
        self.begin_cloud_init(role, launch.user_data.as_deref().unwrap_or("{}"), fails)?;
        self.booted(name, InstanceState::Running);
        step("Waiting for initialization to complete".to_owned());
        self.linger(0);
        if late.as_deref() == Some("cloud-init") {
            return Ok(Notice::TimedOut);
        }
        // A launch whose instance is deleted meanwhile ends well.
        while self.known().instances.contains_key(name) && self.cloud_init_runs(role)? {
            thread::sleep(Duration::from_millis(200));
        }
        if self.place.switch(Misbehaviour::LaunchLost).is_some() {
            self.delete_one(name, true)?;
        }
        Ok(Notice::Done)
    }

    /// A phase of a launch takes this many milliseconds, and longer where the switch says so.
    fn linger(&self, milliseconds: u64) {
        thread::sleep(Duration::from_millis(milliseconds) + self.milliseconds(Misbehaviour::SlowLaunch));
    }

    fn milliseconds(&self, switch: Misbehaviour) -> Duration {
        let held = self.place.switch(switch).and_then(|text| text.parse().ok());
        Duration::from_millis(held.unwrap_or(0))
    }

    fn booted(&self, name: &str, state: InstanceState) {
        if let Some(held) = self.known().instances.get_mut(name) {
            held.instance.state = state;
            held.is_launching = false;
        }
    }

    /// The release of an image; empty for one from elsewhere.
    fn release(&self, image: &str) -> Result<String, RequestError> {
        if image.contains("://") {
            return Ok(String::new());
        }
        let (remote, alias) = image.split_once(':').unwrap_or(("release", image));
        if !["release", "daily", ""].contains(&remote) {
            return Err(format!(
                "Remote '{remote}' is not found. Please use `multipass find` for supported remotes and images."
            ));
        }
        if self.place.switch(Misbehaviour::Offline).is_some() {
            return Err("Remote \"release\" is unknown or unreachable. If image mirror is enabled, please \
                        confirm it is valid."
                .to_owned());
        }
        let known = RELEASES.iter().find(|(_, names)| names.contains(&alias));
        let release = known.map(|(release, _)| (*release).to_owned());
        release.ok_or(format!("Unable to find an image matching \"{alias}\" in remote \"{remote}\"."))
    }

    fn free_role(&self, name: &str) -> Result<Role, RequestError> {
        let known = self.known();
        let is_free = |role: &Role| known.instances.values().all(|held| held.role != Some(*role));
        let mut roles = Role::BOTH;
        // As one expects where both are free.
        roles.sort_by_key(|role| !name.contains(&role.to_string()));
        let free = roles.into_iter().find(is_free);
        free.ok_or("the stand-in has two machines, and both are taken".to_owned())
    }

    fn begin_cloud_init(&self, role: Role, user_data: &str, fails: bool) -> Result<(), RequestError> {
        let mut script = user_data::script(user_data);
        if fails {
            script = format!("({script})\nexit 1");
        }
        let script = format!(
            "mkdir -p /run/cloud-init; echo running >/run/cloud-init/stand-in
             (if sh -c {}; then echo done; else echo error; fi >/run/cloud-init/ended
              mv /run/cloud-init/ended /run/cloud-init/stand-in) </dev/null >/var/log/cloud-init-output.log 2>&1 &",
            lab::base::command::shell_word(&script)
        );
        self.nodes().run(role, &script).map(drop).map_err(told)
    }

    fn cloud_init_runs(&self, role: Role) -> Result<bool, RequestError> {
        let (_, text) = self.nodes().run(role, "cat /run/cloud-init/stand-in").map_err(told)?;
        Ok(text.trim() == "running")
    }
}

/// Refuses a request to launch before anything else is looked at.
fn check(launch: &Launch) -> Result<(), RequestError> {
    let Launch { name, memory, disk, .. } = launch;
    let wrong = |what: String| Err(format!("Invalid arguments supplied\n{what}"));
    let is_good = name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && name.ends_with(|letter: char| letter.is_ascii_alphanumeric())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
    if !is_good {
        return wrong(format!("Invalid instance name supplied: {name}"));
    }
    if size_bytes(memory).unwrap_or(0) < LEAST.0 {
        return wrong(format!("Invalid memory size value supplied: {memory}."));
    }
    if size_bytes(disk).unwrap_or(0) < LEAST.1 {
        return wrong(format!("Invalid disk size value supplied: {disk}."));
    }
    Ok(())
}

impl HeldInstance {
    fn launched(launch: &Launch, release: &str, role: Role) -> HeldInstance {
        let instance = StandInInstance {
            name: launch.name.clone(),
            state: InstanceState::Unknown,
            ipv4: Vec::new(),
            image_release: release.to_owned(),
            image_hash: lab::base::cache::sha256(launch.image.as_bytes()),
            snapshots: 0,
            release: String::new(),
        };
        HeldInstance { instance, address: Vec::new(), role: Some(role), is_launching: true }
    }
}
