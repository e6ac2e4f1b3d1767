//! Logs of machines, and what an error tells of them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::command::tail;
use crate::base::error::Error;
use crate::base::role::Role;
use crate::provider::qemu::asleep;
use crate::provider::qemu::control::{Control, Status};

/// Error of a machine that is not there: its own end, or that it stands still, its console's last lines, and where to read on.
pub(super) fn came_not_up(control: &Control, role: Role, logs: &Path, error: Error) -> Error {
    let ending = control.ending(role);
    let stands_still = control.status().ok().and_then(|status| stands_still(&status, role));
    let (console, machine) = (console_log(logs, role), machine_log(logs, role));
    let where_to_read =
        format!("the whole console is in {}, QEMU's own words in {}", console.display(), machine.display());
    let cure = ending.as_deref().and_then(asleep::host_cure);
    let next = cure.map_or_else(|| where_to_read.clone(), |cure| format!("{cure}\n{where_to_read}"));
    let ending = ending.map(|status| format!("qemu: {status}\n")).or(stands_still.map(|text| text + "\n"));
    let text = fs::read(&console).unwrap_or_default();
    let why = told(&String::from_utf8_lossy(&text)).map_or_else(String::new, |why| format!(": {why}"));
    Error::boot(format!("node {role} did not come up{why}"))
        .source(error)
        .detail(ending.unwrap_or_default() + &last_lines(&console))
        .next(next)
}

/// Finds why a machine did not come up, or ended, in what its console says: its kernel panicked, or an init script gave up.
fn told(console: &str) -> Option<String> {
    const PANIC: &str = "Kernel panic - not syncing: ";
    const GAVE_UP: &str = "lab: boot: ";
    let why = |(_, why): (&str, &str)| why.trim().to_owned();
    console.lines().find_map(|line| {
        let panicked = line.split_once(PANIC).map(why).map(|why| {
            let crash = crash(console).map(|crash| format!(": {crash}"));
            format!("its kernel panicked: {why}{}", crash.unwrap_or_default())
        });
        panicked.or_else(|| line.split_once(GAVE_UP).map(why).map(|why| format!("`{why}` failed")))
    })
}

/// The first fault of a kernel and the function that it happened in; a panic's own line, behind it, tells neither.
fn crash(console: &str) -> Option<String> {
    const FAULT: &str = "BUG: ";
    const AT: &str = "RIP: 0010:";
    let mut lines = console.lines();
    let (_, fault) = lines.find_map(|line| line.split_once(FAULT))?;
    let (_, function) = lines.find_map(|line| line.split_once(AT))?;
    Some(format!("{}, in {}", fault.trim(), function.trim()))
}

/// Error of a machine that was up and has ended.
pub(super) fn ended(role: Role, status: &str, logs: &Path) -> Error {
    let console = console_log(logs, role);
    let text = fs::read(&console).unwrap_or_default();
    let why = told(&String::from_utf8_lossy(&text)).unwrap_or_else(|| status.to_owned());
    Error::boot(format!("node {role} ended: {why}")).detail(last_lines(&console))
}

/// That a machine's process was stopped, if it was.
pub(super) fn stands_still(status: &Status, role: Role) -> Option<String> {
    let pid = status.machines.get(&role).filter(|_| status.stopped.contains(&role))?;
    Some(format!("node {role} stands still: its QEMU, process {pid}, was stopped by a signal (SIGSTOP)"))
}

/// The console's tail; a machine that was healthy until its end has said nothing.
pub(super) fn last_lines(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    match tail(&String::from_utf8_lossy(&text), 8) {
        tail if tail.trim().is_empty() => "its console is empty".to_owned(),
        tail => format!("its console ends:\n{tail}"),
    }
}

/// The file of a machine's console among logs.
pub(in crate::provider) fn console_log(logs: &Path, role: Role) -> PathBuf {
    logs.join(format!("console-{role}.log"))
}

/// The file of QEMU's own words among logs.
pub(in crate::provider) fn machine_log(logs: &Path, role: Role) -> PathBuf {
    logs.join(format!("qemu-{role}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_and_a_script_that_gave_up_are_the_reason() {
        let panic = "[    1.9] VFS: Cannot open root device\n\
            [    2.046112] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n\
            [    2.05] CPU: 0 PID: 1\n";
        let why = told(panic).unwrap();
        assert_eq!(why, "its kernel panicked: VFS: Unable to mount root fs on unknown-block(0,0)");
        let insmod =
            "insmod: can't insert\nlab: boot: insmod rdma_rxe\n<3>[ 4.1] rdma_rxe: disagrees about version\n";
        assert_eq!(told(insmod).unwrap(), "`insmod rdma_rxe` failed");
        assert_eq!(told("[    1.9] all is well\n"), None);
    }

    #[test]
    fn machine_that_ends_under_way_is_told_with_the_fault_and_its_function() {
        let console = "[    0.5] all is well\n\
            [  204.783940] BUG: kernel NULL pointer dereference, address: 0000000000000104\n\
            [  204.786000] RIP: 0010:rxe_mr_copy+0x49/0x1a0 [rdma_rxe]\n\
            [  205.192593] RIP: 0010:rxe_mr_copy+0x49/0x1a0 [rdma_rxe]\n\
            [  205.194458] Kernel panic - not syncing: Fatal exception in interrupt\n";
        let directory = tempfile::tempdir().unwrap();
        let of = |text: &str| {
            fs::write(console_log(directory.path(), Role::Server), text).unwrap();
            ended(Role::Server, "exit status: 0", directory.path()).to_string()
        };
        assert!(
            of(console).contains(
                "node server ended: its kernel panicked: Fatal exception in interrupt: kernel NULL pointer \
                 dereference, address: 0000000000000104, in rxe_mr_copy+0x49/0x1a0 [rdma_rxe]"
            ),
            "{}",
            of(console)
        );
        assert!(of("[    0.5] all is well\n").contains("node server ended: exit status: 0"));
    }
}
