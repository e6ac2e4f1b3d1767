//! `lab exec`, `push` and `pull` as people expect them of ssh, docker and scp: words, exit codes, ends, modes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use lab::base::command::shell_word;
use rustix::process::{Signal, kill_process};

use crate::support::{Beside, Lab, poll, run};

#[test]
#[ignore = "needs the lab's machines"]
fn exit_codes_are_those_of_ssh_and_docker() {
    let lab = Lab::up("codes");
    for (command, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
        ("/nonexistent/program", 127),
        ("/etc/passwd", 126),
    ] {
        let ran = lab.exec("client", command);
        assert_eq!(ran.code, Some(code), "{command}: {ran:?}");
    }
    // Without `--`: what follows the node's name is the command's, options too.
    let listed = lab.run("exec", &["CLIENT", "ls", "-d", "/tmp", "-l"]).ok();
    assert!(listed.stdout.starts_with('d') && listed.stdout.ends_with(" /tmp\n"), "{listed:?}");
    assert_eq!(lab.run("exec", &["client", "echo", "--", "-d"]).ok().stdout, "-- -d\n");

    lab.run("exec", &["serfer", "ls"]).fails(125, &["'serfer'", "a similar value exists: 'server'"]);
    lab.run("exec", &["client"]).fails(125, &["<COMMAND>"]);
    // The lab's end is the lab's trouble, whatever ssh has for it.
    let mut cut = Beside::start(lab.command(&["exec"], &["client", "echo begun; sleep 60"]));
    cut.wait_said("begun");
    lab.run("down", &[]).ok();
    assert_eq!(cut.wait().code(), Some(125), "{}", cut.said());
    assert!(cut.said().contains("error: the command on client was cut off"), "{}", cut.said());
}

#[test]
#[ignore = "needs the lab's machines"]
fn files_and_trees_go_both_ways_with_their_modes() {
    let lab = Lab::up("files");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::create_dir_all(path("tree/sub")).expect("a directory");
    fs::write(path("tree/sub/program"), "#!/bin/sh\necho it runs\n").expect("a file");
    fs::set_permissions(path("tree/sub/program"), Permissions::from_mode(0o750)).expect("a mode");
    fs::write(path("data"), "a\0b").expect("a file");
    fs::set_permissions(path("data"), Permissions::from_mode(0o640)).expect("a mode");

    let pushed = lab.run("push", &["client", &path("data"), "/tmp/"]).ok();
    assert_eq!(pushed.stdout, "/tmp/data: 3 bytes\n");
    lab.run("push", &["client", &path("tree"), "/tmp"])
        .fails(2, &["is a directory", "next: take it along with -r"]);
    lab.run("push", &["-r", "client", &path("tree"), &path("data"), "/tmp/made"]).ok();
    let listed = lab
        .exec("client", "/tmp/made/tree/sub/program; stat -c %a /tmp/made/tree/sub/program /tmp/data")
        .ok();
    assert_eq!(listed.stdout, "it runs\n750\n640\n");
    // Without a target all is a program.
    lab.run("push", &["client", &path("data")]).ok();
    assert_eq!(lab.exec("client", "stat -c %a /opt/lab/bin/data").ok().stdout, "755\n");

    fs::create_dir(path("back")).expect("a directory");
    lab.exec("client", "mkfifo /tmp/made/fifo").ok();
    let pulled = lab.run("pull", &["-r", "--json", "client", "/tmp/made", "/tmp/data", &path("back")]).ok();
    assert!(
        pulled.stderr.contains("note: left out: ") && pulled.stderr.contains("fifo: a FIFO"),
        "{pulled:?}"
    );
    assert_eq!(pulled.json()["files"][0]["files"], 2, "{pulled:?}");
    let program = fs::metadata(path("back/made/tree/sub/program")).expect("a file");
    assert_eq!(program.permissions().mode() & 0o777, 0o750);
    assert_eq!(fs::read(path("back/data")).expect("a file"), b"a\0b");
    lab.run("pull", &["client", "/dev/zero", &path("zero")])
        .fails(1, &["it is a device, a socket or a FIFO"]);
    lab.run("pull", &["client", "/tmp/made", &path("back2")]).fails(1, &["-r takes it along"]);
    lab.run("push", &["client", &path("data"), "/proc/x"]).fails(1, &["failed to write /proc/x on client\n"]);
}

#[test]
#[ignore = "needs the lab's machines"]
fn command_ends_with_whoever_started_it_however_that_ends() {
    let lab = Lab::up("ends");
    for signal in [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP] {
        let follow = "echo begun; exec tail -f /dev/null";
        let mut ended = Beside::start(lab.command(&["exec"], &["client", follow]));
        ended.wait_said("begun");
        let pid = i32::try_from(ended.id()).expect("a process id");
        kill_process(rustix::process::Pid::from_raw(pid).expect("a process id"), signal).expect("a signal");
        ended.wait();
        lab.exec("client", "for i in $(seq 20); do pidof tail || exit 0; sleep 1; done; exit 1").ok();
    }
}

#[test]
#[ignore = "needs the lab's machines"]
fn command_in_the_background_of_a_terminal_is_not_stopped() {
    let lab = Lab::up("terminal");
    let xtask = cargo_bin!("xtask").display();
    // A shell with job control, on a terminal of its own: who touches that from the background is stopped.
    let exec = format!("{xtask} lab exec --name {}", lab.name);
    let script = format!(
        "{exec} client 'cat; tty' & wait %1; echo background $?; {exec} client tty; echo foreground $?; exit"
    );
    let mut command = Command::new("script");
    command
        .args(["-qec", &format!("bash --norc -ic {}", shell_word(&script)), "/dev/null"])
        .stdin(Stdio::piped());
    let ran = run(command);
    assert!(ran.stdout.contains("not a tty"), "{ran:?}");
    // `tty` has exit code 1 where it has none; a job that was stopped, 128 and a signal.
    assert!(ran.stdout.contains("background 1"), "{ran:?}");
    assert!(ran.stdout.contains("/dev/pts/") && ran.stdout.contains("foreground 0"), "{ran:?}");
}

#[test]
#[ignore = "needs the lab's machines"]
fn detached_command_is_seen_and_stopped_by_what_was_printed() {
    let lab = Lab::up("detached");
    let run_printed = |line: &str| {
        let line = line.replace("cargo xtask", &cargo_bin!("xtask").display().to_string());
        let mut command = Command::new("sh");
        command.args(["-c", &line]);
        command
    };
    let started = lab.run("exec", &["-d", "--json", "server", "rdma_server", "-v"]).ok().json();
    let text = |key: &str| started[key].as_str().expect("a text").to_owned();
    assert_eq!((text("node"), text("command")), ("server".to_owned(), "rdma_server -v".to_owned()));
    lab.run("exec", &["client", "rdma_client", "server"]).ok();
    let mut seen = Beside::start(run_printed(&text("output")));
    seen.wait_said("received 18 bytes");
    run(run_printed(&text("stop"))).ok();
    poll("end of the command", Duration::from_secs(20), || {
        (lab.exec("server", &format!("kill -0 {}", started["pid"])).code != Some(0)).then_some(())
    });
    let told = lab.run("exec", &["--detach", "server", "true"]).ok().stdout;
    assert!(
        told.contains("\noutput   cargo xtask lab exec --name ") && told.contains("\nstop it  "),
        "{told}"
    );
}
