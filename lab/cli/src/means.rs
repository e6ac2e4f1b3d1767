//! The arguments that say by which means the lab works on this computer: whose tools, and whether it downloads.

use clap::ValueEnum;
use lab::Result;
use lab::base::policy::{Policy, Source};

use crate::output;

/// Whose tools are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tools {
    /// The lab's own, of one Debian release, in the cache.
    Toolbox,
    /// The host's: QEMU 7.2 or later, mkfs.erofs, libclang 11 to 15 and so on.
    Host,
}

/// By which means.
#[derive(Debug, Clone, clap::Args)]
pub struct Means {
    /// Whose QEMU and other tools are used [default: RDMA_LAB_TOOLS, else toolbox].
    #[arg(long)]
    tools: Option<Tools>,
    /// Download nothing; an error says what would have been. RDMA_LAB_OFFLINE=1 does the same.
    #[arg(long)]
    offline: bool,
    /// Accepted as before: nothing needs to be installed any more.
    #[arg(long)]
    install: bool,
}

impl Means {
    /// Makes these the policy of this process.
    ///
    /// # Errors
    ///
    /// A variable of the environment says something that is none.
    pub fn apply(&self) -> Result<()> {
        let env = Policy::of_environment()?;
        let tools = match self.tools {
            None => env.tools,
            Some(Tools::Toolbox) => Source::Toolbox,
            Some(Tools::Host) => Source::Host,
        };
        Policy { tools, offline: self.offline || env.offline }.set();
        if self.install {
            output::note("--install: nothing needs to be installed any more, the lab brings its own tools");
        }
        Ok(())
    }
}
