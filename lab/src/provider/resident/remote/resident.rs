//! Commands, files and captures on a lab of others' machines, by what carries commands there.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::base::command::Command;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::foreground::{Terminal, execute};
use crate::base::invocation;
use crate::base::names::unique;
use crate::base::role::Role;
use crate::base::selection::Selection;
use crate::guest::contents::ENVIRONMENT;
use crate::node::parcel::{Arrived, Destination, Parcel};
use crate::provider::choice::Choice;
use crate::provider::multipass;
use crate::provider::qemu::control::Control;
use crate::provider::remote::attended::{self, Ending};
use crate::provider::remote::capture::Recording;
use crate::provider::remote::machine::SHORT;
use crate::provider::remote::machines::both;
use crate::provider::remote::reset;
use crate::provider::resident::lab::{Resident, TROUBLE};
use crate::provider::resident::remote::record::RemoteLab;
use crate::provider::resident::report::{LabReport, NodeReport};
use crate::scenario::network::Network;
use crate::wire::capture::decode_file;

impl RemoteLab {
    /// The exit code of a command that has ended.
    fn exit_code(&self, role: Role, ending: &Ending) -> Result<u8> {
        let machine = self.machine(role)?;
        let output = machine.run_root(&ending.code(), SHORT)?;
        output.stdout.trim().parse().map_err(|_| {
            Error::boot(format!("{}: the command was cut off", machine.title())).next(may_run_on())
        })
    }
}

fn may_run_on() -> String {
    format!("what it started may run on: {} ends it", invocation::lab("reset"))
}

impl Resident for RemoteLab {
    fn name(&self) -> &str {
        &self.record.name
    }

    fn description(&self) -> &str {
        &self.record.description
    }

    fn logs(&self) -> &Path {
        &self.record.logs
    }

    fn selection(&self) -> Selection {
        self.record.selection.clone()
    }

    fn stays_with(&self, differences: &[String]) -> bool {
        !differences.is_empty() && self.is_as_it_was()
    }

    fn needs_cache(&self) -> bool {
        true
    }

    fn report(&self) -> Result<LabReport> {
        let (record, is_up) = (&self.record, self.is_made_ready || self.is_as_it_was());
        let node = |role| NodeReport { address: self.address(role), pid: None, ssh: None };
        Ok(LabReport {
            name: record.name.clone(),
            is_up,
            state: if is_up { "up" } else { "down" },
            provider: self.choice()?.name().to_string(),
            description: record.description.clone(),
            nodes: Role::BOTH.map(|role| (role, node(role))).into(),
            logs: record.logs.clone(),
            recording: record.recording.as_ref().map(|recording| recording.file().to_owned()),
            ..LabReport::default()
        })
    }

    fn address(&self, role: Role) -> IpAddr {
        self.record.nodes[&role].address
    }

    fn ways_in(&self) -> Result<BTreeMap<Role, String>> {
        let way = |role| Ok((role, self.machine(role)?.host().shell(None, true).to_string()));
        Role::BOTH.into_iter().map(way).collect()
    }

    fn shell(&self, role: Role) -> Result<u8> {
        let code = execute(&self.machine(role)?.host().shell(None, true), false)?;
        Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(TROUBLE))
    }

    /// A file tells the exit code afterwards: carriers do not (multipass runs a command that exits with 4 again and
    /// again). A command that was interrupted here is ended there too, with what it started.
    fn exec(&self, role: Role, command: &str, terminal: Terminal) -> Result<u8> {
        let machine = self.machine(role)?;
        let (line, ending) = Ending::line(&format!("{ENVIRONMENT}; {command}"));
        let words = machine.host().shell(Some(&line), terminal.is_interactive);
        let Some(signal) = attended::run(&words, terminal.without_input)? else {
            return self.exit_code(role, &ending);
        };
        machine
            .demand("the interrupted command has ended", &ending.end(), SHORT)
            .map_err(|error| error.next(may_run_on()))?;
        Ok(u8::try_from(128 + signal).unwrap_or(TROUBLE))
    }

    fn detach(&self, role: Role, command: &str) -> Result<(u32, String)> {
        self.machine(role)?.detach(&format!("{ENVIRONMENT}; {command}"), &unique())
    }

    fn push(&self, role: Role, parcel: &Parcel, to: Destination<'_>) -> Result<String> {
        self.machine(role)?.push_parcel(parcel, to)
    }

    fn pull(&self, role: Role, path: &str, recursive: bool, to: &Path) -> Result<Arrived> {
        self.machine(role)?.pull_parcel(path, recursive, to)
    }

    fn log_files(&self, _: Role) -> Vec<(&'static str, PathBuf)> {
        Vec::new()
    }

    fn kernel_log(&self, role: Role) -> Result<String> {
        self.machine(role)?.demand("its kernel's log can be read", "dmesg", SHORT)
    }

    fn start_capture(&mut self, file: &Path) -> Result<()> {
        if let Some(recording) = &self.record.recording {
            return Err(Error::capture(format!("already recording into {}", recording.file().display()))
                .next(format!("end it first: {}", invocation::lab("capture stop"))));
        }
        self.record.recording = Some(Recording::start(self.machine(Role::Server)?, file)?);
        self.keep()
    }

    fn stop_capture(&mut self) -> Result<(PathBuf, BTreeMap<Role, u64>)> {
        let recording =
            self.record.recording.take().ok_or_else(|| Error::capture("nothing is being recorded"))?;
        let machines = self.machines()?;
        // Forgotten whatever comes: what failed to stop is ended by the next start.
        self.keep()?;
        let addresses = machines.addresses();
        let file = recording.stop(&machines.by_role[&Role::Server], &addresses)?;
        let sent = decode_file(&file, &addresses)?.sent;
        let packets = addresses.iter().map(|(role, own)| (*role, sent.get(own).copied().unwrap_or(0)));
        Ok((file, packets.collect()))
    }

    fn follow_capture(&mut self, _: &Path) -> Result<PathBuf> {
        Err(Error::usage(
            "packets on machines of others are not seen while they happen: the recording is there",
        )
        .next(format!(
            "record, then read: {}; {}",
            invocation::lab("capture start"),
            invocation::lab("capture stop")
        )))
    }

    fn gate(&self) -> Result<Control> {
        Err(Error::usage("packets between machines of others pass through no switch that could hold them")
            .next(format!(
                "hold those of a lab on QEMU's machines: {}",
                invocation::lab("up --provider qemu")
            )))
    }

    fn command(&self, role: Role, command: &str) -> Result<Command> {
        Ok(self.machine(role)?.host().shell(Some(&format!("{ENVIRONMENT}; {command}")), false))
    }

    fn reset(&mut self, _: &Path) -> Result<&'static str> {
        self.machines()?.reset(Network::default())?;
        self.record.recording = None;
        self.is_made_ready = true;
        self.keep()?;
        Ok("nothing of an earlier run is left on both nodes")
    }

    /// Instances are stopped; hosts lose the device that was made there. The record goes.
    fn down(&self) -> Result<Option<&'static str>> {
        match self.choice()? {
            Choice::Multipass { .. } => multipass::down::stop()?,
            _ => {
                let machines = self.machines()?;
                both(|role| reset::give_back(&machines.by_role[&role]))?;
            }
        }
        let path = self.path();
        fs::remove_file(&path).at("failed to remove", &path)?;
        Ok(Some("given back"))
    }
}
