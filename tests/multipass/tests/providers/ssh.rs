//! The SSH provider, on two nodes of the stand-in's guest that know nothing of the lab.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use lab::base::command::{Output, shell_word};
use tempfile::TempDir;

use crate::bench::{assert_refused, told, xtask};

/// Two hosts, and the files that name them.
pub(crate) struct Hosts {
    directory: TempDir,
    nodes: Child,
    _stdin: ChildStdin,
    key: String,
}

impl Hosts {
    pub(crate) fn new() -> Hosts {
        let directory = tempfile::tempdir().unwrap();
        let mut nodes = Command::new(env!("CARGO_BIN_EXE_multipassd"))
            .arg("nodes")
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines: Vec<String> =
            BufReader::new(nodes.stdout.as_mut().unwrap()).lines().take(2).map(Result::unwrap).collect();
        assert_eq!(lines.len(), 2, "the nodes came up");
        // `ssh … -o 'UserKnownHostsFile="PATH"' … -i KEY -p PORT ubuntu@127.0.0.1`
        let after = |line: &str, part: &str| {
            let rest = line.split_once(part).unwrap().1;
            rest.split(['"', ' ']).next().unwrap().to_owned()
        };
        let key = after(&lines[0], "-i ");
        let known_hosts = after(&lines[0], "UserKnownHostsFile=\"");
        let mut config = String::new();
        for (name, line) in ["server", "client"].into_iter().zip(&lines) {
            config.push_str(&format!(
                "Host {name}\n  Port {}\n  HostName 127.0.0.1\n  HostKeyAlias rdma-lab-{name}\n",
                after(line, "-p ")
            ));
        }
        // The client as only the server reaches it.
        config.push_str(
            "Host inner\n  HostName 198.51.100.2\n  HostKeyAlias rdma-lab-client\n  ProxyJump server\n",
        );
        config.push_str("Host *\n  User ubuntu\n  LogLevel ERROR\n");
        fs::copy(&known_hosts, directory.path().join("known_hosts")).unwrap();
        config
            .push_str(&format!("  UserKnownHostsFile {}\n", directory.path().join("known_hosts").display()));
        // What a jump uses is the user's to configure.
        fs::write(directory.path().join("config"), format!("{config}  IdentityFile {key}\n")).unwrap();
        fs::write(directory.path().join("config-without-key"), config).unwrap();
        let stdin = nodes.stdin.take().unwrap();
        Hosts { directory, nodes, _stdin: stdin, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A hosts file; `change` alters what a good one says.
    pub(crate) fn file(&self, change: impl Fn(&mut String)) -> PathBuf {
        let mut text = String::new();
        for (name, address) in [("server", "198.51.100.1"), ("client", "198.51.100.2")] {
            text.push_str(&format!(
                "[{name}]\nssh = \"{name}\"\nconfig = \"config\"\naddress = \"{address}\"\nsetup_rxe = true\ninstall = true\n"
            ));
            text.push_str(&format!("identity = \"{}\"\n", self.key));
        }
        change(&mut text);
        let path = self.path("hosts.toml");
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn xtask(words: &str, hosts: &Path) -> Output {
        told(
            lab::base::command::Command::new([xtask()])
                .args(words.split_whitespace())
                .arg("--hosts")
                .arg(hosts),
        )
    }

    #[track_caller]
    fn refused(&self, change: impl Fn(&mut String), named: &str) {
        let output = Hosts::xtask("lab up --name t-ssh --provider ssh", &self.file(change));
        assert_refused(&output, named);
    }

    /// Runs a command on a node, past the lab; gives what it printed.
    pub(crate) fn on(&self, node: &str, command: &str) -> String {
        let output = self.told_on(node, command);
        assert_eq!(output.code, Some(0));
        output.stdout
    }

    /// True if a command on a node exits with 0.
    pub(crate) fn is_true_on(&self, node: &str, command: &str) -> bool {
        self.told_on(node, command).code == Some(0)
    }

    fn told_on(&self, node: &str, command: &str) -> Output {
        told(lab::base::command::Command::new(["ssh", "-F"]).arg(self.path("config")).args([node, command]))
    }

    /// Puts a shell script in the place of a node's tcpdump; the real one is `/usr/bin/tcpdump`.
    fn tcpdump(&self, node: &str, script: &str) {
        let script = shell_word(&format!("#!/bin/sh\n{script}"));
        let path = "/usr/local/bin/tcpdump";
        let write = format!("mkdir -p /usr/local/bin && printf '%s\\n' {script} >{path} && chmod 755 {path}");
        self.on(node, &format!("sudo sh -c {}", shell_word(&write)));
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = self.nodes.kill();
        let _ = self.nodes.wait();
    }
}

#[test]
#[ignore = "needs the lab"]
fn both_examples_run_on_hosts() {
    let hosts = Hosts::new();
    let output = Hosts::xtask("test-e2e --ci --provider ssh write_read write_with_imm", &hosts.file(|_| ()));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(output.stdout.contains("2 passed, 0 failed"), "{}", output.stdout);
}

#[test]
#[ignore = "needs the lab"]
fn what_is_wrong_with_hosts_is_named() {
    let hosts = Hosts::new();
    let replace =
        |from: &'static str, to: &'static str| move |text: &mut String| *text = text.replacen(from, to, 1);

    // Before anything is set up: nothing is done that was not asked for.
    no_sudo(&hosts);
    hosts.refused(|text| *text = text.replace("install = true\n", ""), "packages are missing: ");
    hosts.refused(|text| *text = text.replace("setup_rxe = true\n", ""), "no RDMA device is on ens3");
    hosts.refused(replace("setup_rxe = true", "device = \"mlx5_0\""), "it has no RDMA device mlx5_0");
    hosts.refused(replace("198.51.100.1", "198.51.100.7"), "said to be 198.51.100.7, which it has not");
    hosts.refused(replace("198.51.100.1", "198.51.100.2"), "both hosts have the address");

    let up = Hosts::xtask("lab up --name t-ssh --provider ssh", &hosts.file(|_| ()));
    assert_eq!(up.code, Some(0), "{}", up.stderr);

    hosts.on("server", "sudo sysctl -q net.ipv4.icmp_echo_ignore_all=1");
    hosts.refused(|_| (), "does not reach server (server) by ping");
    hosts.on("server", "sudo sysctl -q net.ipv4.icmp_echo_ignore_all=0");
}

/// A user who has to say a password to be root. Nobody could end that from outside, so it ends by itself when a file
/// is there.
fn no_sudo(hosts: &Hosts) {
    hosts.on(
        "client",
        "sudo sh -c 'mv /etc/sudoers.d/90-cloud-init-users /root/sudoers; \
         setsid sh -c \"until [ -e /tmp/give-back ]; do sleep 0.2; done; \
         mv /root/sudoers /etc/sudoers.d/90-cloud-init-users\" >/dev/null 2>&1 </dev/null &'",
    );
    hosts.refused(|_| (), "no sudo without a password");
    hosts.on("client", "touch /tmp/give-back; until sudo -n true 2>/dev/null; do sleep 0.2; done");
}

/// Runs both examples; gives everything that was said.
fn examples(hosts: &Path, code: i32) -> String {
    let output = Hosts::xtask("test-e2e --ci --provider ssh write_read write_with_imm", hosts);
    let said = output.stdout + &output.stderr;
    assert_eq!(output.code, Some(code), "{said}");
    said
}

/// A hosts file of devices that are there, and of what `more` says.
fn cards(text: &mut String, more: &str) {
    *text = text.replace("setup_rxe = true\ninstall = true\n", "device = \"rxe0\"\n") + more;
}

/// Devices that count no packets, on an interface that shows none, behind a switch with a mirror port: the nodes'
/// switch records what passes it, and writes as it goes on.
#[test]
#[ignore = "needs the lab"]
fn cards_that_hide_their_packets_run_over_a_mirror_port() {
    let hosts = Hosts::new();
    let up = Hosts::xtask("lab up --name t-ssh --provider ssh", &hosts.file(|_| ()));
    assert_eq!(up.code, Some(0), "{}", up.stderr);
    for node in ["server", "client"] {
        hosts.on(node, "sudo mount -t tmpfs none /sys/class/infiniband/rxe0/ports/1/hw_counters");
    }

    let hidden = examples(&hosts.file(|text| cards(text, "[capture]\ninterface = \"lo\"\n")), 1);
    assert!(hidden.contains("CAPTURE: the capture has no RoCEv2 packet"), "{hidden}");
    for way in ["[capture] mirror = FILE", "libpcap has RDMA support", "sniffer"] {
        assert!(hidden.contains(way), "{hidden}");
    }

    hosts.tcpdump("server", "echo nobody may call this >&2; exit 1");
    let mirror = "[capture]\nmirror = \"mirror.pcapng\"\n";
    let mirrored = examples(&hosts.file(|text| cards(text, mirror)), 0);
    assert!(
        mirrored
            .contains("write_read: 12 packets, complete by PSN; declared to differ: ack_timeout, kernel\n"),
        "{mirrored}"
    );
    assert!(
        mirrored.contains(
            "write_with_imm: 7 packets, complete by PSN; declared to differ: ack_timeout, kernel\n"
        ),
        "{mirrored}"
    );

    let declared = format!("{mirror}[differences]\nack_coalescing = true\ncredits = true\n");
    let declared = examples(&hosts.file(|text| cards(text, &declared)), 0);
    assert!(declared.contains("by PSN; declared to differ: ack_coalescing, credits"), "{declared}");

    let missing = examples(&hosts.file(|text| cards(text, "[capture]\nmirror = \"none.pcap\"\n")), 1);
    assert!(missing.contains("none.pcap is not there or empty after 30 s"), "{missing}");
    // What was there before the run is none of its packets.
    fs::copy(hosts.path("mirror.pcapng"), hosts.path("ended.pcapng")).unwrap();
    let ended = examples(&hosts.file(|text| cards(text, "[capture]\nmirror = \"ended.pcapng\"\n")), 1);
    assert!(ended.contains("ended.pcapng has not grown within 30 s"), "{ended}");
}

#[test]
#[ignore = "needs the lab"]
fn equal_macs_and_lost_packets_are_named() {
    let hosts = Hosts::new();
    let up = Hosts::xtask("lab up --name t-ssh --provider ssh", &hosts.file(|_| ()));
    assert_eq!(up.code, Some(0), "{}", up.stderr);

    let [server, client] = ["server", "client"].map(|node| hosts.on(node, "cat /sys/class/net/ens3/address"));
    assert_ne!(server, client);
    hosts.on("client", &format!("sudo ip link set ens3 address {server}"));
    let equal = examples(&hosts.file(|_| ()), 1);
    let named = format!("SETUP: both machines have the MAC {}: ens3 of server", server.trim());
    assert!(equal.contains(&named) && equal.contains("give one of them another"), "{equal}");
    hosts.on("client", &format!("sudo ip link set ens3 address {client}"));

    for (edit, named) in [
        (
            "s/^0 packets dropped/3 packets dropped/",
            "CAPTURE: tcpdump lost 3 packets: the kernel dropped them",
        ),
        ("/dropped by kernel/d", "CAPTURE: tcpdump did not tell how many packets it lost"),
    ] {
        // tcpdump ends on SIGINT and says its numbers; they are altered on the way.
        let altered = format!(
            "trap : INT\n\
             {{ /usr/bin/tcpdump \"$@\" 2>&1 >&3 | (trap \"\" INT; sed -u \"{edit}\") >&2; }} 3>&1"
        );
        hosts.tcpdump("server", &altered);
        let said = examples(&hosts.file(|_| ()), 1);
        assert!(said.contains(named), "{said}");
    }
    hosts.on("server", "sudo rm /usr/local/bin/tcpdump");
    examples(&hosts.file(|_| ()), 0);
}

#[test]
#[ignore = "brings up machines"]
fn keys_are_checked_and_a_jump_host_is_used() {
    let hosts = Hosts::new();
    many_keys(&hosts);
    host_keys(&hosts);

    // The user's own configuration leads through a jump host.
    let through = hosts.file(|text| *text = text.replace("ssh = \"client\"", "ssh = \"inner\""));
    let output = Hosts::xtask("lab up --name t-ssh --provider ssh", &through);
    assert_eq!(output.code, Some(0));
    let down = told(lab::base::command::Command::new([xtask()]).args(["lab", "down", "--name", "t-ssh"]));
    assert!(down.stdout.contains("given back"));
    hosts.on("client", "! ls /sys/class/infiniband/rxe0");
}

/// An agent whose many keys use up the server's patience, and the one key that is named.
fn many_keys(hosts: &Hosts) {
    let socket = hosts.path("agent");
    let mut agent =
        Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !socket.exists() {
        assert!(started.elapsed() < Duration::from_secs(20), "the agent listens");
        std::thread::sleep(Duration::from_millis(20));
    }
    for number in 0..14 {
        let key = hosts.path(&format!("key-{number}"));
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
        assert!(made.unwrap().success());
        let added = Command::new("ssh-add").arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket).status();
        assert!(added.unwrap().success());
    }
    let up = |hosts: &Path| {
        let words = ["lab", "up", "--name", "t-ssh", "--provider", "ssh", "--hosts"];
        told(lab::base::command::Command::new([xtask()]).args(words).arg(hosts).env("SSH_AUTH_SOCK", &socket))
    };
    let unnamed = |text: &mut String| {
        *text = text
            .replace(&format!("identity = \"{}\"\n", hosts.key), "")
            .replace("\"config\"", "\"config-without-key\"");
    };
    let output = up(&hosts.file(unnamed));
    assert!(
        output.stderr.contains("identity = ") || output.stderr.contains("lets nobody in"),
        "{}",
        output.stderr
    );
    assert_refused(&output, "server");
    assert_eq!(up(&hosts.file(|_| ())).code, Some(0));
    agent.kill().unwrap();
    agent.wait().unwrap();
}

/// A host whose key is another than the known one, and one whose key nobody has seen.
fn host_keys(hosts: &Hosts) {
    let path = hosts.path("known_hosts");
    let known = fs::read_to_string(&path).unwrap();
    let other = fs::read_to_string(hosts.path("key-0.pub")).unwrap();
    let other: Vec<&str> = other.split(' ').take(2).collect();
    fs::write(&path, format!("rdma-lab-server {}\nrdma-lab-client {}\n", other.join(" "), other.join(" ")))
        .unwrap();
    hosts.refused(|_| (), "its host key has changed");
    fs::write(&path, "").unwrap();
    hosts.refused(|_| (), "its host key is not known");
    fs::write(&path, known).unwrap();
}

/// `lab exec`, `push` and `pull` as on the lab's own machines.
#[test]
#[ignore = "needs the lab"]
fn commands_and_files_are_as_on_the_labs_own_machines() {
    let hosts = Hosts::new();
    let up = || Hosts::xtask("lab up --name t-ssh --provider ssh --json", &hosts.file(|_| ()));
    let first = up();
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(first.stdout.contains(r#""was_up":false"#), "{}", first.stdout);
    let again = up();
    assert!(again.stdout.contains(r#""was_up":true"#), "{}", again.stdout);
    assert!(again.stderr.contains("note: the lab called t-ssh was up already"), "{}", again.stderr);
    assert!(again.stdout.contains(r#""server":{"address":"198.51.100.1"}"#), "{}", again.stdout);

    let lab = |words: &[&str]| {
        let (subcommand, rest) = words.split_first().unwrap();
        told(
            lab::base::command::Command::new([xtask()])
                .args(["lab", subcommand, "--name", "t-ssh"])
                .args(rest),
        )
    };
    for (command, code) in [("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("/nonexistent", 127)] {
        assert_eq!(lab(&["exec", "client", command]).code, Some(code), "{command}");
    }
    assert_eq!(lab(&["exec", "client", "echo", "a b", "-n"]).stdout, "a b -n\n");

    let tree = hosts.path("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(tree.join("sub/program"), "#!/bin/sh\necho it runs\n").unwrap();
    fs::set_permissions(tree.join("sub/program"), std::os::unix::fs::PermissionsExt::from_mode(0o750))
        .unwrap();
    let (tree, back) = (tree.display().to_string(), hosts.path("back").display().to_string());
    let pushed = lab(&["push", "-r", "client", &tree, "/tmp/"]);
    assert_eq!(pushed.stdout, "/tmp/tree: 23 bytes\n", "{}", pushed.stderr);
    assert_eq!(lab(&["exec", "client", "/tmp/tree/sub/program"]).stdout, "it runs\n");
    assert_eq!(lab(&["pull", "-r", "client", "/tmp/tree", &back]).code, Some(0));
    let program = fs::metadata(hosts.path("back/sub/program")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&program.permissions()) & 0o777, 0o750);
    let device = lab(&["pull", "client", "/dev/zero", &back]);
    assert_refused(&device, "a device, a socket or a FIFO");

    let started = lab(&["exec", "-d", "server", "rdma_server", "-v"]);
    assert_eq!(started.code, Some(0), "{}", started.stderr);
    let stop = started.stdout.rsplit_once("stop it  cargo xtask lab exec --name t-ssh ").unwrap().1;
    assert_eq!(lab(&["exec", "client", "rdma_client", "198.51.100.1"]).code, Some(0));
    let log = started.stdout.split_once("its output is in ").unwrap().1.lines().next().unwrap();
    assert!(lab(&["exec", "server", "cat", log]).stdout.contains("received 18 bytes"));
    let stop: Vec<&str> = std::iter::once("exec").chain(stop.split_whitespace()).collect();
    assert_eq!(lab(&stop).code, Some(0));
    hosts.on("server", "until ! pgrep -x rdma_server; do sleep 0.1; done");
    assert_eq!(lab(&["down"]).code, Some(0));
    assert_eq!(lab(&["exec", "client", "true"]).code, Some(125));
}
