//! The daemon: the instances, their states, and what each request does to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lab::base::error::{Error, IoContext as _, Result};
use lab::base::role::Role;
use multipass_stand_in::instance::{InstanceState, StandInInstance};
use multipass_stand_in::place::{Misbehaviour, StandInDirectory};
use multipass_stand_in::protocol::{ClientRequest, Notice, Purpose};

use crate::nodes::Nodes;

/// The daemon's version.
const VERSION: &str = "1.16.3";

/// Longest time that stopping a guest that boots blocks the daemon, for every client.
const POWERDOWN_LIMIT: Duration = Duration::from_secs(300);

/// Longest time that `exec` waits for a guest that does not answer.
const SSH_LIMIT: Duration = Duration::from_secs(5);

/// Reason of a request that fails.
pub(crate) type RequestError = String;

/// The daemon, shared by the threads that serve clients.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) place: StandInDirectory,
    pub(crate) state: Mutex<DaemonState>,
    pub(crate) nodes: Mutex<Nodes>,
}

#[derive(Debug, Default)]
pub(crate) struct DaemonState {
    pub(crate) instances: BTreeMap<String, HeldInstance>,
    pub(crate) preparing: BTreeSet<String>,
    blocked_until: Option<Instant>,
    /// The instance whose guest the daemon waits for, serving nobody.
    blocked_by: Option<String>,
}

/// An instance and what is behind it.
#[derive(Debug, Clone)]
pub(crate) struct HeldInstance {
    pub(crate) instance: StandInInstance,
    pub(crate) address: Vec<String>,
    /// Its machine; one that exists from the start has none.
    pub(crate) role: Option<Role>,
    /// True if it boots for the first time.
    pub(crate) is_launching: bool,
}

impl Daemon {
    /// Serves in a place, in threads of this process.
    pub(crate) fn start(place: &StandInDirectory) -> Result<()> {
        let mut known = DaemonState::default();
        if let Ok(text) = fs::read_to_string(place.instances()) {
            let instances: Vec<StandInInstance> = serde_json::from_str(&text).map_err(|source| {
                Error::usage(format!("{} holds no instances", place.instances().display())).source(source)
            })?;
            known.instances.extend(
                instances.into_iter().map(|instance| (instance.name.clone(), HeldInstance::given(instance))),
            );
        }
        let _ = fs::remove_file(place.socket());
        let listener = UnixListener::bind(place.socket()).at("failed to listen on", &place.socket())?;
        let nodes = Mutex::new(Nodes::new(place.path().join("logs")));
        let daemon = Arc::new(Daemon { place: place.clone(), state: Mutex::new(known), nodes });
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let daemon = Arc::clone(&daemon);
                thread::spawn(move || daemon.serve(&stream));
            }
        });
        Ok(())
    }

    /// One client: one request, and what it is told. One that goes away is not waited for, nor its request ended.
    fn serve(&self, mut stream: &UnixStream) {
        let mut line = String::new();
        if BufReader::new(stream).read_line(&mut line).is_err() {
            return;
        }
        let mut tell = |event: &Notice| {
            let text = serde_json::to_string(event).unwrap_or_default();
            let _ = stream.write_all(format!("{text}\n").as_bytes());
        };
        let last = match serde_json::from_str(&line) {
            Ok(request) => {
                self.wait_unblocked();
                self.answer(request, &mut |step| tell(&Notice::Step(step))).unwrap_or_else(Notice::Failed)
            }
            Err(error) => Notice::Failed(error.to_string()),
        };
        tell(&last);
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, DaemonState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_unblocked(&self) {
        let is_blocked = || {
            self.place.switch(Misbehaviour::DaemonBlocked).is_some()
                || self.known().blocked_until.is_some_and(|until| Instant::now() < until)
                || self.known().blocked_by.clone().is_some_and(|name| self.is_hung(&name))
        };
        while is_blocked() {
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn answer(&self, request: ClientRequest, step: &mut dyn FnMut(String)) -> Result<Notice, RequestError> {
        match request {
            ClientRequest::Version => Ok(Notice::Text(VERSION.to_owned())),
            ClientRequest::Launch(launch) => self.launch(&launch, step),
            ClientRequest::Info { names, runtime } => {
                let names = if names.is_empty() { self.all() } else { self.existing(&names)? };
                if runtime {
                    self.ask_guests(&names)?;
                }
                Ok(Notice::Instances(names.iter().filter_map(|name| self.view(name, runtime)).collect()))
            }
            ClientRequest::List => {
                let names = self.all();
                self.ask_guests(&names)?;
                Ok(Notice::Instances(names.iter().filter_map(|name| self.view(name, true)).collect()))
            }
            ClientRequest::Reach { name, purpose } => self.reach(&name, purpose, step),
            ClientRequest::Start { names } => {
                for name in self.startable(&names)? {
                    self.start_one(&name)?;
                }
                Ok(Notice::Done)
            }
            ClientRequest::Stop { names, force } => {
                for name in self.living(&names)? {
                    self.stop_one(&name, force)?;
                }
                Ok(Notice::Done)
            }
            ClientRequest::Suspend { names } => {
                for name in self.living(&names)? {
                    if let (InstanceState::Running, Some(role)) = (self.state_of(&name), self.role_of(&name))
                    {
                        self.nodes().pause(role).map_err(told)?;
                    }
                    if self.state_of(&name) == InstanceState::Running {
                        self.set(&name, InstanceState::Suspended);
                    }
                }
                Ok(Notice::Done)
            }
            ClientRequest::Delete { names, purge } => {
                for name in self.existing(&names)? {
                    self.delete_one(&name, purge)?;
                }
                Ok(Notice::Done)
            }
            ClientRequest::Recover { names } => {
                for name in self.existing(&names)? {
                    if self.state_of(&name) == InstanceState::Deleted {
                        self.set(&name, InstanceState::Stopped);
                    }
                }
                Ok(Notice::Done)
            }
            ClientRequest::Get { key } => match key.as_str() {
                "local.driver" => Ok(Notice::Text(
                    self.place.switch(Misbehaviour::Driver).unwrap_or_else(|| "qemu".to_owned()),
                )),
                _ => Err(format!("Unrecognized settings key: '{key}'")),
            },
        }
    }

    fn all(&self) -> Vec<String> {
        self.known().instances.keys().cloned().collect()
    }

    /// These, if each exists.
    fn existing(&self, names: &[String]) -> Result<Vec<String>, RequestError> {
        let known = self.known();
        let missing = names.iter().filter(|name| !known.instances.contains_key(*name));
        errors(missing.map(|name| format!("instance \"{name}\" does not exist")))?;
        Ok(names.to_vec())
    }

    /// These, if each exists and none is deleted.
    fn living(&self, names: &[String]) -> Result<Vec<String>, RequestError> {
        let names = self.existing(names)?;
        let deleted = names.iter().filter(|name| self.state_of(name) == InstanceState::Deleted);
        errors(deleted.map(|name| format!("instance \"{name}\" is deleted")))?;
        Ok(names)
    }

    /// These, if each can be started; the words differ from those of all other commands.
    fn startable(&self, names: &[String]) -> Result<Vec<String>, RequestError> {
        let mut missing = String::new();
        for name in names {
            let exists = self.known().instances.contains_key(name);
            if !exists {
                missing.push_str(&format!("Instance '{name}' does not exist.\n"));
            } else if self.state_of(name) == InstanceState::Deleted {
                missing.push_str(&format!(
                    "Instance '{name}' is deleted. Use 'recover' to recover it or 'purge' to permanently delete it.\n"
                ));
            }
        }
        if missing.is_empty() { Ok(names.to_vec()) } else { Err(format!("instance(s) missing\n{missing}")) }
    }

    fn role_of(&self, name: &str) -> Option<Role> {
        self.known().instances.get(name)?.role
    }

    /// Its state; a guest that has powered itself off is stopped.
    fn state_of(&self, name: &str) -> InstanceState {
        let (state, role) = match self.known().instances.get(name) {
            Some(held) => (held.instance.state, held.role),
            None => return InstanceState::Deleted,
        };
        if let (InstanceState::Running, Some(role)) = (state, role)
            && self.nodes().has_ended(role)
        {
            self.set(name, InstanceState::Stopped);
            return InstanceState::Stopped;
        }
        state
    }

    fn set(&self, name: &str, state: InstanceState) {
        if let Some(held) = self.known().instances.get_mut(name) {
            held.instance.state = state;
        }
    }

    /// The instance as clients see it.
    fn view(&self, name: &str, runtime: bool) -> Option<StandInInstance> {
        let state = self.state_of(name);
        let held = self.known().instances.get(name)?.clone();
        let mut instance =
            StandInInstance { state, release: String::new(), ipv4: Vec::new(), ..held.instance };
        if state == InstanceState::Running && runtime {
            instance.release = format!("Ubuntu {}", instance.image_release);
            instance.ipv4 = held.address;
        }
        Some(instance)
    }

    fn is_hung(&self, name: &str) -> bool {
        let runs = self
            .known()
            .instances
            .get(name)
            .is_some_and(|held| held.instance.state == InstanceState::Running);
        runs && self.place.switch(Misbehaviour::HungGuest).is_some_and(|hung| hung == name)
    }

    /// A guest that is hung keeps whoever asks for it waiting, without a limit.
    fn wait_while_hung(&self, name: &str) {
        while self.is_hung(name) {
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The same, and the daemon serves nobody meanwhile.
    fn block_while_hung(&self, name: &str) {
        if self.is_hung(name) {
            self.known().blocked_by = Some(name.to_owned());
            self.wait_while_hung(name);
        }
    }

    /// Start of a full answer: nine questions to each guest.
    fn ask_guests(&self, names: &[String]) -> Result<(), RequestError> {
        names.iter().for_each(|name| self.block_while_hung(name));
        let runs = |name: &String| self.state_of(name) == InstanceState::Running;
        if names.iter().any(runs) && self.place.switch(Misbehaviour::BusyGuest).is_some() {
            thread::sleep(SSH_LIMIT);
            let limit = SSH_LIMIT.as_millis();
            return Err(format!(
                "failed to obtain exit status for remote process 'echo loadavg: ...': timed out after {limit} ms"
            ));
        }
        Ok(())
    }

    fn reach(
        &self,
        name: &str,
        purpose: Purpose,
        step: &mut dyn FnMut(String),
    ) -> Result<Notice, RequestError> {
        self.living(&[name.to_owned()])?;
        let address = self.known().instances.get(name).and_then(|held| held.address.first().cloned());
        let address = address.unwrap_or_default();
        if self.is_hung(name) && purpose == Purpose::Transfer {
            self.wait_while_hung(name);
        }
        let is_running = self.state_of(name) == InstanceState::Running;
        if self.is_hung(name) || is_running && self.place.switch(Misbehaviour::BusySsh).is_some() {
            thread::sleep(SSH_LIMIT);
            return Err(format!("ssh connection failed: 'Timeout connecting to {address}'"));
        }
        match (self.state_of(name), purpose) {
            (InstanceState::Running, _) => {}
            (InstanceState::Unknown, _) => {
                return Err("Cannot retrieve credentials in unknown state".to_owned());
            }
            (_, Purpose::Transfer) => return Err(format!("instance \"{name}\" is not running")),
            _ => {
                step(format!("Starting {name}"));
                self.start_one(name)?;
            }
        }
        let way = match self.role_of(name) {
            Some(role) => self.nodes().way(role).map_err(told)?,
            // One that exists from the start does well whatever it is told, and does nothing.
            None => vec!["true".to_owned()],
        };
        match self.place.switch(Misbehaviour::EqualAddresses) {
            Some(_) => Ok(Notice::Reached(way, "198.51.100.1".to_owned())),
            None => Ok(Notice::Reached(way, address)),
        }
    }

    fn start_one(&self, name: &str) -> Result<(), RequestError> {
        match self.state_of(name) {
            InstanceState::Running | InstanceState::Deleted => Ok(()),
            InstanceState::Unknown => Err(format!(
                "The following errors occurred:\n\
                 Instance '{name}' is already running, but in an unknown state.\nTry to stop it first."
            )),
            _ => {
                if let Some(role) = self.role_of(name) {
                    let release =
                        self.known().instances.get(name).map(|held| held.instance.image_release.clone());
                    let release = release.unwrap_or_default();
                    let mut nodes = self.nodes();
                    if nodes.has_ended(role) {
                        nodes.renew(role, name, &release).map_err(told)?;
                    } else {
                        nodes.go_on(role).map_err(told)?;
                    }
                }
                self.set(name, InstanceState::Running);
                Ok(())
            }
        }
    }

    fn stop_one(&self, name: &str, force: bool) -> Result<(), RequestError> {
        let state = self.state_of(name);
        match state {
            InstanceState::Stopped | InstanceState::Deleted => return Ok(()),
            InstanceState::Suspended if !force => {
                return Err(format!(
                    "Cannot shut down suspended instance {name}.\nUse --force to power it off."
                ));
            }
            _ => {}
        }
        if !force {
            self.block_if_booting(name)?;
            self.block_while_hung(name);
        }
        if let Some(role) = self.role_of(name) {
            let mut nodes = self.nodes();
            if state == InstanceState::Suspended {
                nodes.go_on(role).map_err(told)?;
            }
            if !nodes.has_ended(role) {
                nodes.power_off(role).map_err(told)?;
            }
        }
        self.set(name, InstanceState::Stopped);
        Ok(())
    }

    /// A guest that boots does not hear that it should power down: the whole daemon waits.
    fn block_if_booting(&self, name: &str) -> Result<(), RequestError> {
        let is_booting = self.known().instances.get(name).is_some_and(|held| held.is_launching);
        if !is_booting {
            return Ok(());
        }
        self.known().blocked_until = Some(Instant::now() + POWERDOWN_LIMIT);
        thread::sleep(POWERDOWN_LIMIT);
        let limit = POWERDOWN_LIMIT.as_millis();
        Err(format!("The QEMU process did not finish within {limit} milliseconds after being shutdown"))
    }

    pub(crate) fn delete_one(&self, name: &str, purge: bool) -> Result<(), RequestError> {
        let state = self.state_of(name);
        if !purge {
            if matches!(state, InstanceState::Running | InstanceState::Unknown) {
                self.stop_one(name, false)?;
            }
            self.set(name, InstanceState::Deleted);
            return Ok(());
        }
        let held = self.known().instances.remove(name);
        if let Some(role) = held.filter(|held| !held.is_launching).and_then(|held| held.role) {
            // It is made new for the next instance; until then it takes no processor.
            let _ = self.nodes().pause(role);
        }
        Ok(())
    }
}

/// The lines of several errors as one, if there are any.
fn errors(lines: impl Iterator<Item = String>) -> Result<(), RequestError> {
    let lines: Vec<String> = lines.collect();
    match lines.is_empty() {
        true => Ok(()),
        false => Err(format!("The following errors occurred:\n{}", lines.join("\n"))),
    }
}

/// Failure below the stand-in.
#[expect(clippy::needless_pass_by_value, reason = "given to map_err")]
pub(crate) fn told(error: Error) -> RequestError {
    format!("the stand-in: {error}")
}

impl HeldInstance {
    /// One that exists from the start.
    fn given(mut instance: StandInInstance) -> HeldInstance {
        let address = std::mem::take(&mut instance.ipv4);
        HeldInstance { instance, address, role: None, is_launching: false }
    }
}
