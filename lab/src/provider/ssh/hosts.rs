//! The hosts file: two hosts, and what the lab may do there.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::names::nearest_key;
use crate::base::role::Role;
use crate::scenario::differences::Differences;
use crate::scenario::network::Wire;

/// The least that a hosts file has, for people.
pub const EXAMPLE: &str = "\
    write [server] and [client], each with where ssh finds it and its address on the RDMA network:\n\
    [server]\n\
    ssh = \"user@192.0.2.10\"\n\
    address = \"198.51.100.10\"\n\
    setup_rxe = true  # if SoftRoCE is to be made there";

/// Both hosts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hosts {
    /// The passive side.
    pub server: SshHost,
    /// The active side.
    pub client: SshHost,
    /// Recording of the wire.
    #[serde(default)]
    pub capture: SshCapture,
    /// Declared differences of these hosts from those that snapshots were taken on.
    #[serde(default)]
    pub differences: Differences,
}

/// One host.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshHost {
    /// Its destination, as for `ssh`: `user@host`, or a name from the user's `~/.ssh/config`.
    pub ssh: String,
    /// The port of its SSH server, if not what ssh takes.
    pub port: Option<u16>,
    /// The private key to use, and no other.
    pub identity: Option<PathBuf>,
    /// A configuration file for ssh, in place of the user's.
    pub config: Option<PathBuf>,
    /// Its address on the RDMA network.
    pub address: IpAddr,
    /// Its RDMA device; without one, that on the interface which reaches the peer.
    pub device: Option<String>,
    /// Change that interface: make a SoftRoCE device on it, remade before each scenario with the MTU that it asks
    /// for, and let `tc netem` make a scenario's faults on what it sends.
    #[serde(default)]
    pub setup_rxe: bool,
    /// Install packages that are missing, through apt, and write the nodes' names into `/etc/hosts`.
    #[serde(default)]
    pub install: bool,
}

/// Recording of the wire.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshCapture {
    /// The interface that tcpdump on the server listens on; without one, the RDMA device's network interface.
    ///
    /// A network card that offloads RDMA hides it from its interface: name the RDMA device itself then, which
    /// libpcap 1.9 and later, built with RDMA support, can listen on for mlx5 devices.
    pub interface: Option<String>,
    /// The file on this computer to which something else writes what a mirror port shows, or a directory of such
    /// files; instead of tcpdump on the server.
    pub mirror: Option<PathBuf>,
}

impl Hosts {
    /// Reads the file; relative paths in it start at its directory, and `~` is the user's home.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no hosts file: with the place.
    pub fn read(path: &Path) -> Result<Hosts> {
        let text = fs::read_to_string(path)
            .at("failed to read the hosts file", path)
            .map_err(|error| error.kind_is(crate::base::error::Kind::Usage))?;
        let mut hosts: Hosts = toml::from_str(&text).map_err(|error| {
            let wrong =
                Error::usage(format!("{} is no hosts file", path.display())).detail(error.to_string());
            match nearest_key(error.message()) {
                Some(nearest) => wrong.next(nearest),
                None => wrong.next(EXAMPLE),
            }
        })?;
        let directory = path.parent().unwrap_or(Path::new("."));
        for host in [&mut hosts.server, &mut hosts.client] {
            for file in [&mut host.identity, &mut host.config].into_iter().flatten() {
                *file = resolved(directory, file);
                if !file.is_file() {
                    return Err(Error::usage(format!(
                        "{}: no file is called {}",
                        path.display(),
                        file.display()
                    ))
                    .next(format!("correct the entry of {}", host.ssh)));
                }
            }
        }
        if let Some(mirror) = &mut hosts.capture.mirror {
            *mirror = resolved(directory, mirror);
            if hosts.capture.interface.is_some() {
                return Err(Error::usage(format!(
                    "{}: [capture] names an interface and a mirror's file",
                    path.display()
                ))
                .next("name one of both: tcpdump on the server listens on an interface, and not where there is a file"));
            }
        }
        for (key, host) in [("server", &hosts.server), ("client", &hosts.client)] {
            // An option of ssh is no destination.
            if host.ssh.is_empty() || host.ssh.starts_with('-') || host.ssh.contains(char::is_whitespace) {
                return Err(Error::usage(format!(
                    "{}: {key}.ssh = {:?} is no destination",
                    path.display(),
                    host.ssh
                ))
                .next("write user@host, or a name from ~/.ssh/config"));
            }
        }
        if hosts.server.address == hosts.client.address {
            return Err(Error::usage(format!(
                "{}: both hosts have the address {}",
                path.display(),
                hosts.server.address
            ))
            .next("name two hosts: SoftRoCE takes a packet to itself for loopback, which no capture sees"));
        }
        Ok(hosts)
    }

    /// The part between them that can act on packets: netem, where the lab may change a host's network.
    pub fn wire(&self) -> Wire {
        Wire::Netem { on: Role::BOTH.into_iter().filter(|role| self.host(*role).setup_rxe).collect() }
    }

    /// One of both.
    pub fn host(&self, role: Role) -> &SshHost {
        if role.is_client() { &self.client } else { &self.server }
    }
}

fn resolved(directory: &Path, file: &Path) -> PathBuf {
    match (file.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => directory.join(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Hosts> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts.toml");
        fs::write(directory.path().join("key"), "").unwrap();
        fs::write(&path, text).unwrap();
        Hosts::read(&path)
    }

    const GOOD: &str = "[server]\nssh = \"ubuntu@a\"\naddress = \"192.0.2.1\"\nidentity = \"key\"\n\
        [client]\nssh = \"b\"\nport = 2222\naddress = \"192.0.2.2\"\nsetup_rxe = true\n";

    #[test]
    fn nothing_is_done_to_a_host_that_is_not_asked_for() {
        let hosts = read(GOOD).unwrap();
        assert!(!hosts.server.setup_rxe && !hosts.server.install && hosts.client.setup_rxe);
        assert!(hosts.server.identity.unwrap().ends_with("key"));
        assert_eq!(hosts.client.port, Some(2222));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, names) in [
            ("setup_rxe", "setup_rex", "the nearest is `setup_rxe`"),
            ("[client]", "[differences]\nack_coalesing = true\n[client]", "the nearest is `ack_coalescing`"),
            ("[client]", "[differences]\nack_timeout = 300\n[client]", "expected u8"),
            ("192.0.2.2", "192.0.2.1", "both hosts have the address 192.0.2.1"),
            ("\"key\"", "\"no-key\"", "no-key"),
            ("192.0.2.2", "b", "invalid IP address"),
            ("\"b\"", "\"-oProxyCommand=x\"", "is no destination"),
            (
                "[client]",
                "[capture]\ninterface = \"a\"\nmirror = \"b\"\n[client]",
                "an interface and a mirror's file",
            ),
            ("[client]", "[capture]\nmiror = \"b\"\n[client]", "the nearest is `mirror`"),
            ("[client]", "[cleint]", "unknown field `cleint`"),
        ] {
            let text = read(&GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(text.contains(names), "{text}");
        }
    }
}
