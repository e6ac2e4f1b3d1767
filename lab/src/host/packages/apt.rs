//! apt with a private state: resolves and downloads packages of any release on any host that has apt,
//! without root and without touching the host's lists.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::command::Command;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::names::nearest;
use crate::host::packages::archive::{ARCHITECTURE, Archive, EXPIRED, Package};
use crate::host::packages::keys;

const UPDATE_LIMIT: Duration = Duration::from_secs(180);
const QUERY_LIMIT: Duration = Duration::from_secs(60);
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(900);

/// apt's state in a directory of ours, for one mirror.
#[derive(Debug)]
pub struct Apt {
    directory: PathBuf,
    release: String,
}

impl Apt {
    /// Makes a state in `directory` (which exists) and fetches the lists of `release`; expired ones are taken if that is said.
    ///
    /// # Errors
    ///
    /// apt is missing, the mirror does not answer, or its signature is not the archive's.
    pub fn open(directory: &Path, mirror: &str, release: &str, takes_expired: bool) -> Result<Apt> {
        for part in ["state/lists/partial", "cache/archives/partial", "dpkg"] {
            let path = directory.join(part);
            fs::create_dir_all(&path).at("failed to create", &path)?;
        }
        let trusted = directory.join("trusted");
        fs::create_dir_all(&trusted).at("failed to create", &trusted)?;
        for (name, armored) in keys::ARCHIVE {
            let path = trusted.join(name);
            fs::write(&path, armored).at("failed to write", &path)?;
        }
        let sources = format!("deb {mirror} {release} main\n");
        let path = directory.join("sources.list");
        fs::write(&path, sources).at("failed to write", &path)?;
        // An empty system.
        let path = directory.join("dpkg/status");
        fs::write(&path, "").at("failed to write", &path)?;
        let path = directory.join("apt.conf");
        fs::write(&path, configuration(directory, takes_expired)).at("failed to write", &path)?;
        let apt = Apt { directory: directory.to_owned(), release: release.to_owned() };
        apt.command(["apt-get", "update", "-qq"]).run(UPDATE_LIMIT).map_err(|error| {
            let next = next_of(&error.to_string());
            Error::setup(format!("failed to fetch the package lists of {release} from {mirror}"))
                .source(error)
                .next(next)
        })?;
        Ok(apt)
    }

    /// True if this host has an apt that runs.
    pub fn is_here() -> bool {
        ["apt-get", "apt-cache"].iter().all(|program| {
            Command::new([*program, "--version"])
                .output(QUERY_LIMIT)
                .is_ok_and(|output| output.code == Some(0))
        })
    }

    /// Remark on the first of these packages that the release has not.
    fn unknown(&self, packages: &[&str]) -> Result<Option<Error>> {
        let known = self.command(["apt-cache", "pkgnames"]).run(QUERY_LIMIT)?.stdout;
        Ok(no_such(packages, &known).map(|(name, near)| {
            let error = Error::setup(format!("{} has no package {name}", self.release));
            match near {
                Some(near) => error.next(format!("the nearest is {near}")),
                None => error,
            }
        }))
    }

    fn command<const N: usize>(&self, argv: [&str; N]) -> Command {
        Command::new(argv)
            .env("APT_CONFIG", self.directory.join("apt.conf"))
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C")
    }
}

impl Archive for Apt {
    fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let output = self.command(["apt-cache", "depends", package]).run(QUERY_LIMIT)?;
        if output.stdout.trim().is_empty() {
            return Err(Error::setup(format!("the release {} has no package {package}", self.release)));
        }
        Ok(depends(&output.stdout))
    }

    fn resolve(&self, packages: &[&str]) -> Result<Vec<Package>> {
        let command = self.command(["apt-get", "install", "--print-uris", "-qq", "-y"]).args(packages);
        match command.run(QUERY_LIMIT) {
            Ok(output) => Ok(uris(&output.stdout)),
            Err(error) => Err(self.unknown(packages)?.unwrap_or(error)),
        }
    }

    fn look_up(&self, packages: &[&str]) -> Result<Vec<Package>> {
        let output =
            self.command(["apt-get", "download", "--print-uris", "-qq"]).args(packages).run(QUERY_LIMIT)?;
        Ok(uris(&output.stdout))
    }

    fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let files = self.resolve(packages)?;
        self.command(["apt-get", "install", "--download-only", "-qq", "-y"])
            .args(packages)
            .run(DOWNLOAD_LIMIT)?;
        let archives = self.directory.join("cache/archives");
        Ok(files.into_iter().map(|package| archives.join(package.file)).collect())
    }

    fn download_only(&self, packages: &[&str], directory: &Path) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(directory).at("failed to create", directory)?;
        self.command(["apt-get", "download", "-qq"])
            .args(packages)
            .directory(directory)
            .run(DOWNLOAD_LIMIT)?;
        let entries = fs::read_dir(directory).at("failed to list", directory)?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        Ok(files)
    }
}

/// The next step of who has no lists, by apt's own words.
fn next_of(error: &str) -> String {
    let other = "name another mirror with RDMA_LAB_DEBIAN_MIRROR";
    match error.contains("is expired") {
        true => format!(
            "the mirror's lists are no longer valid: {other}; if it is a snapshot, {EXPIRED}=1 takes it as it is"
        ),
        false => format!("check the network, or {other}"),
    }
}

/// A configuration that reads nothing of the host's, and knows no installed package.
fn configuration(directory: &Path, takes_expired: bool) -> String {
    let directory = directory.display();
    let validity = if takes_expired { "Acquire::Check-Valid-Until \"false\";\n" } else { "" };
    format!(
        "Dir \"{directory}\";\n\
         Dir::State \"state\";\n\
         Dir::State::status \"{directory}/dpkg/status\";\n\
         Dir::Cache \"cache\";\n\
         Dir::Etc \"{directory}\";\n\
         Dir::Etc::sourcelist \"{directory}/sources.list\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::parts \"/dev/null\";\n\
         Dir::Etc::preferencesparts \"/dev/null\";\n\
         Dir::Etc::trusted \"/dev/null\";\n\
         Dir::Etc::trustedparts \"{directory}/trusted\";\n\
         APT::Architecture \"{ARCHITECTURE}\";\n\
         APT::Architectures {{ \"{ARCHITECTURE}\"; }};\n\
         APT::Install-Recommends \"false\";\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         APT::Update::Error-Mode \"any\";\n\
         Acquire::Retries \"3\";\n\
         {validity}"
    )
}

/// The first of these names that is not among the `known` ones, a line each, and the one that is nearest.
fn no_such<'a>(names: &[&'a str], known: &'a str) -> Option<(&'a str, Option<&'a str>)> {
    let all: HashSet<&str> = known.lines().collect();
    let name = names.iter().find(|name| !all.contains(**name))?;
    Some((name, nearest(name, known.lines())))
}

/// The names in the lines `  Depends: NAME` of `apt-cache depends`. A line that begins with `|` is an alternative to the
/// next one, and `<NAME>` is virtual.
fn depends(output: &str) -> Vec<String> {
    let names = output.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.filter(|name| !name.starts_with('<')).map(str::to_owned).collect()
}

/// The lines `'ADDRESS' FILE SIZE HASH` of `--print-uris`.
fn uris(output: &str) -> Vec<Package> {
    output
        .lines()
        .filter(|line| line.starts_with('\''))
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            Some(Package { file: words.next()?.to_owned(), size_bytes: words.next()?.parse().ok()? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn print_uris_gives_files_and_sizes() {
        let output = "Reading lists...\n\
            'http://mirror.example/p/tcpdump_4.99.3-1_amd64.deb' tcpdump_4.99.3-1_amd64.deb 466880 MD5Sum:0\n";
        assert_eq!(
            uris(output),
            [Package { file: "tcpdump_4.99.3-1_amd64.deb".to_owned(), size_bytes: 466_880 }]
        );
    }

    #[test]
    fn package_that_is_none_is_told_with_the_nearest() {
        let known = "perl\nqperf\nfio\n";
        assert_eq!(no_such(&["fio", "qprf"], known), Some(("qprf", Some("qperf"))));
        assert_eq!(no_such(&["zzzzzz"], known), Some(("zzzzzz", None)));
        assert_eq!(no_such(&["fio"], known), None);
    }

    #[test]
    fn dependencies_are_named_in_order_without_virtual_ones() {
        let output = "linux-image-7.3.4-amd64\n  PreDepends: linux-base\n |Depends: <dracut>\n  Depends: <initramfs>\n  \
            Depends: linux-binary-7.3.4-amd64\n  Depends: linux-modules-7.3.4-amd64\n  Suggests: grub\n";
        assert_eq!(depends(output), ["linux-binary-7.3.4-amd64", "linux-modules-7.3.4-amd64"]);
    }

    #[test]
    fn configuration_reads_nothing_of_the_host() {
        let text = configuration(Path::new("/c/apt"), false);
        // apt's locks lie beside it: in /dev an ordinary user could not take them.
        assert!(text.contains("Dir::State::status \"/c/apt/dpkg/status\";"));
        assert!(!text.contains("/etc/apt") && !text.contains("/var/lib"));
        // Else `apt-get update` ends well without a network.
        assert!(text.contains("APT::Update::Error-Mode \"any\";"));
    }

    #[test]
    fn expired_lists_are_taken_only_where_that_is_said_and_the_way_is_named() {
        let says = |takes| configuration(Path::new("/c"), takes).contains("Check-Valid-Until \"false\"");
        assert!(says(true) && !says(false));
        let error =
            "E: Release file for http://m.example/dists/sid/InRelease is expired (invalid since 23d).";
        assert!(next_of(error).contains("RDMA_LAB_EXPIRED_LISTS=1"));
        assert!(next_of("Temporary failure resolving").starts_with("check the network"));
    }
}
