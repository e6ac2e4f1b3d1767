//! Conditions of a scenario on its nodes beside their network: kernel modules, another user; and what stands still there.

use std::time::Duration;

use crate::base::command::shell_word;
use crate::base::error::{Error, Result};
use crate::base::role::Role;
use crate::guest::contents::{MODULES, PATHS, UNLOCKED, load_asked};
use crate::node::{NodePair, gids};
use crate::scenario::Scenario;

/// Longest time that modules may take to load, and a look at processes.
const LIMIT: Duration = Duration::from_secs(60);

/// Memory that a user who is not root may lock, in KiB: the kernel's own default.
const LOCKED_KIB: u32 = 8192;

/// Command that prints what /proc says (`stat`) of a node's processes that a signal has stopped.
const HALTED: &str = "grep -hs ') T ' /proc/[0-9]*/stat";

/// Clock ticks of a second in which /proc counts, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Loads kernel modules on all nodes, with all that they need.
///
/// # Errors
///
/// A node's kernel has not one of them, or does not take it.
pub(super) fn load(pair: &dyn NodePair, modules: &[String]) -> Result<()> {
    if modules.is_empty() {
        return Ok(());
    }
    for (role, output) in pair.run_on_all(&load_script(modules), LIMIT)? {
        if output.code != Some(0) {
            return Err(Error::setup(format!("{role} does not load the modules {}", modules.join(", ")))
                .detail(output.stdout + &output.stderr));
        }
    }
    Ok(())
}

/// The lab's own machines have them in a directory, with their order; others have modprobe.
fn load_script(modules: &[String]) -> String {
    let names: Vec<String> = modules.iter().map(|name| shell_word(name)).collect();
    format!("if [ -f {MODULES}/asked ]; then {}; else modprobe -a {}; fi", load_asked(), names.join(" "))
}

/// Makes the RDMA device of a node anew, as a restart does: its numbers and counters begin again.
///
/// # Errors
///
/// It is not there as before within the limit.
pub(super) fn renew(pair: &dyn NodePair, role: Role) -> Result<()> {
    let mut running = pair.node(role).start(&renew_command())?;
    let output = pair.wait_for(running.as_mut(), "making the RDMA device anew", LIMIT)?;
    match output.code {
        Some(0) => Ok(()),
        _ => Err(Error::setup(format!("the RDMA device of {role} could not be made anew"))
            .detail(output.stdout + &output.stderr)),
    }
}

/// Command that makes a node's rxe0 anew on its interface, and waits until it is ACTIVE and has as many GIDs as before.
fn renew_command() -> String {
    format!("gids() {{ {} | wc -l; }}\n{RENEW}", gids::print("rxe0"))
}

/// The same, without how it counts GIDs.
const RENEW: &str = r#"set -e
count=$(gids) interface=$(rdma link show rxe0/1 | sed 's/.* netdev //; s/ .*//')
rdma link delete rxe0
rdma link add rxe0 type rxe netdev "$interface"
for i in $(seq 200); do
    if grep -qs ACTIVE /sys/class/infiniband/rxe0/ports/1/state && [ "$(gids)" = "$count" ]; then exit 0; fi
    usleep 20000
done
echo "rxe0 on $interface has $(gids) GIDs, and had $count"
exit 1"#;

/// The script of a command: where it finds programs, how much memory it may lock, and who it is.
pub(super) fn script(scenario: &Scenario, command: &str) -> String {
    let Some(user) = &scenario.user else { return format!("{PATHS}; {UNLOCKED}; {command}") };
    // Only the lab's own machines are its to change.
    format!(
        "{PATHS}; id {user} >/dev/null 2>&1 || ! [ -e /sbin/lab-init ] \
         || echo '{user}:x:1000:1000::/tmp:/bin/sh' >>/etc/passwd; \
         ulimit -l {LOCKED_KIB}; su -p -s /bin/sh {user} -c {}",
        shell_word(command)
    )
}

/// The names of a node's processes that were started at `since` or later, in seconds since its boot, and that a signal has stopped.
///
/// # Errors
///
/// The node does not answer.
pub(super) fn halted(pair: &dyn NodePair, role: Role, since: f64) -> Result<Vec<String>> {
    let mut look = pair.node(role).start(HALTED)?;
    let output = pair.wait_for(look.as_mut(), "a look at what stands still", LIMIT)?;
    Ok(output.stdout.lines().filter_map(|line| started_since(line, since)).map(str::to_owned).collect())
}

/// The name of a process, `ID (NAME) STATE …`, if its 22nd field says that it was started at `since` or later.
fn started_since(stat: &str, since: f64) -> Option<&str> {
    let (name, fields) = stat.split_once('(')?.1.rsplit_once(')')?;
    let started: f64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    (started / TICKS_PER_SECOND >= since).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn another_user_has_no_more_memory_to_lock_than_a_login() {
        let mut scenario = Scenario::new("x", "a".to_owned(), "b".to_owned());
        let root = script(&scenario, "a 'b c'");
        assert!(root.contains("ulimit -l unlimited; a 'b c'") && !root.contains("su "), "{root}");
        scenario.user = Some("worker".to_owned());
        let user = script(&scenario, "a b");
        assert!(user.contains("ulimit -l 8192; ") && !user.contains("unlimited"), "{user}");
        assert!(user.ends_with("su -p -s /bin/sh worker -c 'a b'"), "{user}");
    }

    #[test]
    fn modules_are_those_of_the_lab_or_of_the_machine() {
        let text = load_script(&["nvme-rdma".to_owned(), "nvmet-rdma".to_owned()]);
        assert!(
            text.contains("</lib/lab/modules/asked; else modprobe -a nvme-rdma nvmet-rdma; fi"),
            "{text}"
        );
    }

    #[test]
    fn process_that_was_stopped_is_found_by_its_name() {
        let uptime = || {
            let text = std::fs::read_to_string("/proc/uptime").expect("an uptime");
            crate::run::kernel_log::parse_now(&text).expect("seconds")
        };
        let look = |since: f64| {
            let output = Command::new("sh").args(["-c", HALTED]).output().expect("a shell");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines().filter(|line| started_since(line, since) == Some("lab (halted)")).count()
        };
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("lab (halted)");
        std::fs::copy("/bin/sleep", &program).unwrap();
        // A tick is a hundredth of a second.
        let since = uptime() - 0.02;
        let before = look(since);
        let mut child = Command::new(&program).arg("60").stdin(Stdio::null()).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        let started = std::time::Instant::now();
        while look(since) == before && started.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(10));
        }
        let (found, later) = (look(since), look(uptime() + 0.02));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((before, found, later), (0, 1, 0));
    }
}
