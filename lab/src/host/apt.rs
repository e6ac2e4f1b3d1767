//! Missing packages, installed through apt: asked, said, then done.
//!
//! What will be fetched and how large it is comes from apt itself (`--print-uris`, which needs no rights and
//! changes nothing) and is said before anything is done. Rights come from being root, from `sudo` on a
//! terminal, or from `sudo -n` without one. Another apt that holds the lock is waited for. Nothing is
//! ever removed, and recommended packages are left out.

use std::collections::BTreeSet;
use std::fmt;
use std::io::IsTerminal as _;
use std::thread;
use std::time::{Duration, Instant};

use crate::cache::Cache;
use crate::command::{Command, Output};
use crate::error::{Error, Result};
use crate::host::libclang;
use crate::host::requirement::{Cure, ELSEWHERE};
use crate::host::{Host, wheel};
use crate::progress::{self, Step};

/// The longest wait for a question to apt.
const ASK_LIMIT: Duration = Duration::from_secs(60);

/// The longest wait for the package lists.
const UPDATE_LIMIT: Duration = Duration::from_secs(10 * 60);

/// The longest wait for download and unpacking, a password included.
const INSTALL_LIMIT: Duration = Duration::from_secs(30 * 60);

/// The longest wait for another apt to let go of its locks.
const LOCK_LIMIT: Duration = Duration::from_secs(5 * 60);

/// How apt is given the rights to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// We are root.
    Root,
    /// `sudo` gives them without a question.
    Sudo,
    /// `sudo` may ask for a password, and there is a terminal to ask on.
    SudoAsks,
    /// There is no way to get them.
    None,
}

impl Rights {
    /// How this process can get them on `host`.
    fn of(host: &Host) -> Rights {
        if rustix::process::geteuid().is_root() {
            return Rights::Root;
        }
        let Some(sudo) = host.program("sudo") else {
            return Rights::None;
        };
        let silent = Command::new([sudo]).args(["-n", "true"]).run(ASK_LIMIT).is_ok();
        match silent {
            true => Rights::Sudo,
            false if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() => Rights::SudoAsks,
            false => Rights::None,
        }
    }

    /// The words before `apt-get`.
    fn prefix(self) -> &'static [&'static str] {
        match self {
            Rights::Root | Rights::None => &["env"],
            Rights::Sudo => &["sudo", "-n", "env"],
            Rights::SudoAsks => &["sudo", "env"],
        }
    }
}

/// What an installation would do, in apt's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How many packages would be added or renewed, dependencies included.
    pub count: u32,
    /// How much would be fetched, as in "281 kB".
    pub download: String,
    /// How much disk it would take, as in "1271 kB"; empty where it takes none.
    pub space: String,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count == 1 { "" } else { "s" };
        write!(f, "{} package{plural} with dependencies, {} to download", self.count, self.download)?;
        if !self.space.is_empty() {
            write!(f, ", {} on disk", self.space)?;
        }
        Ok(())
    }
}

/// Installs what `cures` names.
///
/// # Errors
///
/// No apt on this host; no rights; a package that this apt does not know; the download or the installation
/// failed. The text has the command to run by hand.
pub fn install(host: &Host, cures: &[Cure]) -> Result<()> {
    let libclang = install_packages(host, cures)?;
    if libclang == Some(Source::Wheel) {
        wheel::fetch(host, &Cache::open()?)?;
    }
    install_components(host, cures)
}

/// Where a libclang comes from on this computer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// From a package of the distribution's.
    Package(String),
    /// From Python's package, with the pip that is there.
    Wheel,
    /// From Python's package, once there is a pip.
    WheelWithPip,
    /// From nowhere: only a person can bring one.
    Nowhere,
}

impl Source {
    /// The first rung of the ladder that holds on `host`, whose apt offers `offered` of the packages.
    ///
    /// Where apt has no lists yet, it will probably offer the best known package.
    fn of(host: &Host, offered: &BTreeSet<String>) -> Source {
        let best = libclang::packages().into_iter().find(|name| offered.contains(name));
        match best.or_else(|| (!lists_are_there(host)).then(|| libclang::package(libclang::PREFERENCE[0]))) {
            Some(name) => Source::Package(name),
            None => Source::without_package(host),
        }
    }

    fn without_package(host: &Host) -> Source {
        match host.cache().is_some() && wheel::fits() {
            true if wheel::has_pip(host) => Source::Wheel,
            true => Source::WheelWithPip,
            false => Source::Nowhere,
        }
    }

    /// The package to install for it.
    fn package(&self) -> Option<&str> {
        match self {
            Source::Package(name) => Some(name),
            Source::WheelWithPip => Some(wheel::PIP),
            Source::Wheel | Source::Nowhere => None,
        }
    }
}

/// The commands that bring `cures`, for a person to run.
pub fn commands(host: &Host, cures: &[Cure]) -> Vec<String> {
    let mut commands = Vec::new();
    let offered =
        if cures.contains(&Cure::Libclang) { offered(host, &libclang::packages()) } else { BTreeSet::new() };
    let libclang = Source::of(host, &offered);
    let packages = packages(cures, libclang.package());
    if !packages.is_empty() {
        let names = packages.join(" ");
        commands.push(match host.program("apt-get") {
            Some(_) => by_hand(host, &names),
            None => format!("install what Debian calls {names}"),
        });
    }
    if cures.contains(&Cure::Libclang) && !matches!(libclang, Source::Package(_)) {
        commands.push(libclang::without_package());
    }
    let components = components(cures);
    if !components.is_empty() {
        commands.push(format!("rustup component add {}", components.join(" ")));
    }
    commands
}

/// The command that installs packages, as a person types it.
fn by_hand(host: &Host, names: &str) -> String {
    let sudo = if rustix::process::geteuid().is_root() { "" } else { "sudo " };
    let update = if lists_are_there(host) { String::new() } else { format!("{sudo}apt-get update && ") };
    format!("{update}{sudo}apt-get install --no-install-recommends {names}")
}

/// Installs the packages that `cures` name; gives where a libclang comes from, if one of them is that.
fn install_packages(host: &Host, cures: &[Cure]) -> Result<Option<Source>> {
    let wants_libclang = cures.contains(&Cure::Libclang);
    if packages(cures, Some("")).is_empty() {
        return Ok(None);
    }
    if packages(cures, None).is_empty() && wants_libclang && !can_install(host) {
        let source = Source::without_package(host);
        if source == Source::Wheel {
            return Ok(Some(source));
        }
    }
    if !has_apt(host) {
        let names = packages(cures, Some(&libclang::package(libclang::PREFERENCE[0]))).join(" ");
        return Err(Error::setup(format!("no apt on this host to install {names}")).next(format!(
            "install them with this system's own package manager (these are Debian's names),\n{ELSEWHERE}"
        )));
    }
    let rights = Rights::of(host);
    let mut wanted = packages(cures, None);
    if wants_libclang {
        wanted.extend(libclang::packages());
    }
    let mut known = offered(host, &wanted);
    let unknown = |known: &BTreeSet<String>| -> Vec<String> {
        packages(cures, None).into_iter().filter(|name| !known.contains(name)).collect()
    };
    let no_libclang = wants_libclang && !matches!(Source::of(host, &known), Source::Package(_));
    let stale = !unknown(&known).is_empty() || no_libclang || !lists_are_there(host);
    if rights == Rights::None {
        let names = packages(cures, Source::of(host, &known).package()).join(" ");
        let update = if stale { "apt-get update\n" } else { "" };
        let what = format!("no rights to install {names}: not root, and sudo is absent or wants a password");
        return Err(Error::setup(what)
            .next(format!("run as root:\n{update}apt-get install --no-install-recommends {names}")));
    }
    let mut warnings = String::new();
    if stale {
        warnings = update(rights)?;
        known = offered(host, &wanted);
    }
    let unknown = unknown(&known);
    if !unknown.is_empty() {
        let error = Error::setup(format!("this apt does not offer {}", unknown.join(" ")));
        return Err(if warnings.is_empty() {
            error.next(
                "enable the distribution's main archive (on Ubuntu also universe) and try again:\n\
                 Debian 12 and Ubuntu 24.04 offer all of it",
            )
        } else {
            error
                .detail(crate::command::tail(&warnings, 6))
                .next("apt could not fetch its package lists: check the network and its configured archives")
        });
    }
    let libclang = wants_libclang.then(|| Source::of(host, &known));
    install_known(host, rights, &packages(cures, libclang.as_ref().and_then(Source::package)))?;
    Ok(match libclang {
        Some(Source::WheelWithPip) => Some(Source::Wheel),
        other => other,
    })
}

fn has_apt(host: &Host) -> bool {
    host.program("apt-get").is_some() && host.program("apt-cache").is_some()
}

/// Whether packages can be installed on `host` at all.
fn can_install(host: &Host) -> bool {
    has_apt(host) && Rights::of(host) != Rights::None
}

/// Says what will be installed and how large it is, then installs it.
fn install_known(host: &Host, rights: Rights, packages: &[String]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    let plan = ask(host, packages)?;
    if plan.count == 0 {
        progress::say(&format!("apt has nothing to do for {names}"));
        return Ok(());
    }
    progress::say(&format!("apt installs {names}: {plan}"));
    let work = Work::begin(rights, "install with apt");
    let mut output = execute(rights, &install_argv(rights, packages), INSTALL_LIMIT)?;
    if output.code != Some(0) && is_stale(&output) {
        update(rights)?;
        output = execute(rights, &install_argv(rights, packages), INSTALL_LIMIT)?;
    }
    if output.code != Some(0) {
        return Err(
            failure("apt-get install", &output).next(format!("see what apt says: {}", by_hand(host, &names)))
        );
    }
    work.done();
    Ok(())
}

/// Adds the components of the Rust toolchain among `cures`.
fn install_components(host: &Host, cures: &[Cure]) -> Result<()> {
    let components = components(cures);
    if components.is_empty() {
        return Ok(());
    }
    let names = components.join(" ");
    let Some(rustup) = host.program("rustup") else {
        return Err(Error::setup(format!("no rustup on this host to add the Rust components {names}"))
            .next("install them the way this Rust was installed"));
    };
    let step = Step::begin(format!("add the Rust components {names}"));
    Command::new([rustup])
        .args(["component", "add"])
        .args(components)
        .env("RUST_BACKTRACE", "0")
        .run(UPDATE_LIMIT)?;
    step.done("");
    Ok(())
}

/// Fetches the package lists; gives what apt warned of, as it ends well even without a network.
fn update(rights: Rights) -> Result<String> {
    let work = Work::begin(rights, "fetch apt's package lists");
    let output = execute(rights, &update_argv(rights), UPDATE_LIMIT)?;
    if output.code != Some(0) {
        return Err(failure("apt-get update", &output)
            .next("check the network and the archives that apt is configured with"));
    }
    work.done();
    Ok(output.stderr)
}

/// Work under way: with a spinner, unless sudo needs the terminal for its question.
enum Work {
    Shown(Step),
    OnTerminal,
}

impl Work {
    fn begin(rights: Rights, what: &str) -> Work {
        if rights == Rights::SudoAsks {
            progress::say(&format!("{what} ..."));
            return Work::OnTerminal;
        }
        Work::Shown(Step::begin(what))
    }

    fn done(self) {
        if let Work::Shown(step) = self {
            step.done("");
        }
    }
}

/// Asks apt what installing `packages` would do.
fn ask(host: &Host, packages: &[String]) -> Result<Plan> {
    let output = Command::new(ask_argv(packages)).env("LC_ALL", "C").output(ASK_LIMIT)?;
    if output.code != Some(0) {
        return Err(failure("apt-get --print-uris", &output)
            .next(format!("see what apt says: {}", by_hand(host, &packages.join(" ")))));
    }
    parse_plan(&output.stdout)
        .ok_or_else(|| Error::setup("apt said nothing of what it would do").detail(output.stdout))
}

/// The packages among `names` that this apt can install or has installed.
fn offered(host: &Host, names: &[String]) -> BTreeSet<String> {
    let Some(apt_cache) = host.program("apt-cache") else {
        return BTreeSet::new();
    };
    let asked = Command::new([apt_cache]).arg("policy").args(names).env("LC_ALL", "C").run(ASK_LIMIT);
    asked.map(|output| parse_policy(&output.stdout)).unwrap_or_default()
}

/// Whether apt has ever fetched its package lists.
fn lists_are_there(host: &Host) -> bool {
    std::fs::read_dir(host.path("/var/lib/apt/lists")).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    })
}

/// Runs an installing command, waiting for another apt where ours cannot.
///
/// `DPkg::Lock::Timeout` covers dpkg's lock only; those of the lists and of the download directory fail
/// at once (observed: apt 2.6).
fn execute(rights: Rights, argv: &[String], limit: Duration) -> Result<Output> {
    let started = Instant::now();
    let mut said = false;
    loop {
        let output = match rights {
            Rights::SudoAsks => attached(argv, limit)?,
            _ => Command::new(argv).output(limit)?,
        };
        if output.code == Some(0) || !is_locked(&output) {
            return Ok(output);
        }
        if started.elapsed() > LOCK_LIMIT {
            return Err(Error::timeout("another apt to let go of its lock", LOCK_LIMIT)
                .detail(crate::command::tail(&output.stderr, 3)));
        }
        if !said {
            progress::say("waiting for another apt that holds the lock");
            said = true;
        }
        thread::sleep(Duration::from_secs(2));
    }
}

/// Runs a command on our terminal, so that sudo can ask; its output is shown and not kept.
fn attached(argv: &[String], limit: Duration) -> Result<Output> {
    let text = Command::new(argv).to_string();
    let failed = |source: std::io::Error| Error::setup(format!("failed to run `{text}`")).source(source);
    let (program, args) = argv.split_first().ok_or_else(|| Error::setup("empty command"))?;
    let handle = duct::cmd(program, args).stdout_to_stderr().unchecked().start().map_err(failed)?;
    match handle.wait_timeout(limit).map_err(failed)? {
        Some(output) => {
            Ok(Output { code: output.status.code(), stdout: String::new(), stderr: String::new() })
        }
        None => {
            let _ = handle.kill();
            Err(Error::timeout(format_args!("`{text}`"), limit))
        }
    }
}

fn is_locked(output: &Output) -> bool {
    output.stderr.contains("Could not get lock") || output.stderr.contains("Unable to lock")
}

/// Whether the archive no longer has what the lists promise.
fn is_stale(output: &Output) -> bool {
    output.stderr.contains("404 ")
}

fn failure(what: &str, output: &Output) -> Error {
    let ending = output.code.map_or("ended by a signal".to_owned(), |code| format!("exit code {code}"));
    let text = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    Error::setup(format!("`{what}`: {ending}")).detail(crate::command::tail(text, 12))
}

/// The packages among `cures`, each once, with `libclang` for [`Cure::Libclang`].
fn packages(cures: &[Cure], libclang: Option<&str>) -> Vec<String> {
    let mut names = Vec::new();
    for cure in cures {
        let name = match cure {
            Cure::Package(name) => Some(*name),
            Cure::Libclang => libclang,
            Cure::Component(_) => None,
        };
        if let Some(name) = name.filter(|name| !names.iter().any(|known| known == name)) {
            names.push(name.to_owned());
        }
    }
    names
}

fn components(cures: &[Cure]) -> Vec<&'static str> {
    cures
        .iter()
        .filter_map(|cure| match cure {
            Cure::Component(name) => Some(*name),
            _ => None,
        })
        .collect()
}

/// `apt-get update`, waiting for locks.
fn update_argv(rights: Rights) -> Vec<String> {
    let mut argv = apt_get(rights);
    argv.push("update".to_owned());
    argv
}

/// `apt-get install` of `packages` that asks nothing, removes nothing and keeps changed configuration.
fn install_argv(rights: Rights, packages: &[String]) -> Vec<String> {
    let mut argv = apt_get(rights);
    let options = [
        "-o",
        "Dpkg::Options::=--force-confdef",
        "-o",
        "Dpkg::Options::=--force-confold",
        "install",
        "--yes",
        "--no-remove",
        "--no-install-recommends",
    ];
    argv.extend(options.map(str::to_owned));
    argv.extend(packages.iter().cloned());
    argv
}

/// `apt-get` with the options that every change takes.
fn apt_get(rights: Rights) -> Vec<String> {
    let lock = format!("DPkg::Lock::Timeout={}", LOCK_LIMIT.as_secs());
    rights
        .prefix()
        .iter()
        .copied()
        .chain(["LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", &lock])
        .chain(["-o", "Acquire::Retries=3"])
        .map(str::to_owned)
        .collect()
}

/// The question what an installation would do. Not `--assume-no`: apt installs without a question when no
/// further packages come along.
fn ask_argv(packages: &[String]) -> Vec<String> {
    ["apt-get", "install", "--print-uris", "--no-remove", "--no-install-recommends"]
        .into_iter()
        .map(str::to_owned)
        .chain(packages.iter().cloned())
        .collect()
}

/// Reads apt's summary: "0 upgraded, 2 newly installed, …", "Need to get 281 kB of archives.",
/// "After this operation, 1271 kB of additional disk space will be used."
fn parse_plan(text: &str) -> Option<Plan> {
    let counts = text.lines().find(|line| line.contains(" newly installed, "))?;
    let mut numbers = counts.split(", ").filter_map(|part| part.split(' ').next()?.parse::<u32>().ok());
    let count = numbers.next()? + numbers.next()?;
    let between = |before: &str, after: &str| {
        text.lines().find_map(|line| Some(line.strip_prefix(before)?.split_once(after)?.0.to_owned()))
    };
    Some(Plan {
        count,
        download: between("Need to get ", " of archives").unwrap_or_else(|| "nothing".to_owned()),
        space: between("After this operation, ", " of additional disk space").unwrap_or_default(),
    })
}

/// The packages that `apt-cache policy` names a candidate for.
fn parse_policy(text: &str) -> BTreeSet<String> {
    let mut offered = BTreeSet::new();
    let mut package = "";
    for line in text.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|_| !line.starts_with(' ')) {
            package = name;
        } else if let Some(candidate) = line.trim_start().strip_prefix("Candidate: ")
            && candidate != "(none)"
        {
            offered.insert(package.to_owned());
        }
    }
    offered
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const POLICY: &str = "\
libclang1-15:
  Installed: (none)
  Candidate: 1:15.0.6-4+b1
  Version table:
     1:15.0.6-4+b1 500
        500 http://archive.example/debian bookworm/main amd64 Packages
libclang1-13:
  Installed: (none)
  Candidate: (none)
  Version table:
";

    const SUMMARY: &str = "\
Reading package lists...
The following NEW packages will be installed:
  cpio fuse3
1 upgraded, 2 newly installed, 0 to remove and 132 not upgraded.
Need to get 0 B/281 kB of archives.
After this operation, 1271 kB of additional disk space will be used.
'http://archive.example/cpio.deb' cpio.deb 245036 MD5Sum:3202b0e730eb92019cee3bd47ced792e
";

    #[test]
    fn plan_has_count_download_and_space() {
        assert_eq!(
            parse_plan(SUMMARY),
            Some(Plan { count: 3, download: "0 B/281 kB".to_owned(), space: "1271 kB".to_owned() })
        );
        let nothing =
            parse_plan("0 upgraded, 0 newly installed, 0 to remove and 132 not upgraded.\n").unwrap();
        assert_eq!((nothing.count, nothing.download.as_str(), nothing.space.as_str()), (0, "nothing", ""));
        assert_eq!(parse_plan("Reading package lists...\n"), None);
    }

    #[test]
    fn only_packages_with_a_candidate_are_offered() {
        assert_eq!(parse_policy(POLICY).into_iter().collect::<Vec<_>>(), ["libclang1-15"]);
    }

    #[test]
    fn installation_asks_nothing_and_waits_for_the_lock() {
        let argv = install_argv(Rights::Sudo, &["cpio".to_owned()]).join(" ");
        assert_eq!(
            argv,
            "sudo -n env LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 \
             -o Acquire::Retries=3 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
             install --yes --no-remove --no-install-recommends cpio"
        );
        assert!(install_argv(Rights::Root, &[]).join(" ").starts_with("env LC_ALL=C DEBIAN_FRONTEND"));
        assert!(update_argv(Rights::SudoAsks).join(" ").starts_with("sudo env LC_ALL=C"));
    }

    #[test]
    fn question_changes_nothing() {
        let argv = ask_argv(&["cpio".to_owned()]).join(" ");
        assert_eq!(argv, "apt-get install --print-uris --no-remove --no-install-recommends cpio");
    }

    #[test]
    fn packages_are_named_once_and_in_order() {
        let cures = [
            Cure::Package("b"),
            Cure::Libclang,
            Cure::Package("a"),
            Cure::Package("b"),
            Cure::Component("clippy"),
        ];
        assert_eq!(packages(&cures, Some("libclang1-14")), ["b", "libclang1-14", "a"]);
        assert_eq!(packages(&cures, None), ["b", "a"]);
        assert_eq!(components(&cures), ["clippy"]);
    }

    #[test]
    fn host_without_apt_names_packages_and_other_ways() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path(), OsStr::new(""));
        let text = install(&host, &[Cure::Package("cpio"), Cure::Libclang]).unwrap_err().to_string();
        assert!(text.starts_with("no apt on this host to install cpio libclang1-14"), "{text}");
        assert!(text.contains("Multipass") && text.contains("SSH"), "{text}");
        let no_rustup = install(&host, &[Cure::Component("clippy")]).unwrap_err().to_string();
        assert!(no_rustup.contains("no rustup on this host") && no_rustup.contains("clippy"), "{no_rustup}");
    }

    #[test]
    fn apt_without_a_usable_libclang_leads_to_pythons() {
        let root = tempfile::tempdir().unwrap();
        for program in ["apt-get", "apt-cache"] {
            let path = root.path().join(program);
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let host = Host::new(root.path(), root.path().as_os_str());
        let fresh = commands(&host, &[Cure::Libclang]).join("\n");
        assert!(fresh.contains("apt-get update && ") && fresh.contains("libclang1-14"), "{fresh}");
        let lists = root.path().join("var/lib/apt/lists");
        fs::create_dir_all(&lists).unwrap();
        fs::write(lists.join("archive.example_main_binary-amd64_Packages"), "").unwrap();
        let known = commands(&host, &[Cure::Libclang, Cure::Package("cpio")]).join("\n");
        assert!(known.contains("libclang==14.0.6") && known.contains("LIBCLANG_PATH="), "{known}");
        assert!(known.contains("apt-get install --no-install-recommends cpio\n"), "{known}");
    }

    #[test]
    fn libclang_comes_from_apt_else_from_python_else_from_nowhere() {
        let root = tempfile::tempdir().unwrap();
        let lists = root.path().join("var/lib/apt/lists");
        let host = Host::new(root.path(), root.path().as_os_str());
        let best = Source::Package("libclang1-14".to_owned());
        assert_eq!(Source::of(&host, &BTreeSet::new()), best, "no lists yet");
        fs::create_dir_all(&lists).unwrap();
        fs::write(lists.join("archive.example_main_binary-amd64_Packages"), "").unwrap();
        let offered = BTreeSet::from(["libclang1-15".to_owned()]);
        assert_eq!(Source::of(&host, &offered), Source::Package("libclang1-15".to_owned()));
        assert_eq!(Source::of(&host, &BTreeSet::new()), Source::Nowhere, "no cache");
        if wheel::fits() {
            let host = host.with_cache(root.path());
            assert_eq!(Source::of(&host, &BTreeSet::new()).package(), Some("python3-pip"));
            let python = root.path().join("python3");
            fs::write(&python, "#!/bin/sh\n").unwrap();
            fs::set_permissions(python, fs::Permissions::from_mode(0o755)).unwrap();
            assert_eq!(Source::of(&host, &BTreeSet::new()), Source::Wheel);
        }
    }

    #[test]
    fn locked_and_stale_are_told_apart() {
        let output =
            |stderr: &str| Output { code: Some(100), stdout: String::new(), stderr: stderr.to_owned() };
        let locked =
            output("E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt-get)");
        assert!(is_locked(&locked) && !is_stale(&locked));
        let stale = output("E: Failed to fetch http://archive.example/x.deb  404  Not Found");
        assert!(is_stale(&stale) && !is_locked(&stale));
    }
}
