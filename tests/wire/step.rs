//! `lab step` in a pipe: packets wait, words decide, and nothing waits for a stepper that has gone.

use std::time::{Duration, Instant};

use lab::base::role::Role;
use roce::synth::Pair;

use crate::stage::{Dialogue, LIMIT, Stage};

/// Writes of one packet from the client.
fn writes(count: u32) -> Vec<Vec<u8>> {
    let pair = Pair::new(1);
    (0..count).map(|psn| pair.request(0x0a, psn).reth(0x1000, 7, 4).payload(&[1; 4]).build()).collect()
}

fn stepper(stage: &Stage) -> Dialogue {
    let mut step = Dialogue::start(stage.command(&["lab", "step", "--name", "stage"]));
    step.wait_said("from > to");
    step
}

#[test]
fn each_packet_waits_for_its_word_and_the_recording_has_its_fate() {
    let stage = Stage::new();
    let mut step = stepper(&stage);
    let frames = writes(6);
    for frame in &frames {
        stage.send(Role::Client, frame);
    }
    step.wait_said("client > server.qp1");
    assert!(
        step.said().contains("RC RDMA WRITE Only") && !step.said().contains("client+1"),
        "{}",
        step.said()
    );
    step.say("f\n");
    assert_eq!(stage.receive(Role::Server), frames[0]);
    step.wait_said("client+1");
    step.say("drop double\nc l=20\n");
    let mut received: Vec<Vec<u8>> = (0..4).map(|_| stage.receive(Role::Server)).collect();
    let changed = received.remove(2);
    assert!(changed != frames[3] && changed.len() == frames[3].len());
    assert_eq!(received, [&frames[2], &frames[2], &frames[4]].map(Clone::clone));
    step.say("x\n");
    step.wait_said("`x` is no key; there are: f forward");
    step.say("q\n");
    // What waits goes on.
    assert_eq!(stage.receive(Role::Server), frames[5]);
    assert_eq!(step.wait_code(), Some(0));
    let summary = "1 corrupted, 1 delayed, 1 doubled, 1 dropped, 1 forwarded; what waited goes on";
    assert!(step.said().contains(summary), "{}", step.said());
    let fates = stage.fates(&stage.logs().join("capture.pcapng"));
    let expected = "queued dropped queued duplicate-of corrupted altered-of delayed released queued";
    assert_eq!(fates.join(" "), expected);
}

#[test]
fn words_may_come_first_and_their_end_is_the_end() {
    let stage = Stage::new();
    let mut step = stepper(&stage);
    step.say("d f");
    drop(step.child.stdin.take());
    let frames = writes(3);
    for frame in &frames {
        stage.send(Role::Client, frame);
    }
    assert_eq!(stage.receive(Role::Server), frames[1]);
    assert_eq!(stage.receive(Role::Server), frames[2]);
    assert_eq!(step.wait_code(), Some(0));
}

#[test]
fn packets_go_on_where_the_stepper_was_killed_and_another_may_follow() {
    let stage = Stage::new();
    let mut step = stepper(&stage);
    let frames = writes(2);
    stage.send(Role::Client, &frames[0]);
    step.wait_said("RC RDMA WRITE Only");
    let mut second = Dialogue::start(stage.command(&["lab", "step", "--name", "stage"]));
    assert_eq!(second.wait_code(), Some(1));
    assert!(second.said().contains("somebody else holds the packets"), "{}", second.said());
    step.child.kill().expect("a child");
    let killed = Instant::now();
    assert_eq!(stage.receive(Role::Server), frames[0]);
    assert!(killed.elapsed() < LIMIT / 2, "{:?}", killed.elapsed());
    let mut third = stepper(&stage);
    stage.send(Role::Client, &frames[1]);
    third.wait_said("client > server");
    third.say("f");
    drop(third.child.stdin.take());
    assert_eq!(stage.receive(Role::Server), frames[1]);
}

#[test]
fn stepper_that_stands_still_is_told_that_packets_went_on() {
    let stage = Stage::new();
    let mut step = stepper(&stage);
    let pid = rustix::process::Pid::from_child(&step.child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("a child");
    let frame = writes(1).remove(0);
    stage.send(Role::Client, &frame);
    assert_eq!(stage.receive(Role::Server), frame);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("a child");
    assert_eq!(step.wait_code(), Some(1));
    assert!(step.said().contains("next: begin again; what waited was forwarded"), "{}", step.said());
    // Nobody holds anything now.
    stage.send(Role::Client, &frame);
    let sent = Instant::now();
    assert_eq!(stage.receive(Role::Server), frame);
    assert!(sent.elapsed() < Duration::from_secs(3));
}
