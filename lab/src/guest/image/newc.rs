//! An archive of files as the kernel unpacks it into its first root: cpio's format `newc`.
//!
//! Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::base::error::{IoContext as _, Result};
use crate::base::kept;

/// The name of the last entry.
const TRAILER: &str = "TRAILER!!!";

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// Packs the files and directories below `root`, all of them root's and without times.
///
/// # Errors
///
/// Something cannot be read.
pub fn pack(root: &Path) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    let mut count = 0;
    let mut directories = std::collections::BTreeSet::new();
    for name in kept::files(root)? {
        // Each directory before what is in it.
        let parents: Vec<&Path> = Path::new(&name).ancestors().skip(1).collect();
        for parent in parents.into_iter().rev().filter(|parent| !parent.as_os_str().is_empty()) {
            if directories.insert(parent.to_owned()) {
                count += 1;
                entry(&mut archive, count, &parent.to_string_lossy(), DIRECTORY | 0o755, &[]);
            }
        }
        let path = root.join(&name);
        let mode = fs::metadata(&path).at("failed to look at", &path)?.permissions().mode();
        let content = fs::read(&path).at("failed to read", &path)?;
        count += 1;
        entry(&mut archive, count, &name, REGULAR | mode & 0o777, &content);
    }
    entry(&mut archive, 0, TRAILER, 0, &[]);
    Ok(archive)
}

/// Appends one entry: a head of 13 numbers, the name, the content, each padded to four bytes.
fn entry(archive: &mut Vec<u8>, number: usize, name: &str, mode: u32, content: &[u8]) {
    let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
    let mode = mode as usize;
    // inode, mode, uid, gid, links, time, size, device, device of a device file, length of the name, checksum.
    let head = [number, mode, 0, 0, links, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
    archive.extend_from_slice(b"070701");
    archive.extend(head.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(content);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_is_what_the_format_says() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("d")).unwrap();
        fs::write(root.path().join("d/f"), "abc").unwrap();
        fs::set_permissions(root.path().join("d/f"), fs::Permissions::from_mode(0o755)).unwrap();
        let archive = pack(root.path()).unwrap();
        let expected = [
            "07070100000001000041ed0000000000000000000000020000000000000000",
            "00000000000000000000000000000000000000020000000000000000",
        ];
        let text = String::from_utf8_lossy(&archive);
        assert!(text.starts_with(&expected[0][..54]), "{text:?}");
        assert!(text[..112].ends_with("0000000200000000d\0"), "{:?}", &text[..112]);
        let file = &text[112..];
        assert!(file.starts_with("07070100000002000081ed"), "{file:?}");
        assert!(file[110..].starts_with("d/f\0\0\0abc\0"), "{:?}", &file[110..]);
        assert!(text.trim_end_matches('\0').ends_with(TRAILER), "{text:?}");
        assert_eq!(archive.len() % 4, 0);
    }
}
