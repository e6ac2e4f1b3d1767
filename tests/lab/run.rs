//! `cargo xtask run`: programs that nobody here wrote, and what a user may do wrong with them.

use std::fs;
use std::iter;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::{Ran, artifacts, compile_peer, run, snapshot, xtask};

/// A user's own directory, in which `xtask run` is called.
struct User {
    directory: TempDir,
}

impl User {
    fn new() -> User {
        User { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn script(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    /// Compiles a program with these flags.
    fn compile(&self, name: &str, flags: &[&str]) {
        fs::write(self.path("x.c"), "int there(void); int main(void) { return there(); }\n").expect("a file");
        fs::write(self.path("there.c"), "int there(void) { return 0; }\n").expect("a file");
        let cc = |args: &[&str]| {
            let status = Command::new("cc").current_dir(self.directory.path()).args(args).status();
            assert!(status.expect("cc").success(), "{args:?}");
        };
        cc(&["-shared", "-fPIC", "-o", "libthere.so", "there.c"]);
        cc(&[&["-o", name, "x.c"], flags].concat());
    }

    #[track_caller]
    fn run(&self, server: &str, client: &str, args: &[&str]) -> Ran {
        let mut command = xtask(&["run", "--server", server, "--client", client]);
        command.current_dir(self.directory.path()).args(args);
        run(command)
    }
}

/// A name that no other run has.
fn named(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

#[test]
#[ignore = "needs the lab's machines"]
fn rping_and_perftest_pass_without_a_snapshot() {
    let user = User::new();
    for (server, client) in [
        ("rping -s -a {server} -C 3 -v", "rping -c -a {server} -C 3 -v"),
        ("ib_write_bw -n 100", "ib_write_bw -n 100 {server}"),
    ] {
        let ran = user.run(server, client, &[]).ok();
        assert!(ran.stdout.contains(" packets, complete by rxe's counters"), "{}", ran.stdout);
    }
}

#[test]
#[ignore = "needs the lab's machines"]
fn c_peers_interoperate_and_their_wire_is_the_same() {
    let user = User::new();
    compile_peer(&user.path("peer"));
    // In the second the C server disconnects as soon as its client may.
    for (exchange, times, scenario, [server, client]) in [
        ("write", 1, "write_read", ["rdma_server --once", "rdma_client {server}"]),
        ("imm", 3, "write_with_imm", ["rdma_server_imm --once", "rdma_client_imm {server}"]),
    ] {
        let (c_server, c_client) =
            (format!("./peer {exchange} server"), format!("./peer {exchange} client {{server}}"));
        let pairs = [(&*c_server, &*c_client), (&*c_server, client), (server, &*c_client)];
        for (server, client) in pairs.into_iter().flat_map(|pair| iter::repeat_n(pair, times)) {
            user.run(server, client, &["--snapshot", "trace.snap", "--accept"]).ok();
            let trace = fs::read_to_string(user.path("trace.snap")).expect("a snapshot");
            assert!(snapshot(scenario).contains(&trace), "{server}, {client}: {trace}");
        }
    }
    // A C server says nothing of its region's length: what may not fit is not written.
    let refused = ["--server-exit", "1", "--client-exit", "8"];
    user.run("./peer write server", "rdma_client --size 8192 {server}", &refused).ok();
}

#[test]
#[ignore = "needs the lab's machines"]
fn fault_meets_any_program_and_what_it_costs_has_to_be_said() {
    let user = User::new();
    let (server, client) = ("rping -s -a {server} -C 1", "rping -c -a {server} -C 1");
    let fault = ["--fault", "action=\"drop\",opcode=\"RC RDMA READ response Only\",nth=1"];
    let ran = user.run(server, client, &fault).fails(1, &[]);
    assert!(ran.stdout.contains("completer_retry_err = 1, expected 0"), "{}", ran.stdout);
    let said = ["--counter", "server.completer_retry_err=1", "--counter", "client.duplicate_request=1"];
    user.run(server, client, &[&fault[..], &said].concat()).ok();
    let never = ["--fault", "action=\"drop\",opcode=\"RC FetchAdd\""];
    let ran = user.run(server, client, &never).fails(1, &[]);
    assert!(ran.stdout.contains("run: SETUP: fault 1 never matched"), "{}", ran.stdout);
}

#[test]
#[ignore = "needs the lab's machines"]
fn local_programs_are_pushed_and_100_mb_of_output_are_bounded() {
    let user = User::new();
    user.script("srv", "#!/bin/sh\nrping -s -a \"$1\" -C 1\n");
    user.script(
        "cli",
        "#!/bin/sh\ncat /opt/lab/deployed/greeting; rping -c -a \"$1\" -C 1\n\
         head -c 104857600 /dev/zero | tr '\\0' x; echo END\n",
    );
    fs::write(user.path("greeting"), "BEGIN\n").expect("a file");
    let name = named("own");
    user.run("./srv {server}", "./cli {server}", &["--push", "greeting", "--name", &name]).ok();
    let output = fs::read_to_string(artifacts(&name).join("client.out")).expect("an output");
    assert!(output.len() < 2 << 20, "{} bytes", output.len());
    assert!(output.starts_with("BEGIN\n") && output.contains("x\n... 10380"), "{}", &output[..100]);
    assert!(output.contains(" bytes left out ...\nx") && output.contains("xEND\n"));
}

#[test]
#[ignore = "needs the lab's machines"]
fn snapshot_is_demanded_kept_and_compared() {
    let user = User::new();
    let (server, client) = ("rdma_server_imm --once", "rdma_client_imm {server}");
    let demand = ["--snapshot", "trace.snap"];
    let ran = user.run(server, client, &demand).fails(1, &[]);
    assert!(ran.stdout.contains("run: WIRE: there is no snapshot of this trace"), "{}", ran.stdout);
    assert!(ran.stdout.contains("--accept"), "{}", ran.stdout);
    assert!(user.path("trace.snap.new").is_file() && !user.path("trace.snap").exists());

    user.run(server, client, &[&demand[..], &["--accept"]].concat()).ok();
    assert!(!user.path("trace.snap.new").exists());
    let accepted = fs::read_to_string(user.path("trace.snap")).expect("a snapshot");
    assert!(snapshot("write_with_imm").contains(&accepted), "{accepted}");
    user.run(server, client, &demand).ok();

    let review = [&demand[..], &["--review"]].concat();
    let ran = user.run("rdma_server --once", "rdma_client {server}", &review).fails(1, &[]);
    assert!(ran.stdout.contains("run: WIRE: the trace differs from its snapshot"), "{}", ran.stdout);
    // Without a terminal it is shown, and nobody is asked.
    let shown = ran.stdout.split_once("trace.snap.new\n").map_or("", |(_, shown)| shown);
    assert!(shown.contains("\n+   client.qp1 > server.qp1 RC RDMA READ Request "), "{}", ran.stdout);
    let pending = fs::read_to_string(user.path("trace.snap.new")).expect("a trace");
    assert!(pending.contains("RC RDMA READ Request"), "{pending}");
    user.run(server, client, &demand).ok();
    assert!(!user.path("trace.snap.new").exists());
}

#[test]
#[ignore = "needs the lab's machines"]
fn run_is_saved_as_a_scenario_that_runs_the_same() {
    let user = User::new();
    user.script("srv", "#!/bin/sh\nrping -s -a \"$1\" -C 1\n");
    fs::create_dir_all(user.path("catalogue/snapshots")).expect("a directory");
    let snapshot = ["--snapshot", "catalogue/snapshots/own.snap", "--accept", "--summary"];
    let save = ["--save", "catalogue/own.toml", "--mtu", "4192"];
    let args = [&snapshot[..], &save].concat();
    let ran = user.run("timeout 20 ./srv {server}", "rping -c -a {server} -C 1", &args).ok();
    assert!(ran.stdout.contains("own --scenarios "), "{}", ran.stdout);
    let saved = fs::read_to_string(user.path("catalogue/own.toml")).expect("a scenario");
    assert!(saved.contains("server = \"timeout 20 ../srv {server}\"\n"), "{saved}");
    assert!(saved.contains("[network]\nmtu = 4192\n") && saved.contains("trace = \"summary\"\n"), "{saved}");
    let mut command = xtask(&["test-e2e", "own", "--scenarios"]);
    command.current_dir(user.directory.path()).arg("catalogue");
    run(command).ok();
    user.run("true", "true", &save).fails(2, &["is there already"]);
}

#[test]
#[ignore = "needs the lab's machines"]
fn several_clients_run_side_by_side_and_the_failed_one_is_numbered() {
    let user = User::new();
    let name = named("clients");
    let more = ["--client", "rdma_client {server}", "--name", &name];
    user.run("rdma_server --clients 2", "rdma_client {server}", &more).ok();
    for number in [1, 2] {
        let output = artifacts(&name).join(format!("client-{number}.out"));
        assert!(
            fs::read_to_string(output).expect("an output").contains("rdma_client: ok: wrote "),
            "{number}"
        );
    }
    let one_fails = ["--client", "sh -c 'echo lost; exit 4'"];
    let ran = user.run("rdma_server --once", "rdma_client {server}", &one_fails).fails(1, &[]);
    assert!(ran.stdout.contains("ClientFailed: client 2 of 2 ended with exit code 4"), "{}", ran.stdout);
}

#[test]
#[ignore = "needs the lab's machines"]
fn programs_run_as_another_user_who_may_lock_little_memory() {
    let user = User::new();
    let name = named("user");
    let args = ["--user", "worker", "--name", &name];
    user.run("rping -s -a {server} -C 1", "id -un; ulimit -l; rping -c -a {server} -C 1", &args).ok();
    let output = fs::read_to_string(artifacts(&name).join("client.out")).expect("an output");
    assert!(output.starts_with("worker\n8192\n"), "{output}");
    let args = ["--user", "worker", "--ready", "port:18515"];
    let large = "ib_write_bw -d rxe0 -u 19 -n 5 -s 16777216";
    let ran = user.run(large, &format!("{large} {{server}}"), &args).fails(1, &[]);
    assert!(ran.stdout.contains("run: LockedMemoryLimit: "), "{}", ran.stdout);
}

#[test]
#[ignore = "needs the lab's machines"]
fn machines_change_places_and_a_server_forks_away_or_ends_by_a_signal() {
    let user = User::new();
    let (name, client) = (named("swap"), "rping -c -a {server} -C 1");
    let fault = ["--fault", "action=\"duplicate\",to=\"server\",opcode=\"RC SEND Only\",nth=1"];
    let swap = ["--swap", "--name", &name, "--counter", "server.duplicate_request=1"];
    user.run("rping -s -a {server} -C 1", client, &[&fault[..], &swap].concat()).ok();
    let evidence = fs::read_to_string(artifacts(&name).join("evidence.json")).expect("evidence");
    let evidence: serde_json::Value = serde_json::from_str(&evidence).expect("JSON");
    assert_eq!(evidence["addresses"]["server"], "198.51.100.2");
    // It forks away at once; what it leaves behind listens later.
    user.run("(sleep 0.5; exec rping -s -a {server} -C 1) >/dev/null 2>&1 &", client, &[]).ok();
    let ends = "sh -c 'rping -s -a {server} -C 1; kill -KILL $$'";
    user.run(ends, client, &["--server-exit", "SIGKILL", "--repeat", "2"]).ok();
}

#[test]
#[ignore = "needs the lab's machines"]
fn program_that_stands_still_or_wants_a_terminal_is_told() {
    let user = User::new();
    let stopped = "sh -c 'kill -STOP $$'";
    let ran = user.run(stopped, "true", &["--timeout", "8"]).fails(1, &[]);
    assert!(ran.stdout.contains("run: ProgramHalted: a program on server stands still"), "{}", ran.stdout);
    let ran = user.run("rping -s -a {server} -C 1", "stty -a", &[]).fails(1, &[]);
    assert!(ran.stdout.contains("run: TerminalNeeded: `stty -a` wants a terminal"), "{}", ran.stdout);
}

#[test]
#[ignore = "needs the lab's machines"]
fn directory_is_pushed_and_too_much_is_refused() {
    let user = User::new();
    fs::create_dir_all(user.path("data/deep")).expect("a directory");
    fs::write(user.path("data/deep/greeting"), "BEGIN\n").expect("a file");
    let client = "cat /opt/lab/deployed/data/deep/greeting && rping -c -a {server} -C 1";
    user.run("rping -s -a {server} -C 1", client, &["--push", "data"]).ok();
    fs::File::create(user.path("large")).expect("a file").set_len(1 << 30).expect("a size");
    let ran = user.run("rping -s", client, &["--push", "large"]);
    let ran = ran.fails(2, &["1024 MiB are to be pushed, and a node takes 200"]);
    assert!(!ran.stderr.contains("run "), "{}", ran.stderr);
}

#[test]
#[ignore = "needs the lab's machines"]
fn packages_of_the_release_are_there_for_a_run_that_names_them() {
    let user = User::new();
    let args = ["--packages", "qperf", "--ready", "port:19765", "--stop", "SIGTERM"];
    user.run("qperf", "qperf {server} -cm 1 -t 1 rc_lat", &args).ok();
    user.run("qperf", "qperf {server} -cm 1 -t 1 rc_lat", &args[2..]).fails(2, &["no program called qperf"]);
    // A module of the kernel's package, which a node has not loaded.
    let client = "grep '^nvmet_rdma ' /proc/modules && qperf {server} -cm 1 -t 1 rc_lat";
    user.run("qperf", client, &[&args[..], &["--load", "nvmet-rdma"]].concat()).ok();
    let none = ["--packages", "qprf"];
    user.run("qperf", "qperf {server} -cm 1 -t 1 rc_lat", &none)
        .fails(1, &["has no package qprf", "the nearest is qperf"]);
}

#[test]
#[ignore = "needs the lab's machines"]
fn program_that_the_guest_cannot_run_is_named_before_a_machine_starts() {
    let user = User::new();
    user.compile("good", &["-L.", "-lthere"]);
    user.compile("musl", &["there.c", "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"]);
    user.script("perl", "#!/usr/bin/perl\n");
    let mut other = fs::read(user.path("good")).expect("a program");
    // e_machine of the ELF header: AArch64.
    other[18..20].copy_from_slice(&183_u16.to_le_bytes());
    fs::write(user.path("other"), other).expect("a program");
    fs::set_permissions(user.path("other"), fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::write(user.path("plain"), "#!/bin/sh\n").expect("a file");
    for (program, text) in [
        ("good", "needs libraries that the guest has not: libthere.so"),
        ("musl", "needs the interpreter /lib/ld-musl-x86_64.so.1, which the guest has not"),
        ("perl", "is a script for /usr/bin/perl, which the guest has not"),
        ("other", "is for another processor: AARCH64, 64 bits; the guest is X86_64"),
        ("plain", "is not executable"),
    ] {
        let name = named(program);
        let ran = user.run(&format!("./{program}"), "true", &["--name", &name]);
        let ran = ran.fails(2, &[text, "next: "]);
        assert!(!ran.stderr.contains("run "), "{}", ran.stderr);
        assert!(
            ran.stderr.contains(&user.path(program).canonicalize().expect("a path").display().to_string())
        );
    }
    user.run("rdma_servr --once", "true", &[])
        .fails(2, &["no program called rdma_servr", "did you mean rdma_server?"]);
    // With its library it is found and runs; then it is no server.
    let ran = user.run("./good", "true", &["--push", "libthere.so"]).fails(1, &[]);
    let text = "client: `true` never ran: the server was not listening any more, or never did";
    assert!(ran.stdout.contains(text) && !ran.stdout.contains("server: exit code"), "{}", ran.stdout);
    assert!(Path::new(&user.path("good")).is_file());
}
