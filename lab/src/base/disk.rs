//! Free room of a file system.

use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};

use crate::base::error::{Error, Result};
use crate::base::invocation;

/// Demands that `needed_mib` MiB can be written into `directory`.
///
/// # Errors
///
/// Less is left: with how much is needed.
pub fn demand(directory: &Path, needed_mib: u64) -> Result<()> {
    let cure = format!(
        "make room (`{}` empties the cache), or name a directory with more: RDMA_LAB_CACHE=/some/directory",
        invocation::lab("clean")
    );
    room(directory, needed_mib).map_err(|error| error.next(cure))
}

/// Demands that `needed_mib` MiB can be written into a run directory.
///
/// # Errors
///
/// Less is left: with how much is needed.
pub fn demand_to_run(directory: &Path, needed_mib: u64) -> Result<()> {
    let cure =
        "make room, or name a short directory with more: TMPDIR=/some/directory (XDG_RUNTIME_DIR goes first)";
    room(directory, needed_mib).map_err(|error| error.next(cure))
}

fn room(directory: &Path, needed_mib: u64) -> Result<()> {
    // A file system that does not tell is given the benefit of the doubt.
    let Ok(status) = statvfs(directory) else { return Ok(()) };
    let left_mib = status.f_bavail.saturating_mul(status.f_frsize) >> 20;
    if left_mib >= needed_mib {
        return Ok(());
    }
    Err(Error::setup(format!(
        "too little room in {}: {needed_mib} MiB are needed, {left_mib} MiB are left",
        directory.display()
    )))
}

/// Demands that programs in `directory` can be run.
///
/// # Errors
///
/// Its file system is mounted without that right: not even a loader can map them.
pub fn demand_exec(directory: &Path) -> Result<()> {
    let Ok(status) = statvfs(directory) else { return Ok(()) };
    if !status.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Ok(());
    }
    Err(Error::setup(format!(
        "no program can be run from {}: its file system is mounted noexec",
        directory.display()
    ))
    .next(
        "name a directory elsewhere: RDMA_LAB_CACHE=/some/directory\n\
         or take the host's own tools: --tools host, RDMA_LAB_TOOLS=host",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_is_refused_with_what_is_needed() {
        let error = demand(Path::new("/"), u64::MAX).unwrap_err().to_string();
        assert!(error.starts_with("too little room in /: ") && error.contains("next: "), "{error}");
        demand(Path::new("/"), 0).unwrap();
    }

    #[test]
    fn file_system_without_programs_is_refused() {
        demand_exec(Path::new("/usr/bin")).unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        if mounts.lines().any(|line| line.starts_with("proc /proc ") && line.contains("noexec")) {
            let error = demand_exec(Path::new("/proc")).unwrap_err().to_string();
            assert!(error.contains("/proc") && error.contains("RDMA_LAB_CACHE="), "{error}");
        }
    }
}
