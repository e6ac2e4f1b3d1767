//! One machine of others: scripts run there as root, files put there and fetched verified.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::cache::{sha256, sha256_file};
use crate::base::command::{Output, shell_word, tail};
use crate::base::error::{Error, IoContext as _, Kind, Result};
use crate::base::invocation;
use crate::base::names::unique;
use crate::base::role::Role;
use crate::node::parcel::{self, Arrived, Destination, Parcel};
use crate::provider::remote::host::RemoteHost;
use crate::provider::remote::script;
use crate::provider::remote::setting::Setting;

/// Directory of everything of the lab on a machine, apart from the programs in `/opt/lab`.
pub const DIRECTORY: &str = "/var/tmp/rdma-lab";

/// Longest time that a short command on a machine may take.
pub const SHORT: Duration = Duration::from_secs(30);

/// Longest time that a carrier may take beyond what it carries.
const CARRIER: Duration = Duration::from_secs(20);

/// Longest time that a file may take.
const TRANSFER: Duration = Duration::from_secs(600);

/// One machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The node that it is.
    pub role: Role,
    /// Way to reach it and permissions of the lab there.
    pub setting: Setting,
    answered: Arc<Mutex<Option<Instant>>>,
    /// Its RDMA device.
    pub device: String,
    /// The network interface of that device.
    pub interface: String,
}

impl Machine {
    /// A machine whose device and interface are not known yet: see [`crate::provider::remote::prepare`].
    pub fn new(role: Role, setting: Setting) -> Machine {
        Machine { role, setting, answered: Arc::default(), device: String::new(), interface: String::new() }
    }

    /// The carrier of commands there.
    pub fn host(&self) -> &dyn RemoteHost {
        self.setting.host.as_ref()
    }

    /// Role and name, as in "server (rdma-server)".
    pub fn title(&self) -> String {
        format!("{} ({})", self.role, self.host().name())
    }

    /// Runs a script as root to its end, whatever its exit code.
    ///
    /// # Errors
    ///
    /// The machine does not answer, or not within `limit`.
    pub fn run_root(&self, script: &str, limit: Duration) -> Result<Output> {
        let carried = self
            .host()
            .call(&script::line(script, limit), limit + CARRIER)
            .map_err(|error| self.named(error))?;
        let output = script::output(&carried).ok_or_else(|| self.named(self.host().explain(&carried)))?;
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        if output.code != Some(0) && script::is_refused(&output.stderr) {
            return Err(Error::setup(format!("{}: no sudo without a password", self.title()))
                .detail(output.stderr)
                .next(
                    "let its user run sudo without one (NOPASSWD in /etc/sudoers.d), or name another user",
                ));
        }
        Ok(output)
    }

    /// Runs a script as root and demands exit code 0; `what` is true then. Gives its standard output.
    ///
    /// # Errors
    ///
    /// As [`Machine::run_root`]; another exit code, with the output.
    pub fn demand(&self, what: &str, script: &str, limit: Duration) -> Result<String> {
        let output = self.run_root(script, limit)?;
        if output.code == Some(0) {
            return Ok(output.stdout);
        }
        let ending = match output.code {
            Some(124 | 137) => format!("not within {} s", limit.as_secs()),
            _ => output.ending(),
        };
        let detail = tail(&(output.stdout + &output.stderr), 12);
        Err(Error::boot(format!("{}: not true: {what}: {ending}", self.title())).detail(detail))
    }

    /// Fails unless it has answered lately or answers now.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn check_answers(&self) -> Result<()> {
        let answered = *self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.is_some_and(|moment| moment.elapsed() < Duration::from_secs(5)) {
            return Ok(());
        }
        self.run_root("true", Duration::from_secs(10)).map(drop).map_err(|error| error.kind_is(Kind::Boot))
    }

    /// Puts a parcel there, verified; gives the path there of its one item, or the directory of all, which ends with `/`.
    ///
    /// # Errors
    ///
    /// It cannot be written there, or did not arrive whole.
    pub fn push_parcel(&self, parcel: &Parcel, to: Destination<'_>) -> Result<String> {
        let id = unique();
        let arrival = format!("/tmp/rdma-lab-{id}");
        self.host().upload(&parcel.bytes, &arrival, TRANSFER).map_err(|error| self.named(error))?;
        let script = parcel.unpack_script(Some(&arrival), &sha256(&parcel.bytes), to, &id);
        // The script's own trap has the place of another.
        let script = format!("sh -c {}; code=$?; rm -f {arrival}; exit $code", shell_word(&script));
        let path =
            self.demand(&format!("{} can be written", to.path), &script, TRANSFER).map_err(|error| {
                error.next("run it again; if it happens again, look for room on both disks: df -h")
            })?;
        Ok(path.trim_end_matches('\n').to_owned())
    }

    /// Puts a file there, verified and renamed into place: a program that runs cannot be written over.
    ///
    /// # Errors
    ///
    /// It cannot be written there, or did not arrive whole.
    pub fn push(&self, bytes: &[u8], to: &str, mode: u32) -> Result<()> {
        self.push_all(&[(to, bytes)], mode)
    }

    /// Puts several files there, all in one transfer, verified and renamed into place: a call takes a second with some
    /// carriers, and a program that runs cannot be written over.
    ///
    /// # Errors
    ///
    /// They cannot be written there, or did not arrive whole.
    pub fn push_all(&self, files: &[(&str, &[u8])], mode: u32) -> Result<()> {
        // As the machine's own user, where everybody may write; then moved by root.
        let arrival = format!("/tmp/rdma-lab-{}", unique());
        let bytes: Vec<u8> = files.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        self.host().upload(&bytes, &arrival, TRANSFER).map_err(|error| self.named(error))?;
        let expected = sha256(&bytes);
        let sum =
            self.demand("files can be written", &arrived(files, mode, &arrival, &expected), TRANSFER)?;
        if sum.starts_with(&expected) {
            return Ok(());
        }
        let paths: Vec<&str> = files.iter().map(|(to, _)| *to).collect();
        Err(self.not_whole(&paths.join(", ")))
    }

    /// Gets a file from there into the file `to`, verified; a file that did not arrive whole is removed.
    ///
    /// # Errors
    ///
    /// It cannot be read there or written here, or did not arrive whole.
    pub fn pull(&self, from: &str, to: &Path) -> Result<()> {
        let departure = format!("/tmp/rdma-lab-{}", unique());
        let source = shell_word(from);
        // A copy, in the user's reach: the carrier has no root there.
        let sum = self.demand(
            &format!("{from} can be read"),
            &format!("[ -f {source} ] || {{ echo 'no such file' >&2; exit 1; }}; install -m 644 {source} {departure} && sha256sum <{departure}"),
            TRANSFER,
        )?;
        let part = to.with_extension("part");
        let downloaded = self.host().download(&departure, &part, TRANSFER).map_err(|error| self.named(error));
        let removed = self.demand("a copy can be removed", &format!("rm -f {departure}"), SHORT);
        let verified = downloaded.and(removed).and_then(|_| match sum.starts_with(&sha256_file(&part)?) {
            true => fs::rename(&part, to).at("failed to write", to),
            false => Err(self.not_whole(from)),
        });
        let _ = fs::remove_file(&part);
        verified
    }

    /// Gets a file from there, or with `recursive` a directory, as `to`; verified.
    ///
    /// # Errors
    ///
    /// As [`Machine::pull`].
    pub fn pull_parcel(&self, from: &str, recursive: bool, to: &Path) -> Result<Arrived> {
        let departure = format!("/tmp/rdma-lab-{}", unique());
        let script = parcel::pack_script(from, recursive, Some(&departure));
        let head = self.demand(&format!("{from} can be read"), &script, TRANSFER).map_err(|error| {
            error.next(format!("look what it is: {}", invocation::lab("exec NODE ls -ld PATH")))
        })?;
        let packed = tempfile::NamedTempFile::new()
            .map_err(|source| Error::setup("failed to create a temporary file").source(source))?;
        let downloaded =
            self.host().download(&departure, packed.path(), TRANSFER).map_err(|error| self.named(error));
        let removed = self.demand("a copy can be removed", &format!("rm -f {departure}"), SHORT);
        downloaded.and(removed)?;
        let mut packed = fs::File::open(packed.path()).at("failed to read", packed.path())?;
        parcel::arrive(&mut packed, Some(&head), to)
    }

    fn not_whole(&self, path: &str) -> Error {
        Error::setup(format!("{}: {path} did not arrive whole: its checksum differs", self.title()))
            .next("run it again; if it happens again, look for room on both disks: df -h")
    }

    fn named(&self, error: Error) -> Error {
        let kind = error.kind();
        Error::new(kind, format!("node {}", self.title())).source(error)
    }
}

/// The script that tells the checksum of `arrival`, and if it is the expected one cuts that into `files`.
fn arrived(files: &[(&str, &[u8])], mode: u32, arrival: &str, expected: &str) -> String {
    let mut script = format!(
        "trap 'rm -f {arrival}' EXIT; sum=$(sha256sum <{arrival}) && echo \"$sum\" || exit\n\
         case $sum in {expected}*) ;; *) exit 0;; esac\n\
         exec <{arrival}\n"
    );
    for (to, bytes) in files {
        let (target, length) = (shell_word(to), bytes.len());
        script.push_str(&format!(
            "install -D -m {mode:o} /dev/null {target}.part && head -c {length} >{target}.part && \
             mv {target}.part {target} || exit\n"
        ));
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::command::Command;

    #[test]
    fn files_of_one_transfer_arrive_as_they_were_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (one, other) = (path("new/it's one"), path("other"));
        let files: [(&str, &[u8]); 3] = [(&one, b"a\0b\n\n"), (&path("empty"), b""), (&other, &[7; 300_000])];
        let bytes = files.map(|(_, bytes)| bytes).concat();
        let arrive = |bytes: &[u8]| {
            fs::write(path("arrival"), bytes).unwrap();
            let script =
                arrived(&files, 0o755, &path("arrival"), &sha256(&files.map(|(_, bytes)| bytes).concat()));
            let output = Command::new(["sh", "-c", &script]).output(SHORT).unwrap();
            assert_eq!((output.code, output.stdout.starts_with(&sha256(bytes))), (Some(0), true));
            assert!(!fs::exists(path("arrival")).unwrap());
        };
        arrive(&bytes[..bytes.len() / 2]);
        assert!(!fs::exists(&one).unwrap() && !fs::exists(&other).unwrap());
        arrive(&bytes);
        for (to, bytes) in files {
            assert_eq!(fs::read(to).unwrap(), bytes);
            let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(to).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o755);
        }
    }
}
