//! Policy of this process on this computer, said once: whose tools it uses, and whether it downloads.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};

/// The variable that says whose tools are used.
const TOOLS: &str = "RDMA_LAB_TOOLS";

/// The variable that forbids downloads.
const OFFLINE: &str = "RDMA_LAB_OFFLINE";

/// Whose tools are used: QEMU, mkfs.erofs and the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The lab's own, from one Debian release, in the cache.
    #[default]
    Toolbox,
    /// The host's.
    Host,
}

/// Permissions of a process of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Whose tools are used.
    pub tools: Source,
    /// Whether nothing may be downloaded.
    pub offline: bool,
}

static POLICY: OnceLock<Policy> = OnceLock::new();

impl Policy {
    /// The policy of this process: what was set, else what the environment says, else the usual one.
    pub fn get() -> Policy {
        *POLICY.get_or_init(|| Policy::of_environment().unwrap_or_default())
    }

    /// What the environment of this process says.
    ///
    /// # Errors
    ///
    /// As [`Policy::from_env`].
    pub fn of_environment() -> Result<Policy> {
        Policy::from_env(|name| std::env::var(name).ok())
    }

    /// Sets the policy of this process. The first one stays.
    pub fn set(self) {
        let _ = POLICY.set(self);
    }

    /// Reads what [`Policy::env`] wrote, from `variable`: the value of an environment variable.
    ///
    /// # Errors
    ///
    /// A value is none.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Policy> {
        let variable = |name: &str| variable(name).filter(|text| !text.is_empty());
        let tools = match variable(TOOLS).as_deref() {
            None | Some("toolbox") => Source::Toolbox,
            Some("host") => Source::Host,
            Some(other) => {
                return Err(
                    Error::usage(format!("{TOOLS}={other} is no such thing")).next("write toolbox or host")
                );
            }
        };
        let offline = match variable(OFFLINE).as_deref() {
            None | Some("0") => false,
            Some("1") => true,
            Some(other) => {
                return Err(Error::usage(format!("{OFFLINE}={other} is no such thing")).next("write 1 or 0"));
            }
        };
        Ok(Policy { tools, offline })
    }

    /// The environment variables that say the same to another process.
    pub fn env(self) -> [(&'static str, &'static str); 2] {
        let tools = match self.tools {
            Source::Toolbox => "toolbox",
            Source::Host => "host",
        };
        [(TOOLS, tools), (OFFLINE, if self.offline { "1" } else { "0" })]
    }

    /// Demands that `what`, about `about_mb` MB, may be downloaded.
    ///
    /// # Errors
    ///
    /// Downloads are forbidden.
    pub fn demand_download(self, what: &str, about_mb: u32) -> Result<()> {
        if !self.offline {
            return Ok(());
        }
        Err(Error::setup(format!(
            "not in the cache, and downloads are forbidden: {what}, about {about_mb} MB"
        ))
        .next(
            "leave out `--offline` (RDMA_LAB_OFFLINE) once; what was downloaded stays in the cache\n\
             or bring a cache along: RDMA_LAB_CACHE=/some/directory",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(env: &[(&str, &str)]) -> Result<Policy> {
        Policy::from_env(|name| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn environment_says_what_was_chosen() {
        for tools in [Source::Toolbox, Source::Host] {
            for offline in [false, true] {
                let policy = Policy { tools, offline };
                assert_eq!(read(&policy.env()).unwrap(), policy);
            }
        }
        assert_eq!(read(&[]).unwrap(), Policy::default());
        assert_eq!(read(&[(TOOLS, ""), (OFFLINE, "")]).unwrap(), Policy::default());
    }

    #[test]
    fn value_that_is_none_is_named() {
        for (name, value) in [(TOOLS, "mine"), (OFFLINE, "yes")] {
            let text = read(&[(name, value)]).unwrap_err().to_string();
            assert!(text.contains(value) && text.contains("next: write "), "{text}");
        }
    }

    #[test]
    fn forbidden_download_is_named_with_its_size() {
        Policy::default().demand_download("x", 3).unwrap();
        let offline = Policy { offline: true, ..Policy::default() };
        let text = offline.demand_download("tools: QEMU", 40).unwrap_err().to_string();
        assert!(text.contains("tools: QEMU, about 40 MB") && text.contains("--offline"), "{text}");
    }
}
