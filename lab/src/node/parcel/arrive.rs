//! Archives that a node sent: the checksum compared, and its archive put into place here.

use std::fs::{self, File, Permissions};
use std::io::{Read, Seek as _, SeekFrom};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, EntryType};

use crate::base::cache::sha256_of;
use crate::base::error::{Error, IoContext as _, Result};
use crate::node::parcel::{Item, KEPT};

/// Checks an archive that a node packed, behind the lines that [`super::pack_script`] prints before it, and puts what it holds
/// into place at `to`. With `head` those lines came apart.
///
/// # Errors
///
/// It did not arrive whole, or cannot be written, or something would be written elsewhere.
pub fn arrive(archive: &mut File, head: Option<&str>, to: &Path) -> Result<Arrived> {
    let not_whole = || {
        Error::setup(format!("{} did not arrive whole: its checksum differs", to.display()))
            .next("run it again; a file that is being written is pulled when that has ended")
    };
    let mut read = Vec::new();
    let (head, begin) = match head {
        Some(head) => (head.to_owned(), 0),
        None => {
            // `f` or `d`, a checksum, and what sha256sum calls its standard input.
            archive.take(256).read_to_end(&mut read).at("failed to read what was pulled to", to)?;
            let ends: Vec<usize> =
                read.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
            let begin = *ends.get(1).ok_or_else(not_whole)?;
            (String::from_utf8_lossy(&read[..begin]).into_owned(), begin as u64)
        }
    };
    let mut lines = head.lines();
    let is_file = lines.next() == Some("f");
    let sum = lines.next().and_then(|line| line.split_whitespace().next()).unwrap_or_default();
    let rewind = |archive: &mut File| archive.seek(SeekFrom::Start(begin)).at("failed to read", to).map(drop);
    rewind(archive)?;
    if sum.is_empty() || sha256_of(archive).at("failed to read what was pulled to", to)? != sum {
        return Err(not_whole());
    }
    rewind(archive)?;
    unpack(archive, is_file, to)
}

/// An item that a node sent, checked and put into place.
#[derive(Debug)]
pub struct Arrived {
    /// The path here.
    pub path: PathBuf,
    /// Its size and mode.
    pub item: Item,
    /// Files that were not taken along, and why.
    pub left_out: Vec<String>,
}

/// Unpacks what `archive` holds from where it stands: one file if `is_file`, else a tree; as `to`.
///
/// # Errors
///
/// It cannot be read or written, or something would be written elsewhere.
fn unpack(archive: &mut File, is_file: bool, to: &Path) -> Result<Arrived> {
    let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut arrived = Arrived {
        path: to.to_owned(),
        item: Item { name, files: 0, size_bytes: 0, mode: 0 },
        left_out: Vec::new(),
    };
    if !is_file {
        fs::create_dir_all(to).at("failed to create", to)?;
    }
    let unreadable = |source| Error::setup(format!("{} did not arrive whole", to.display())).source(source);
    let mut links = Vec::new();
    let mut contents = Archive::new(archive);
    for entry in contents.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let path = entry.path().map_err(unreadable)?.into_owned();
        let place = if is_file { to.to_owned() } else { below(to, &path)? };
        let mode = entry.header().mode().map_err(unreadable)? & KEPT;
        match entry.header().entry_type() {
            EntryType::Directory => {
                let is_new = !place.is_dir();
                fs::create_dir_all(&place).at("failed to create", &place)?;
                if is_new {
                    // Whoever pulls has to be able to write into it.
                    fs::set_permissions(&place, Permissions::from_mode(mode | 0o700))
                        .at("failed to set the mode of", &place)?;
                }
                if place == to {
                    arrived.item.mode = mode;
                }
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                arrived.item.size_bytes += put(&mut entry, &place, mode)?;
                arrived.item.files += 1;
                if is_file {
                    arrived.item.mode = mode;
                }
            }
            EntryType::Link if !is_file => {
                let other = entry.link_name().map_err(unreadable)?.unwrap_or_default().into_owned();
                let mut other = File::open(below(to, &other)?).at("failed to read", &other)?;
                arrived.item.size_bytes += put(&mut other, &place, mode)?;
                arrived.item.files += 1;
            }
            EntryType::Symlink => {
                let target = entry.link_name().map_err(unreadable)?.unwrap_or_default().into_owned();
                links.push((place, target));
            }
            kind => {
                let kind = match kind {
                    EntryType::Char | EntryType::Block => "a device",
                    EntryType::Fifo => "a FIFO",
                    _ => "nothing that this kit knows",
                };
                arrived.left_out.push(format!("{}: {kind}", place.display()));
            }
        }
    }
    // Last: no file of this archive is written through one.
    for (place, target) in links {
        let _ = fs::remove_file(&place);
        symlink(&target, &place).at("failed to make the link", &place)?;
    }
    Ok(arrived)
}

/// Writes a file aside and renames it into place.
fn put(content: &mut impl Read, place: &Path, mode: u32) -> Result<u64> {
    let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut part = tempfile::Builder::new()
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(parent)
        .at("failed to create a file in", parent)?;
    let size = std::io::copy(content, &mut part).at("failed to write", place)?;
    part.persist(place).map_err(|error| error.error).at("failed to write", place)?;
    Ok(size)
}

/// The place of an archive's entry below `root`; none of the directories on the way there is a symbolic link.
fn below(root: &Path, path: &Path) -> Result<PathBuf> {
    let outside = || {
        Error::setup(format!("{} would be written elsewhere than below {}", path.display(), root.display()))
            .next("pull it into a directory of its own")
    };
    let mut place = root.to_owned();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => {
                if place != root && place.is_symlink() {
                    return Err(outside());
                }
                place.push(name);
            }
            _ => return Err(outside()),
        }
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use tar::{Builder, Header};

    use super::*;

    #[test]
    fn nothing_is_written_outside() {
        let directory = tempfile::tempdir().unwrap();
        let (to, outside) = (directory.path().join("to"), directory.path().join("outside"));
        fs::create_dir_all(&to).unwrap();
        fs::create_dir_all(&outside).unwrap();
        symlink(&outside, to.join("link")).unwrap();
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        builder.append_data(&mut header, "link/file", &b"x"[..]).unwrap();
        let mut packed = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut packed, &builder.into_inner().unwrap()).unwrap();
        packed.rewind().unwrap();
        let error = unpack(&mut packed, false, &to).unwrap_err().to_string();
        assert!(error.contains("would be written elsewhere"), "{error}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        for path in ["../x", "/x", "a/../../x"] {
            below(&to, Path::new(path)).unwrap_err();
        }
    }

    #[test]
    fn archive_that_is_cut_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut packed = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut packed, format!("f\n{}  -\ncut", "0".repeat(64)).as_bytes()).unwrap();
        packed.rewind().unwrap();
        let error = arrive(&mut packed, None, &directory.path().join("x")).unwrap_err().to_string();
        assert!(error.contains("did not arrive whole"), "{error}");
        assert!(!directory.path().join("x").exists());
    }
}
