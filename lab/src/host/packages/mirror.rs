//! Source of Debian packages: a mirror's address, found on this host.
//!
//! In this order: `$RDMA_LAB_DEBIAN_MIRROR`; the host's own apt sources where the host is a Debian; the
//! default of the host's `debootstrap`, which other distributions package too. Reads files, runs nothing.

use std::fs;
use std::path::Path;

use crate::base::error::{Error, Result};

/// The variable that names a mirror.
pub const VARIABLE: &str = "RDMA_LAB_DEBIAN_MIRROR";

/// The address of a Debian mirror.
///
/// # Errors
///
/// None is named anywhere: with the variable that names one.
pub fn find() -> Result<String> {
    if let Ok(mirror) = std::env::var(VARIABLE)
        && !mirror.is_empty()
    {
        return Ok(mirror);
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if let Some(codename) = debian_codename(&release)
        && let Some(mirror) = host_sources().iter().find_map(|text| mirror_of(text, &codename))
    {
        return Ok(mirror);
    }
    let debootstrap = fs::read_to_string("/usr/sbin/debootstrap").unwrap_or_default();
    debootstrap_default(&debootstrap).ok_or_else(|| {
        Error::setup("no Debian mirror is known on this host")
            .next("name one: RDMA_LAB_DEBIAN_MIRROR=http://…/debian (file:// works too)")
    })
}

/// The code name of the host's release where the host is a Debian.
fn debian_codename(os_release: &str) -> Option<String> {
    let value = |key: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
    };
    (value("ID")? == "debian").then(|| value("VERSION_CODENAME"))?
}

/// The texts of the host's source lists.
fn host_sources() -> Vec<String> {
    let directory = Path::new("/etc/apt/sources.list.d");
    let mut paths: Vec<_> = fs::read_dir(directory)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    paths.sort();
    paths.insert(0, "/etc/apt/sources.list".into());
    paths.iter().filter_map(|path| fs::read_to_string(path).ok()).collect()
}

/// The first address that serves the release `codename` itself, in either of apt's two formats.
fn mirror_of(sources: &str, codename: &str) -> Option<String> {
    one_line_format(sources, codename).or_else(|| deb822_format(sources, codename))
}

/// `deb [options] ADDRESS SUITE COMPONENT…`
fn one_line_format(sources: &str, codename: &str) -> Option<String> {
    sources.lines().find_map(|line| {
        let line = line.trim().strip_prefix("deb ")?.trim_start();
        let line = match line.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => line,
        };
        let mut words = line.split_whitespace();
        let (address, suite) = (words.next()?, words.next()?);
        (suite == codename && words.any(|component| component == "main")).then(|| address.to_owned())
    })
}

/// Stanzas of `Field: values`, separated by blank lines.
fn deb822_format(sources: &str, codename: &str) -> Option<String> {
    let lines: Vec<&str> = sources.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).find_map(|stanza| {
        let field = |name: &str| {
            stanza.iter().find_map(|line| {
                let (key, values) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| values.split_whitespace())
            })
        };
        let serves = field("Types")?.any(|kind| kind == "deb")
            && field("Suites")?.any(|suite| suite == codename)
            && field("Components")?.any(|component| component == "main")
            && field("Enabled").and_then(|mut value| value.next()) != Some("no");
        serves.then(|| field("URIs")?.next().map(str::to_owned))?
    })
}

/// `DEF_MIRROR="ADDRESS"` in the script of debootstrap.
fn debootstrap_default(script: &str) -> Option<String> {
    let value = script.lines().find_map(|line| line.trim().strip_prefix("DEF_MIRROR="))?;
    let address = value.trim_matches(['"', '\'']);
    (address.starts_with("http") && address.ends_with("/debian")).then(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_sources_give_the_release_itself() {
        let sources = "# comment\n\
            deb http://security.example/debian-security bookworm-security main\n\
            deb-src http://src.example/debian bookworm main\n\
            deb [signed-by=/x arch=amd64] http://mirror.example/debian bookworm main contrib\n";
        assert_eq!(mirror_of(sources, "bookworm").as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(mirror_of(sources, "trixie"), None);
    }

    #[test]
    fn deb822_sources_give_the_release_itself() {
        let sources = "Types: deb\nURIs: http://security.example/debian-security\n\
            Suites: trixie-security\nComponents: main\n\n\
            Types: deb\n# a comment\nURIs: http://mirror.example/debian\n\
            Suites: trixie trixie-updates\nComponents: main\n";
        assert_eq!(mirror_of(sources, "trixie").as_deref(), Some("http://mirror.example/debian"));
    }

    #[test]
    fn foreign_suites_are_no_mirror() {
        assert_eq!(mirror_of("deb https://other.example/node nodistro main\n", "bookworm"), None);
    }

    #[test]
    fn only_a_debian_has_a_debian_codename() {
        assert_eq!(debian_codename("ID=debian\nVERSION_CODENAME=trixie\n").as_deref(), Some("trixie"));
        assert_eq!(debian_codename("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n"), None);
    }

    #[test]
    fn debootstrap_names_its_default() {
        let script = "USE_COMPONENTS=main\nDEF_MIRROR=\"http://mirror.example/debian\"\n";
        assert_eq!(debootstrap_default(script).as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(debootstrap_default("DEF_MIRROR=$X\n"), None);
    }
}
