//! `lab step` and `lab capture follow` on a terminal, which tmux gives and reads.

use std::process::Command;

use lab::base::role::Role;
use roce::synth::Pair;

use crate::stage::{Stage, poll};

/// A tmux of its own, with one window. Dropped, it ends.
struct Terminal {
    socket: std::path::PathBuf,
}

impl Terminal {
    /// Runs a command; `None` where there is no tmux.
    fn start(stage: &Stage, words: &str) -> Option<Terminal> {
        let terminal = Terminal { socket: stage.directory.path().join("tmux") };
        let command = format!(
            "RDMA_LAB_CACHE={} {} {words}; echo ended $?; sleep 60",
            stage.directory.path().display(),
            assert_cmd::cargo::cargo_bin!("xtask").display()
        );
        let started =
            terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", &command])?;
        assert!(started.status.success(), "{started:?}");
        Some(terminal)
    }

    fn tmux(&self, words: &[&str]) -> Option<std::process::Output> {
        let output =
            Command::new("tmux").arg("-S").arg(&self.socket).args(words).env("TERM", "xterm").output();
        if output.is_err() {
            eprintln!("not run: there is no tmux here");
        }
        output.ok()
    }

    fn screen(&self) -> String {
        let output = self.tmux(&["capture-pane", "-p"]).expect("tmux");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    fn wait_shown(&self, text: &str) -> String {
        let mut last = String::new();
        let started = std::time::Instant::now();
        poll(&format!("`{text}`"), || {
            last = self.screen();
            assert!(started.elapsed() < crate::stage::LIMIT * 9 / 10, "no `{text}` on\n{last}");
            last.contains(text).then(|| last.clone())
        })
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]).expect("tmux");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}

#[test]
fn held_packet_is_looked_at_and_dropped_and_its_retransmission_is_seen() {
    let stage = Stage::new();
    let Some(terminal) = Terminal::start(&stage, "lab step --name stage") else { return };
    terminal.wait_shown("no packet waits");
    let frames = Pair::new(1).write_then_read();
    let management = [(Role::Client, "CM REQ"), (Role::Server, "CM REP"), (Role::Client, "CM RTU")];
    for ((frame, (from, words)), number) in frames.iter().zip(management).zip(1..) {
        stage.send(from, frame);
        terminal.wait_shown(&format!("held: packet {number}"));
        terminal.wait_shown(words);
        terminal.wait_shown(" f  forward");
        terminal.press("Space");
    }
    terminal.wait_shown("no packet waits");
    stage.send(Role::Client, &frames[3]);
    terminal.wait_shown("held: packet 4");
    // A screen may be seen while it is drawn.
    for part in ["client.qp1 > server.qp1", "RC RDMA WRITE Only", "client+0", "bth.psn", "reth.dma_length 18"]
    {
        terminal.wait_shown(part);
    }
    terminal.press("d");
    terminal.wait_shown("4 dropped");
    // The sender's timer runs out, as it would.
    stage.send(Role::Client, &frames[3]);
    terminal.wait_shown("held: packet 5");
    terminal.wait_shown("AckReq, again");
    terminal.press("f");
    terminal.wait_shown("5 forwarded");
    terminal.press("q");
    let screen = terminal.wait_shown("ended 0");
    assert!(screen.contains("1 dropped, 4 forwarded; what waited goes on"), "{screen}");
    let fates = stage.fates(&stage.logs().join("capture.pcapng"));
    assert_eq!(fates, ["queued", "queued", "queued", "dropped", "queued"]);
}

#[test]
fn followed_lines_are_held_by_space() {
    let stage = Stage::new();
    let Some(terminal) = Terminal::start(&stage, "lab capture follow --name stage") else { return };
    terminal.wait_shown("space: hold");
    let frames = Pair::new(1).write_then_read();
    stage.send(Role::Client, &frames[0]);
    terminal.wait_shown("CM REQ");
    terminal.press("Space");
    terminal.wait_shown("held at line 2");
    stage.send(Role::Server, &frames[1]);
    stage.send(Role::Client, &frames[2]);
    // Both are in the recording and on no line.
    let file = stage.logs().join("capture.pcapng");
    poll("recorded packets", || (stage.fates(&file).len() == 3).then_some(()));
    assert!(!terminal.screen().contains("CM REP"));
    terminal.press("Space");
    terminal.wait_shown("CM RTU");
    terminal.press("q");
    terminal.wait_shown("ended 0");
}
