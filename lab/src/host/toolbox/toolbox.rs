//! Where tools come from: the sets in the cache, or the host itself.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::base::cache::Cache;
use crate::base::disk;
use crate::base::error::{Error, Result};
use crate::base::policy::Policy;
use crate::base::selection::ToolSource;
use crate::host::Host;
use crate::host::toolbox::Tool;
use crate::host::toolbox::set::Set;
use crate::host::toolbox::unpacked::Unpacked;

/// The tools of this process: as [`Policy`] says, from the cache or from the host.
#[derive(Debug, Clone)]
pub struct Toolbox {
    cache: Cache,
    source: ToolSource,
}

impl Toolbox {
    /// The tools that this process uses, with the sets in `cache`.
    pub fn of(cache: &Cache) -> Toolbox {
        Toolbox { cache: cache.clone(), source: Policy::get().tools }
    }

    /// Demands that the lab's own programs can run from the cache, if they are used.
    ///
    /// # Errors
    ///
    /// Its file system is mounted noexec.
    pub fn demand_exec(&self) -> Result<()> {
        match self.source {
            ToolSource::Toolbox => disk::demand_exec(&self.cache.path("")),
            ToolSource::Host => Ok(()),
        }
    }

    /// The program `name`; its set is unpacked first if need be.
    ///
    /// # Errors
    ///
    /// The set cannot be fetched; or the host has no such program, where the host's own are asked for.
    pub fn tool(&self, name: &str) -> Result<Tool> {
        Ok(match self.place(name)? {
            ProgramPlace::Set(set) => set.tool(name),
            ProgramPlace::Host(path) => from_host(path),
        })
    }

    /// The same as one file that can be run, for those who take no more than a path.
    ///
    /// # Errors
    ///
    /// As [`Toolbox::tool`].
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        Ok(match self.place(name)? {
            ProgramPlace::Set(set) => set.script(name),
            ProgramPlace::Host(path) => path,
        })
    }

    /// This process's PATH with the programs `names` on it: where the host has none, or not the right ones.
    ///
    /// # Errors
    ///
    /// As [`Toolbox::tool`]; a directory cannot be on a PATH.
    pub fn path(&self, names: &[&str]) -> Result<OsString> {
        let mut directories = Vec::new();
        for name in names {
            if let ProgramPlace::Set(set) = self.place(name)? {
                directories.push(set.scripts());
            }
        }
        directories.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        std::env::join_paths(directories)
            .map_err(|source| Error::setup("the cache directory cannot be on a PATH").source(source))
    }

    fn place(&self, name: &str) -> Result<ProgramPlace> {
        let set = Set::of(name).ok_or_else(|| Error::setup(format!("no set of tools has {name}")))?;
        let host = find(&Host::this(), name);
        match (self.source, host) {
            (ToolSource::Host, Some(path)) => Ok(ProgramPlace::Host(path)),
            (ToolSource::Toolbox, Some(path)) if set.prefers_host => Ok(ProgramPlace::Host(path)),
            (ToolSource::Toolbox, _) => Unpacked::ensure(&self.cache, set).map(ProgramPlace::Set),
            (ToolSource::Host, None) => Err(Error::setup(format!("this host has no {name}"))
                .next("leave out `--tools host` (RDMA_LAB_TOOLS), and the lab brings its own")),
        }
    }
}

/// Where a program is.
enum ProgramPlace {
    Set(Unpacked),
    Host(PathBuf),
}

/// The path of the host's own program.
fn find(host: &Host, name: &str) -> Option<PathBuf> {
    let names: &[&str] = if name == "pkgconf" { &["pkg-config", "pkgconf"] } else { &[name] };
    names.iter().find_map(|name| host.program(name))
}

fn from_host(path: PathBuf) -> Tool {
    let identity = identity(&path);
    Tool { argv: vec![path.into()], env: Vec::new(), identity }
}

/// Identity of a file under its name: size, time, owner and rights.
pub fn identity(path: &Path) -> String {
    let Ok(file) = fs::metadata(path) else { return String::new() };
    let (path, mode, uid) = (path.display(), file.mode(), file.uid());
    format!("{path}:{mode:o}:{uid}:{}:{}:{}", file.gid(), file.size(), file.mtime())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(tool: &Tool) -> String {
        tool.argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn host_has_pkg_config_by_either_name() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path(), root.path().as_os_str());
        assert_eq!(find(&host, "pkgconf"), None);
        let path = root.path().join("pkg-config");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(&host, "pkgconf"), Some(path.clone()));
        assert_eq!(words(&from_host(path.clone())), path.to_string_lossy());
    }
}
