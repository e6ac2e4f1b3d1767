//! Frozen machines that are damaged or do not wake, forks that fail for other reasons, and places that cannot be written.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use rustix::process::Signal;

use crate::process::{is_used, machine_under};
use crate::support::{Beside, CACHED, Lab, Ran, link, linked_cache, poll, run, warm_cache};

/// Replaces a file of a linked cache, and not the one that it is linked to.
fn replace(file: &Path, bytes: &[u8]) {
    fs::remove_file(file).expect("a file");
    fs::write(file, bytes).expect("a file");
}

#[test]
#[ignore = "needs the lab's machines"]
fn damaged_frozen_machines_are_thrown_away_and_made_again() {
    let cache = linked_cache();
    let lab = Lab::named("damaged", Some(cache.path()));
    let whole = &warm_cache().frozen;
    let frozen = cache.path().join(whole.file_name().expect("a name"));
    let state = fs::read(frozen.join("state-client")).expect("a state");
    let again = "the frozen machines are damaged and are made again: ";
    for (file, bytes, objection) in [
        ("state-client", &state[..state.len() / 2], "state-client has another checksum"),
        ("state-server", b"garbage", "state-server has another checksum"),
        ("memory-server", b"short", "memory-server has another checksum"),
    ] {
        let _ = fs::remove_dir_all(&frozen);
        link(whole, &frozen);
        replace(&frozen.join(file), bytes);
        let mut up = Beside::start(lab.command(&["up"], &[]));
        up.wait_said(&format!("{again}{objection}"));
        up.wait_said("boot server");
        // The boots to their end are left to the last damage.
        up.kill();
        poll("end of the machines", Duration::from_secs(5), || (!is_used(cache.path())).then_some(()));
        assert!(!frozen.exists());
    }

    link(whole, &frozen);
    let memory = frozen.join("memory-server");
    let length = fs::metadata(&memory).expect("a file").len();
    replace(&memory, b"");
    File::options().write(true).open(&memory).and_then(|file| file.set_len(length)).expect("a file");
    // As if they had been saved so: the checksums are right, and nothing wakes.
    let files = ["memory-server", "memory-client", "state-server", "state-client", "known_hosts"];
    lab::base::seal::seal(&frozen, &files).expect("a seal");
    let up = lab.run("up", &[]).ok();
    assert!(up.stderr.contains("the frozen machines did not wake up and are made again: "), "{}", up.stderr);
    lab.exec("server", "grep -q ACTIVE /sys/class/infiniband/rxe0/ports/1/state").ok();
    lab.run("down", &[]).ok();
    let up = lab.run("up", &[]).ok();
    assert!(!up.stderr.contains("boot server"), "{}", up.stderr);
}

/// `lab up` below limits of a shell's, in a cache.
fn up_below(limits: &str, name: &str, cache: &Path) -> Ran {
    let mut command = Command::new("sh");
    let script = format!("{limits} && exec \"$0\" lab up --name {name}-{}", std::process::id());
    command.args(["-c", &script]).arg(cargo_bin!("xtask")).env("RDMA_LAB_CACHE", cache);
    run(command)
}

#[test]
#[ignore = "needs the lab's machines"]
fn fork_that_fails_for_a_reason_of_the_hosts_leaves_frozen_machines_and_labs_alone() {
    let cache = linked_cache();
    let lab = Lab::named("keep", Some(cache.path()));
    lab.run("up", &[]).ok();
    let frozen = cache.path().join(warm_cache().frozen.file_name().expect("a name"));
    let inode = || fs::metadata(&frozen).expect("frozen machines").ino();
    let before = inode();
    for (limits, cause) in
        [("ulimit -n 20", "too few open files are allowed"), ("ulimit -v 900000", "Cannot allocate memory")]
    {
        let ran = up_below(limits, "other", cache.path()).fails(1, &[cause, "next: "]);
        assert!(!ran.stderr.contains("made again") && !ran.stderr.contains("boot server"), "{ran:?}");
        assert_eq!(inode(), before);
        lab.exec("client", "true").ok();
    }

    // A machine that somebody ends while it wakes; one that stands still then.
    let other = Lab::named("other", Some(cache.path()));
    for (signal, said) in [(Signal::KILL, "qemu: signal: 9"), (Signal::STOP, "was stopped by a signal")] {
        let mut up = Beside::start(other.command(&["up"], &[]));
        let machine = poll("a machine", Duration::from_secs(60), || machine_under(up.id()));
        machine.signal(signal);
        assert_eq!(up.wait().code(), Some(1), "{}", up.said());
        assert!(up.said().contains(said) && !up.said().contains("made again"), "{}", up.said());
        assert_eq!(inode(), before);
        lab.exec("client", "true").ok();
    }
    other.run("up", &[]).ok();
}

/// `lab up` with a run directory on a file system of 300 KB.
#[test]
#[ignore = "needs the lab's machines"]
fn run_directory_without_room_is_named() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        command.arg("--map-root-user");
    }
    let script = "mount --bind \"$1\" \"$1\" && mount --make-private \"$1\" \
                  && mount -t tmpfs -o size=300k tmpfs \"$1\" || exit 99\n\
                  TMPDIR=\"$1\" XDG_RUNTIME_DIR=\"$1\" \"$2\" lab up --name small-$$\ncode=$?\n\
                  echo; echo $(ls -A \"$1\")\numount \"$1\"; umount \"$1\"\nexit $code";
    command
        .args(["--mount", "--propagation", "unchanged", "sh", "-c", script, "sh"])
        .arg(place.path())
        .arg(cargo_bin!("xtask"));
    warm_cache();
    let ran = run(command);
    let place = place.path().display().to_string();
    let ran = ran.fails(1, &["too little room in ", &place, "MiB are needed", "next: ", "TMPDIR="]);
    assert!(!ran.stderr.contains("made again"), "{ran:?}");
    assert_eq!(ran.stdout.trim(), "", "the run directory has gone");
}

/// `lab up` with a cache on a file system of 8 MB, after `prepare`, a script with the cache as `$1`; the last
/// line of standard output is what the cache holds then.
fn up_with_small_cache(prepare: &str) -> Ran {
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        command.arg("--map-root-user");
    }
    // In a chroot the root is no mount that could be made private; the directory is, and is unmounted again.
    let script = format!(
        "mount --bind \"$1\" \"$1\" && mount --make-private \"$1\" && mount -t tmpfs -o size=8m tmpfs \"$1\" \
         || exit 99\n{prepare}\n\
         RDMA_LAB_CACHE=\"$1\" \"$2\" lab up --name small-$$\ncode=$?\necho; echo $(ls -A \"$1\")\n\
         umount \"$1\"; umount \"$1\"\nexit $code"
    );
    command
        .args(["--mount", "--propagation", "unchanged", "sh", "-c", &script, "sh"])
        .arg(place.path())
        .arg(cargo_bin!("xtask"));
    run(command)
}

#[test]
#[ignore = "needs the lab's machines"]
fn cache_without_room_or_permission_is_refused_before_anything_starts() {
    let read_only = up_with_small_cache("mount -o remount,bind,ro \"$1\"");
    let read_only =
        read_only.fails(1, &["error: failed to write into the cache directory", "Read-only file system"]);
    assert_eq!(read_only.stdout.trim(), "");

    let nothing_built = |ran: &Ran| {
        let held = ran.stdout.lines().last().unwrap_or_default();
        for name in held.split_whitespace() {
            assert!(
                name == "labs"
                    || name.ends_with(".lock")
                    || CACHED.iter().any(|cached| name.starts_with(cached)),
                "{held}"
            );
        }
        assert!(!ran.stderr.contains("boot server") && !held.contains("building-"), "{ran:?}");
    };
    let empty = up_with_small_cache("").fails(1, &["error: too little room in ", "MiB are needed", "next: "]);
    nothing_built(&empty);
    assert!(!empty.stdout.contains("image-") && !empty.stdout.contains("sysroot-"), "{empty:?}");

    // With an image, which takes no room here, there is none for frozen machines.
    let root = warm_cache().root.display();
    let links: String = CACHED.map(|cached| format!("ln -s {root}/{cached}* \"$1\"\n")).concat();
    let no_frozen = up_with_small_cache(&links).fails(1, &["error: too little room in ", "MiB are needed"]);
    nothing_built(&no_frozen);
}
