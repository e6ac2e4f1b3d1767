//! The lab's wire in Wireshark: its extcap calls, and its pipe.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use lab::base::role::Role;
use roce::synth::Pair;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::stage::{Dialogue, Stage, poll};

fn said(command: &mut Command) -> String {
    let output = command.output().expect("xtask starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Packets of RoCE in the bytes of a capture.
fn packets(bytes: &[u8]) -> usize {
    let Ok(mut reader) = roce::capture::Reader::new(bytes) else { return 0 };
    let mut count = 0;
    while let Ok(Some(_)) = reader.next() {
        count += 1;
    }
    count
}

#[test]
fn wireshark_is_told_of_the_lab_and_captures_it_live() {
    let stage = Stage::new();
    let directory = stage.directory.path().join("extcap");
    let installed = said(stage.command(&["lab", "extcap", "--install"]).arg(&directory));
    assert!(installed.contains("extcap/rdma-lab"), "{installed}");
    // As Wireshark does, by the script that it finds.
    let script = || Command::new(directory.join("rdma-lab"));
    let interfaces = said(script().args(["--extcap-interfaces", "--extcap-version=4.4"]));
    assert!(interfaces.starts_with("extcap {version="), "{interfaces}");
    assert!(
        interfaces
            .contains("\ninterface {value=rdma-lab-stage}{display=RDMA lab stage: server and client}\n"),
        "{interfaces}"
    );
    let of = ["--extcap-interface", "rdma-lab-stage"];
    assert_eq!(
        said(script().arg("--extcap-dlts").args(of)),
        "dlt {number=1}{name=EN10MB}{display=Ethernet}\n"
    );
    assert_eq!(said(script().arg("--extcap-config").args(of)), "");

    let fifo = stage.directory.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let mut command = script();
    command.arg("--capture").args(of).arg("--fifo").arg(&fifo);
    let mut capture = Dialogue::start(command);
    let mut pipe = fs::File::open(&fifo).expect("the pipe");
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    for (frame, count) in Pair::new(1).write_then_read().iter().zip(1..) {
        stage.send(Role::Client, frame);
        // Each comes before the next is sent.
        while packets(&bytes) < count {
            let length = pipe.read(&mut buffer).expect("the pipe");
            assert!(length > 0, "{}", capture.said());
            bytes.extend_from_slice(&buffer[..length]);
        }
    }
    drop(pipe);
    assert_eq!(capture.wait_code(), Some(0), "{}", capture.said());
}

#[test]
fn call_that_names_no_lab_is_an_error() {
    let stage = Stage::new();
    for (interface, code, text) in
        [("eth0", 2, "no interface is called eth0"), ("rdma-lab-x", 2, "no lab called x is up")]
    {
        let words = ["lab", "extcap", "--capture", "--fifo", "/dev/null", "--extcap-interface", interface];
        let output = stage.command(&words).output().expect("xtask starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(text) && stderr.contains("next: "), "{stderr}");
    }
}

#[test]
fn follow_starts_wireshark_and_ends_with_it() {
    let stage = Stage::new();
    let (programs, got) = (stage.directory.path().join("programs"), stage.directory.path().join("got"));
    fs::create_dir(&programs).expect("a directory");
    let wireshark = programs.join("wireshark");
    fs::write(&wireshark, format!("#!/bin/sh\necho \"$@\"\nhead -c 600 >{}\n", got.display()))
        .expect("a script");
    fs::set_permissions(&wireshark, fs::Permissions::from_mode(0o755)).expect("a program");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = stage.command(&["lab", "capture", "follow", "--name", "stage", "--wireshark"]);
    command.env("PATH", path);
    let mut follow = Dialogue::start(command);
    follow.wait_said("-k -i -");
    for frame in Pair::new(1).write_then_read() {
        stage.send(Role::Client, &frame);
    }
    assert_eq!(follow.wait_code(), Some(0), "{}", follow.said());
    let bytes = poll("a capture", || fs::read(&got).ok().filter(|bytes| bytes.len() == 600));
    assert!(packets(&bytes) >= 1);
}
