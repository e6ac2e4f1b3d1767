//! The disk that programs come in on: a read-only file system on a disk of fixed size.
//!
//! Mounting it costs a fork next to nothing; the emulated processor reads only what runs.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use crate::base::cache::{sha256, sha256_file};
use crate::base::disk;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::program::Program;
use crate::host::toolbox::Tool;

/// Size of the disk in bytes, whatever is on it: a guest that was saved with it does not see it change.
/// The file is sparse.
const SIZE_BYTES: u64 = 256 << 20;

const PACK_LIMIT: Duration = Duration::from_secs(60);

/// The file on the disk that says what is on it.
const LABEL: &str = "LABEL";

/// Writes the disk image `file` with `mkfs`, the tool mkfs.erofs.
///
/// # Errors
///
/// A program cannot be read, or all of them together do not fit.
pub fn write(mkfs: &Tool, file: &Path, programs: &[Program]) -> Result<()> {
    let directory = file.parent().unwrap_or(Path::new("/tmp"));
    let length = |program: &Program| fs::metadata(&program.path).map_or(0, |file| file.len());
    // Staged and packed, and what else is in a run directory.
    disk::demand_to_run(directory, 2 + 2 * (programs.iter().map(length).sum::<u64>() >> 20))?;
    let staging = tempfile::tempdir_in(directory).at("failed to create a directory beside", file)?;
    let mut label = String::new();
    for program in programs {
        let staged = staging.path().join(&program.name);
        if let Some(parent) = staged.parent() {
            fs::create_dir_all(parent).at("failed to create", parent)?;
        }
        fs::copy(&program.path, &staged).at("failed to read the program", &program.path)?;
        fs::set_permissions(&staged, fs::Permissions::from_mode(0o755)).at("failed to stage", &staged)?;
        label.push_str(&format!("{}  {}\n", sha256_file(&staged)?, program.name));
    }
    fs::write(staging.path().join(LABEL), sha256(label.as_bytes()))
        .at("failed to write into", staging.path())?;
    mkfs.command().args(["--quiet", "--all-root"]).arg(file).arg(staging.path()).run(PACK_LIMIT)?;
    let disk = File::options().write(true).open(file).at("failed to open the deployment disk", file)?;
    if disk.metadata().at("failed to look at", file)?.len() > SIZE_BYTES {
        let limit = SIZE_BYTES >> 20;
        return Err(Error::setup(format!("the programs do not fit on the deployment disk of {limit} MiB")));
    }
    disk.set_len(SIZE_BYTES).at("failed to extend", file)?;
    fs::write(file.with_extension("label"), sha256(label.as_bytes())).at("failed to write beside", file)
}

/// Command by which a guest mounts the disk image `file`, and checks that it is this one.
///
/// The guest's kernel looked for partitions on the disk when the machine was frozen, and keeps what it saw
/// then until told to forget it.
///
/// # Errors
///
/// The image was not written by [`write()`].
pub fn mount_command(file: &Path) -> Result<String> {
    let label = file.with_extension("label");
    let label = fs::read_to_string(&label).at("failed to read", &label)?;
    Ok(format!(
        "blockdev --flushbufs /dev/vdb && mount -t erofs -o ro /dev/vdb /opt/lab/deployed \
         && grep -q {label} /opt/lab/deployed/{LABEL}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let program = Program { name: "x".to_owned(), path: directory.path().join("x") };
        let mkfs = Tool { argv: vec!["mkfs.erofs".into()], env: Vec::new(), identity: String::new() };
        let error = write(&mkfs, &directory.path().join("disk"), &[program]).unwrap_err();
        assert!(error.to_string().contains("failed to read the program"), "{error}");
    }

    #[test]
    fn label_tells_disks_apart() {
        let directory = tempfile::tempdir().unwrap();
        let disk = directory.path().join("disk");
        assert!(mount_command(&disk).is_err());
        fs::write(disk.with_extension("label"), "abc").unwrap();
        assert!(mount_command(&disk).unwrap().ends_with("grep -q abc /opt/lab/deployed/LABEL"));
    }
}
