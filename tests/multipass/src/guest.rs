//! The guest that instances are: a Debian 12 with systemd, sudo and a user `ubuntu`, made from the files in
//! `guest/`. rdma_rxe is there, and nobody has loaded it.

use lab::guest::image::Release;
use lab::guest::image::own::Own;
use lab::guest::image::recipe::{AGENT, ModuleNames, PROVIDER, Recipe, lines};

/// Recipe of it.
///
/// # Errors
///
/// The lab has no Debian 12 any more.
pub fn recipe() -> lab::Result<Recipe> {
    Ok(Recipe {
        release: Release::named("debian-12")?,
        asked: Vec::new(),
        own: Own::default(),
        asked_modules: Vec::new(),
        packages: lines(PACKAGES).collect(),
        modules: ModuleNames::parse(include_str!("../guest/modules")),
        files: FILES,
        directories: &[
            "dev",
            "proc",
            "sys",
            "run",
            "tmp",
            "root",
            "var/tmp",
            "home/ubuntu",
            "opt/lab/deployed",
        ],
        pruned: &[
            // Units that a boot does not need: each costs time under emulation, or waits for a udev that is not there.
            "lib/systemd/system-generators",
            "lib/systemd/system/multi-user.target.wants",
            "lib/systemd/system/timers.target.wants",
            "lib/systemd/system/local-fs.target.wants",
            "lib/systemd/system/sysinit.target.wants",
        ],
        has_applets: false,
        has_rxe: false,
        user: ("ubuntu", "/home/ubuntu"),
    })
}

const FILES: &[(&str, u32, &str)] = &[
    ("sbin/lab-init", 0o755, include_str!("../guest/init")),
    ("sbin/lab-agent", 0o755, AGENT),
    PROVIDER,
    ("etc/passwd", 0o644, include_str!("../guest/etc/passwd")),
    ("etc/group", 0o644, include_str!("../guest/etc/group")),
    ("etc/shadow", 0o640, include_str!("../guest/etc/shadow")),
    ("etc/shells", 0o644, include_str!("../guest/etc/shells")),
    ("etc/pam.d/other", 0o644, PAM),
    ("etc/pam.d/sudo", 0o644, PAM),
    ("etc/sudoers.d/90-cloud-init-users", 0o440, include_str!("../guest/etc/sudoers-ubuntu")),
    ("etc/systemd/system.conf", 0o644, include_str!("../guest/etc/system.conf")),
    ("etc/systemd/journald.conf", 0o644, include_str!("../guest/etc/journald.conf")),
    ("etc/systemd/system/lab-agent.service", 0o644, include_str!("../guest/etc/lab-agent.service")),
    ("home/ubuntu/.bashrc", 0o644, ""),
    ("usr/bin/apt-get", 0o755, include_str!("../guest/apt-get")),
    ("usr/bin/cloud-init", 0o755, include_str!("../guest/cloud-init")),
    ("usr/lib/stand-in/session", 0o755, include_str!("../guest/session")),
    ("usr/lib/stand-in/packages", 0o755, include_str!("../guest/stand-in-packages")),
    ("usr/lib/stand-in/package-files", 0o644, include_str!("../guest/package-files")),
    ("usr/lib/stand-in/present", 0o644, PACKAGES),
];

const PACKAGES: &str = include_str!("../guest/packages");
const PAM: &str = include_str!("../guest/etc/pam");
