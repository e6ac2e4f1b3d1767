//! The disk that programs come in on: a tar with their checksums, on a read-only disk of fixed size.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use crate::cache::sha256_file;
use crate::error::{Error, IoContext as _, Result};
use crate::programs::Program;

/// Size of the disk in bytes, whatever is on it: a guest that was saved with it does not see it change.
/// The file is sparse.
const SIZE_BYTES: u64 = 256 << 20;

/// Writes the disk image `file`.
///
/// # Errors
///
/// A program cannot be read, or all of them together do not fit.
pub fn write(file: &Path, programs: &[Program]) -> Result<()> {
    let mut archive = tar::Builder::new(File::create(file).at("failed to create", file)?);
    // busybox reads no sparse members.
    archive.sparse(false);
    let mut sums = String::new();
    for program in programs {
        let path = &program.path;
        let mut source = File::open(path).at("failed to open the program", path)?;
        archive.append_file(&program.name, &mut source).at("failed to read the program", path)?;
        sums.push_str(&format!("{}  {}\n", sha256_file(path)?, program.name));
    }
    let mut header = tar::Header::new_ustar();
    header.set_size(sums.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    archive
        .append_data(&mut header, "SHA256SUMS", sums.as_bytes())
        .and_then(|()| archive.into_inner())
        .and_then(|mut disk| finish(&mut disk))
        .at("failed to write the deployment disk", file)?;
    if std::fs::metadata(file).at("failed to look at", file)?.len() > SIZE_BYTES {
        let limit = SIZE_BYTES >> 20;
        return Err(Error::setup(format!("the programs do not fit on the deployment disk of {limit} MiB")));
    }
    Ok(())
}

/// What a guest does with the disk image `file`; programs are first on PATH.
///
/// The guest is told where the archive ends: its tar would read the whole disk. Its kernel looked for
/// partitions when the machine was frozen and keeps what it saw then, until told to forget it.
///
/// # Errors
///
/// The image cannot be read, or is none.
pub fn unpack_command(file: &Path) -> Result<String> {
    let end = archive_end(file).at("failed to read the deployment disk", file)?;
    Ok(format!(
        "mkdir -p /opt/lab/bin && cd /opt/lab/bin && blockdev --flushbufs /dev/vdb \
         && head -c {end} /dev/vdb | tar x && sha256sum -c -s SHA256SUMS"
    ))
}

/// Where the archive on a disk image ends, in bytes: after its last member's last block.
fn archive_end(file: &Path) -> io::Result<u64> {
    let mut end = 0;
    for entry in tar::Archive::new(File::open(file)?).entries_with_seek()? {
        let entry = entry?;
        end = entry.raw_file_position() + entry.size().next_multiple_of(512);
    }
    Ok(end)
}

fn finish(disk: &mut File) -> io::Result<()> {
    disk.flush()?;
    let written = disk.metadata()?.len();
    disk.set_len(written.max(SIZE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_has_programs_and_checksums_and_a_fixed_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("prog");
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        let disk = directory.path().join("disk");
        write(&disk, &[Program { name: "prog".to_owned(), path }]).unwrap();
        assert_eq!(std::fs::metadata(&disk).unwrap().len(), SIZE_BYTES);
        let mut archive = tar::Archive::new(File::open(&disk).unwrap());
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["prog", "SHA256SUMS"]);
        // Two members, each of a header and a block.
        assert!(unpack_command(&disk).unwrap().contains("head -c 2048 /dev/vdb | tar x"));
    }

    #[test]
    fn missing_program_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let program = Program { name: "x".to_owned(), path: directory.path().join("x") };
        let error = write(&directory.path().join("disk"), &[program]).unwrap_err();
        assert!(error.to_string().contains("failed to open the program"), "{error}");
    }
}
