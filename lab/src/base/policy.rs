//! Policy of this process on this computer, said once: whose tools it uses, and whether it downloads.

use std::sync::OnceLock;

use crate::base::error::{Error, Result};
use crate::base::selection::{Means, Selection, ToolSource};

/// Permissions of a process of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Whose tools are used.
    pub tools: ToolSource,
    /// True if nothing may be downloaded.
    pub offline: bool,
}

static POLICY: OnceLock<Policy> = OnceLock::new();

impl Policy {
    /// The policy of this process: what was set, else what the environment says, else the usual one.
    pub fn get() -> Policy {
        *POLICY.get_or_init(|| Policy::of_environment().unwrap_or_default())
    }

    /// Reads the policy that the environment of this process has.
    ///
    /// # Errors
    ///
    /// As [`Selection::from_env`].
    pub fn of_environment() -> Result<Policy> {
        Ok(Policy::of(Selection::of_environment()?.means))
    }

    /// Returns the policy that means ask for.
    pub fn of(means: Means) -> Policy {
        Policy { tools: means.tools.unwrap_or_default(), offline: means.offline }
    }

    /// Sets the policy of this process. The first one stays.
    pub fn set(self) {
        let _ = POLICY.set(self);
    }

    /// Returns the means that give another process this policy.
    pub fn means(self) -> Means {
        Means { tools: Some(self.tools), offline: self.offline, install: false }
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

    #[test]
    fn forbidden_download_is_named_with_its_size() {
        Policy::default().demand_download("x", 3).unwrap();
        let offline = Policy { offline: true, ..Policy::default() };
        let text = offline.demand_download("tools: QEMU", 40).unwrap_err().to_string();
        assert!(text.contains("tools: QEMU, about 40 MB") && text.contains("--offline"), "{text}");
    }
}
