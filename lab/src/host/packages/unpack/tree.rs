//! The tree that archives are unpacked into: no path and no link leads out of it.
//!
//! Links are followed as a process would whose root the tree is. A link that comes where a directory is
//! (`/lib` to `usr/lib`) takes its place, and the directory's contents go where the link leads.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use tar::{Entry, EntryType};

use crate::base::error::{IoContext as _, Result};

/// The most links that one path may lead over, as in the kernel.
const LINKS: usize = 40;

/// Bytes that are copied at once.
const BUFFER_BYTES: usize = 128 * 1024;

/// A tree that is being filled.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    /// Directories known to be there and to be no links, by their full path.
    real: HashSet<PathBuf>,
    /// Modes of directories that we could not write into with them.
    modes: BTreeMap<PathBuf, u32>,
    buffer: Vec<u8>,
}

impl Tree {
    /// A tree whose root is `root`, created if it is not there.
    pub(super) fn create(root: &Path) -> Result<Tree> {
        fs::create_dir_all(root).at("failed to create", root)?;
        Ok(Tree {
            root: root.to_owned(),
            real: HashSet::from([root.to_owned()]),
            modes: BTreeMap::new(),
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Places everything that a tar holds.
    ///
    /// # Errors
    ///
    /// The tar is damaged or has a path that leaves the tree; the tree cannot be written.
    pub(super) fn add(&mut self, tar: impl Read) -> io::Result<()> {
        let mut archive = tar::Archive::new(tar);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = entry.path()?.into_owned();
            self.place(&mut entry, &name).map_err(|error| named(error, &name))?;
        }
        // The checksum of the compressed stream comes last.
        io::copy(&mut archive.into_inner(), &mut io::sink())?;
        Ok(())
    }

    /// Sets the modes of the last directories.
    pub(super) fn finish(self) -> Result<()> {
        // Deepest first: a directory's own mode can hide what is in it.
        for (path, mode) in self.modes.iter().rev() {
            fs::set_permissions(path, Permissions::from_mode(*mode)).at("failed to set the mode of", path)?;
        }
        Ok(())
    }

    fn place(&mut self, entry: &mut Entry<'_, impl Read>, name: &Path) -> io::Result<()> {
        let mode = entry.header().mode()? & 0o7777;
        match entry.header().entry_type() {
            EntryType::Directory => self.directory(name, mode),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(entry.header().mtime()?);
                let path = self.vacate(name)?;
                self.file(entry, &path, mode, modified)
            }
            EntryType::Symlink => self.link(name, &target(entry)?),
            EntryType::Link => {
                let existing = self.resolve_parent(&target(entry)?)?;
                let path = self.vacate(name)?;
                fs::hard_link(existing, path)
            }
            // Devices and pipes, which no package of a guest or of a tool needs; headers of other formats.
            _ => Ok(()),
        }
    }

    fn directory(&mut self, name: &Path, mode: u32) -> io::Result<()> {
        let path = self.resolve(&parts(name)?)?;
        if mode & 0o700 == 0o700 {
            self.modes.remove(&path);
        } else {
            self.modes.insert(path.clone(), mode);
        }
        fs::set_permissions(path, Permissions::from_mode(mode | 0o700))
    }

    fn file(
        &mut self,
        content: &mut impl Read,
        path: &Path,
        mode: u32,
        modified: SystemTime,
    ) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        copy(content, &mut file, &mut self.buffer)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.set_modified(modified)
    }

    fn link(&mut self, name: &Path, to: &Path) -> io::Result<()> {
        let path = self.resolve_parent(name)?;
        if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            remove(&path)?;
            return symlink(to, path);
        }
        let aside = aside(&path);
        fs::rename(&path, &aside)?;
        symlink(to, &path)?;
        self.forget(&path);
        let merged = self.resolve(&parts(name)?)?;
        merge(&aside, &merged)
    }

    /// Moves notes about a directory away that is no directory any more.
    fn forget(&mut self, path: &Path) {
        self.real.retain(|known| !known.starts_with(path));
        self.modes.retain(|known, _| !known.starts_with(path));
    }

    /// The full path of `name`, its parents resolved and created, and nothing there.
    fn vacate(&mut self, name: &Path) -> io::Result<PathBuf> {
        let path = self.resolve_parent(name)?;
        remove(&path)?;
        Ok(path)
    }

    /// The full path of `name`, whose last part is not followed where it is a link.
    fn resolve_parent(&mut self, name: &Path) -> io::Result<PathBuf> {
        let mut parts = parts(name)?;
        let last = parts.pop().ok_or_else(|| io::Error::other("is the tree itself"))?;
        Ok(self.resolve(&parts)?.join(last))
    }

    /// The full path of a directory, links on the way followed inside the tree, and created where missing.
    fn resolve(&mut self, parts: &[OsString]) -> io::Result<PathBuf> {
        let mut at = self.root.clone();
        let mut links = 0;
        let mut ahead: Vec<OsString> = parts.iter().rev().cloned().collect();
        while let Some(part) = ahead.pop() {
            if part == ".." {
                if at != self.root {
                    at.pop();
                }
                continue;
            }
            let next = at.join(&part);
            if self.real.contains(&next) {
                at = next;
                continue;
            }
            match next.symlink_metadata() {
                Ok(metadata) if metadata.is_symlink() => {
                    links += 1;
                    if links > LINKS {
                        return Err(io::Error::other("leads over too many links"));
                    }
                    let to = fs::read_link(&next)?;
                    if to.has_root() {
                        at = self.root.clone();
                    }
                    ahead.extend(to.components().rev().filter_map(|component| match component {
                        Component::Normal(part) => Some(part.to_owned()),
                        Component::ParentDir => Some(OsStr::new("..").to_owned()),
                        _ => None,
                    }));
                }
                Ok(metadata) if metadata.is_dir() => {
                    self.real.insert(next.clone());
                    at = next;
                }
                Ok(_) => return Err(io::Error::other("leads through a file")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir(&next)?;
                    fs::set_permissions(&next, Permissions::from_mode(0o755))?;
                    self.real.insert(next.clone());
                    at = next;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(at)
    }
}

/// The parts of a path in an archive: below the root, and without a way up.
fn parts(name: &Path) -> io::Result<Vec<OsString>> {
    let mut parts = Vec::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_owned()),
            Component::CurDir => {}
            _ => return Err(io::Error::other("leaves the tree")),
        }
    }
    Ok(parts)
}

fn target(entry: &Entry<'_, impl Read>) -> io::Result<PathBuf> {
    match entry.link_name()? {
        Some(target) => Ok(target.into_owned()),
        None => Err(io::Error::other("is a link to nothing")),
    }
}

/// Removes a file or a link; nothing there is success, a directory is an error.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A name beside `path` that no package has.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".moved-by-the-lab");
    path.with_file_name(name)
}

/// Moves what is in `from` into `into`, where what is there already stays, and removes `from`.
fn merge(from: &Path, into: &Path) -> io::Result<()> {
    if into.starts_with(from) {
        return Err(io::Error::other("is a link into the directory that it replaces"));
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = into.join(entry.file_name());
        match target.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(entry.path(), &target)?,
            Err(error) => return Err(error),
            Ok(metadata) if metadata.is_dir() && entry.file_type()?.is_dir() => {
                merge(&entry.path(), &target)?;
            }
            Ok(_) if entry.file_type()?.is_dir() => fs::remove_dir_all(entry.path())?,
            Ok(_) => fs::remove_file(entry.path())?,
        }
    }
    fs::remove_dir(from)
}

/// `io::copy` by way of a buffer that is kept: most files of a package are small.
fn copy(from: &mut impl Read, into: &mut File, buffer: &mut [u8]) -> io::Result<()> {
    use io::Write as _;
    loop {
        match from.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => into.write_all(&buffer[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Puts a path of the archive before an error, and keeps its kind: a full disk stays one.
fn named(error: io::Error, name: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", name.display()))
}
