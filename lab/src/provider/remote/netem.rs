//! `tc netem` on a machine of others: it meets what the machine sends to its peer's UDP port 4791, and nothing else,
//! so that neither the lab's own way in nor the neighbours of the interface lose a packet.
//!
//! A scheduler of four bands takes the place of the interface's root: three work as the kernel's own, the fourth is
//! netem's and gets what the filter names. The reset takes all of it away, or a timer there, and the kernel puts its own back.

use serde::Deserialize;

use crate::base::command::tail;
use crate::base::error::{Error, Result};
use crate::provider::remote::job::LONGEST;
use crate::provider::remote::machine::{Machine, SHORT};
use crate::provider::remote::prepare;
use crate::provider::remote::survey::Survey;
use crate::scenario::fault::netem::Counted;

/// The lab's scheduler, which nobody else calls so; and netem below it.
const ROOT: &str = "4791:";
const NETEM: &str = "4792:";

/// Exit code of a script that finds a scheduler which is not the lab's to replace.
const CHOSEN: i32 = 3;

/// More packets than any scenario has on the way: netem drops what it has no room for.
const ROOM: u32 = 100_000;

/// Kernel modules of the scheduler, the filter and netem.
const MODULES: &[&str] = &["sch_prio", "cls_u32", "sch_netem"];

/// The unit that takes the scheduler away after an hour, should nobody be left to do it.
const END: &str = "rdma-lab-netem";

/// Takes the lab's schedulers away, wherever they are; the script may go on.
pub(super) const REMOVE: &str = "systemctl stop rdma-lab-netem.timer 2>/dev/null
for interface in $(PATH=$PATH:/usr/sbin:/sbin tc qdisc show 2>/dev/null \
    | sed -n 's/^qdisc prio 4791: dev \\([^ ]*\\) root.*/\\1/p'); do
    PATH=$PATH:/usr/sbin:/sbin tc qdisc delete dev $interface root || exit 1
done";

/// Lets netem do `arguments` to what `machine` sends to `peer`.
///
/// # Errors
///
/// Its kernel has no netem; the interface has a scheduler that somebody chose, which the lab would not know how to
/// put back.
pub fn begin(machine: &Machine, survey: &Survey, peer: &Machine, arguments: &[String]) -> Result<()> {
    prepare::load(machine, survey, MODULES)?;
    let interface = &machine.interface;
    let output = machine.run_root(&script(interface, &peer.setting.address.to_string(), arguments), SHORT)?;
    let said = tail(&(output.stdout + &output.stderr), 6);
    let failed = |what: String| Error::setup(format!("{}: {what}", machine.title())).detail(said);
    match output.code {
        Some(0) => Ok(()),
        Some(CHOSEN) => Err(failed(format!(
            "{interface} has a scheduler that somebody chose, which the lab does not replace"
        ))
        .next(format!("if nobody needs it, there: sudo tc qdisc delete dev {interface} root"))),
        _ => Err(failed(format!("tc does not let netem meet what {interface} sends"))),
    }
}

/// The script that sets netem up; it exits with [`CHOSEN`] if the root scheduler is not the kernel's own choice, whose
/// handle is 0.
fn script(interface: &str, peer: &str, arguments: &[String]) -> String {
    format!(
        "export PATH=$PATH:/usr/sbin:/sbin\n\
         tc qdisc show dev {interface} | grep ' root ' | grep -v '^qdisc [^ ]* 0: ' && exit {CHOSEN}\n\
         tc qdisc add dev {interface} root handle {ROOT} prio bands 4 &&\n\
         tc qdisc add dev {interface} parent {ROOT}4 handle {NETEM} netem limit {ROOM} {} &&\n\
         tc filter add dev {interface} parent {ROOT} protocol ip u32 match ip dst {peer}/32 \
         match ip protocol 17 0xff match ip dport 4791 0xffff flowid {ROOT}4 &&\n\
         systemd-run --quiet --collect --on-active={} --unit {END} tc qdisc delete dev {interface} root",
        arguments.join(" "),
        LONGEST.as_secs()
    )
}

/// Counts of netem on `machine` since [`begin`].
///
/// # Errors
///
/// It is not there any more.
pub fn counted(machine: &Machine) -> Result<Counted> {
    let script = format!("PATH=$PATH:/usr/sbin:/sbin tc -s -j qdisc show dev {}", machine.interface);
    let text = machine.demand("its schedulers can be read", &script, SHORT)?;
    parse(&text).ok_or_else(|| {
        Error::capture(format!(
            "{}: netem is gone: somebody changed the schedulers of {}",
            machine.title(),
            machine.interface
        ))
        .detail(text)
        .next("run it again, alone")
    })
}

/// One element of `tc -s -j qdisc show`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Qdisc {
    handle: String,
    packets: u64,
    drops: u64,
    /// netem counts here what it let pass others.
    requeues: u64,
    qlen: u64,
}

fn parse(json: &str) -> Option<Counted> {
    let qdiscs: Vec<Qdisc> = serde_json::from_str(json).ok()?;
    let netem = qdiscs.into_iter().find(|qdisc| qdisc.handle == NETEM)?;
    Some(Counted {
        passed: netem.packets,
        dropped: netem.drops,
        reordered: netem.requeues,
        waiting: netem.qlen,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// iproute2 6.1.0, after `rping -C 5` with 10% loss and a reordering that was not asked for.
    const SHOWN: &str = r#"[{"kind":"prio","handle":"4791:","root":true,"refcnt":2,"options":{"bands":4,"priomap":[1,2,2,2,1,2,0,0,1,1,1,1,1,1,1,1],"multiqueue":false},"bytes":3018,"packets":29,"drops":7,"overlimits":0,"requeues":0,"backlog":0,"qlen":0},{"kind":"netem","handle":"4792:","parent":"4791:4","options":{"limit":100000,"loss-random":{"loss":0.1,"correlation":0},"ecn":false,"gap":0},"bytes":3018,"packets":29,"drops":7,"overlimits":0,"requeues":2,"backlog":0,"qlen":1}]"#;

    #[test]
    fn counters_are_netems_own() {
        let expected = Counted { passed: 29, dropped: 7, reordered: 2, waiting: 1 };
        assert_eq!(parse(SHOWN), Some(expected));
        for gone in ["", "[]", &SHOWN.replace("4792:", "8001:")] {
            assert_eq!(parse(gone), None);
        }
    }

    #[test]
    fn only_packets_to_the_peers_port_reach_netem() {
        assert_eq!(
            script("ens3", "192.0.2.1", &["loss", "5%"].map(str::to_owned)),
            "export PATH=$PATH:/usr/sbin:/sbin\n\
             tc qdisc show dev ens3 | grep ' root ' | grep -v '^qdisc [^ ]* 0: ' && exit 3\n\
             tc qdisc add dev ens3 root handle 4791: prio bands 4 &&\n\
             tc qdisc add dev ens3 parent 4791:4 handle 4792: netem limit 100000 loss 5% &&\n\
             tc filter add dev ens3 parent 4791: protocol ip u32 match ip dst 192.0.2.1/32 \
             match ip protocol 17 0xff match ip dport 4791 0xffff flowid 4791:4 &&\n\
             systemd-run --quiet --collect --on-active=3600 --unit rdma-lab-netem tc qdisc delete dev ens3 root"
        );
    }
}
