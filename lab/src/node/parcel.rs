//! Files and directories on their way to a node and back: an archive whose checksum is compared where it arrives.
//!
//! Regular files keep their permission bits, set-user-ID and its kin aside; directories and symbolic links come along.
//! Devices, sockets and FIFOs are left out. Nothing is written through a symbolic link, so that what a node sends stays
//! below its target; files are renamed into place, since a program that runs cannot be written over.

use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tar::{Builder, Header};

use crate::base::command::shell_word;
use crate::base::error::{Error, IoContext as _, Result};

mod arrive;

pub use arrive::{Arrived, arrive};

/// The bits of a mode that are kept.
const KEPT: u32 = 0o777;

/// Files and directories packed into one archive, below names of its own.
#[derive(Debug, Default)]
pub struct Parcel {
    /// The archive.
    pub bytes: Vec<u8>,
    /// Items that were named, by their names in the archive.
    pub items: Vec<Item>,
    /// Files that were not taken along, and why.
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
pub struct Destination<'a> {
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
                .map_err(|error| error.kind_is(crate::base::error::Kind::Usage))?;
            if metadata.is_dir() && !recursive {
                return Err(is_a_directory(&source.display().to_string()));
            }
            if let Some(kind) = odd_kind(&metadata) {
                return Err(Error::usage(format!("{} is {kind}, no file", source.display()))
                    .next("name a file, or a directory with -r"));
            }
            let more = if metadata.is_file() { least_mode } else { 0 };
            let mode = metadata.permissions().mode() & KEPT | more;
            let mut item = Item { name: name.clone(), files: 0, size_bytes: 0, mode };
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
    pub fn unpack_script(
        &self,
        archive: Option<&str>,
        sum: &str,
        target: Destination<'_>,
        id: &str,
    ) -> String {
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

/// Kind of a file that is neither a file, a directory nor a symbolic link.
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
    use std::fs::Permissions;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;
    use crate::base::cache::sha256;
    use crate::base::command::Command;

    fn sh(script: &str, input: &[u8]) -> crate::base::command::Output {
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
            let target = Destination { path: path.to_str().unwrap(), is_directory };
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
        assert!(
            refused(std::slice::from_ref(&tree), false)
                .contains("is a directory\n  next: take it along with -r")
        );
        assert!(
            refused(&[file.clone(), tree.join("../it's a file")], true).contains("two of them are called")
        );
        assert!(refused(&["/nonexistent".into()], true).contains("/nonexistent"));
    }
}
