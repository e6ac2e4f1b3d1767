//! What breaks a naive provider of Multipass, each with the test that fails without its handling. The provider runs
//! for real, in `cargo xtask`; Multipass is the stand-in.
//!
//! | trap | test |
//! |---|---|
//! | a remote exit code of 4 makes `exec` run the command again for ever | `exit_code_4_is_told_and_runs_once` |
//! | exit codes 1, 2, 5 and 255 of a command mean something to the client, too | `exit_code_4_is_told_and_runs_once` |
//! | `exec` without `-n`; `--mem`; files that the snap cannot see; `purge` alone; other instances | `scenarios_pass_and_no_other_instance_is_touched` |
//! | a background child holds `exec`; a killed client leaves its command running | `scenarios_pass_and_no_other_instance_is_touched` |
//! | `launch --timeout` ends with 5 before SSH is up: Unknown for ever, healed by `stop`, then `start` | `launch_given_up_before_ssh_is_mended` |
//! | `launch --timeout` ends with 5 while cloud-init runs; cloud-init fails and launch exits with 0 | `late_and_failed_cloud_init_are_lived_with` |
//! | launch prints `Launched` and exits with 0, and there is no instance | `launch_that_leaves_no_instance_is_seen` |
//! | a deleted instance keeps its name; a stopped one, a suspended one; what a restart loses | `every_state_is_mended_and_nothing_is_lost` |
//! | while an image is prepared `info` knows no instance, and `launch` refuses the name; then its state is Unknown | `lab_up_killed_at_any_time_is_gone_on_from` |
//! | a running instance that has no address yet | `instance_without_an_address_is_waited_for` |
//! | `transfer` drops the end of a file and exits with 0 | `truncated_transfers_are_found` |
//! | `info` and `transfer` on a hung guest never end; a blocked daemon answers nobody | `hung_guest_and_blocked_daemon_end_in_named_errors` |
//! | daemon unreachable or never run, no access, no KVM, no network, no such image, a size, VirtualBox | `what_multipass_refuses_is_named` |
//! | both instances have one address | `equal_addresses_are_refused` |
//! | a firewall between the instances | `blocked_ping_is_named` |
//! | rdma_rxe in a package of its own, or in none | `module_package_is_installed_or_named` |
//! | tcpdump dropped packets | `dropped_packets_are_no_verdict_on_the_wire` |

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use multipass_stand_in::instance::{Instance, State};
use multipass_stand_in::place::Switch;

use crate::stand::{Input, LIMIT, Ran, Stand, run};

mod stand;

/// `xtask`, built beside the stand-in.
fn xtask() -> &'static Path {
    static XTASK: OnceLock<PathBuf> = OnceLock::new();
    XTASK.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo).args(["build", "--quiet", "--package", "xtask"]).status();
        assert!(built.expect("cargo").success());
        Path::new(env!("CARGO_BIN_EXE_multipass")).with_file_name("xtask")
    })
}

/// `cargo xtask ARGS` with this stand-in first on PATH.
fn lab_command(stand: &Stand, args: &[&str]) -> Command {
    let mut command = Command::new(xtask());
    command
        .args(args)
        .env("PATH", stand.path())
        .env("MULTIPASS_STAND_IN", stand.place.path())
        .env_remove("RDMA_LAB_PROVIDER")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .stdin(Stdio::null());
    command
}

fn lab(stand: &Stand, args: &[&str]) -> Ran {
    run(lab_command(stand, args), Input::Nothing, LIMIT)
}

/// `lab up` on Multipass, as a lab of this stand's own.
fn up(stand: &Stand, more: &[&str]) -> Ran {
    lab(stand, &[&["lab", "up", "--provider", "multipass", "--name", &name(stand)], more].concat())
}

fn name(stand: &Stand) -> String {
    let directory = stand.place.path().file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    directory.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
}

fn exec(stand: &Stand, node: &str, command: &str) -> Ran {
    lab(stand, &["lab", "exec", "--name", &name(stand), node, "--", command])
}

/// Runs a command as root in an instance.
fn inside(stand: &Stand, instance: &str, command: &str) -> Ran {
    stand.run(&["exec", "-n", instance, "--", "sudo", "sh", "-c", command]).ok()
}

#[track_caller]
fn fails(ran: &Ran, texts: &[&str]) {
    assert_eq!(ran.code, Some(1), "{}\n{}", ran.stdout(), ran.stderr());
    for text in texts {
        assert!(ran.stderr().contains(text), "no `{text}` in {}", ran.stderr());
    }
    assert!(ran.stderr().contains("next: "), "nothing to do next in {}", ran.stderr());
}

/// Instances of the user's that are none of the lab's business.
fn foreign() -> [Instance; 2] {
    let one = |name: &str, state| Instance {
        name: name.to_owned(),
        state,
        ipv4: vec!["10.151.127.9".to_owned()],
        image_release: "22.04 LTS".to_owned(),
        image_hash: "8a5ef1e7fd77".to_owned(),
        snapshots: 0,
        guest: None,
    };
    [one("primary", State::Running), one("precious", State::Deleted)]
}

#[test]
#[ignore = "brings up machines"]
fn scenarios_pass_and_no_other_instance_is_touched() {
    let stand = Stand::with(&foreign());
    let ran = lab(&stand, &["test-e2e", "--ci", "--provider", "multipass", "write_read", "write_with_imm"]);
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stdout(), ran.stderr());
    let logged = stand.place.logged();
    for command in &logged {
        let argv: Vec<&str> = command.argv.iter().map(String::as_str).collect();
        match argv[..] {
            ["version", ..] | ["get", "local.driver"] => {}
            ["info" | "start" | "recover", "rdma-server" | "rdma-client", ..] => {}
            ["exec", "-n", "rdma-server" | "rdma-client", "--", ..] => {}
            ["transfer", "-", there] | ["transfer", there, "-"] => {
                assert!(there.starts_with("rdma-server:") || there.starts_with("rdma-client:"), "{argv:?}");
            }
            ["launch", _, "--name", "rdma-server" | "rdma-client", ref options @ ..] => {
                assert!(options.contains(&"-m") && options.contains(&"--timeout"), "{argv:?}");
                let at = options.iter().position(|word| *word == "--cloud-init").expect("cloud-init");
                assert_eq!(options[at + 1], "-");
            }
            _ => panic!("not for the lab to say: {argv:?}"),
        }
    }
    assert!(logged.iter().any(|command| command.argv[0] == "launch"));
    let list = stand.run(&["list"]).ok().stdout();
    assert!(
        list.contains("primary                 Running") && list.contains("precious                Deleted"),
        "{list}"
    );
    // Nothing that was started runs on.
    for instance in ["rdma-server", "rdma-client"] {
        let left = inside(&stand, instance, "pgrep -l 'rdma_|tcpdump' || true");
        assert_eq!(left.stdout(), "");
    }
}

#[test]
#[ignore = "brings up machines"]
fn exit_code_4_is_told_and_runs_once() {
    let stand = Stand::with(&[]);
    up(&stand, &[]).ok();
    for code in [4, 1, 2, 5, 255] {
        let ran = exec(&stand, "client", &format!("echo ran >>/root/ran-{code}; exit {code}"));
        assert_eq!(ran.code, Some(code), "{}", ran.stderr());
        assert_eq!(inside(&stand, "rdma-client", &format!("wc -l </root/ran-{code}")).stdout(), "1\n");
    }
    // The stand-in does loop, as the real one does.
    let argv = ["exec", "-n", "rdma-client", "--", "sh", "-c", "echo run >>/tmp/four; exit 4"];
    assert_eq!(run(stand.command(&argv), Input::Nothing, Duration::from_secs(6)).code, None);
    let times: u32 =
        inside(&stand, "rdma-client", "wc -l </tmp/four").stdout().trim().parse().expect("a number");
    assert!(times > 1);
}

#[test]
#[ignore = "brings up machines"]
fn every_state_is_mended_and_nothing_is_lost() {
    let stand = Stand::with(&[]);
    up(&stand, &[]).ok();
    inside(&stand, "rdma-client", "echo precious >/home/ubuntu/kept");
    for commands in
        [&[["stop", "rdma-client"]][..], &[["suspend", "rdma-client"]], &[["delete", "rdma-client"]]]
    {
        for command in commands {
            stand.run(command).ok();
        }
        up(&stand, &[]).ok();
        assert_eq!(inside(&stand, "rdma-client", "cat /home/ubuntu/kept").stdout(), "precious\n");
        let state = exec(&stand, "client", "cat /sys/class/infiniband/rxe*/ports/1/state").ok();
        assert!(state.stdout().contains("ACTIVE"), "{}", state.stdout());
    }
    let started = Instant::now();
    let again = up(&stand, &[]).ok();
    let took = started.elapsed();
    println!("lab up on running instances: {took:.2?}");
    assert!(
        !again.stderr().contains("launch") && took < Duration::from_secs(30),
        "{took:?}\n{}",
        again.stderr()
    );
}

#[test]
#[ignore = "brings up machines"]
fn launch_given_up_before_ssh_is_mended() {
    let stand = Stand::with(&[]);
    stand.place.turn_on(Switch::LaunchTimesOut, "once ssh").expect("a switch");
    let ran = up(&stand, &["--launch-limit", "20"]).ok();
    assert!(ran.stderr().contains("lost sight of rdma-server"), "{}", ran.stderr());
    let words: Vec<String> =
        stand.place.logged().into_iter().map(|logged| logged.argv[..2].join(" ")).collect();
    for command in ["stop rdma-server", "start rdma-server"] {
        assert!(words.iter().any(|word| word == command), "no `{command}` in {words:?}");
    }
}

#[test]
#[ignore = "brings up machines"]
fn late_and_failed_cloud_init_are_lived_with() {
    let stand = Stand::with(&[]);
    stand.place.turn_on(Switch::LaunchTimesOut, "once cloud-init").expect("a switch");
    stand.place.turn_on(Switch::CloudInitFails, "").expect("a switch");
    let ran = up(&stand, &[]).ok();
    assert!(ran.stderr().contains("cloud-init reports an error"), "{}", ran.stderr());
}

#[test]
#[ignore = "brings up machines"]
fn launch_that_leaves_no_instance_is_seen() {
    let stand = Stand::with(&[]);
    stand.place.turn_on(Switch::LaunchLost, "once").expect("a switch");
    up(&stand, &[]).ok();
    let launches = stand.place.logged().into_iter().filter(|logged| logged.argv[0] == "launch").count();
    assert_eq!(launches, 3);
}

#[test]
#[ignore = "brings up machines"]
fn lab_up_killed_at_any_time_is_gone_on_from() {
    let stand = Stand::with(&[]);
    stand.place.turn_on(Switch::SlowLaunch, "800").expect("a switch");
    // In turn: while the image is prepared, while the first boots, at its cloud-init, at the second, while both
    // are made ready.
    for after in [1, 2, 3, 4, 6, 9] {
        let mut child =
            lab_command(&stand, &["lab", "up", "--provider", "multipass", "--name", &name(&stand)])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("lab up");
        thread::sleep(Duration::from_secs(after));
        let _ = child.kill();
        let _ = child.wait();
    }
    up(&stand, &[]).ok();
    assert_eq!(exec(&stand, "server", "true").code, Some(0));
}

#[test]
#[ignore = "brings up machines"]
fn instance_without_an_address_is_waited_for() {
    let stand = Stand::with(&[]);
    stand.place.turn_on(Switch::NoAddress, "").expect("a switch");
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_secs(8));
            stand.place.turn_off(Switch::NoAddress);
        });
        up(&stand, &[]).ok();
    });
}

#[test]
#[ignore = "brings up machines"]
fn truncated_transfers_are_found() {
    let stand = Stand::with(&[]);
    up(&stand, &[]).ok();
    let file = stand.work().join("big.bin").display().to_string();
    for (switch, argv) in [
        (Switch::TruncatedPush, ["push", "client", file.as_str(), "/root/big"]),
        (Switch::TruncatedPull, ["pull", "client", "/root/big", file.as_str()]),
    ] {
        stand.place.turn_on(switch, "").expect("a switch");
        let args = ["lab", argv[0], "--name", &name(&stand), argv[1], argv[2], argv[3]];
        fails(&lab(&stand, &args), &["checksum"]);
        stand.place.turn_off(switch);
        lab(&stand, &args).ok();
    }
}

#[test]
#[ignore = "brings up machines"]
fn hung_guest_and_blocked_daemon_end_in_named_errors() {
    let stand = Stand::with(&[]);
    up(&stand, &[]).ok();
    for (switch, text) in [(Switch::HungGuest, "rdma-client"), (Switch::DaemonBlocked, "")] {
        stand.place.turn_on(switch, text).expect("a switch");
        let started = Instant::now();
        fails(&up(&stand, &[]), &["not within", "a guest hangs or the daemon is blocked"]);
        assert!(started.elapsed() < Duration::from_secs(90));
        stand.place.turn_off(switch);
    }
    up(&stand, &[]).ok();
}

#[test]
#[ignore = "runs the lab"]
fn what_multipass_refuses_is_named() {
    let mut stand = Stand::without_daemon();
    fails(&up(&stand, &[]), &["daemon cannot be reached"]);
    stand.start_daemon();
    for (switch, text, named) in [
        (Switch::NeverRan, "", "has never run on this computer"),
        (Switch::NotAuthenticated, "", "does not let this user in"),
        (Switch::NoKvm, "", "no KVM"),
        (Switch::Offline, "", "unknown or unreachable"),
        (Switch::Driver, "virtualbox", "VirtualBox, which cannot connect two instances"),
    ] {
        stand.place.turn_on(switch, text).expect("a switch");
        fails(&up(&stand, &[]), &[named]);
        stand.place.turn_off(switch);
    }
    fails(&up(&stand, &["--image", "99.99"]), &["no such image"]);
    fails(&up(&stand, &["--disk", "1G"]), &["refuses that size"]);
    fails(&up(&stand, &["--memory", "lots"]), &["refuses that size"]);
    assert_eq!(stand.run(&["list"]).ok().stdout(), "No instances found.\n");
}

#[test]
#[ignore = "brings up machines"]
fn equal_addresses_are_refused() {
    let stand = Stand::with(&[]);
    stand.place.turn_on(Switch::EqualAddresses, "").expect("a switch");
    fails(&up(&stand, &[]), &["address"]);
}

#[test]
#[ignore = "brings up machines"]
fn blocked_ping_is_named() {
    let stand = Stand::with(&[]);
    for name in ["rdma-server", "rdma-client"] {
        stand.run(&["launch", "24.04", "--name", name]).ok();
    }
    inside(&stand, "rdma-server", "sysctl -w net.ipv4.icmp_echo_ignore_all=1");
    fails(&up(&stand, &[]), &["by ping", "firewall"]);
    inside(&stand, "rdma-server", "sysctl -w net.ipv4.icmp_echo_ignore_all=0");
    up(&stand, &[]).ok();
}

#[test]
#[ignore = "brings up machines"]
fn module_package_is_installed_or_named() {
    let stand = Stand::with(&[]);
    for name in ["rdma-server", "rdma-client"] {
        stand.run(&["launch", "24.04", "--name", name]).ok();
    }
    let aside = "mkdir -p /var/lib/DIR && mv /lib/modules/*/kernel/rdma_rxe.ko /var/lib/DIR/ && depmod";
    inside(&stand, "rdma-server", &aside.replace("DIR", "stand-in/modules-extra"));
    inside(&stand, "rdma-client", &aside.replace("DIR", "nowhere"));
    fails(&up(&stand, &[]), &["client", "rdma_rxe cannot be loaded", "linux-image-generic"]);
    inside(&stand, "rdma-client", "mv /var/lib/nowhere/* /lib/modules/*/kernel/ && depmod");
    up(&stand, &[]).ok();
    inside(&stand, "rdma-server", "lsmod | grep -q ^rdma_rxe");
}

#[test]
#[ignore = "brings up machines"]
fn dropped_packets_are_no_verdict_on_the_wire() {
    let stand = Stand::with(&[]);
    up(&stand, &[]).ok();
    let wrapper = "#!/bin/sh\n/usr/bin/tcpdump.real \"$@\" 2>/tmp/tcpdump.err &\ntrap \"kill -INT $!\" INT TERM\n\
        while ! grep -q listening /tmp/tcpdump.err; do sleep 0.1; done\ngrep listening /tmp/tcpdump.err >&2\n\
        wait; wait\nsed 's/^0 packets dropped/7 packets dropped/' /tmp/tcpdump.err >&2\n";
    let file = stand.work().join("tcpdump");
    fs::write(&file, wrapper).expect("a file");
    for instance in ["rdma-server", "rdma-client"] {
        stand.run(&["transfer", "tcpdump", &format!("{instance}:/tmp/tcpdump")]).ok();
        let wrap =
            "mv /usr/bin/tcpdump /usr/bin/tcpdump.real && install -m 755 /tmp/tcpdump /usr/bin/tcpdump";
        inside(&stand, instance, wrap);
    }
    let ran = lab(&stand, &["test-e2e", "--ci", "--provider", "multipass", "write_with_imm"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stdout());
    let said = ran.stdout() + &ran.stderr();
    assert!(said.contains("write_with_imm: CAPTURE") && said.contains("dropped"), "{said}");
}
