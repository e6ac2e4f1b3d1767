//! The context that a front end gives to the commands: all that differs between `cargo xtask` and `rdma-lab`.

use std::fs;
use std::path::{Path, PathBuf};

use lab::base::error::IoContext as _;
use lab::base::invocation::{Invocation, XTASK};
use lab::guest::programs::samples::Samples;
use lab::{Error, Result};

pub use crate::catalogue::Catalogue;

/// The hidden subcommand of `rdma-lab` that fetches Debian packages.
pub const FETCHER: &str = "__fetch";

/// The spelling of commands of `rdma-lab`.
pub const STANDALONE: Invocation = Invocation {
    program: "rdma-lab",
    lab: "rdma-lab",
    test: "rdma-lab test",
    fetcher: if cfg!(feature = "fetcher") { Some(FETCHER) } else { None },
};

/// The directory of results where there is no Cargo.toml.
const OWN_HOME: &str = ".rdma-lab";

/// The directory of prebuilt sample programs, beside the executable.
const SAMPLES: &str = "rdma-lab-samples";

/// The context of a command.
#[derive(Debug, Clone)]
pub struct Front {
    /// The spelling of commands that are printed.
    pub invocation: Invocation,
    /// The directory that results and logs are kept below.
    pub home: PathBuf,
    /// Scenarios that are run unless a person names others.
    pub catalogue: Catalogue,
    /// The sample programs.
    pub samples: Samples,
    /// The executable that has the hidden subcommands of [`crate::SharedCommand`].
    pub program: PathBuf,
}

impl Front {
    /// Returns the context of a checkout of this workspace at `root`; `program` has the hidden subcommands.
    pub fn workspace(root: &Path, program: PathBuf) -> Front {
        Front {
            invocation: XTASK,
            home: root.join("target/lab"),
            catalogue: Catalogue::Directories {
                scenarios: root.join("lab/scenarios"),
                snapshots: root.join("tests/snapshots"),
            },
            samples: Samples::Workspace(root.to_owned()),
            program,
        }
    }

    /// Returns the context of `rdma-lab` in the current directory.
    ///
    /// # Errors
    ///
    /// The system does not tell where this program is.
    pub fn standalone() -> Result<Front> {
        let program = this_program()?;
        // A lab is ended and a guard runs on where the directory has gone.
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let beside = program.parent().unwrap_or(&here).join(SAMPLES);
        Ok(Front {
            invocation: STANDALONE,
            home: home(&here),
            catalogue: Catalogue::Embedded,
            samples: Samples::prebuilt_in(&beside),
            program,
        })
    }

    /// Returns this context without sample programs that nothing in `texts`, commands and scripts, names.
    ///
    /// # Errors
    ///
    /// One is named that is not at hand.
    pub fn samples_for<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> Result<Samples> {
        let text = texts.into_iter().collect::<Vec<_>>().join("\n");
        self.samples.demand_named_in(&text)?;
        let is_one_named = lab::guest::programs::samples::named_in(&text).next().is_some();
        Ok(if is_one_named { self.samples.clone() } else { Samples::none() })
    }

    /// Makes the home, out of git's sight where it is a directory of the lab's own.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn make_home(&self) -> Result<()> {
        fs::create_dir_all(&self.home).at("failed to create", &self.home)?;
        let ignore = self.home.join(".gitignore");
        if self.home.file_name().is_some_and(|name| name == OWN_HOME) && !ignore.exists() {
            fs::write(&ignore, "*\n").at("failed to write", &ignore)?;
        }
        Ok(())
    }
}

/// Returns the path of this executable.
///
/// # Errors
///
/// The system does not tell it.
pub fn this_program() -> Result<PathBuf> {
    std::env::current_exe().map_err(|source| Error::setup("failed to find this program").source(source))
}

/// Results go where a user expects them: cargo's own directory in a Rust project, else one of the lab's.
fn home(directory: &Path) -> PathBuf {
    match directory.join("Cargo.toml").is_file() {
        true => directory.join("target/lab"),
        false => directory.join(OWN_HOME),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_is_target_in_a_rust_project_and_a_directory_that_git_ignores_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let front = Front { home: home(directory.path()), ..Front::standalone().unwrap() };
        assert_eq!(front.home, directory.path().join(".rdma-lab"));
        front.make_home().unwrap();
        assert_eq!(fs::read_to_string(front.home.join(".gitignore")).unwrap(), "*\n");
        fs::write(directory.path().join("Cargo.toml"), "").unwrap();
        assert_eq!(home(directory.path()), directory.path().join("target/lab"));
    }

    #[test]
    fn samples_are_left_out_where_nothing_names_one() {
        let front = Front::workspace(Path::new("/w"), PathBuf::new());
        assert_eq!(front.samples_for(["rping -s", "./cli {server}"]).unwrap(), Samples::none());
        assert_eq!(front.samples_for(["./srv", "rdma_client {server}"]).unwrap(), front.samples);
        let bare = Front { samples: Samples::none(), ..front };
        assert!(bare.samples_for(["rdma_server --once"]).is_err());
    }
}
