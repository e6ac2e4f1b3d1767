//! Expectations: what must be true after a scenario, of the wire, of its limited ports and of each node's program.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::error::{Error, Result};
use crate::base::role::Role;
use crate::base::{invocation, names};
use crate::scenario::cause::Cause;
use crate::scenario::counters::{self, Count};
use crate::scenario::exit;

/// Facts that must be true after a scenario.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// The rules that the wire breaks, by name; all of them and no other.
    pub findings: Vec<String>,
    /// Rules that the wire may break or not.
    pub may: Vec<String>,
    /// The causes of what goes wrong, by name (docs/causes.md): all that the run shows and no other; unnamed, none is asked for.
    pub causes: Vec<String>,
    /// True if the programs tell their completions, to be compared with the wire.
    pub completions: bool,
    /// True if the programs give requesters a reason to run into their ACK timeout; faults always do. Without one
    /// such a run is taken for disturbed.
    pub timeouts: bool,
    /// Of the limited ports, by the nodes that each leads to: `server`, `client3+client4`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, ExpectPort>,
    /// Number of congestion notifications (CNPs) on the wire, where a port is limited; unnamed, none is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cnps: Option<Count>,
    /// Of the command on `server`.
    pub server: ExpectProgram,
    /// Of the command on `client`; of each client's.
    pub client: ExpectProgram,
}

/// Facts that must be true of a limited port; unnamed ones are not asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectPort {
    /// Frames that pass it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<Count>,
    /// Frames that are marked "congestion experienced" at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marked: Option<Count>,
    /// Frames that find no room in its queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<Count>,
}

/// Facts that must be true of one program.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectProgram {
    /// Its exit code, or the signal that ends it: "SIGTERM".
    #[serde(deserialize_with = "exit::deserialize")]
    #[schemars(with = "exit::WrittenExit")]
    pub exit: i32,
    /// Members that its result line must have, with these values.
    pub result: BTreeMap<String, Value>,
    /// Distances that counters of its node's RDMA device move on, by name.
    pub counters: BTreeMap<String, Count>,
    /// Parts of lines that its node's kernel logs; each is there (of `a | b` one), and its lines are no objection.
    pub kernel_log: Vec<String>,
}

impl Default for Expect {
    fn default() -> Expect {
        Expect {
            findings: Vec::new(),
            may: Vec::new(),
            causes: Vec::new(),
            completions: true,
            timeouts: false,
            ports: BTreeMap::new(),
            cnps: None,
            server: ExpectProgram::default(),
            client: ExpectProgram::default(),
        }
    }
}

impl Expect {
    /// Expectations of one node's programs.
    pub fn of(&mut self, role: Role) -> &mut ExpectProgram {
        if role.is_client() { &mut self.client } else { &mut self.server }
    }

    /// Refuses what has no meaning, and expectations that cannot be true together.
    pub(super) fn check(&mut self) -> Result<()> {
        for name in self.findings.iter_mut().chain(&mut self.may) {
            *name = finding(name)?;
        }
        for name in &mut self.causes {
            *name = Cause::from_name(name)?.name();
        }
        for (index, finding) in self.findings.iter().enumerate() {
            if self.findings[..index].contains(finding) {
                return Err(Error::usage(format!("the rule {finding} is expected twice"))
                    .next("name it once: a rule that is expected may be broken any number of times"));
            }
        }
        for (role, program) in [(Role::Server, &mut self.server), (Role::Client, &mut self.client)] {
            let named = std::mem::take(&mut program.counters).into_iter();
            program.counters = named
                .map(|(name, count)| Ok((counters::name(&name).map_err(Error::usage)?.to_owned(), count)))
                .collect::<Result<_>>()?;
            if program.kernel_log.iter().any(|part| part.trim().is_empty()) {
                return Err(Error::usage(format!("an empty part of {role}'s kernel log is in every line"))
                    .next("name a part of the line that is expected"));
            }
            let is_ok = program.result.get("ok").and_then(Value::as_bool);
            if is_ok.is_some_and(|is_ok| is_ok != (program.exit == 0)) {
                return Err(Error::usage(format!(
                    "{role} cannot have both exit code {} and the result ok = {}",
                    program.exit,
                    program.exit != 0
                ))
                .next("exit code 0 and ok = true go together, and others with ok = false"));
            }
        }
        Ok(())
    }
}

/// The rule of this name, whatever its case.
///
/// # Errors
///
/// None has it: with the nearest that one has.
pub fn finding(name: &str) -> Result<String> {
    let rules = roce::Rule::ALL.map(roce::Rule::name);
    let found = names::find("rule", name, rules.iter().map(String::as_str));
    found
        .map(str::to_owned)
        .map_err(|why| Error::usage(why).next(format!("{} lists all", invocation::program("explain"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_finding_names_the_nearest() {
        let error = finding("IcrcMissmatch").unwrap_err().to_string();
        assert!(error.contains("the nearest is `IcrcMismatch`"), "{error}");
    }
}
