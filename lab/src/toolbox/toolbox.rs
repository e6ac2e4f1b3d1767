//! Where tools come from: the sets in the cache, or the host itself.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, sha256};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::policy::{Policy, Source};
use crate::toolbox::Tool;
use crate::toolbox::set::Set;
use crate::toolbox::unpacked::Unpacked;

/// QEMU's program for the guest's architecture.
pub const QEMU: &str = "qemu-system-x86_64";

/// The tools of this process: as [`Policy`] says, from the cache or from the host.
#[derive(Debug, Clone)]
pub struct Toolbox {
    cache: Cache,
    source: Source,
}

impl Toolbox {
    /// The tools that this process uses, with the sets in `cache`.
    pub fn of(cache: &Cache) -> Toolbox {
        Toolbox { cache: cache.clone(), source: Policy::get().tools }
    }

    /// The program `name`; its set is unpacked first if need be.
    ///
    /// # Errors
    ///
    /// The set cannot be fetched; or the host has no such program, where the host's own are asked for.
    pub fn tool(&self, name: &str) -> Result<Tool> {
        Ok(match self.place(name)? {
            Place::Set(set) => from_set(&set, name),
            Place::Host(path) => from_host(path),
        })
    }

    /// The same as one file that can be run, for those who take no more than a path.
    ///
    /// # Errors
    ///
    /// As [`Toolbox::tool`].
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        Ok(match self.place(name)? {
            Place::Set(set) => set.script(name),
            Place::Host(path) => path,
        })
    }

    fn place(&self, name: &str) -> Result<Place> {
        let set = Set::of(name).ok_or_else(|| Error::setup(format!("no set of tools has {name}")))?;
        let host = find(&Host::this(), name);
        match (self.source, host) {
            (Source::Host, Some(path)) => Ok(Place::Host(path)),
            (Source::Toolbox, Some(path)) if set.prefers_host => Ok(Place::Host(path)),
            (Source::Toolbox, _) => Unpacked::ensure(&self.cache, set).map(Place::Set),
            (Source::Host, None) => Err(Error::setup(format!("this host has no {name}"))
                .next("leave out `--tools host` (RDMA_LAB_TOOLS), and the lab brings its own")),
        }
    }
}

/// Where a program is.
enum Place {
    Set(Unpacked),
    Host(PathBuf),
}

/// A program of a set, through the set's loader.
pub(super) fn from_set(set: &Unpacked, name: &str) -> Tool {
    let program = set.path(&format!("usr/bin/{name}"));
    let mut argv: Vec<OsString> = vec![
        set.loader().into(),
        "--library-path".into(),
        set.libraries().into(),
        // What it calls itself in messages.
        "--argv0".into(),
        name.into(),
        program.into(),
    ];
    // Neither the host's locales nor its character sets fit another C library.
    let mut env: Vec<(OsString, OsString)> = vec![("LC_ALL".into(), "C.UTF-8".into())];
    match name {
        QEMU => {
            for firmware in ["usr/share/qemu", "usr/share/seabios"] {
                argv.extend(["-L".into(), set.path(firmware).into()]);
            }
            // Nowhere: else the host's modules would be found.
            env.push(("QEMU_MODULE_DIR".into(), set.path("usr/lib/no-modules").into()));
        }
        "tshark" | "capinfos" => {
            env.push(("WIRESHARK_DATA_DIR".into(), set.path("usr/share/wireshark").into()));
            let plugins = set.libraries().join("wireshark/plugins");
            env.push(("WIRESHARK_PLUGIN_DIR".into(), plugins.into()));
        }
        _ => {}
    }
    Tool { argv, env, identity: sha256(set.packages().join("\n").as_bytes())[..16].to_owned() }
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

/// What distinguishes a file from another under its name: size, time, owner and rights.
pub fn identity(path: &Path) -> String {
    let Ok(file) = fs::metadata(path) else { return String::new() };
    let (path, mode, uid) = (path.display(), file.mode(), file.uid());
    format!("{path}:{mode:o}:{uid}:{}:{}:{}", file.gid(), file.size(), file.mtime())
}
