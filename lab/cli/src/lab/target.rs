//! The lab and its nodes: options that commands on labs that stay have in common.

use lab::base::cache::Cache;
use lab::base::role::Role;
use lab::provider::resident::{DEFAULT_NAME, Labs, Resident};
use lab::{Error, Result};

/// A lab, by its name.
#[derive(Debug, clap::Args)]
pub(super) struct LabName {
    /// The lab's name.
    #[arg(long, default_value = DEFAULT_NAME)]
    pub(super) name: String,
}

impl LabName {
    /// The lab of that name, which is up.
    pub(super) fn find(&self) -> Result<Box<dyn Resident>> {
        labs()?.get(&self.name)
    }

    /// The lab of that name, which is up and has this node.
    pub(super) fn find_with(&self, node: Role) -> Result<Box<dyn Resident>> {
        let lab = self.find()?;
        lab.demand(node)?;
        Ok(lab)
    }
}

/// The labs of the cache.
pub(super) fn labs() -> Result<Labs> {
    Labs::open(&Cache::open()?)
}

/// A value as one line of JSON.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|source| Error::setup("failed to write JSON").source(source))
}
