//! From archives to a tree of files, with nothing of the host's and nothing run.
//!
//! `deb` decodes archives in threads of their own, a bounded stretch ahead; `tree` places what they hold,
//! one archive after the other, so that the result does not depend on which thread is faster.

mod deb;
mod tree;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::base::error::{IoContext as _, Result};
use tree::Tree;

/// Bytes that a decoder hands over at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Chunks that a decoder may be ahead of the tree: 16 MiB a thread.
const CHUNKS_AHEAD: usize = 64;

/// The most decoders at work at once.
const DECODERS: usize = 4;

/// Message of a decoder: bytes of the archive's tar, or why there are no more.
type TarChunk = io::Result<Vec<u8>>;

/// Unpacks archives into one tree, later ones over earlier ones, without running anything that they bring.
///
/// Modes and the times of files are kept, owners are not; device files and pipes are left out.
///
/// # Errors
///
/// An archive cannot be read, is damaged, or has a path that leaves the tree; the tree cannot be written.
pub fn unpack(archives: &[PathBuf], into: &Path) -> Result<()> {
    let mut tree = Tree::create(into)?;
    let (senders, receivers): (Vec<_>, Vec<_>) = archives.iter().map(|_| sync_channel(CHUNKS_AHEAD)).unzip();
    let queue = Mutex::new(archives.iter().zip(senders));
    let decoders = thread::available_parallelism().map_or(1, usize::from).min(DECODERS);
    thread::scope(|scope| {
        for _ in 0..decoders {
            scope.spawn(|| decode_from(&queue));
        }
        // Dropped at the first error, which ends the decoders.
        for (archive, chunks) in archives.iter().zip(receivers) {
            tree.add(Chunks { chunks, current: Vec::new(), at: 0 })
                .at(&format!("failed to unpack {} into", archive.display()), into)?;
        }
        Ok(())
    })?;
    tree.finish()
}

/// Decodes one archive after the other until there are no more, or nobody listens.
fn decode_from<'a>(queue: &Mutex<impl Iterator<Item = (&'a PathBuf, SyncSender<TarChunk>)>>) {
    loop {
        let Some((archive, sender)) = queue.lock().unwrap_or_else(PoisonError::into_inner).next() else {
            return;
        };
        let sent = deb::with_data(archive, |data| send(data, &sender));
        if let Err(error) = sent {
            // Without a listener there is nobody to tell.
            let _ = sender.send(Err(error));
        }
    }
}

/// Hands over all of `data`; an end that comes before is the sender's drop.
fn send(data: &mut dyn Read, sender: &SyncSender<TarChunk>) -> io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        data.take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() || sender.send(Ok(chunk)).is_err() {
            return Ok(());
        }
    }
}

/// The chunks of one archive as a stream.
struct Chunks {
    chunks: Receiver<TarChunk>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            match self.chunks.recv() {
                Ok(chunk) => (self.current, self.at) = (chunk?, 0),
                Err(_) => return Ok(0),
            }
        }
        let rest = &self.current[self.at..];
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use tar::{EntryType, Header};

    use super::*;

    const MODIFIED: u64 = 1_600_000_000;

    /// The tar of a package that a test makes.
    struct Content(tar::Builder<Vec<u8>>);

    impl Content {
        fn new() -> Content {
            Content(tar::Builder::new(Vec::new()))
        }

        fn entry(mut self, kind: EntryType, name: &str, mode: u32, to: &str, data: &[u8]) -> Content {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            // As it stands: the builder refuses names that leave the tree.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_old_mut().linkname[..to.len()].copy_from_slice(to.as_bytes());
            header.set_mode(mode);
            header.set_mtime(MODIFIED);
            header.set_size(data.len() as u64);
            header.set_cksum();
            self.0.append(&header, data).unwrap();
            self
        }

        fn directory(self, name: &str) -> Content {
            self.entry(EntryType::Directory, name, 0o755, "", b"")
        }

        fn file(self, name: &str, data: &[u8]) -> Content {
            self.entry(EntryType::Regular, name, 0o644, "", data)
        }

        fn link(self, name: &str, to: &str) -> Content {
            self.entry(EntryType::Symlink, name, 0o777, to, b"")
        }

        fn tar(self) -> Vec<u8> {
            self.0.into_inner().unwrap()
        }

        /// A package of it in `directory`.
        fn deb(self, directory: &Path, name: &str) -> PathBuf {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(&self.tar()).unwrap();
            deb(directory, name, "data.tar.xz", &encoder.finish().unwrap())
        }
    }

    fn deb(directory: &Path, name: &str, data_name: &str, data: &[u8]) -> PathBuf {
        let path = directory.join(name);
        let mut builder = ar::Builder::new(File::create(&path).unwrap());
        for (name, bytes) in
            [("debian-binary", &b"2.0\n"[..]), ("control.tar.xz", b"nobody reads it"), (data_name, data)]
        {
            builder.append(&ar::Header::new(name.into(), bytes.len() as u64), bytes).unwrap();
        }
        path
    }

    /// Unpacks packages into a tree, with a directory beside it that nothing may come into.
    fn unpacked(contents: Vec<Content>) -> (tempfile::TempDir, Result<()>) {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("outside")).unwrap();
        let archives: Vec<PathBuf> = contents
            .into_iter()
            .enumerate()
            .map(|(number, content)| content.deb(directory.path(), &format!("{number}.deb")))
            .collect();
        let result = unpack(&archives, &directory.path().join("tree"));
        assert_eq!(fs::read_dir(directory.path().join("outside")).unwrap().count(), 0, "outside the tree");
        (directory, result)
    }

    #[test]
    fn modes_times_and_links_are_kept() {
        let content = Content::new()
            .directory("./")
            .entry(EntryType::Directory, "./closed/", 0o500, "", b"")
            .entry(EntryType::Regular, "./closed/su", 0o4755, "", b"#!")
            .entry(EntryType::Link, "./closed/hard", 0o4755, "./closed/su", b"")
            .link("./soft", "/closed/su")
            .entry(EntryType::Char, "./null", 0o666, "", b"")
            .entry(EntryType::Fifo, "./pipe", 0o666, "", b"");
        let (directory, result) = unpacked(vec![content]);
        result.unwrap();
        let tree = directory.path().join("tree");
        let su = fs::metadata(tree.join("closed/su")).unwrap();
        assert_eq!((su.permissions().mode() & 0o7777, su.mtime() as u64), (0o4755, MODIFIED));
        assert_eq!((su.nlink(), su.ino()), (2, fs::metadata(tree.join("closed/hard")).unwrap().ino()));
        assert_eq!(fs::metadata(tree.join("closed")).unwrap().permissions().mode() & 0o7777, 0o500);
        assert_eq!(fs::read_link(tree.join("soft")).unwrap(), Path::new("/closed/su"));
        assert!(
            tree.join("null").symlink_metadata().is_err() && tree.join("pipe").symlink_metadata().is_err()
        );
        fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn path_that_leaves_the_tree_is_refused() {
        for name in ["../outside/x", "./a/../../outside/x", "/etc/x"] {
            let (_directory, result) = unpacked(vec![Content::new().file(name, b"x")]);
            let text = result.unwrap_err().to_string();
            assert!(text.contains("leaves the tree") && text.contains("0.deb"), "{name}: {text}");
        }
        let hard = Content::new().entry(EntryType::Link, "./x", 0o644, "../outside", b"");
        assert!(unpacked(vec![hard]).1.unwrap_err().to_string().contains("leaves the tree"));
    }

    #[test]
    fn link_is_followed_inside_the_tree_alone() {
        let outside = tempfile::tempdir().unwrap();
        let absolute = outside.path().to_str().unwrap();
        let content = Content::new()
            .link("./up", "../outside")
            .file("./up/a", b"a")
            .link("./away", absolute)
            .file("./away/b", b"b")
            .entry(EntryType::Directory, "./away/", 0o711, "", b"");
        let (directory, result) = unpacked(vec![content]);
        result.unwrap();
        let tree = directory.path().join("tree");
        assert_eq!(fs::read(tree.join("outside/a")).unwrap(), b"a");
        assert_eq!(fs::read(tree.join(&absolute[1..]).join("b")).unwrap(), b"b");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        let (_directory, result) = unpacked(vec![Content::new().link("./a", "a").file("./a/b", b"")]);
        assert!(result.unwrap_err().to_string().contains("too many links"));
    }

    #[test]
    fn file_over_a_link_does_not_write_through_it() {
        let content = Content::new().file("./a", b"first").link("./b", "a").file("./b", b"second");
        let (directory, result) = unpacked(vec![content]);
        result.unwrap();
        assert_eq!(fs::read(directory.path().join("tree/a")).unwrap(), b"first");
        assert_eq!(fs::read(directory.path().join("tree/b")).unwrap(), b"second");
    }

    #[test]
    fn merged_usr_is_the_same_in_any_order() {
        let links = || Content::new().directory("./usr/lib/").link("./lib", "usr/lib");
        let old =
            || Content::new().directory("./lib/x/").file("./lib/x/old", b"old").file("./lib/libc", b"c");
        let new = || Content::new().directory("./usr/lib/x/").file("./usr/lib/x/new", b"new");
        for contents in
            [vec![links(), old(), new()], vec![old(), links(), new()], vec![new(), old(), links()]]
        {
            let (directory, result) = unpacked(contents);
            result.unwrap();
            let tree = directory.path().join("tree");
            assert_eq!(fs::read_link(tree.join("lib")).unwrap(), Path::new("usr/lib"));
            for file in ["usr/lib/x/old", "usr/lib/x/new", "usr/lib/libc"] {
                assert!(tree.join(file).is_file(), "{file}");
            }
            assert_eq!(fs::read_dir(&tree).unwrap().count(), 2, "nothing is left aside");
        }
    }

    #[test]
    fn every_compression_of_deb_is_decoded() {
        let directory = tempfile::tempdir().unwrap();
        let tar = || Content::new().file("./x", &[7; 300_000]).tar();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar()).unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(&tar()[..], ruzstd::encoding::CompressionLevel::Fastest);
        let data = [("data.tar", tar()), ("data.tar.gz", gzip.finish().unwrap()), ("data.tar.zst", zstd)];
        for (name, bytes) in data {
            let archive = deb(directory.path(), "a.deb", name, &bytes);
            let into = directory.path().join(name);
            unpack(&[archive], &into).unwrap();
            assert_eq!(fs::read(into.join("x")).unwrap().len(), 300_000, "{name}");
        }
        let archive = deb(directory.path(), "a.deb", "data.tar.lz4", b"");
        let text = unpack(&[archive], directory.path()).unwrap_err().to_string();
        assert!(text.contains("unknown way: data.tar.lz4"), "{text}");
    }

    #[test]
    fn damaged_archive_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = Content::new().file("./x", &[7; 300_000]).deb(directory.path(), "good.deb");
        let good = fs::read(&path).unwrap();
        let into = directory.path().join("tree");
        for length in (0..good.len() - 1).step_by(7) {
            let cut = directory.path().join("cut.deb");
            fs::write(&cut, &good[..length]).unwrap();
            let text = unpack(&[path.clone(), cut], &into).unwrap_err().to_string();
            assert!(text.contains("cut.deb"), "{length} of {} bytes: {text}", good.len());
        }
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x20;
            let bad = directory.path().join("bad.deb");
            fs::write(&bad, bytes).unwrap();
            // Header fields that nothing depends on (times, owners, the control part) may change.
            if let Err(error) = unpack(&[bad], &into) {
                assert!(error.to_string().contains("bad.deb"), "{error}");
            } else {
                assert_eq!(fs::read(into.join("x")).unwrap(), [7; 300_000], "byte {at}");
            }
        }
    }

    #[test]
    fn archives_far_longer_than_what_is_read_ahead_come_whole() {
        let long = vec![3; CHUNK_BYTES * (CHUNKS_AHEAD + 9)];
        let contents = (0..9).map(|n| Content::new().file(&format!("./{n}"), &long)).collect();
        let (directory, result) = unpacked(contents);
        result.unwrap();
        for n in 0..9 {
            let length = fs::metadata(directory.path().join(format!("tree/{n}"))).unwrap().len();
            assert_eq!(length, long.len() as u64);
        }
    }
}
