//! Preparation of a machine before anything runs there: looked for first, brought where its owner lets the lab.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::base::error::{Error, Result};
use crate::base::role::Role;
use crate::provider::remote::job::ENDED;
use crate::provider::remote::machine::{DIRECTORY, Machine, SHORT};
use crate::provider::remote::survey::{self, Survey};

/// Longest time that packages may take.
const INSTALL: Duration = Duration::from_secs(1200);

/// Loads modules. Up to Ubuntu 24.04 SoftRoCE and netem are in a package of their own, later with the kernel; an
/// image whose kernel the archive no longer has gets none.
const LOAD: &str = "export PATH=$PATH:/usr/sbin:/sbin DEBIAN_FRONTEND=noninteractive
for module in MODULES; do
    modprobe $module 2>/dev/null && continue
    [ INSTALL = yes ] && apt-get update -q && apt-get install -q -y linux-modules-extra-$(uname -r)
    modprobe $module || { echo missing=$module; exit 1; }
done";

/// Prepares a machine whose peer has the address `peer`, and finds its device and interface.
///
/// # Errors
///
/// It lacks something that the lab may not bring or cannot; a device or an address was named that it has not.
pub fn prepare(machine: &mut Machine, peer: IpAddr) -> Result<Survey> {
    let (title, setting) = (machine.title(), machine.setting.clone());
    let look = |machine: &Machine| -> Result<Survey> {
        Ok(survey::parse(&machine.demand("it can be looked at", &survey::script(peer), SHORT)?))
    };
    let mut survey = look(machine)?;
    if !survey.has_systemd {
        return Err(Error::setup(format!("{title}: systemd does not run it, or `systemd-run` is missing"))
            .next("use a machine with systemd: programs run as its units"));
    }
    if !survey.missing.is_empty() {
        install(machine, &survey.missing)?;
        survey = look(machine)?;
    }
    let own = setting.address;
    if !survey.addresses.contains(&own) {
        let has: Vec<String> = survey.addresses.iter().map(ToString::to_string).collect();
        return Err(Error::setup(format!(
            "{title}: its address on the RDMA network is said to be {own}, which it has not"
        ))
        .detail(format!("it has {}", has.join(", ")))
        .next("correct `address`"));
    }
    let Some((interface, source)) = survey.route.clone() else {
        return Err(Error::setup(format!("{title}: it has no route to its peer {peer}"))
            .next("look at `ip route` there"));
    };
    if source != own {
        return Err(Error::setup(format!(
            "{title}: it reaches its peer {peer} from {source} on {interface}, not from {own}"
        ))
        .next("name the addresses of both machines on the same network"));
    }
    if let Some(device) = &setting.device {
        let Some(on) = survey.devices.get(device) else {
            return Err(Error::setup(format!("{title}: it has no RDMA device {device}"))
                .detail(format!("RDMA devices there: {}", survey.devices_text()))
                .next("correct `device`, or let the lab make one: setup_rxe = true"));
        };
        machine.interface = if on.is_empty() { interface } else { on.clone() };
        machine.device.clone_from(device);
    } else if let Some(device) = survey.device_on(&interface) {
        device.clone_into(&mut machine.device);
        machine.interface = interface;
    } else if setting.setup_rxe {
        load(machine, &survey, &["rdma_rxe", "rdma_ucm", "ib_uverbs"])?;
        // A name that another interface's device has is not ours to take.
        let mut names = (0..).map(|number| format!("rxe{number}"));
        machine.device = names.find(|name| !survey.devices.contains_key(name)).unwrap_or_default();
        machine.interface = interface;
    } else {
        return Err(Error::setup(format!(
            "{title}: no RDMA device is on {interface}, which reaches its peer"
        ))
        .detail(format!("RDMA devices there: {}", survey.devices_text()))
        .next("name one with `device`, or let the lab make one of SoftRoCE: setup_rxe = true"));
    }
    if setting.setup_rxe
        && survey.devices.contains_key(&machine.device)
        && !survey.soft.contains(&machine.device)
    {
        return Err(Error::setup(format!(
            "{title}: setup_rxe is set, and {} is no SoftRoCE device",
            machine.device
        ))
        .next("leave out setup_rxe to use it as it is"));
    }
    arrange(machine)?;
    Ok(survey)
}

/// Checks what only both machines together show.
///
/// # Errors
///
/// They share a MAC, or do not reach each other.
pub fn check_apart(machines: &BTreeMap<Role, Machine>, surveys: &BTreeMap<Role, Survey>) -> Result<()> {
    let [server, client] = Role::BOTH.map(|role| &machines[&role]);
    let mac = |machine: &Machine| {
        surveys[&machine.role].interfaces.get(&machine.interface).map(|(mac, _)| mac.clone())
    };
    if let (Some(one), Some(other)) = (mac(server), mac(client))
        && one == other
        // An interface below IP over InfiniBand has none.
        && one != "00:00:00:00:00:00"
    {
        return Err(Error::setup(format!(
            "both machines have the MAC {one}: {} of {} and {} of {}",
            server.interface,
            server.title(),
            client.interface,
            client.title()
        ))
        .next("give one of them another: one was copied from the other with its network card"));
    }
    let peer = server.setting.address;
    let output = client.run_root(&format!("ping -c 2 -i 0.3 -W 5 {peer}"), SHORT)?;
    if output.code == Some(0) {
        return Ok(());
    }
    Err(Error::setup(format!("{} does not reach {} by ping", client.title(), server.title()))
        .detail(crate::base::command::tail(&(output.stdout + &output.stderr), 4))
        .next("look for a firewall between them: ICMP and UDP port 4791 must pass both ways"))
}

/// Loads kernel modules.
///
/// # Errors
///
/// One is not there: which, with what to do about it.
pub fn load(machine: &Machine, survey: &Survey, modules: &[&str]) -> Result<()> {
    let may_install = if machine.setting.install { "yes" } else { "no" };
    let output = machine
        .run_root(&LOAD.replace("MODULES", &modules.join(" ")).replace("INSTALL", may_install), INSTALL)?;
    if output.code == Some(0) {
        return Ok(());
    }
    let missing = output.stdout.lines().find_map(|line| line.strip_prefix("missing="));
    let module = missing.map_or(modules.join(", "), str::to_owned);
    let kernel = &survey.kernel;
    let next = if is_unreachable(&output.stderr) {
        packages_next(&format!("linux-modules-extra-{kernel}"))
    } else if machine.setting.install {
        format!(
            "the archive may have dropped the modules of kernel {kernel}: there, `sudo apt-get install linux-image-generic`, restart it, and run this again"
        )
    } else {
        format!("there: sudo apt-get install linux-modules-extra-{kernel}, or a kernel that has {module}")
    };
    Err(Error::setup(format!("{}: module {module} cannot be loaded into kernel {kernel}", machine.title()))
        .detail(crate::base::command::tail(&(output.stdout + &output.stderr), 6))
        .next(next))
}

fn install(machine: &Machine, missing: &[&str]) -> Result<()> {
    let packages = missing.join(" ");
    if !machine.setting.install {
        return Err(Error::setup(format!("{}: packages are missing: {packages}", machine.title()))
            .next(format!("there: sudo apt-get install {packages}\nor let the lab do it: install = true")));
    }
    // A boot whose end was forced may have cut an installation short.
    let script = format!(
        "export DEBIAN_FRONTEND=noninteractive
         dpkg --configure -a; apt-get update -q && apt-get install -q -y --no-install-recommends {packages}"
    );
    let output = machine.run_root(&script, INSTALL)?;
    if output.code == Some(0) {
        return Ok(());
    }
    Err(Error::setup(format!("{}: packages cannot be installed: {packages}", machine.title()))
        .detail(crate::base::command::tail(&(output.stdout + &output.stderr), 6))
        .next(packages_next(&packages)))
}

/// Cure where packages cannot be had.
fn packages_next(packages: &str) -> String {
    format!(
        "there, by hand, to see more: sudo apt-get update && sudo apt-get install {packages}\n\
         without a network it needs one of these first: a route to its archive, a mirror in /etc/apt/sources.list.d,\n\
         or a proxy: echo 'Acquire::http::Proxy \"http://PROXY:PORT\";' | sudo tee /etc/apt/apt.conf.d/90proxy\n\
         then run this again, which goes on from where this stopped"
    )
}

/// True if apt said that its archive cannot be reached.
fn is_unreachable(stderr: &str) -> bool {
    ["Failed to fetch", "Could not resolve", "Temporary failure resolving", "Could not connect"]
        .iter()
        .any(|part| stderr.contains(part))
}

/// Makes the lab's directories, and lets the nodes' names resolve where that is the lab's to do.
fn arrange(machine: &Machine) -> Result<()> {
    let ended = BASE64_STANDARD.encode(ENDED);
    let script = format!(
        "mkdir -p {DIRECTORY} /opt/lab/bin /opt/lab/deployed && echo {ended} | base64 -d >{DIRECTORY}/ended"
    );
    machine.demand("the lab's directories can be made", &script, SHORT).map(drop)
}

/// Lets `server` and `client` resolve on a machine.
///
/// # Errors
///
/// `/etc/hosts` cannot be written there.
pub fn name(machine: &Machine, addresses: &BTreeMap<Role, IpAddr>) -> Result<()> {
    let lines: Vec<String> =
        addresses.iter().map(|(role, address)| format!("{address} {role} # rdma-lab")).collect();
    let script = format!(
        "{{ grep -v '# rdma-lab$' /etc/hosts; printf '%s\\n' {}; }} >/etc/hosts.rdma-lab && \
         cat /etc/hosts.rdma-lab >/etc/hosts && rm /etc/hosts.rdma-lab",
        lines.iter().map(|line| format!("'{line}'")).collect::<Vec<_>>().join(" ")
    );
    machine.demand("the nodes' names can be written", &script, SHORT).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_that_cannot_be_reached_is_no_package_that_is_not_there() {
        for said in [
            "W: Failed to fetch http://archive/dists/noble/InRelease  Temporary failure resolving 'archive'",
            "E: Failed to fetch http://archive/pool/x.deb  Could not connect to 10.0.0.1:3128 (10.0.0.1)",
        ] {
            assert!(is_unreachable(said), "{said}");
        }
        assert!(!is_unreachable("E: Unable to locate package linux-modules-extra-6.8.0-1"));
        let next = packages_next("tcpdump");
        assert!(next.contains("apt-get install tcpdump") && next.contains("Proxy"), "{next}");
    }
}
