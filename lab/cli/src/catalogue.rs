//! The catalogue: scenarios with their snapshots, in directories of a checkout, or as parts of this program.

use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use lab::base::cache::{Cache, sha256};
use lab::base::error::IoContext as _;
use lab::base::kept;
use lab::{Error, Result};

static SCENARIOS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../scenarios");
static SNAPSHOTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../tests/snapshots");

/// Where scenarios and their snapshots are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Catalogue {
    /// In these directories.
    Directories {
        /// A TOML file a scenario.
        scenarios: PathBuf,
        /// A snapshot a scenario.
        snapshots: PathBuf,
    },
    /// In this program.
    Embedded,
}

impl Catalogue {
    /// Returns the directories of scenarios and of snapshots; those of this program are written into the cache, once.
    ///
    /// # Errors
    ///
    /// The cache cannot be written.
    pub fn directories(&self) -> Result<(PathBuf, PathBuf)> {
        match self {
            Catalogue::Directories { scenarios, snapshots } => Ok((scenarios.clone(), snapshots.clone())),
            Catalogue::Embedded => written(&Cache::open()?),
        }
    }
}

/// The directories of what is embedded, in `cache`.
fn written(cache: &Cache) -> Result<(PathBuf, PathBuf)> {
    let root = kept::ensure(cache, &format!("scenarios-{}", &key()[..16]), &KIND)?;
    Ok((root.join("scenarios"), root.join("snapshots")))
}

/// A directory of the cache with what is embedded.
const KIND: kept::KeptKind<'_> = kept::KeptKind {
    lock: "scenarios",
    room_mib: 1,
    check: &|root| {
        let is_whole = |directory: &Dir<'_>, at: &str| {
            directory.files().all(|file| {
                fs::read(root.join(at).join(file.path())).is_ok_and(|bytes| bytes == file.contents())
            })
        };
        match is_whole(&SCENARIOS, "scenarios") && is_whole(&SNAPSHOTS, "snapshots") {
            true => Ok(()),
            false => Err(Error::setup("not as it was written")),
        }
    },
    build: &|_, root| {
        write(&SCENARIOS, &root.join("scenarios"))?;
        write(&SNAPSHOTS, &root.join("snapshots"))
    },
};

/// Name of what is embedded, from all of its bytes.
fn key() -> String {
    let files = SCENARIOS.files().chain(SNAPSHOTS.files());
    let bytes: Vec<u8> = files
        .flat_map(|file| [file.path().as_os_str().as_encoded_bytes(), file.contents()].concat())
        .collect();
    sha256(&bytes)
}

fn write(directory: &Dir<'_>, to: &Path) -> Result<()> {
    fs::create_dir_all(to).at("failed to create", to)?;
    directory
        .extract(to)
        .map_err(|source| Error::setup(format!("failed to write {}", to.display())).source(source))
}

#[cfg(test)]
mod tests {
    use lab::scenario::Scenario;

    use super::*;

    #[test]
    fn embedded_catalogue_is_that_of_the_workspace() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned()).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let (scenarios, snapshots) = written(&cache).unwrap();
        let names = |directory: &Path| -> Vec<String> {
            Scenario::read_all(directory).unwrap().into_iter().map(|scenario| scenario.name).collect()
        };
        assert_eq!(names(&scenarios), names(&root.join("lab/scenarios")));
        let count = |directory: &Path| fs::read_dir(directory).unwrap().count();
        assert_eq!(count(&snapshots), count(&root.join("tests/snapshots")));
        assert_eq!(written(&cache).unwrap(), (scenarios, snapshots));
    }
}
