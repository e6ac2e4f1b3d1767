//! The things that this computer must have: what each is for, how it is found, what brings it.
//!
//! [`Requirement::check`] runs programs that print a version and looks at files; it changes nothing.

use std::fmt;
use std::time::Duration;

use crate::command::Command;
use crate::error::{Error, Result};
use crate::host::libclang::{self, Search};
use crate::host::{Host, apt};

/// The oldest QEMU whose `-netdev stream` joins a machine to our switch.
const QEMU_MINIMUM: (u32, u32) = (7, 2);

/// What to do on a computer that cannot get what the lab needs.
pub(crate) const ELSEWHERE: &str = "or run the lab where apt is: in an Ubuntu machine that Multipass launches, \
     or on a Debian or Ubuntu host over SSH";

/// The longest wait for a program that prints its version.
const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// One thing that must be there.
#[derive(Debug)]
pub struct Requirement {
    /// What people call it.
    pub name: &'static str,
    /// What the lab does with it.
    pub purpose: &'static str,
    probe: Probe,
    cure: Cure,
}

/// How a requirement is found.
#[derive(Debug)]
enum Probe {
    /// An executable file of the requirement's name.
    Program,
    /// A program that ends well when asked for `--version`; rustup's stand-ins for absent ones do not.
    Answers(&'static str),
    /// QEMU of [`QEMU_MINIMUM`] or later.
    Qemu,
    /// A libclang that rdma-sys can use.
    Libclang,
    /// A file, by its absolute name.
    File(&'static str),
    /// A library that pkg-config knows, of at least this version.
    Library { module: &'static str, minimum: &'static str },
}

/// What brings a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// A Debian or Ubuntu package.
    Package(&'static str),
    /// The best libclang that this computer's apt offers.
    Libclang,
    /// A component of the Rust toolchain.
    Component(&'static str),
}

/// How a requirement was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It is there; the text says where or which version.
    Found(String),
    /// It is not there.
    Missing,
    /// It is there, and cannot be used; the text says why.
    Unfit(String),
}

/// What builds the programs that run in the machines, against the guest release's own libraries.
pub const BUILD: &[Requirement] = &[
    program("apt-get", "fetches the machines' packages", "apt"),
    program("dpkg-deb", "unpacks the machines' packages", "dpkg"),
    Requirement {
        name: "Debian archive keys",
        purpose: "verify the machines' packages",
        probe: Probe::File("/usr/share/keyrings/debian-archive-keyring.gpg"),
        cure: Cure::Package("debian-archive-keyring"),
    },
    program("cc", "links the programs that run in the machines", "gcc"),
    Requirement {
        name: "libclang",
        purpose: "generates rdma-sys's bindings",
        probe: Probe::Libclang,
        cure: Cure::Libclang,
    },
];

/// What reaches hosts that exist.
pub const REACH: &[Requirement] = &[program("ssh", "reaches the hosts", "openssh-client")];

/// What runs the machines of the QEMU provider.
///
/// SeaBIOS and the other firmware come as dependencies of `qemu-system-x86`.
pub const MACHINES: &[Requirement] = &[
    Requirement {
        name: "qemu-system-x86_64",
        purpose: "runs the two machines",
        probe: Probe::Qemu,
        cure: Cure::Package("qemu-system-x86"),
    },
    program("mkfs.erofs", "packs the machines' root file system", "erofs-utils"),
    program("cpio", "packs the machines' initramfs", "cpio"),
    program("ssh", "opens a shell on a machine", "openssh-client"),
    program("ssh-keygen", "makes the lab's own key", "openssh-client"),
];

/// What `lab up` and `test-e2e` need with the QEMU provider.
pub const RUN: &[&[Requirement]] = &[BUILD];

/// What `cargo xtask ci` needs beyond [`RUN`].
pub const CI: &[Requirement] = &[
    program("tshark", "decodes the same captures, as a second opinion", "tshark"),
    Requirement {
        name: "libibverbs",
        purpose: "lets the tests of the verbs library run here",
        probe: Probe::Library { module: "libibverbs", minimum: "1.8.28" },
        cure: Cure::Package("libibverbs-dev"),
    },
    Requirement {
        name: "librdmacm",
        purpose: "lets the tests of the verbs library run here",
        probe: Probe::Library { module: "librdmacm", minimum: "1.2.28" },
        cure: Cure::Package("librdmacm-dev"),
    },
    Requirement {
        name: "rustfmt",
        purpose: "checks the formatting",
        probe: Probe::Answers("rustfmt"),
        cure: Cure::Component("rustfmt"),
    },
    Requirement {
        name: "clippy",
        purpose: "lints",
        probe: Probe::Answers("cargo-clippy"),
        cure: Cure::Component("clippy"),
    },
];

const fn program(name: &'static str, purpose: &'static str, package: &'static str) -> Requirement {
    Requirement { name, purpose, probe: Probe::Program, cure: Cure::Package(package) }
}

impl Requirement {
    /// What brings it.
    pub fn cure(&self) -> Cure {
        self.cure
    }

    /// Looks for it on `host`.
    pub fn check(&self, host: &Host) -> Status {
        match &self.probe {
            Probe::Program => match host.program(self.name) {
                Some(path) => Status::Found(path.display().to_string()),
                None => Status::Missing,
            },
            Probe::Answers(program) => match version_text(host, program) {
                None | Some(Err(_)) => Status::Missing,
                Some(Ok(text)) => Status::Found(text.lines().next().unwrap_or_default().to_owned()),
            },
            Probe::Qemu => match version_text(host, self.name) {
                None => Status::Missing,
                Some(Err(error)) => Status::Unfit(error.to_string()),
                Some(Ok(text)) => qemu_status(&text),
            },
            Probe::Libclang => match libclang::search(host) {
                Search::Found(found) => Status::Found(found.to_string()),
                Search::Absent => Status::Missing,
                Search::Unfit(why) => Status::Unfit(why),
            },
            Probe::File(path) => match host.path(path) {
                path if path.is_file() => Status::Found(path.display().to_string()),
                _ => Status::Missing,
            },
            Probe::Library { module, minimum } => library_status(host, module, minimum),
        }
    }
}

/// The requirements of `sets` that are not met on `host`, and how.
pub fn unmet<'a>(host: &Host, sets: &[&'a [Requirement]]) -> Vec<(&'a Requirement, Status)> {
    sets.iter()
        .flat_map(|set| set.iter())
        .map(|requirement| (requirement, requirement.check(host)))
        .filter(|(_, status)| !matches!(status, Status::Found(_)))
        .collect()
}

/// Demands every requirement of `sets`; with `install`, installs what is missing first.
///
/// # Errors
///
/// Something is missing or cannot be used, before or after the installation: the text names all of it and
/// the commands that bring it. The installation failed.
pub fn demand(host: &Host, sets: &[&[Requirement]], install: bool) -> Result<()> {
    let mut unmet_now = unmet(host, sets);
    if unmet_now.is_empty() {
        return Ok(());
    }
    if install {
        let cures: Vec<Cure> = unmet_now.iter().map(|(requirement, _)| requirement.cure()).collect();
        apt::install(host, &cures)?;
        unmet_now = unmet(host, sets);
        if unmet_now.is_empty() {
            return Ok(());
        }
    }
    Err(shortfall(host, &unmet_now, install))
}

/// Names everything that is missing, with the commands that bring it.
fn shortfall(host: &Host, unmet: &[(&Requirement, Status)], installed: bool) -> Error {
    let lines: Vec<String> = unmet
        .iter()
        .map(|(requirement, status)| match status {
            Status::Unfit(why) => format!("{}: {why}", requirement.name),
            _ => format!("{}: missing ({})", requirement.name, requirement.purpose),
        })
        .collect();
    let what = match (lines.len(), installed) {
        (1, false) => "this computer lacks one thing".to_owned(),
        (count, false) => format!("this computer lacks {count} things"),
        (_, true) => "the installed packages are not enough".to_owned(),
    };
    let cures: Vec<Cure> = unmet.iter().map(|(requirement, _)| requirement.cure()).collect();
    let mut next = apt::commands(host, &cures).join("\n");
    if !installed && host.program("apt-get").is_some() {
        next.push_str("\nor let the same command do it, with --install");
    }
    next.push('\n');
    next.push_str(ELSEWHERE);
    Error::setup(what).detail(lines.join("\n")).next(next)
}

/// What a program prints when asked for its version; `None` where it is not there.
fn version_text(host: &Host, program: &str) -> Option<Result<String>> {
    let path = host.program(program)?;
    let asked = Command::new([path]).arg("--version").run(VERSION_LIMIT);
    Some(asked.map(|output| output.stdout))
}

/// Judges QEMU by what `--version` prints.
fn qemu_status(text: &str) -> Status {
    let (major, minor) = QEMU_MINIMUM;
    match qemu_version(text) {
        Some(version) if version >= QEMU_MINIMUM => Status::Found(
            text.lines().next().unwrap_or_default().trim_start_matches("QEMU emulator ").to_owned(),
        ),
        Some((found_major, found_minor)) => Status::Unfit(format!(
            "QEMU {found_major}.{found_minor} is too old: the lab needs {major}.{minor} or later, which has `-netdev stream`"
        )),
        None => {
            Status::Unfit(format!("printed no version: {}", text.lines().next().unwrap_or("nothing at all")))
        }
    }
}

/// The major and minor number in "QEMU emulator version 7.2.22 (Debian …)".
fn qemu_version(text: &str) -> Option<(u32, u32)> {
    let numbers = text.split_once("version ")?.1;
    let mut numbers = numbers.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Asks pkg-config for a library's version and compares it with the least one.
fn library_status(host: &Host, module: &str, minimum: &str) -> Status {
    let Some(pkg_config) = host.program("pkg-config") else {
        return Status::Missing;
    };
    let Ok(output) = Command::new([pkg_config]).args(["--modversion", module]).output(VERSION_LIMIT) else {
        return Status::Missing;
    };
    let found = output.stdout.trim();
    if output.code != Some(0) || found.is_empty() {
        Status::Missing
    } else if numbers(found) < numbers(minimum) {
        Status::Unfit(format!("{found} is too old: rdma-sys needs {minimum} or later"))
    } else {
        Status::Found(found.to_owned())
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

impl fmt::Display for Cure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cure::Package(name) => f.write_str(name),
            Cure::Libclang => f.write_str(&libclang::package(libclang::PREFERENCE[0])),
            Cure::Component(name) => write!(f, "the Rust component {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    fn script(directory: &Path, name: &str, text: &str) {
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn qemu_below_the_minimum_names_both_versions() {
        let old = qemu_status("QEMU emulator version 6.2.0 (Debian 1:6.2+dfsg-2ubuntu6.27)\n");
        let Status::Unfit(why) = old else { panic!("{old:?}") };
        assert!(why.contains("6.2") && why.contains("7.2"), "{why}");
        for good in ["QEMU emulator version 7.2.22 (Debian)", "QEMU emulator version 10.0.3"] {
            assert!(matches!(qemu_status(good), Status::Found(_)), "{good}");
        }
        assert!(matches!(qemu_status("hello"), Status::Unfit(_)));
        assert!(matches!(qemu_status(""), Status::Unfit(_)));
    }

    #[test]
    fn everything_is_missing_on_an_empty_computer() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path(), OsStr::new(""));
        let error = demand(&host, &[&MACHINES[..3]], false).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("this computer lacks 3 things"), "{text}");
        for name in ["qemu-system-x86_64", "mkfs.erofs", "cpio", "Multipass"] {
            assert!(text.contains(name), "{name} in {text}");
        }
        assert!(!text.contains("--install"), "{text}");
    }

    #[test]
    fn old_qemu_on_path_is_unfit_and_broken_one_is_told() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path(), root.path().as_os_str());
        script(root.path(), "qemu-system-x86_64", "echo QEMU emulator version 5.2.0");
        assert!(matches!(MACHINES[0].check(&host), Status::Unfit(why) if why.contains("5.2")));
        script(root.path(), "qemu-system-x86_64", "echo libfoo.so: not found >&2; exit 127");
        assert!(matches!(MACHINES[0].check(&host), Status::Unfit(why) if why.contains("libfoo.so")));
    }

    #[test]
    fn library_version_is_compared_by_number() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path(), root.path().as_os_str());
        script(root.path(), "pkg-config", "echo 1.14.44");
        assert_eq!(library_status(&host, "x", "1.8.28"), Status::Found("1.14.44".to_owned()));
        script(root.path(), "pkg-config", "echo 1.2.3");
        assert!(matches!(library_status(&host, "x", "1.8.28"), Status::Unfit(_)));
        script(root.path(), "pkg-config", "exit 1");
        assert_eq!(library_status(&host, "x", "1.8.28"), Status::Missing);
    }

    #[test]
    fn component_that_rustup_only_stands_in_for_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path(), root.path().as_os_str());
        script(root.path(), "rustfmt", "echo \"error: 'rustfmt' is not installed\" >&2; exit 1");
        let rustfmt = CI.iter().find(|requirement| requirement.name == "rustfmt").unwrap();
        assert_eq!(rustfmt.check(&host), Status::Missing);
    }
}
