//! Labs and scenarios of more than two nodes.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use lab::provider::qemu::qmp::Qmp;
use serde_json::{Value, json};

use crate::process::Family;
use crate::support::{Beside, Catalogue, Lab, artifacts, poll, reasons, run, verdict, xtask};

/// Most memory of a node beside what it shares with other forks, in MiB.
const NODE_MEMORY_MIB: u64 = 150;

/// Longest time that an incast of four senders may take, machines included, in seconds.
const INCAST_LIMIT_S: f64 = 60.0;

/// Names of the nodes of a lab of so many.
fn names(count: usize) -> Vec<String> {
    let name = |index| match index {
        0 => "server".to_owned(),
        1 => "client".to_owned(),
        index => format!("client{index}"),
    };
    (0..count).map(name).collect()
}

#[test]
#[ignore = "needs the lab's machines"]
fn further_clients_are_nodes_of_their_own_and_reach_each_other() {
    let lab = Lab::named("nodes", None);
    let up = lab.run("up", &["--nodes", "5", "--json"]).ok().json();
    let nodes = names(5);
    assert_eq!(up["nodes"].as_object().expect("nodes").len(), 5);
    assert_eq!(machines(&lab).len(), 5);
    // Of each node all that must be its own.
    let own = "cat /sys/class/net/eth0/address; ip -4 -o address show dev eth0 | awk '{print $4}'; \
               cat /sys/class/infiniband/rxe0/node_guid; cat /sys/class/infiniband/rxe0/ports/1/gids/*  | sort -u | head -3; \
               hostname; dropbearkey -y -f /etc/dropbear/dropbear_ed25519_host_key | grep ^ssh-; cat /proc/sys/kernel/random/uuid";
    let told: Vec<Vec<String>> = nodes
        .iter()
        .map(|node| lab.exec(node, own).ok().stdout.lines().map(str::to_owned).collect())
        .collect();
    for line in [0, 1, 2, told[0].len() - 3, told[0].len() - 2, told[0].len() - 1] {
        let different: BTreeSet<&String> = told.iter().map(|node| &node[line]).collect();
        assert_eq!(different.len(), nodes.len(), "{told:?}");
    }
    assert_eq!(told[4][..2], ["52:54:00:00:00:05", "198.51.100.5/24"]);
    for node in &nodes {
        let pings = nodes.iter().map(|peer| format!("ping -c 1 -W 5 {peer} >/dev/null"));
        lab.exec(node, &pings.collect::<Vec<_>>().join(" && ")).ok();
    }
    lab.run("exec", &["CLIENT3", "--", "hostname"]).ok();
    assert!(lab.run("logs", &["client4"]).ok().stdout.contains("== client4: kernel"));
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "text").expect("a file");
    lab.run("push", &["client2", &file.path().display().to_string(), "/tmp/pushed"]).ok();
    assert_eq!(lab.exec("client2", "cat /tmp/pushed").ok().stdout, "text");
    lab.exec("client3", "cat /tmp/pushed").fails(1, &[]);
    lab.run("exec", &["client6", "--", "true"]).fails(
        // exec's own trouble.
        125,
        &["has no node client6; its nodes are: server, client, client2, client3, client4", "--nodes 7"],
    );
    lab.run("step", &[]).fails(2, &["has 5"]);

    // Two clients between themselves, recorded: the server sees nothing of it.
    let directory = tempfile::tempdir().expect("a directory");
    let capture = directory.path().join("x.pcapng");
    run(lab.command(&["capture", "start"], &[&capture.display().to_string()])).ok();
    lab.exec("client3", "rping -s -C 1 >/dev/null 2>&1 &").ok();
    lab.exec(
        "client4",
        "for i in 1 2 3 4 5 6 7 8 9; do rping -c -a client3 -C 1 && exit; sleep 0.2; done; exit 1",
    )
    .ok();
    let stopped = run(lab.command(&["capture", "stop"], &["--json"])).ok().json();
    let packets = |node: &str| stopped["packets"][node].as_u64();
    assert_eq!((packets("server"), packets("client2")), (Some(0), Some(0)), "{stopped}");
    assert!(packets("client3") > Some(0) && packets("client4") > Some(0), "{stopped}");
    let trace = run(xtask(&["decode", &capture.display().to_string()])).ok().stdout;
    assert!(trace.contains("connection 1: client4.qp1 > client3.qp1"), "{trace}");

    lab.run("reset", &[]).ok();
    assert_eq!(lab.exec("client4", "hostname; ls /tmp/pushed 2>/dev/null").stdout, "client4\n");
    let again = lab.run("up", &["--nodes", "3"]).ok();
    assert!(again.stderr.contains("--nodes 3 was asked for, and it has --nodes 5"), "{}", again.stderr);
}

#[test]
fn number_of_nodes_that_no_lab_has_is_refused() {
    let lab = Lab::named("none", None);
    for number in ["0", "1", "9", "x"] {
        lab.run("up", &["--nodes", number]).fails(2, &["--nodes", number]);
    }
    lab.run("exec", &["clent2", "--", "true"]).fails(125, &["clent2", "a similar value exists: 'client'"]);
    let hosts = tempfile::NamedTempFile::new().expect("a file");
    let hosts_file = hosts.path().display().to_string();
    let ssh = ["--nodes", "3", "--provider", "ssh", "--hosts", &hosts_file];
    lab.run("up", &ssh).fails(2, &["3 nodes were asked for, and", "names two hosts", "--provider qemu"]);
    lab.run("up", &["--nodes", "3", "--provider", "multipass"]).fails(2, &["Multipass has two instances"]);
}

#[test]
#[ignore = "needs the lab's machines"]
fn fork_that_does_not_wake_up_is_forked_again() {
    let lab = Lab::named("asleep", None);
    let mut up = Beside::start(lab.command(&["up"], &["--nodes", "3"]));
    let socket = Family::wait_under(up.id()).run_directory.join("qmp-client2");
    // Its processor stands still from its first moment; the process runs on.
    poll("machine that runs", Duration::from_secs(20), || {
        let mut qmp = Qmp::connect(&socket).ok()?;
        let runs = qmp.execute("query-status", json!({})).ok()?["status"] == "running";
        runs.then(|| qmp.execute("stop", json!({})).expect("a machine that stands still"))
    });
    assert!(up.wait().success(), "{}", up.said());
    for part in [
        "node client2 has not woken up and is forked again",
        "the node answers no other command either",
        "status paused",
    ] {
        assert!(up.said().contains(part), "no `{part}` in {}", up.said());
    }
    assert_eq!(lab.exec("client2", "hostname; ping -c 1 -W 5 client >/dev/null").ok().stdout, "client2\n");
    assert_eq!(machines(&lab).len(), 3);
}

/// Process ids of a lab's machines.
fn machines(lab: &Lab) -> Vec<u64> {
    let status = lab.status().expect("the lab is recorded");
    let machines = status["machines"].as_array().expect("machines");
    machines.iter().map(|pid| pid.as_u64().expect("a process id")).collect()
}

/// Memory of a process that is its own, in MiB.
fn private_mib(pid: u64) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a process of ours");
    let of = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).expect("a line");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    };
    (of("Private_Dirty:") + of("Private_Clean:")) / 1024
}

#[test]
#[ignore = "needs the lab's machines"]
fn eight_nodes_fit_into_their_memory_while_four_send() {
    let lab = Lab::named("eight", None);
    lab.run("up", &["--nodes", "8"]).ok();
    lab.exec("server", "rdma_server --clients 4 >/tmp/out 2>&1 &").ok();
    let senders: Vec<_> = names(5)[1..]
        .iter()
        .map(|node| {
            let command = "for i in 1 2 3 4 5 6 7 8 9; do rdma_client server --size 65536 && exit; sleep 0.3; done; exit 1";
            Beside::start(lab.command(&["exec"], &[node, "--", command]))
        })
        .collect();
    for mut sender in senders {
        assert!(sender.wait().success(), "{}", sender.said());
    }
    let machines = machines(&lab);
    assert_eq!(machines.len(), 8);
    for pid in machines {
        let memory = private_mib(pid);
        assert!(memory <= NODE_MEMORY_MIB, "{memory} MiB: process {pid}");
    }
}

/// Four senders and three that do not, through a port whose queue is short: it takes 16 of the 64 packets of one
/// sender's WRITE and passes one on in 3 ms, so that any sender alone fills it, also on a slow computer.
const LOSSY: &str = r#"
summary = "incast through a short queue"
nodes = 8
server = "rdma_server --clients 7 --json -v"
client = "rdma_client {server} --size 65536 --json -v"
on.client5 = "rdma_client {server} --json -v"
on.client6 = "rdma_client {server} --json -v"
on.client7 = "rdma_client {server} --json -v"
trace = "summary"
timeout_s = 60

[[port]]
to = "server"
kbit_per_s = 3000
queue_frames = 16
mark_above_bytes = 8192

[expect]
may = ["RequestPsnGap"]
cnps = 0
ports.server = { marked = "some", dropped = "some" }

[expect.server]
counters = { duplicate_request = "any", out_of_seq_request = "any" }

[expect.client]
result = { ok = true, verified = true }
counters = { rcvd_seq_err = "any", completer_retry_err = "any", duplicate_request = "any" }
"#;

#[test]
#[ignore = "needs the lab's machines"]
fn incast_through_a_short_queue_loses_marks_and_recovers_in_time() {
    let catalogue = Catalogue::new();
    let name = catalogue.add("lossy", LOSSY, None);
    run(catalogue.command(&[])).fails(1, &[]);
    let directory = artifacts(&name);
    let verdict = verdict(&directory);
    // There is no trace to compare: what is lost, timing decides.
    assert_eq!(reasons(&verdict), ["WIRE"], "{verdict}");
    let port = &verdict["ports"][0];
    let count = |key: &str| port[key].as_u64().expect("a count");
    assert!(count("dropped") > 0 && count("marked") > 0 && count("queue_frames_max") == 16, "{port}");
    assert!(verdict["seconds"].as_f64() < Some(INCAST_LIMIT_S), "{verdict}");
    let evidence = fs::read(directory.join("evidence.json")).expect("evidence");
    let evidence: Value = serde_json::from_slice(&evidence).expect("JSON");
    for node in names(8) {
        assert_eq!(evidence["nodes"][&node]["output"]["code"], 0, "{node}");
        assert!(evidence["nodes"][&node]["sent"].as_u64() > Some(0), "{node}");
    }
    assert_eq!(&evidence["ports"][0], port);
}
