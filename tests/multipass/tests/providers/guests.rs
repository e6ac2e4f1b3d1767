//! Faults inside the instances, and questions that Multipass must never be asked.

use multipass_stand_in::place::Misbehaviour;

use crate::bench::{Bench, assert_refused};

const NAME: &str = "--name t-guests";

/// Runs a command as root in an instance, as its owner would.
#[track_caller]
fn inside(bench: &Bench, instance: &str, script: &str) -> String {
    let output = bench.inside(instance, script);
    assert_eq!(output.code, Some(0), "{script}");
    output.stdout
}

/// Launches both instances, as their owner would.
fn launch(bench: &Bench) {
    for name in ["rdma-server", "rdma-client"] {
        assert_eq!(bench.multipass(&format!("launch 24.04 --name {name}")).code, Some(0));
    }
}

#[test]
#[ignore = "needs the lab"]
fn every_call_is_one_that_multipass_takes_well() {
    let bench = Bench::new();
    // Cloud-init is late, and a guest is too busy to be reached at once.
    bench.place.turn_on(Misbehaviour::LaunchTimesOut, "once cloud-init").unwrap();
    bench.place.turn_on(Misbehaviour::BusySsh, "once").unwrap();
    bench.ok(&format!("lab up {NAME} --provider multipass"));
    // Each is run once: Multipass runs a command that exits with 4 again and again.
    for code in [1, 2, 4, 5, 255] {
        let output = bench.exec("t-guests", "client", &format!("echo {code} >>/root/codes; exit {code}"));
        assert_eq!(output.code, Some(code));
    }
    assert_eq!(inside(&bench, "rdma-client", "cat /root/codes"), "1\n2\n4\n5\n255\n");
    for logged in bench.place.logged() {
        let words: Vec<&str> = logged.argv.iter().map(String::as_str).collect();
        match words[..] {
            ["exec", "-n", ..] | ["transfer", "-", _] | ["transfer", _, "-"] => {}
            ["exec" | "transfer", ..] => panic!("{words:?}"),
            ["launch", ref options @ ..] => {
                let cloud_init = options.iter().position(|word| *word == "--cloud-init").unwrap();
                assert_eq!(options[cloud_init + 1], "-", "the snap does not see every file");
                assert!(options.contains(&"-m") && options.contains(&"--timeout"), "{words:?}");
            }
            _ => {}
        }
    }
    bench.assert_others_are_left_alone();
}

#[test]
#[ignore = "needs the lab"]
fn firewall_and_missing_modules_are_named_and_mended() {
    let bench = Bench::new();
    let up = format!("lab up {NAME} --provider multipass");
    launch(&bench);
    inside(&bench, "rdma-server", "sysctl -w net.ipv4.icmp_echo_ignore_all=1");
    // On some releases the modules have a package of their own; a kernel that is superseded has none.
    let aside = "mkdir -p DIR && mv /lib/modules/*/kernel/rdma_rxe.ko DIR/ && depmod";
    inside(&bench, "rdma-server", &aside.replace("DIR", "/var/lib/stand-in/modules-extra"));
    inside(&bench, "rdma-client", &aside.replace("DIR", "/var/lib/gone"));
    // No route to the archive, or no proxy where one is needed.
    let said = "E: Failed to fetch http://archive/InRelease  Temporary failure resolving archive";
    inside(&bench, "rdma-server", &format!("echo '{said}' >/var/lib/stand-in/fail-update"));
    let output = bench.xtask(&up);
    assert_refused(&output, "server (rdma-server): packages cannot be installed: ");
    assert!(output.stderr.contains(said) && output.stderr.contains("Acquire::http::Proxy"));
    inside(&bench, "rdma-server", "rm /var/lib/stand-in/fail-update");
    bench.refused(&up, "module rdma_rxe cannot be loaded");
    inside(&bench, "rdma-client", "mv /var/lib/gone/* /lib/modules/*/kernel/ && depmod");
    bench.refused(&up, "does not reach server (rdma-server) by ping");
    inside(&bench, "rdma-server", "sysctl -w net.ipv4.icmp_echo_ignore_all=0");
    bench.ok(&up);
    inside(&bench, "rdma-server", "test -e /var/lib/stand-in/installed/linux-modules-extra-$(uname -r)");
}
