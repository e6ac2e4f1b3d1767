//! Faults without the switch: what `tc netem` makes of them on hosts, and that it leaves nothing behind.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::base::command::Output;
use serde_json::Value;

use crate::bench::{assert_refused, told, xtask};
use crate::ssh::Hosts;

/// Longest time that a run may take until its faults are in place.
const BEGIN_LIMIT: Duration = Duration::from_secs(300);

/// The lab's own scheduler is on the client's interface.
const THERE: &str = "/sbin/tc qdisc show dev ens3 | grep -q 'prio 4791: root'";

#[test]
#[ignore = "needs the lab"]
fn netem_makes_faults_and_leaves_nothing() {
    let hosts = Hosts::new();
    let file = hosts.file(|_| ());

    let named = Hosts::xtask("test-e2e --provider ssh lost_ack", &file);
    assert_eq!(named.code, Some(2));
    let why = "lost_ack: fault 1 (drop RC Acknowledge, nth 1) needs the lab's own switch: tc netem knows nothing of `opcode`";
    assert_refused(&named, why);
    let guarded = hosts.file(|text| *text = text.replace("setup_rxe = true\n", ""));
    let refused = run(&guarded, "action=\"cut\"", "rdma_client {server} --json", &[]);
    assert_refused(&refused, "its faults need `tc netem` on server, whose network the lab may not change");

    // On some releases netem is in a package of its own.
    hosts.on(
        "client",
        "sudo sh -c 'mkdir -p /var/lib/stand-in/modules-extra && \
         mv /lib/modules/*/kernel/sch_netem.ko /var/lib/stand-in/modules-extra/ && /sbin/depmod'",
    );
    // Killed in the middle, so that nobody takes it away.
    let file = hosts.file(|_| ());
    let mut killed = command(&file, "action=\"cut\"", "sleep 600", &[]);
    let mut killed = killed.stdin(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !hosts.is_true_on("client", THERE) {
        assert!(started.elapsed() < BEGIN_LIMIT, "netem is in place");
        std::thread::sleep(Duration::from_secs(1));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(hosts.is_true_on("client", THERE));
    hosts.on("client", "test -e /var/lib/stand-in/installed/linux-modules-extra-$(uname -r)");
    // Through the interface that loses every packet of RDMA.
    hosts.on("client", "ping -c 1 -W 5 198.51.100.1");
    hosts.on("inner", "true");
    hosts.on("client", "systemctl is-active rdma-lab-netem.timer");

    // The server's packets only: the client's scheduler is what the killed run left, unless the reset took it away.
    let limited = Hosts::xtask("test-e2e --ci --provider ssh rate_limited", &file);
    assert!(limited.stdout.contains("1 passed, 0 failed"), "{}", limited.stdout);
    assert!(!hosts.is_true_on("client", THERE) && !hosts.is_true_on("server", THERE));

    let expected = [
        ["--finding", "RequestPsnGap"],
        ["--counter", "server.out_of_seq_request=some"],
        ["--counter", "server.duplicate_request=any"],
        ["--counter", "client.completer_retry_err=some"],
        ["--counter", "client.rcvd_seq_err=any"],
    ];
    // Of more than 66 packets: that none is lost has a chance of 1 in 50,000.
    let loss = "action=\"drop\",to=\"server\",probability=0.15";
    let output =
        run(&file, loss, "rdma_client {server} --size 65536 --ack-timeout 17 --json", &expected.concat());
    assert_eq!(output.code, Some(0), "{}", output.stdout);
    let netem = counted(&output, "client");
    assert!(netem.dropped > 0 && netem.sent == netem.passed + netem.dropped, "{netem:?}");

    let cut = ["--client-exit", "6", "--server-exit", "6"];
    let output = run(&file, "action=\"cut\"", "rdma_client {server} --timeout 2 --json", &cut);
    assert_eq!(output.code, Some(0), "{}", output.stdout);
    let netem = counted(&output, "client");
    assert!(netem.dropped > 0 && netem.passed == 0 && netem.sent == netem.dropped, "{netem:?}");
    assert!(
        output.stdout.contains("run: 0 packets, complete by rxe's counters and netem's"),
        "{}",
        output.stdout
    );

    // A scheduler of the owner's stays.
    hosts.on("client", "sudo tc qdisc add dev ens3 root handle 7: pfifo");
    let refused = run(&file, "action=\"cut\"", "rdma_client {server} --json", &[]);
    assert!(refused.stdout.contains("ens3 has a scheduler that somebody chose"), "{}", refused.stdout);
    hosts.on("client", "/sbin/tc qdisc show dev ens3 | grep -q 'pfifo 7: root'");
    assert!(!hosts.is_true_on("server", THERE));
}

/// `xtask run` of a server of ours and this client, with a fault.
fn command(hosts: &Path, fault: &str, client: &str, more: &[&str]) -> Command {
    // Whoever is cut off has to end before it is ended.
    let timeout = if more.contains(&"--server-exit") { 2 } else { 60 };
    let mut command = Command::new(xtask());
    command.args(["run", "--provider", "ssh", "--hosts"]).arg(hosts).args(["--fault", fault]);
    command.args(["--server", &format!("rdma_server --once --timeout {timeout} --json")]);
    command.args(["--client", client]).args(more);
    command
}

/// The same, to its end.
fn run(hosts: &Path, fault: &str, client: &str, more: &[&str]) -> Output {
    let command = command(hosts, fault, client, more);
    told(lab::base::command::Command::new([command.get_program()]).args(command.get_args()))
}

/// Counts of rxe and netem on a node.
#[derive(Debug)]
struct Counted {
    sent: u64,
    passed: u64,
    dropped: u64,
}

/// Counts that a run kept of a node.
fn counted(output: &Output, node: &str) -> Counted {
    let artifacts = output.stdout.lines().find_map(|line| line.trim().strip_prefix("artifacts")).unwrap();
    let text = std::fs::read(Path::new(artifacts.trim()).join("evidence.json")).unwrap();
    let evidence: Value = serde_json::from_slice(&text).unwrap();
    let number = |path: &str| evidence.pointer(&format!("/nodes/{node}/{path}")).unwrap().as_u64().unwrap();
    Counted { sent: number("sent"), passed: number("netem/passed"), dropped: number("netem/dropped") }
}
