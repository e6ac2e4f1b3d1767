//! Reset of shared machines: a scenario finds nothing of an earlier one.

use std::time::Duration;

use crate::base::error::Result;
use crate::base::role::Role;
use crate::provider::remote::job::{UNITS, wait_for};
use crate::provider::remote::machine::{DIRECTORY, Machine};
use crate::provider::remote::netem;

const LIMIT: Duration = Duration::from_secs(60);

/// Longest time that a device may take to be ACTIVE, and a peer to answer.
const SETTLE: Duration = Duration::from_secs(10);

/// Ends what runs of the lab and what it makes of packets, and puts the device, the MTU and the neighbours back.
///
/// # Errors
///
/// The machine does not answer, or its device does not become ACTIVE.
pub fn reset(machine: &Machine, mtu: u16) -> Result<()> {
    let what =
        format!("nothing of an earlier run is left, {} is ACTIVE with an MTU of {mtu}", machine.device);
    machine.demand(&what, &script(machine, mtu), LIMIT).map(drop)
}

/// Ends what runs of the lab and what it makes of packets.
///
/// # Errors
///
/// The machine does not answer.
pub fn end_run(machine: &Machine) -> Result<()> {
    machine.demand("nothing of the lab runs", &ended(), LIMIT).map(drop)
}

/// The script that ends processes and netem.
fn ended() -> String {
    format!("{PROCESSES}\n{}", netem::REMOVE)
}

/// Ends what runs of the lab, and takes away the device that it made.
///
/// # Errors
///
/// The machine does not answer.
pub fn give_back(machine: &Machine) -> Result<()> {
    let device = &machine.device;
    let mut script = format!("{}\nrm -rf {DIRECTORY}/{UNITS}*\n", ended());
    if machine.setting.setup_rxe {
        script.push_str(&format!("[ ! -e /sys/class/infiniband/{device} ] || rdma link delete {device}\n"));
    }
    machine.demand("nothing of the lab is left", &script, LIMIT).map(drop)
}

/// Units first; then what was started by hand of the lab's programs, which would hold a port.
const PROCESSES: &str = "systemctl kill --signal=KILL 'rdma-lab-*' 2>/dev/null
systemctl reset-failed 'rdma-lab-*' 2>/dev/null
for path in $(find /proc/[0-9]*/exe -maxdepth 0 -lname '/opt/lab/*' 2>/dev/null); do
    path=${path%/exe}
    kill -KILL ${path##*/} 2>/dev/null
done
true";

fn script(machine: &Machine, mtu: u16) -> String {
    let Machine { device, interface, .. } = machine;
    let mut script = format!("{}\nrm -rf {DIRECTORY}/{UNITS}*\n", ended());
    if machine.setting.setup_rxe {
        // What is there is looked at; an error of `rdma link add` says too little.
        script.push_str(&format!(
            "[ $(cat /sys/class/net/{interface}/mtu) = {mtu} ] || ip link set {interface} mtu {mtu} || exit 1\n\
             [ -e /sys/class/infiniband/{device} ] && {{ rdma link delete {device} || exit 1; }}\n\
             modprobe rdma_rxe && modprobe rdma_ucm || exit 1\n\
             rdma link add {device} type rxe netdev {interface} || exit 1\n"
        ));
    } else {
        script.push_str(&format!(
            "[ $(cat /sys/class/net/{interface}/mtu) = {mtu} ] || \
             {{ echo the MTU of {interface} is $(cat /sys/class/net/{interface}/mtu), not {mtu}; exit 1; }}\n"
        ));
    }
    script.push_str(&format!("ip neigh flush dev {interface} 2>/dev/null\n"));
    script
        .push_str(&wait_for(&format!("grep -q ACTIVE /sys/class/infiniband/{device}/ports/1/state"), SETTLE));
    script
}

/// The script that succeeds once the peer answers: the first packet of a connection finds its neighbour.
///
/// # Errors
///
/// It does not answer.
pub fn meet(machine: &Machine, peer: &Machine) -> Result<()> {
    let address = peer.setting.address;
    let what = format!("{} answers", Role::peer(machine.role));
    machine.demand(&what, &format!("ping -c 1 -W 5 {address}"), LIMIT).map(drop)
}
