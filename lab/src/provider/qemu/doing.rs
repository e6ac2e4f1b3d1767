//! Doings of a node that has not answered in time: by its own words, or by its QEMU's where it is silent.

use std::time::Duration;

use serde_json::json;

use crate::base::error::Result;
use crate::provider::qemu::agent::Agent;
use crate::provider::qemu::qmp::Qmp;

/// Longest time that a node may take to say what it does.
const LIMIT: Duration = Duration::from_secs(5);

/// Doings of a node instead of an answer to the request `id`, for an error's detail.
pub(super) fn instead_of_an_answer(agent: &Agent, id: u64, qmp: impl FnOnce() -> Result<Qmp>) -> String {
    match agent.run(&processes(id), LIMIT) {
        Ok(output) if output.stdout.trim().is_empty() => {
            "the node answers other commands; of this one, it has no process".to_owned()
        }
        Ok(output) => format!("the node answers other commands; of this one, it runs:\n{}", output.stdout),
        Err(_) => match qmp().and_then(processor) {
            Ok(said) => {
                format!("the node answers no other command either; QEMU says of its processor:\n{said}")
            }
            Err(error) => {
                format!("the node answers no other command either, and neither does its QEMU: {error}")
            }
        },
    }
}

/// Command that shows the processes of a request, and where each is in the kernel.
fn processes(id: u64) -> String {
    format!(
        "leader=$(cat /run/lab/jobs/{id}/pid) || exit 0\n\
         for process in /proc/[0-9]*; do\n\
         stat=$(cat $process/stat 2>/dev/null) || continue\n\
         set -- ${{stat##*) }}\n\
         [ \"$4\" = \"$leader\" ] || continue\n\
         echo \"$1 $(tr '\\0' ' ' <$process/cmdline | head -c 100 | head -n 1)\"\n\
         head -n 8 $process/stack 2>/dev/null | sed 's/^/    /'\n\
         done"
    )
}

/// State of a machine, and the instruction that its processor is at, twice.
fn processor(mut qmp: Qmp) -> Result<String> {
    let status = qmp.execute("query-status", json!({}))?;
    let mut said = format!("status {}\n", status["status"].as_str().unwrap_or("unknown"));
    for _ in 0..2 {
        let registers = qmp.execute("human-monitor-command", json!({ "command-line": "info registers" }))?;
        let lines = registers.as_str().unwrap_or_default().lines();
        lines.filter(|line| line.starts_with("RIP=")).for_each(|line| said = format!("{said}{line}\n"));
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(said)
}
