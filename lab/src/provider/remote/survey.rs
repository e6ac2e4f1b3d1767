//! Survey of a machine: asked in one go and read from what it printed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use crate::guest::contents;

/// Tools that the lab needs on a machine, and the Debian package of each.
const TOOLS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("rdma", "iproute2"),
    ("ibv_devinfo", "ibverbs-utils"),
    ("rping", "rdmacm-utils"),
    ("tcpdump", "tcpdump"),
    ("ping", "iputils-ping"),
    ("modprobe", "kmod"),
];

/// The package of rxe's provider in user space, without which a program sees no device.
const LIBRXE: &str = "ibverbs-providers";

/// A machine's answers to [`script`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub architecture: String,
    /// Its release, as in "Ubuntu 24.04.3 LTS".
    pub release: String,
    /// The version of its rdma-core, as its libibverbs has it; empty where none is found.
    pub rdma_core: String,
    /// Its glibc's version; empty where it has another library.
    pub glibc: String,
    /// True if systemd runs it.
    pub has_systemd: bool,
    /// Packages of tools that it lacks.
    pub missing: Vec<&'static str>,
    /// The interface and the own address by which it reaches its peer.
    pub route: Option<(String, IpAddr)>,
    /// MAC and MTU of each interface.
    pub interfaces: BTreeMap<String, (String, u32)>,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Every RDMA device, with the interface under it, if there is one.
    pub devices: BTreeMap<String, String>,
    /// Devices of SoftRoCE.
    pub soft: Vec<String>,
}

/// The script that looks, for a machine whose peer has `peer`.
pub fn script(peer: IpAddr) -> String {
    let tools: Vec<&str> = TOOLS.iter().map(|(tool, _)| *tool).collect();
    format!(
        "export PATH=$PATH:/usr/sbin:/sbin
echo kernel=$(uname -r)
echo architecture=$(uname -m)
echo \"release=$(. /etc/os-release 2>/dev/null; echo \"$PRETTY_NAME\")\"
echo glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d ' ' -f 2)
for path in /usr/lib/*/libibverbs.so.1 /usr/lib64/libibverbs.so.1; do [ -e $path ] && echo verbs=$(readlink -f $path); done
[ -d /run/systemd/system ] && command -v systemd-run >/dev/null && echo systemd=yes
for tool in {}; do command -v $tool >/dev/null || echo missing=$tool; done
ls /usr/lib/*/libibverbs/librxe-rdmav*.so >/dev/null 2>&1 || echo missing=librxe
echo route=$(ip -j route get {peer} 2>/dev/null)
for path in /sys/class/net/*; do echo \"interface=${{path##*/}} $(cat $path/address) $(cat $path/mtu)\"; done 2>/dev/null
ip -o address show 2>/dev/null | while read -r _ _ _ address _; do echo address=$address; done
for path in /sys/class/infiniband/*; do [ -e $path ] && echo device=${{path##*/}}; [ -e $path/parent ] && echo soft=${{path##*/}}; done
rdma link show 2>/dev/null | while read -r line; do echo \"link=$line\"; done
true",
        tools.join(" ")
    )
}

#[derive(Deserialize)]
struct Route {
    dev: String,
    prefsrc: IpAddr,
}

/// Reads what [`script`] printed; what is not understood is left out.
pub fn parse(text: &str) -> Survey {
    let mut survey = Survey::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        match key {
            "kernel" => value.clone_into(&mut survey.kernel),
            "architecture" => value.clone_into(&mut survey.architecture),
            "release" => value.clone_into(&mut survey.release),
            "glibc" => value.clone_into(&mut survey.glibc),
            "verbs" => contents::rdma_core(value).unwrap_or_default().clone_into(&mut survey.rdma_core),
            "systemd" => survey.has_systemd = true,
            "missing" => {
                let package = TOOLS.iter().find(|(tool, _)| *tool == value);
                survey.missing.push(package.map_or(LIBRXE, |(_, package)| package));
            }
            "route" => survey.route = route(value),
            "interface" => {
                let mut words = value.split(' ');
                if let (Some(name), Some(mac), Some(Ok(mtu))) =
                    (words.next(), words.next(), words.next().map(str::parse))
                {
                    survey.interfaces.insert(name.to_owned(), (mac.to_owned(), mtu));
                }
            }
            "address" => {
                survey.addresses.extend(value.split('/').next().and_then(|text| text.parse::<IpAddr>().ok()));
            }
            "device" => {
                survey.devices.entry(value.to_owned()).or_default();
            }
            "soft" => survey.soft.push(value.to_owned()),
            "link" => survey.devices.extend(link(value)),
            _ => {}
        }
    }
    survey.missing.sort_unstable();
    survey.missing.dedup();
    survey
}

/// `ip -j route get`'s one element.
fn route(json: &str) -> Option<(String, IpAddr)> {
    let routes: Vec<Route> = serde_json::from_str(json).ok()?;
    routes.into_iter().next().map(|route| (route.dev, route.prefsrc))
}

/// `link rxe0/1 state ACTIVE physical_state LINK_UP netdev ens3`.
fn link(line: &str) -> Option<(String, String)> {
    let mut words = line.split_whitespace();
    let (device, _port) = words.by_ref().nth(1)?.split_once('/')?;
    let netdev = words.skip_while(|word| *word != "netdev").nth(1).unwrap_or_default();
    Some((device.to_owned(), netdev.to_owned()))
}

impl Survey {
    /// The device on an interface.
    pub fn device_on(&self, interface: &str) -> Option<&str> {
        self.devices.iter().find(|(_, on)| *on == interface).map(|(device, _)| device.as_str())
    }

    /// Its devices, for people.
    pub fn devices_text(&self) -> String {
        let each = self.devices.iter().map(|(device, interface)| match interface.as_str() {
            "" => device.clone(),
            interface => format!("{device} (on {interface})"),
        });
        let all: Vec<String> = each.collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = r#"kernel=6.8.0-60-generic
architecture=x86_64
release=Ubuntu 24.04.2 LTS
glibc=2.39
verbs=/usr/lib/x86_64-linux-gnu/libibverbs.so.1.14.50.0
systemd=yes
missing=rdma
missing=ip
missing=librxe
route=[{"dst":"10.1.2.4","dev":"ens3","prefsrc":"10.1.2.3","flags":[],"uid":0,"cache":[]}]
interface=lo 00:00:00:00:00:00 65536
interface=ens3 52:54:00:aa:bb:cc 1500
address=127.0.0.1/8
address=10.1.2.3/24
address=fe80::5054:ff:feaa:bbcc/64
device=mlx5_0
device=rxe0
soft=rxe0
link=link mlx5_0/1 state DOWN physical_state DISABLED
link=link rxe0/1 state ACTIVE physical_state LINK_UP netdev ens3
"#;

    #[test]
    fn survey_is_read() {
        let survey = parse(PRINTED);
        assert_eq!(survey.route, Some(("ens3".to_owned(), "10.1.2.3".parse().unwrap())));
        assert_eq!(survey.interfaces["ens3"], ("52:54:00:aa:bb:cc".to_owned(), 1500));
        assert_eq!(survey.missing, [LIBRXE, "iproute2"]);
        assert_eq!(survey.rdma_core, "50.0");
        assert_eq!(survey.device_on("ens3"), Some("rxe0"));
        assert_eq!(survey.devices_text(), "mlx5_0, rxe0 (on ens3)");
        assert_eq!(survey.addresses.len(), 3);
        assert!(survey.has_systemd && survey.soft == ["rxe0"]);
    }

    #[test]
    fn machine_that_says_nothing_has_nothing() {
        assert_eq!(parse(""), Survey::default());
        assert_eq!(parse("route=\n").route, None);
        assert_eq!(parse("").devices_text(), "none");
    }
}
