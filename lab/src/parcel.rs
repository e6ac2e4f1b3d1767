//! Files and directories on their way to a node and back: an archive whose checksum is compared where it arrives.
//!
//! Regular files keep their permission bits, set-user-ID and its kin aside; directories and symbolic links come along.
//! Devices, sockets and FIFOs are left out. Nothing is written through a symbolic link, so that what a node sends stays
//! below its target; files are renamed into place, since a program that runs cannot be written over.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{Read, Seek as _, SeekFrom};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};

use crate::cache::sha256_of;
use crate::command::shell_word;
use crate::error::{Error, IoContext as _, Result};

/// The bits of a mode that are kept.
const KEPT: u32 = 0o777;

/// What is packed into one archive, below names of its own.
#[derive(Debug, Default)]
pub struct Parcel {
    /// The archive.
    pub bytes: Vec<u8>,
    /// What was named, by its name in the archive.
    pub items: Vec<Item>,
    /// What was not taken along, and why.
    pub left_out: Vec<String>,
}

/// One file or tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name, without a directory.
    pub name: String,
    /// Regular files in it.
    pub files: u64,
    /// Bytes of those.
    pub size_bytes: u64,
    /// Permission bits of it.
    pub mode: u32,
}

/// Where a parcel goes on a node.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The path.
    pub path: &'a str,
    /// Whether it has to be a directory, made if need be; otherwise it may be the new name of the one item.
    pub is_directory: bool,
}

impl Parcel {
    /// Packs files, and with `recursive` directories; each regular file gets the bits of `least_mode` too.
    ///
    /// # Errors
    ///
    /// One is not there, cannot be read, is neither a file nor a directory, or has the name of another.
    pub fn pack(sources: &[PathBuf], recursive: bool, least_mode: u32) -> Result<Parcel> {
        let mut parcel = Parcel::default();
        let mut builder = Builder::new(Vec::new());
        for source in sources {
            let name = name_of(source)?;
            if parcel.items.iter().any(|item| item.name == name) {
                return Err(Error::usage(format!("two of them are called {name}"))
                    .next("push them one after the other, to different places"));
            }
            let metadata = fs::metadata(source)
                .at("failed to look at", source)
                .map_err(|error| error.kind_is(crate::error::Kind::Usage))?;
            if metadata.is_dir() && !recursive {
                return Err(is_a_directory(&source.display().to_string()));
            }
            if let Some(kind) = odd_kind(&metadata) {
                return Err(Error::usage(format!("{} is {kind}, no file", source.display()))
                    .next("name a file, or a directory with -r"));
            }
            let mut item = Item {
                name: name.clone(),
                files: 0,
                size_bytes: 0,
                mode: metadata.permissions().mode() & KEPT,
            };
            parcel.add(&mut builder, source, Path::new(&name), &metadata, least_mode, &mut item)?;
            parcel.items.push(item);
        }
        parcel.bytes =
            builder.into_inner().map_err(|source| Error::setup("failed to pack").source(source))?;
        Ok(parcel)
    }

    fn add(
        &mut self,
        builder: &mut Builder<Vec<u8>>,
        path: &Path,
        name: &Path,
        metadata: &Metadata,
        least_mode: u32,
        item: &mut Item,
    ) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_metadata(metadata);
        header.set_uid(0);
        header.set_gid(0);
        let mode = metadata.permissions().mode() & KEPT;
        if metadata.is_dir() {
            header.set_mode(mode);
            builder.append_data(&mut header, name, std::io::empty()).at("failed to pack", path)?;
            let mut entries: Vec<PathBuf> = Vec::new();
            for entry in fs::read_dir(path).at("failed to list", path)? {
                entries.push(entry.at("failed to list", path)?.path());
            }
            entries.sort();
            for entry in entries {
                let metadata = fs::symlink_metadata(&entry).at("failed to look at", &entry)?;
                if let Some(kind) = odd_kind(&metadata) {
                    self.left_out.push(format!("{}: {kind}", entry.display()));
                    continue;
                }
                let name = name.join(entry.file_name().unwrap_or_default());
                self.add(builder, &entry, &name, &metadata, least_mode, item)?;
            }
        } else if metadata.is_symlink() {
            let target = fs::read_link(path).at("failed to read", path)?;
            header.set_size(0);
            builder.append_link(&mut header, name, target).at("failed to pack", path)?;
        } else {
            let file = File::open(path).at("failed to read", path)?;
            header.set_mode(mode | least_mode);
            header.set_size(metadata.len());
            // A file that grows meanwhile is taken as long as it was.
            builder.append_data(&mut header, name, file.take(metadata.len())).at("failed to pack", path)?;
            item.files += 1;
            item.size_bytes += metadata.len();
        }
        Ok(())
    }

    /// The script that unpacks the archive on a node, where it is the file `archive`, or comes as standard input; `id` is
    /// no other parcel's. Where it has not the checksum `sum`, nothing is put into place. Prints the directory that has
    /// the items then.
    pub fn unpack_script(&self, archive: Option<&str>, sum: &str, target: Target<'_>, id: &str) -> String {
        let to = shell_word(target.path);
        let is_directory = u8::from(target.is_directory || self.items.len() != 1);
        let first = shell_word(self.items.first().map_or("", |item| item.name.as_str()));
        let archive = archive.unwrap_or("-");
        format!(
            "to={to} name=\n\
             if [ {is_directory} = 1 ] || [ -d \"$to\" ]; then dir=$to\n\
             else dir=$(dirname -- \"$to\") name=$(basename -- \"$to\"); fi\n\
             mkdir -p -- \"$dir\" && dir=$(cd -- \"$dir\" && pwd) || exit\n\
             stage=$dir/.rdma-lab-{id}\n\
             export dir stage\n\
             trap 'rm -rf \"$stage\"' EXIT\n\
             mkdir -p \"$stage/files\" && mkfifo \"$stage/pipe\" || exit\n\
             sha256sum <\"$stage/pipe\" >\"$stage/sum\" &\n\
             cat {archive} | tee \"$stage/pipe\" | tar -x -f - -C \"$stage/files\"\n\
             unpacked=$?\n\
             wait\n\
             grep -q '^{sum}' \"$stage/sum\" || {{ echo 'did not arrive whole: the checksum differs' >&2; exit 1; }}\n\
             [ $unpacked = 0 ] && cd \"$stage/files\" || exit 1\n\
             [ -z \"$name\" ] || [ \"$name\" = {first} ] || mv {first} \"$name\" || exit\n\
             find . -type d -exec sh -c '[ -d \"$dir/$1\" ] || \
             {{ mkdir \"$dir/$1\" && chmod $(stat -c %a \"$1\") \"$dir/$1\"; }} || : >\"$stage/failed\"' - {{}} \\;\n\
             find . ! -type d -exec sh -c 'if [ -d \"$dir/$1\" ]; then echo \"$dir/$1 is a directory\" >&2; false; \
             else mv -f \"$1\" \"$dir/$1\"; fi || : >\"$stage/failed\"' - {{}} \\;\n\
             [ ! -e \"$stage/failed\" ] && echo \"$dir/${{name:-}}\"\n"
        )
    }
}

/// The script that packs one file, or with `recursive` a directory, on a node: prints `f` or `d` and the archive's
/// checksum, and then the archive, or with `archive` writes that into a file there.
pub fn pack_script(path: &str, recursive: bool, archive: Option<&str>) -> String {
    let word = shell_word(path);
    let no_directory = match recursive {
        true => "",
        false => "[ ! -d \"$path\" ] || { echo 'it is a directory: -r takes it along' >&2; exit 1; }\n",
    };
    let send = match archive {
        // Packed twice: nothing there has room for it.
        None => "pack | sha256sum && pack".to_owned(),
        Some(file) => format!("pack >{file} && chmod 644 {file} && sha256sum <{file}"),
    };
    format!(
        "path=$(readlink -f -- {word}) && [ -e \"$path\" ] || {{ echo 'no such file' >&2; exit 1; }}\n\
         {no_directory}\
         if [ -d \"$path\" ]; then kind=d; pack() {{ tar -c -f - -C \"$path\" .; }}\n\
         elif [ -f \"$path\" ]; then kind=f; pack() {{ tar -c -f - -C \"${{path%/*}}/\" \"./${{path##*/}}\"; }}\n\
         else echo 'it is a device, a socket or a FIFO, and no file' >&2; exit 1; fi\n\
         echo $kind && {send}\n"
    )
}

/// Checks an archive that a node packed, behind the lines that [`pack_script`] prints before it, and puts what it holds
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

/// What a node sent, checked and put into place.
#[derive(Debug)]
pub struct Arrived {
    /// The path here.
    pub path: PathBuf,
    /// What it is.
    pub item: Item,
    /// What was not taken along, and why.
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

/// The last name of a path; `.` and `..` have that of what they are.
fn name_of(path: &Path) -> Result<String> {
    let named = match path.file_name() {
        Some(name) => Some(name.to_owned()),
        None => fs::canonicalize(path).at("failed to resolve", path)?.file_name().map(ToOwned::to_owned),
    };
    match named.map(|name| name.to_string_lossy().into_owned()) {
        Some(name) if !name.contains('\n') => Ok(name),
        _ => Err(Error::usage(format!("{} has no name that a file there can have", path.display()))),
    }
}

/// Refuses a directory that was not asked for as one.
pub fn is_a_directory(path: &str) -> Error {
    Error::usage(format!("{path} is a directory")).next("take it along with -r")
}

/// What something is that is neither a file, a directory nor a symbolic link.
fn odd_kind(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    if kind.is_fifo() {
        Some("a FIFO")
    } else if kind.is_socket() {
        Some("a socket")
    } else if kind.is_block_device() || kind.is_char_device() {
        Some("a device")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;
    use crate::cache::sha256;
    use crate::command::Command;

    fn sh(script: &str, input: &[u8]) -> crate::command::Output {
        Command::new(["sh", "-c", script]).stdin(input).output(Duration::from_secs(30)).unwrap()
    }

    /// A tree with a program, a link, an empty directory, a FIFO and a socket; and a file beside it.
    fn tree(directory: &Path) -> [PathBuf; 2] {
        let (tree, file) = (directory.join("tree"), directory.join("it's a file"));
        fs::create_dir_all(tree.join("empty")).unwrap();
        fs::write(tree.join("program"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(tree.join("program"), Permissions::from_mode(0o751)).unwrap();
        symlink("program", tree.join("link")).unwrap();
        Command::new(["mkfifo"]).arg(tree.join("fifo")).run(Duration::from_secs(10)).unwrap();
        UnixListener::bind(tree.join("socket")).unwrap();
        fs::write(&file, [0, 255, 10]).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        [tree, file]
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn assert_is_the_tree(tree: &Path) {
        assert_eq!(mode(&tree.join("program")), 0o751);
        assert_eq!(fs::read_link(tree.join("link")).unwrap(), Path::new("program"));
        assert!(tree.join("empty").is_dir() && !tree.join("fifo").exists() && !tree.join("socket").exists());
    }

    #[test]
    fn parcel_is_unpacked_by_a_shell_into_a_directory_or_under_a_new_name() {
        let directory = tempfile::tempdir().unwrap();
        let sources = tree(directory.path());
        let parcel = Parcel::pack(&sources, true, 0).unwrap();
        assert_eq!(parcel.left_out.len(), 2, "{:?}", parcel.left_out);
        assert_eq!((parcel.items[0].files, parcel.items[1].size_bytes), (1, 3));
        let sum = sha256(&parcel.bytes);
        let to = directory.path().join("new/there");
        let unpack = |parcel: &Parcel, path: &Path, is_directory, sum: &str| {
            let target = Target { path: path.to_str().unwrap(), is_directory };
            sh(&parcel.unpack_script(None, sum, target, "1"), &parcel.bytes)
        };
        // Twice: what is there is replaced, a program that runs too.
        for _ in 0..2 {
            let output = unpack(&parcel, &to, true, &sum);
            assert_eq!(
                (output.code, output.stdout),
                (Some(0), format!("{}/\n", to.display())),
                "{}",
                output.stderr
            );
        }
        assert_is_the_tree(&to.join("tree"));
        assert_eq!(fs::read(to.join("it's a file")).unwrap(), [0, 255, 10]);
        assert_eq!(mode(&to.join("it's a file")), 0o640);
        assert_eq!(fs::read_dir(&to).unwrap().count(), 2, "nothing else is left");

        let file = Parcel::pack(&sources[1..], false, 0o555).unwrap();
        let (renamed, sum) = (directory.path().join("renamed"), sha256(&file.bytes));
        assert_eq!(unpack(&file, &renamed, false, &sum).stdout, format!("{}\n", renamed.display()));
        assert_eq!(mode(&renamed), 0o755);
        let refused = unpack(&file, &directory.path().join("never"), false, &"0".repeat(64));
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains("did not arrive whole"), "{refused:?}");
        assert!(!directory.path().join("never").exists());
        fs::create_dir_all(to.join("x/it's a file")).unwrap();
        let refused = unpack(&file, &to.join("x"), false, &sum);
        assert!(refused.code == Some(1) && refused.stderr.contains("is a directory"), "{refused:?}");
    }

    #[test]
    fn what_a_shell_packed_arrives_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let [tree, file] = tree(directory.path());
        let pull = |path: &Path, recursive, to: &Path| {
            let packed = directory.path().join("packed");
            let output = Command::new(["sh", "-c", &pack_script(path.to_str().unwrap(), recursive, None)])
                .stdout_file(&packed)
                .output(Duration::from_secs(30))
                .unwrap();
            match output.code {
                Some(0) => Ok(arrive(&mut File::open(&packed).unwrap(), None, to).unwrap()),
                _ => Err(output.stderr),
            }
        };
        let back = directory.path().join("back");
        let arrived = pull(&tree, true, &back).unwrap();
        assert_is_the_tree(&back);
        // tar leaves the socket out by itself.
        assert!(arrived.left_out.iter().all(|text| text.ends_with("fifo: a FIFO")), "{:?}", arrived.left_out);
        let arrived = pull(&file, false, &directory.path().join("copy")).unwrap();
        assert_eq!((arrived.item.size_bytes, arrived.item.mode), (3, 0o640));
        assert_eq!(mode(&arrived.path), 0o640);

        assert!(pull(&tree, false, &back).unwrap_err().contains("-r takes it along"));
        for odd in [&tree.join("fifo"), &tree.join("socket"), Path::new("/dev/null")] {
            assert!(pull(odd, true, &back).unwrap_err().contains("no file"), "{}", odd.display());
        }
        assert!(pull(Path::new("/nonexistent"), true, &back).unwrap_err().contains("no such file"));
    }

    #[test]
    fn odd_sources_and_equal_names_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let [tree, file] = tree(directory.path());
        let refused =
            |sources: &[PathBuf], recursive| Parcel::pack(sources, recursive, 0).unwrap_err().to_string();
        assert!(refused(&[tree.join("fifo")], true).contains("is a FIFO, no file"));
        assert!(refused(&["/dev/null".into()], true).contains("is a device, no file"));
        assert!(refused(&[tree.clone()], false).contains("is a directory\n  next: take it along with -r"));
        assert!(
            refused(&[file.clone(), tree.join("../it's a file")], true).contains("two of them are called")
        );
        assert!(refused(&["/nonexistent".into()], true).contains("/nonexistent"));
    }

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
