//! `lab step` between machines: what a word drops is sent again by the machine that sent it.

use std::fs::{self, File};

use crate::support::{Beside, Lab};

/// Waits for the listener, then connects.
const CLIENT: &str = "for i in $(seq 100); do rdma resource show cm_id | grep -q LISTEN && break; sleep 0.1; done; \
                      rping -c -a server -C 1";

#[test]
#[ignore = "needs the lab's machines"]
fn dropped_packet_is_sent_again_and_the_programs_succeed() {
    let lab = Lab::up("step");
    // REQ, REP, RTU; the first SEND is lost; its repetition, and what follows it.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let words = directory.path().join("words");
    fs::write(&words, "f f f d n f f f").expect("a file");
    let mut command = lab.command(&["step"], &["--lines"]);
    command.stdin(File::open(words).expect("a file"));
    let mut step = Beside::start(command);
    step.wait_said("from > to");
    let _server = Beside::start(lab.command(&["exec"], &["server", "--", "rping -s -C 1"]));
    lab.exec("client", CLIENT).ok();
    assert!(step.wait().success(), "{}", step.said());
    let said = step.said();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("RC SEND Only")).collect();
    assert!(lines.len() >= 2 && !lines[0].contains("again") && lines[1].contains("again"), "{said}");
    assert!(said.contains("1 dropped"), "{said}");
    // Queue pairs of both machines, as they were while the repetition waited.
    assert!(said.contains("RTS"), "{said}");
}
