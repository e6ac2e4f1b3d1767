//! Examples at the end of each command's help, spelled as the front end is called.

use clap::Command;
use lab::base::invocation::Invocation;

/// Front part of a command, which differs between the front ends.
#[derive(Debug, Clone, Copy)]
enum Spelling {
    Program,
    Lab,
    Test,
}

use Spelling::{Lab, Program, Test};

/// Commands with what to type behind their names.
const EXAMPLES: &[(Spelling, &str, &[&str])] = &[
    (
        Program,
        "run",
        &[
            "--server 'rping -s -a {server} -C 3' --client 'rping -c -a {server} -C 3'",
            "--server './srv' --client './cli {server}' --snapshot tests/trace.snap",
            "--server './srv' --client './cli {server}' --fault 'action=\"drop\",opcode=\"RC SEND Only\",nth=1'",
        ],
    ),
    (Program, "doctor", &["", "--probe"]),
    (Program, "results", &["", "--markdown"]),
    (Program, "explain", &["NobodyListens", "RequestPsnGap"]),
    (Program, "explore", &["write_read", "send --random 20"]),
    (Program, "matrix", &["write_read lost_ack --guest debian-12,debian-13"]),
    (Program, "fuzz", &["--runs 20", "--time 600 --seed 7", "--client 'rdma_client {server}' --time 600"]),
    (Program, "open", &["", "--print"]),
    (Program, "decode", &["capture.pcapng", "capture.pcapng --filter 'qp=client.qp1 psn=client+1..4'"]),
    (Program, "check", &["capture.pcapng"]),
    (Program, "diff", &["before.pcapng after.pcapng"]),
    (Program, "cflags", &[""]),
    (Program, "completions", &["bash"]),
    (Program, "man", &[""]),
    (
        Test,
        "",
        &[
            "",
            "write_read 'lost_*'",
            "-E 'tag(fault) and not name(read)' --list",
            "--failed --review",
            "--from-artifacts target/lab/runs/latest --review",
        ],
    ),
    (Lab, "up", &["", "--name other --guest debian-12"]),
    (Lab, "down", &["", "--all"]),
    (Lab, "status", &["", "--json"]),
    (Lab, "ssh", &["server"]),
    (Lab, "exec", &["server rping -s -C 3", "client 'rping -c -a server -C 3 && dmesg | tail'"]),
    (Lab, "push", &["server ./srv", "client -r data /root/"]),
    (Lab, "pull", &["client /root/out.txt"]),
    (Lab, "logs", &["", "client"]),
    (Lab, "capture start", &["", "wire.pcapng"]),
    (Lab, "capture stop", &[""]),
    (Lab, "capture follow", &["", "-- --filter opcode=read", "--wireshark"]),
    (Lab, "step", &["", "--name other"]),
    (Lab, "extcap", &["--install"]),
    (Lab, "reset", &[""]),
    (Lab, "clean", &["", "--yes"]),
    (Program, "self-test", &[""]),
    (Program, "test-guest", &["", "connecting"]),
    (Program, "setup-git", &[""]),
    (Program, "book", &["", "--check", "--write"]),
    (Program, "samples", &["rdma-lab-samples"]),
    (Program, "lesson", &["--list", "minimal_flow", "go_back_n --write"]),
    (Program, "bench data", &["", "--smoke"]),
    (Program, "bench decode", &[""]),
    (Program, "bench lab", &[""]),
    (Program, "bench programs", &["", "ib_write_bw"]),
    (Program, "ci", &["", "--every-trap"]),
];

/// Returns `command` with the examples of each of its subcommands.
pub fn with_examples(command: Command, front: Invocation) -> Command {
    below(command, front, front.program)
}

fn below(command: Command, front: Invocation, words: &str) -> Command {
    command.mut_subcommands(|subcommand| {
        let words = format!("{words} {}", subcommand.get_name());
        let subcommand = match help(front, &words) {
            Some(help) => subcommand.after_help(help),
            None => subcommand,
        };
        below(subcommand, front, &words)
    })
}

/// The examples of the command that is spelled like that.
fn help(front: Invocation, words: &str) -> Option<String> {
    let of = |spelling, name: &str| {
        let before = match spelling {
            Program => front.program,
            Lab => front.lab,
            Test => front.test,
        };
        format!("{before} {name}").trim_end().to_owned()
    };
    let (.., lines) = EXAMPLES.iter().find(|(spelling, name, _)| of(*spelling, name) == words)?;
    let lines: Vec<String> =
        lines.iter().map(|line| format!("  {words} {line}").trim_end().to_owned()).collect();
    Some(format!("Examples:\n{}", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use lab::base::invocation::XTASK;

    use super::*;
    use crate::front::STANDALONE;

    #[test]
    fn examples_are_spelled_as_the_front_end_is_called() {
        let told = |front, words| help(front, words).unwrap();
        assert!(told(XTASK, "cargo xtask lab up").contains("\n  cargo xtask lab up --name other"));
        assert!(told(STANDALONE, "rdma-lab up").contains("\n  rdma-lab up --name other"));
        assert!(told(XTASK, "cargo xtask test-e2e").contains("\n  cargo xtask test-e2e write_read 'lost_*'"));
        assert!(told(STANDALONE, "rdma-lab test").contains("\n  rdma-lab test --failed --review"));
        assert_eq!(help(STANDALONE, "rdma-lab"), None);
    }
}
