//! Confinement of QEMU here: tried once, and remembered for as long as QEMU and the kernel are the same.
//!
//! A QEMU may be built without seccomp, and a kernel (or a container's rules) may not let it install a filter.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::cache::{Cache, read_record, write_record};
use crate::base::command::Command;
use crate::host::toolbox::Tool;
use crate::provider::qemu::argv::SANDBOX;

/// Longest time that QEMU may take to start without a machine, and to end again.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// Finding of an earlier probe, and the QEMU that it is about.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SandboxVerdict {
    key: String,
    works: bool,
}

/// True if QEMU starts under [`SANDBOX`]; where there is no telling, it does not.
pub fn works(cache: &Cache, qemu: &Tool) -> bool {
    let (path, key) = (cache.path("sandbox.json"), key(qemu));
    if let Ok(Some(verdict)) = read_record::<SandboxVerdict>(&path)
        && verdict.key == key
    {
        return verdict.works;
    }
    let Ok(output) = probe(qemu).output(PROBE_LIMIT) else { return false };
    let verdict = SandboxVerdict { key, works: output.code == Some(0) };
    // Asked again next time, if it cannot be kept.
    let _ = write_record(&path, &verdict);
    verdict.works
}

/// Starts QEMU without a machine, and ends it through its monitor.
fn probe(qemu: &Tool) -> Command {
    qemu.command()
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-machine", "none"])
        .args(["-sandbox", SANDBOX, "-monitor", "stdio"])
        .stdin("quit\n")
}

fn key(qemu: &Tool) -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{SANDBOX} {} {}", kernel.trim(), qemu.identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_on_another_qemu_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned()).unwrap();
        let keep = |verdict: &SandboxVerdict| {
            fs::write(cache.path("sandbox.json"), serde_json::to_string(verdict).unwrap()).unwrap();
        };
        // What ends as QEMU would that was let, and not let, to confine itself.
        for (program, truth) in [("true", true), ("false", false)] {
            let qemu = Tool { argv: vec![program.into()], env: Vec::new(), identity: program.to_owned() };
            keep(&SandboxVerdict { key: key(&qemu), works: !truth });
            assert_eq!(works(&cache, &qemu), !truth, "as it was found before");
            keep(&SandboxVerdict { key: "another".to_owned(), works: !truth });
            assert_eq!(works(&cache, &qemu), truth);
            fs::write(cache.path("sandbox.json"), "{").unwrap();
            assert_eq!(works(&cache, &qemu), truth);
        }
    }
}
