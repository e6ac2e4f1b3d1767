//! The things that this computer must have: what each is for, how it is found, what brings it.
//!
//! With the lab's own tools that is little: Rust, a C linker, and a way to fetch packages. [`Requirement::check`] runs
//! programs that print a version and looks at files; it changes nothing.

use std::fmt;
use std::time::Duration;

use crate::base::command::Command;
use crate::base::error::{Error, Result};
use crate::base::policy::Policy;
use crate::base::selection::ToolSource;
use crate::host::Host;
use crate::host::builder;
use crate::host::libclang::{self, Search};
use crate::host::packages::{self, mirror};

/// The oldest QEMU whose `-netdev stream` joins a machine to our switch.
const QEMU_MINIMUM: (u32, u32) = (7, 2);

/// Cure for a computer that cannot run the lab's machines.
const ELSEWHERE: &str = "or let the machines be elsewhere: two instances of Multipass's (--provider multipass), \
     or hosts over SSH (--provider ssh --hosts FILE)";

/// The longest wait for a program that prints its version.
const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// One thing that must be there.
#[derive(Debug)]
pub struct Requirement {
    /// Its name for people.
    pub name: &'static str,
    /// Its use to the lab.
    pub purpose: &'static str,
    probe: Probe,
    cure: Cure,
}

/// Way in which a requirement is found.
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
    /// apt and a mirror that is known, or one that is named.
    Packages,
}

/// Cure for a requirement that is unmet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// A package, by Debian's name for it.
    Package(&'static str),
    /// A component of the Rust toolchain.
    Component(&'static str),
    /// The name of a mirror, in a variable.
    Mirror,
}

/// Result of looking for a requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There; the text says where or which version.
    Found(String),
    /// Not there.
    Missing,
    /// There, and of no use; the text says why.
    Unfit(String),
}

/// The linker of programs that run in the machines.
pub const LINKER: Requirement = program("cc", "links the programs that run in the machines", "gcc");

/// The fetcher of packages that tools and machines are made of.
pub const PACKAGES: Requirement = Requirement {
    name: "packages",
    purpose: "fetches what tools and machines are made of",
    probe: Probe::Packages,
    cure: Cure::Mirror,
};

/// Programs that run the machines of the QEMU provider, where the host's own tools are asked for.
pub const HOST_TOOLS: &[Requirement] = &[
    Requirement {
        name: "qemu-system-x86_64",
        purpose: "runs the two machines",
        probe: Probe::Qemu,
        cure: Cure::Package("qemu-system-x86"),
    },
    program("mkfs.erofs", "packs the machines' root file system", "erofs-utils"),
    program("setpriv", "ends a machine with its guard", "util-linux"),
    program("pkg-config", "finds the RDMA libraries", "pkg-config"),
    Requirement {
        name: "libclang",
        purpose: "generates rdma-sys's bindings",
        probe: Probe::Libclang,
        cure: Cure::Package("libclang1-14"),
    },
];

/// Programs that `cargo xtask ci` compares with, where the host's own tools are asked for.
pub const HOST_CI_TOOLS: &[Requirement] =
    &[program("tshark", "decodes the same captures, as a second opinion", "tshark")];

/// Needs of `cargo xtask ci` beyond those of a run.
pub const CI: &[Requirement] = &[
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

/// Requirements of scenarios with the QEMU provider, the compiler's only if programs are `built`; packages are asked for
/// when they are fetched.
pub fn run(built: bool) -> Vec<&'static Requirement> {
    let linker = built.then_some(&LINKER).into_iter();
    match Policy::get().tools {
        ToolSource::Toolbox => linker.collect(),
        ToolSource::Host => linker.chain(host_tools(built)).collect(),
    }
}

/// Returns those of [`HOST_TOOLS`] that are used if programs are `built`, or not.
pub fn host_tools(built: bool) -> impl Iterator<Item = &'static Requirement> {
    HOST_TOOLS.iter().filter(move |tool| built || !["pkg-config", "libclang"].contains(&tool.name))
}

/// Lists the needs of `cargo xtask ci`.
pub fn ci() -> Vec<&'static Requirement> {
    let mut all = run(true);
    all.extend(CI);
    if Policy::get().tools == ToolSource::Host {
        all.extend(HOST_CI_TOOLS);
    }
    all
}

impl Requirement {
    /// Its cure.
    pub fn cure(&self) -> Cure {
        self.cure
    }

    /// Looks for it on `host`.
    pub fn check(&self, host: &Host) -> Standing {
        match &self.probe {
            Probe::Program => match host.program(self.name) {
                Some(path) => Standing::Found(path.display().to_string()),
                None => Standing::Missing,
            },
            Probe::Answers(program) => match version_text(host, program) {
                None | Some(Err(_)) => Standing::Missing,
                Some(Ok(text)) => Standing::Found(text.lines().next().unwrap_or_default().to_owned()),
            },
            Probe::Qemu => match version_text(host, self.name) {
                None => Standing::Missing,
                Some(Err(error)) => Standing::Unfit(error.to_string()),
                Some(Ok(text)) => qemu_status(&text),
            },
            Probe::Libclang => match libclang::search(host) {
                Search::Found(found) => Standing::Found(found.to_string()),
                Search::Absent => Standing::Missing,
                Search::Unfit(why) => Standing::Unfit(why),
            },
            Probe::Packages => packages_status(
                host,
                std::env::var(mirror::VARIABLE).ok(),
                mirror::find().ok(),
                &packages::asked(),
            ),
        }
    }
}

/// Demands a computer that the lab's own machines can run on.
///
/// # Errors
///
/// It is of another architecture, or no Linux: with where machines can be instead.
pub fn demand_platform() -> Result<()> {
    platform(std::env::consts::OS, std::env::consts::ARCH)
}

fn platform(os: &str, architecture: &str) -> Result<()> {
    if builder::builds(os, architecture) {
        return Ok(());
    }
    let what =
        format!("the lab's QEMU machines need an x86_64 Linux, and this computer is {architecture} ({os})");
    Err(Error::setup(what).next(ELSEWHERE.trim_start_matches("or ")))
}

/// Demands every one of `requirements`.
///
/// # Errors
///
/// Something is missing or cannot be used: the text names all of it and what brings it.
pub fn demand(host: &Host, requirements: &[&Requirement]) -> Result<()> {
    let unmet: Vec<(&Requirement, Standing)> = requirements
        .iter()
        .map(|requirement| (*requirement, requirement.check(host)))
        .filter(|(_, status)| !matches!(status, Standing::Found(_)))
        .collect();
    if unmet.is_empty() { Ok(()) } else { Err(shortfall(&unmet)) }
}

/// Names everything that is missing, with what brings it.
fn shortfall(unmet: &[(&Requirement, Standing)]) -> Error {
    let lines: Vec<String> = unmet
        .iter()
        .map(|(requirement, status)| match status {
            Standing::Unfit(why) => format!("{}: {why}", requirement.name),
            _ => format!("{}: missing ({})", requirement.name, requirement.purpose),
        })
        .collect();
    let what = match lines.len() {
        1 => "this computer lacks one thing".to_owned(),
        count => format!("this computer lacks {count} things"),
    };
    let cures: Vec<Cure> = unmet.iter().map(|(requirement, _)| requirement.cure()).collect();
    Error::setup(what).detail(lines.join("\n")).next(format!("{}\n{ELSEWHERE}", ways(&cures).join("\n")))
}

/// Ways for a person to bring `cures`.
pub fn ways(cures: &[Cure]) -> Vec<String> {
    let mut packages = Vec::new();
    let mut components = Vec::new();
    let mut ways = Vec::new();
    for cure in cures {
        let (list, name) = match cure {
            Cure::Package(name) => (&mut packages, name),
            Cure::Component(name) => (&mut components, name),
            Cure::Mirror => {
                ways.push(format!("name a mirror of Debian's: export {}=http://…/debian", mirror::VARIABLE));
                continue;
            }
        };
        if !list.contains(name) {
            list.push(*name);
        }
    }
    if !packages.is_empty() {
        ways.push(format!(
            "install {} with this system's package manager (Debian's names)",
            packages.join(" ")
        ));
        if Policy::get().tools == ToolSource::Host {
            ways.push("or leave out `--tools host` (RDMA_LAB_TOOLS): the lab brings its own".to_owned());
        }
    }
    if !components.is_empty() {
        ways.push(format!("rustup component add {}", components.join(" ")));
    }
    ways
}

/// Judges the ways to fetch packages: a mirror that was `named`, or one that is `known`, by what is `asked` for or there.
fn packages_status(host: &Host, named: Option<String>, known: Option<String>, asked: &str) -> Standing {
    let has_apt = || ["apt-get", "apt-cache"].iter().all(|name| host.program(name).is_some());
    let are_fetched = match packages::are_fetched(asked, has_apt) {
        Ok(are_fetched) => are_fetched,
        Err(error) => return Standing::Unfit(error.to_string()),
    };
    if let Some(mirror) = named.filter(|mirror| !mirror.is_empty()) {
        return Standing::Found(mirror);
    }
    match known {
        Some(mirror) if !are_fetched => Standing::Found(format!("through apt, from {mirror}")),
        Some(mirror) => Standing::Found(format!("by the lab's own fetcher, from {mirror}")),
        None => Standing::Missing,
    }
}

/// Output of a program that is asked for its version; `None` where it is not there.
fn version_text(host: &Host, program: &str) -> Option<Result<String>> {
    let path = host.program(program)?;
    let asked = Command::new([path]).arg("--version").run(VERSION_LIMIT);
    Some(asked.map(|output| output.stdout))
}

/// Judges QEMU by what `--version` prints.
fn qemu_status(text: &str) -> Standing {
    let (major, minor) = QEMU_MINIMUM;
    match qemu_version(text) {
        Some(version) if version >= QEMU_MINIMUM => Standing::Found(
            text.lines().next().unwrap_or_default().trim_start_matches("QEMU emulator ").to_owned(),
        ),
        Some((found_major, found_minor)) => Standing::Unfit(format!(
            "QEMU {found_major}.{found_minor} is too old: the lab needs {major}.{minor} or later, which has `-netdev stream`"
        )),
        None => Standing::Unfit(format!(
            "printed no version: {}",
            text.lines().next().unwrap_or("nothing at all")
        )),
    }
}

/// The major and minor number in "QEMU emulator version 7.2.22 (Debian …)".
fn qemu_version(text: &str) -> Option<(u32, u32)> {
    let numbers = text.split_once("version ")?.1;
    let mut numbers = numbers.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

impl fmt::Display for Cure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ways(&[*self]).join("; "))
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
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn qemu_below_the_minimum_names_both_versions() {
        let old = qemu_status("QEMU emulator version 6.2.0 (Debian 1:6.2+dfsg-2ubuntu6.27)\n");
        let Standing::Unfit(why) = old else { panic!("{old:?}") };
        assert!(why.contains("6.2") && why.contains("7.2"), "{why}");
        for good in ["QEMU emulator version 7.2.22 (Debian)", "QEMU emulator version 10.0.3"] {
            assert!(matches!(qemu_status(good), Standing::Found(_)), "{good}");
        }
        assert!(matches!(qemu_status("hello"), Standing::Unfit(_)));
        assert!(matches!(qemu_status(""), Standing::Unfit(_)));
    }

    #[test]
    fn everything_is_missing_on_an_empty_computer() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path(), OsStr::new(""));
        let all: Vec<&Requirement> = [&LINKER].into_iter().chain(&HOST_TOOLS[..2]).chain(&CI[..1]).collect();
        let text = demand(&host, &all).unwrap_err().to_string();
        assert!(text.contains("this computer lacks 4 things"), "{text}");
        for name in
            ["qemu-system-x86_64", "mkfs.erofs", "cc: missing", "Multipass", "install gcc qemu-system-x86"]
        {
            assert!(text.contains(name), "{name} in {text}");
        }
        assert!(text.contains("rustup component add rustfmt"), "{text}");
    }

    #[test]
    fn other_computer_is_named_with_the_other_ways() {
        platform("linux", "x86_64").unwrap();
        for (os, architecture) in [("linux", "aarch64"), ("macos", "aarch64"), ("macos", "x86_64")] {
            let text = platform(os, architecture).unwrap_err().to_string();
            assert!(text.contains(architecture) && text.contains(os), "{text}");
            assert!(text.contains("--provider multipass") && text.contains("--provider ssh"), "{text}");
        }
    }

    #[test]
    fn packages_come_from_a_named_mirror_or_through_apt_from_a_known_one() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path(), root.path().join("bin").as_os_str());
        let mirror = || Some("http://mirror.example/debian".to_owned());
        let fetched =
            Standing::Found("by the lab's own fetcher, from http://mirror.example/debian".to_owned());
        assert_eq!(packages_status(&host, None, mirror(), ""), fetched);
        assert_eq!(packages_status(&host, Some(String::new()), None, ""), Standing::Missing);
        assert_eq!(packages_status(&host, mirror(), None, ""), Standing::Found(mirror().unwrap()));
        for name in ["apt-get", "apt-cache"] {
            script(root.path(), &format!("bin/{name}"), "");
        }
        assert_eq!(packages_status(&host, None, None, ""), Standing::Missing);
        let found = packages_status(&host, None, mirror(), "");
        assert_eq!(found, Standing::Found("through apt, from http://mirror.example/debian".to_owned()));
        assert_eq!(packages_status(&host, None, mirror(), "fetch"), fetched);
        assert!(
            matches!(packages_status(&host, None, mirror(), "npm"), Standing::Unfit(why) if why.contains("npm"))
        );
    }

    #[test]
    fn old_qemu_on_path_is_unfit_and_broken_one_is_told() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path(), root.path().as_os_str());
        script(root.path(), "qemu-system-x86_64", "echo QEMU emulator version 5.2.0");
        assert!(matches!(HOST_TOOLS[0].check(&host), Standing::Unfit(why) if why.contains("5.2")));
        script(root.path(), "qemu-system-x86_64", "echo libfoo.so: not found >&2; exit 127");
        assert!(matches!(HOST_TOOLS[0].check(&host), Standing::Unfit(why) if why.contains("libfoo.so")));
    }

    #[test]
    fn component_that_rustup_only_stands_in_for_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path(), root.path().as_os_str());
        script(root.path(), "rustfmt", "echo \"error: 'rustfmt' is not installed\" >&2; exit 1");
        let rustfmt = CI.iter().find(|requirement| requirement.name == "rustfmt").unwrap();
        assert_eq!(rustfmt.check(&host), Standing::Missing);
    }
}
