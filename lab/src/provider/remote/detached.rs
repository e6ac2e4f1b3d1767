//! Commands in the background of a node, which nobody waits for: a script that tells its process id, and the file that
//! has what it writes.
//!
//! On machines of others they are units of systemd, without a limit: a reset ends them, as all of the lab's.

use std::time::Duration;

use crate::base::error::{Error, Result};
use crate::base::role::Role;
use crate::provider::remote::job::{UNITS, unit_command, wait_for};
use crate::provider::remote::machine::{DIRECTORY, Machine, SHORT};

/// Longest time that a shell may take until it has told its process id.
const START: Duration = Duration::from_secs(10);

/// Script that runs: the shell tells its process id and then is the command.
pub fn script(directory: &str, command: &str) -> String {
    format!("echo $$ >{directory}/pid.part; mv {directory}/pid.part {directory}/pid\n{command}\n")
}

/// Command that waits for the process id, and prints it.
pub fn wait_pid(directory: &str) -> String {
    format!("{}; cat {directory}/pid", wait_for(&format!("[ -e {directory}/pid ]"), START))
}

/// The process id that was printed, and the file with the output.
///
/// # Errors
///
/// None was.
pub fn started(role: Role, directory: &str, printed: &str) -> Result<(u32, String)> {
    let pid = printed
        .trim()
        .parse()
        .map_err(|_| Error::boot(format!("{role} did not start the command")).detail(printed.to_owned()))?;
    Ok((pid, format!("{directory}/log")))
}

impl Machine {
    /// Starts a shell command in the background; gives its process id, which is that of its process group too, and the
    /// file there that has both of its outputs. `id` is no other command's.
    ///
    /// # Errors
    ///
    /// The machine does not answer, or systemd does not start it.
    pub fn detach(&self, command: &str, id: &str) -> Result<(u32, String)> {
        let unit = format!("{UNITS}exec-{id}");
        let directory = format!("{DIRECTORY}/{unit}");
        let command = format!("exec >{directory}/log 2>&1\nexport RDMA_DEVICE={}\n{command}", self.device);
        let script = crate::base::command::shell_word(&script(&directory, &command));
        let start = format!(
            "mkdir -p {directory} && printf %s {script} >{directory}/script || exit\n{} || exit\n{}",
            unit_command(&unit, &["RuntimeMaxSec=infinity"], &format!("/bin/sh {directory}/script")),
            wait_pid(&directory)
        );
        started(self.role, &directory, &self.demand("systemd starts a command", &start, SHORT)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::command::Command;

    #[test]
    fn process_id_is_that_of_the_process_group_and_output_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display().to_string();
        std::fs::write(
            directory.path().join("script"),
            script(&path, "echo out; echo err >&2; exec sleep 60"),
        )
        .unwrap();
        let start = format!("setsid sh {path}/script </dev/null >{path}/log 2>&1 &\n{}", wait_pid(&path));
        let printed = Command::new(["sh", "-c", &start]).run(Duration::from_secs(20)).unwrap().stdout;
        let (pid, log) = started(Role::Client, &path, &printed).unwrap();
        let stop = format!("until [ $(wc -l <{log}) = 2 ]; do sleep 0.05; done; kill -- -{pid} && cat {log}");
        let output = Command::new(["sh", "-c", &stop]).run(Duration::from_secs(20)).unwrap();
        assert_eq!(output.stdout, "out\nerr\n");
    }

    #[test]
    fn command_that_did_not_start_is_an_error() {
        started(Role::Client, "/x", "").unwrap_err();
    }
}
