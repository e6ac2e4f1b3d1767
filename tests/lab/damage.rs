//! Every file of a cache, damaged in turn: named and mended, or without effect; never an error of SSH.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::is_used;
use crate::support::{Beside, Lab, link, linked_cache, poll};

/// Words that may be said of a file that is made again.
const MENDED: [&str; 3] = ["made again", "built again", "a new pair is made"];

/// The files of the tools that stand for their hundreds: a program, its loader, a library, firmware, a script, the manifest.
const TOOLS: [&str; 6] = [
    "tools-run-*/bin/setpriv",
    "tools-run-*/manifest.json",
    "tools-run-*/usr/bin/qemu-system-x86_64",
    "tools-run-*/usr/lib/*/ld-linux-x86-64.so.2",
    "tools-run-*/usr/lib/*/libc.so.6",
    "tools-run-*/usr/share/seabios/bios-256k.bin",
];

/// True if a path is what one of [`TOOLS`] says: `*` stands for the rest of a name.
fn is_like(path: &Path, pattern: &str) -> bool {
    let names: Vec<_> = path.iter().map(|name| name.to_string_lossy()).collect();
    let patterns: Vec<&str> = pattern.split('/').collect();
    names.len() == patterns.len()
        && names.iter().zip(patterns).all(|(name, pattern)| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == pattern,
        })
}

/// The files of a directory and below, in the order of their names.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let (directories, mut files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
    files.extend(directories.iter().flat_map(|directory| self::files(directory)));
    files
}

/// Puts a copy of a file in its place that has one byte flipped: the first that is not zero, from the middle on.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("a file");
    let middle = bytes.len() / 2;
    let at = bytes[middle..].iter().position(|&byte| byte != 0).map_or(middle, |at| middle + at);
    bytes[at] ^= 1;
    let permissions = fs::metadata(path).expect("a file").permissions();
    fs::remove_file(path).expect("a file");
    fs::write(path, bytes).and_then(|()| fs::set_permissions(path, permissions)).expect("a file");
}

#[test]
#[ignore = "needs the lab's machines"]
fn each_file_of_a_cache_is_named_and_mended_or_without_effect() {
    let whole = linked_cache();
    let cached = |path: &Path| {
        let name = path.iter().next().expect("a name").to_string_lossy();
        let is_other = name.starts_with("sysroot-") || name.ends_with(".lock") || name == "labs";
        if name.starts_with("tools-") { TOOLS.iter().any(|tool| is_like(path, tool)) } else { !is_other }
    };
    // Links in it lead to the user's files.
    let names: Vec<PathBuf> = files(whole.path())
        .iter()
        .map(|path| path.strip_prefix(whole.path()).expect("below it").to_owned())
        .filter(|path| cached(path))
        .collect();
    let kinds =
        ["image-", "frozen-", "ssh-key", "known_hosts", "manifest.json", "sandbox.json", "qemu-system"];
    let all = names.iter().map(|name| name.display().to_string()).collect::<Vec<_>>().join(" ");
    assert!(kinds.iter().all(|kind| all.contains(kind)), "{all}");

    for name in names {
        let cache = linked_cache();
        let top = cache.path().join(name.iter().next().expect("a name"));
        if top.is_symlink() {
            // A copy of its own, whose files can be replaced.
            let target = fs::read_link(&top).expect("a link");
            fs::remove_file(&top).expect("a link");
            link(&target, &top);
        }
        flip(&cache.path().join(&name));
        let lab = Lab::named("damage", Some(cache.path()));
        let mut up = Beside::start(lab.command(&["up"], &[]));
        let file = name.file_name().expect("a name").to_string_lossy();
        let mut is_over = false;
        poll("end of `lab up`", Duration::from_secs(240), || {
            is_over = is_over || up.has_ended();
            (is_over || up.said().contains("boot server") || up.said().contains("built again")).then_some(())
        });
        let said = up.said();
        let is_named =
            said.lines().any(|line| line.contains(&*file) && MENDED.iter().any(|it| line.contains(it)));
        if is_over {
            assert!(!said.contains("error:"), "{}: {said}", name.display());
            lab.exec("client", "true").ok();
            lab.exec("server", "true").ok();
            lab.run("down", &[]).ok();
            // Nothing is said twice.
            let again = lab.run("up", &[]).ok();
            assert!(!MENDED.iter().any(|it| again.stderr.contains(it)), "{}: {again:?}", name.display());
            lab.run("down", &[]).ok();
            continue;
        }
        // The boots, and the build of an image, are left to other tests.
        assert!(is_named, "{}: {said}", name.display());
        up.kill();
        poll("end of the machines", Duration::from_secs(5), || (!is_used(cache.path())).then_some(()));
    }
}
