//! Commands, files and captures on a lab of QEMU machines, over SSH and by its guard.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::cache::sha256;
use crate::base::command::{Command, shell_word};
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::foreground::{Terminal, become_it, carried, execute};
use crate::base::invocation;
use crate::base::names::unique;
use crate::base::policy::Policy;
use crate::base::role::Role;
use crate::base::selection::{EachGuest, ProviderName, Selection};
use crate::guest::contents::ENVIRONMENT;
use crate::guest::image::recipe;
use crate::node::parcel::{self, Arrived, Destination, Parcel};
use crate::provider::choice::Choice;
use crate::provider::qemu::argv;
use crate::provider::qemu::control::Control;
use crate::provider::qemu::log::{console_log, machine_log};
use crate::provider::qemu::ssh::{self, ENDS_WITH_ITS_SESSION};
use crate::provider::remote::detached;
use crate::provider::remote::job::UNITS;
use crate::provider::remote::machine::DIRECTORY;
use crate::provider::resident::lab::{Resident, TROUBLE, ready};
use crate::provider::resident::qemu::record::{Condition, QemuLab};
use crate::provider::resident::report::{LabReport, NodeReport, SshWay};

/// Longest time that a transfer may take; the emulated processor encrypts about a megabyte in a second.
const TRANSFER_LIMIT: Duration = Duration::from_secs(300);

/// ssh's own failure, and an exit code that a command can have.
const SSH_FAILED: i32 = 255;

impl QemuLab {
    /// A command on a node. Whatever ends this process ends both sides: the client by its parent's death, the node's with
    /// its session.
    fn session(&self, role: Role, command: &str) -> Result<Command> {
        let session = self.ssh(role)?.arg(format!("{ENDS_WITH_ITS_SESSION} {command}"));
        self.key()?.tied_to_parent(session)
    }

    /// Runs a command on a node to its end, with `input` as its standard input; returns its output.
    fn run(&self, role: Role, command: &str, input: &[u8]) -> Result<String> {
        let output = self.session(role, command)?.stdin(input).output(TRANSFER_LIMIT)?;
        if output.code == Some(0) {
            return Ok(output.stdout);
        }
        Err(Error::setup(format!("a command on {role} failed: `{command}`")).detail(output.stderr))
    }
}

impl Resident for QemuLab {
    fn name(&self) -> &str {
        &self.record.name
    }

    fn description(&self) -> &str {
        &self.record.description
    }

    fn roles(&self) -> &'static [Role] {
        Role::first(self.record.nodes)
    }

    fn logs(&self) -> &Path {
        &self.record.logs
    }

    /// With the accelerator that they run on in the end.
    fn selection(&self) -> Selection {
        Selection {
            provider: Some(ProviderName::Qemu),
            accel: Some(self.record.accel.into()),
            ..self.record.selection.clone()
        }
    }

    fn stays_with(&self, _: &[String]) -> bool {
        true
    }

    fn needs_cache(&self) -> bool {
        self.condition() != Condition::Down
    }

    fn report(&self) -> Result<LabReport> {
        let key = self.key()?;
        let condition = self.condition();
        let (state, status) = match &condition {
            Condition::Up(status) => ("up", Some(status)),
            Condition::Silent => ("does not answer", None),
            Condition::Down => ("down", None),
        };
        let record = &self.record;
        let pid = |role: &Role| status?.machines.get(role).copied();
        let ssh = |role: Role| {
            Some(SshWay {
                host: "127.0.0.1",
                port: *record.ssh_ports.get(&role).filter(|_| status.is_some())?,
                user: recipe::USER.0,
                identity: key.private().to_owned(),
                known_hosts: record.known_hosts.clone(),
                host_key_alias: ssh::alias(role),
            })
        };
        let node = |role| NodeReport { address: self.address(role), pid: pid(&role), ssh: ssh(role) };
        Ok(LabReport {
            name: record.name.clone(),
            is_up: status.is_some(),
            state,
            provider: "qemu".to_owned(),
            description: record.description.clone(),
            guest: Some(record.guest.clone()),
            kernel: Some(record.kernel.clone()),
            nodes: self.roles().iter().map(|role| (*role, node(*role))).collect(),
            machines: self.roles().iter().filter_map(pid).collect(),
            stopped: status.map(|status| status.stopped.iter().copied().collect()).unwrap_or_default(),
            guard: self.guard().map(|guard| guard.pid),
            run_directory: Some(record.run_directory.clone()),
            known_hosts: Some(record.known_hosts.clone()),
            logs: record.logs.clone(),
            recording: status.and_then(|_| self.control().recording().ok().flatten()),
            ..LabReport::default()
        })
    }

    fn address(&self, role: Role) -> IpAddr {
        argv::address(role).into()
    }

    fn ways_in(&self) -> Result<BTreeMap<Role, String>> {
        // It is up, whether this user has a client or not.
        let way = |role| {
            self.ssh(role).map_or_else(
                |error| error.to_string().lines().next().unwrap_or_default().to_owned(),
                |command| command.to_string(),
            )
        };
        Ok(self.roles().iter().map(|role| (*role, way(*role))).collect())
    }

    fn shell(&self, role: Role) -> Result<u8> {
        Err(become_it(&self.ssh(role)?))
    }

    fn exec(&self, role: Role, command: &str, terminal: Terminal) -> Result<u8> {
        let mark = format!("/tmp/.lab-exec-{}", unique());
        let line = line(command, &mark, terminal.is_interactive);
        let ssh = self.ssh(role)?;
        let words = if terminal.is_interactive { ssh.arg("-t").arg(line) } else { ssh.arg(line) };
        let failed_code = u8::try_from(SSH_FAILED).unwrap_or(TROUBLE);
        match execute(&carried(&words)?, terminal.without_input)? {
            Some(SSH_FAILED) => {}
            code => return Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(TROUBLE)),
        }
        // Rarely: the command's own, or ssh's.
        self.run(role, &format!("rm {mark}"), b"").map(|_| failed_code).map_err(|error| {
            Error::boot(format!("the command on {role} was cut off")).source(error).next(format!(
                "look whether the lab is up: {}\nwhat the command started may run on: {} ends it",
                invocation::lab("status"),
                invocation::lab("reset")
            ))
        })
    }

    fn detach(&self, role: Role, command: &str) -> Result<(u32, String)> {
        let directory = format!("{DIRECTORY}/{UNITS}exec-{}", unique());
        let script = format!(
            "mkdir -p {directory} && cat >{directory}/script || exit\n\
             setsid sh {directory}/script </dev/null >{directory}/log 2>&1 &\n{}",
            detached::wait_pid(&directory)
        );
        let command = format!("{ENVIRONMENT}; {command}");
        let printed = self.run(role, &script, detached::script(&directory, &command).as_bytes())?;
        detached::started(role, &directory, &printed)
    }

    fn push(&self, role: Role, parcel: &Parcel, to: Destination<'_>) -> Result<String> {
        let script = parcel.unpack_script(None, &sha256(&parcel.bytes), to, &unique());
        let session = self.session(role, &script)?.stdin(parcel.bytes.as_slice());
        let output = session.output(TRANSFER_LIMIT)?;
        if output.code != Some(0) {
            return Err(Error::setup(format!("failed to write {} on {role}", to.path))
                .detail(output.stderr)
                .next("look whether its directory is there and has room"));
        }
        Ok(output.stdout.trim_end_matches('\n').to_owned())
    }

    fn pull(&self, role: Role, path: &str, recursive: bool, to: &Path) -> Result<Arrived> {
        let packed = tempfile::NamedTempFile::new()
            .map_err(|source| Error::setup("failed to create a temporary file").source(source))?;
        let script = parcel::pack_script(path, recursive, None);
        let output = self.session(role, &script)?.stdout_file(packed.path()).output(TRANSFER_LIMIT)?;
        if output.code != Some(0) {
            return Err(Error::setup(format!("failed to read {path} on {role}"))
                .detail(output.stderr)
                .next(format!("look what it is: {}", invocation::lab("exec NODE ls -ld PATH"))));
        }
        let mut packed = fs::File::open(packed.path()).at("failed to read", packed.path())?;
        parcel::arrive(&mut packed, None, to)
    }

    fn log_files(&self, role: Role) -> Vec<(&'static str, PathBuf)> {
        let logs = &self.record.logs;
        vec![("emulator", machine_log(logs, role)), ("console", console_log(logs, role))]
    }

    fn kernel_log(&self, role: Role) -> Result<String> {
        self.run(role, "dmesg", b"")
    }

    fn start_capture(&mut self, file: &Path) -> Result<()> {
        self.control().start_capture(file)
    }

    fn stop_capture(&mut self) -> Result<(PathBuf, BTreeMap<Role, u64>)> {
        let captured = self.control().captured()?.into_iter();
        let file = self.control().stop_capture()?;
        Ok((file, captured.map(|(role, count)| (role, count.sent)).collect()))
    }

    fn follow_capture(&mut self, file: &Path) -> Result<PathBuf> {
        if let Some(recording) = self.control().recording()? {
            return Ok(recording);
        }
        self.control().start_capture(file)?;
        Ok(file.to_owned())
    }

    fn gate(&self) -> Result<Control> {
        Ok(self.control())
    }

    fn command(&self, role: Role, command: &str) -> Result<Command> {
        carried(&self.ssh(role)?.arg(format!("{ENDS_WITH_ITS_SESSION} {ENVIRONMENT}; {command}")))
    }

    fn reset(&mut self, program: &Path) -> Result<&'static str> {
        // The same QEMU, whatever this shell's variables say.
        Policy { tools: self.record.tools, ..Policy::of_environment()? }.set();
        let mut selection = Selection { seed: None, ..self.selection() };
        if selection.release.guest.is_none() && selection.each == EachGuest::default() {
            // The record of an older kit.
            selection.release.guest = Some(self.record.guest.clone());
        }
        let qemu = Choice::of(&selection)?.open_qemu(self.labs.cache(), program)?;
        let qemu = qemu.ok_or_else(|| Error::setup("the record of this lab is about other machines"))?;
        *self = self.labs.reset(&qemu, &self.record.name)?;
        Ok(ready(self.roles()))
    }

    fn down(&self) -> Result<Option<&'static str>> {
        Ok(self.labs.down(&self.record.name)?.then_some("ended"))
    }
}

/// The line that a session on a node runs: the command as a child, whose end it tells as a shell does, and by the file
/// `mark` if that is what ssh's own failure is.
fn line(command: &str, mark: &str, is_interactive: bool) -> String {
    let ends = if is_interactive { "" } else { ENDS_WITH_ITS_SESSION };
    // The terminal's Ctrl-C is the command's alone: trapped here, and as ever there.
    format!(
        "trap : INT QUIT; {ends} {ENVIRONMENT}; sh -c {}; code=$?; [ $code != {SSH_FAILED} ] || : >{mark}; exit $code",
        shell_word(command)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_tells_every_end_as_a_shell_does() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        for (command, code) in [
            ("true", 0),
            ("exit 7 # and a comment", 7),
            ("kill -9 $$", 137),
            ("kill -TERM $$", 143),
            ("/nonexistent/program", 127),
            ("/etc/passwd", 126),
            ("exit 255", 255),
        ] {
            for is_interactive in [false, true] {
                let line = line(command, &mark.display().to_string(), is_interactive);
                let output = Command::new(["sh", "-c", &line]).output(Duration::from_secs(20)).unwrap();
                assert_eq!(output.code, Some(code), "{command}: {output:?}");
                assert_eq!(mark.exists(), code == 255, "{command}");
            }
        }
    }

    #[test]
    fn program_has_no_child_that_it_did_not_start() {
        let line = line("cat /proc/$$/task/$$/children; exit 0", "/dev/null", false);
        let output = Command::new(["sh", "-c", &line]).output(Duration::from_secs(20)).unwrap();
        // `cat` itself, which the shell started.
        assert_eq!(output.stdout.split_whitespace().count(), 1, "{output:?}");
    }
}
