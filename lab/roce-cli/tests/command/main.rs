//! The command `roce` as a user runs it: views, exit codes, names, filters.

mod files;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use roce::capture::Writer;
use roce::synth::{FrameBuilder, Pair};
use roce::wire::Opcode;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

pub(crate) fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &["server", "client"]).unwrap();
    for (at, frame) in frames.iter().enumerate() {
        writer.write(0, at as u64 * 1_000, frame, "fate=forwarded").unwrap();
    }
    bytes
}

/// Runs with `input` as standard input; gives exit code, standard output and standard error.
pub(crate) fn run(args: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_roce"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails early reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_exits_0_on_a_clean_capture_and_1_on_a_finding() {
    let file = fixture("write_read.pcapng").display().to_string();
    let (code, out, err) = run(&["check", &file], b"");
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.ends_with("12 packets, 0 errors, 0 warnings; retransmissions: none\n"), "{out}");
    let mut frames = Pair::new(1).write_then_read();
    frames.remove(7);
    let (code, out, _) = run(&["check", "-"], &capture(&frames));
    assert_eq!(code, Some(1));
    assert!(out.starts_with("packet 8: warning: ReadResponsePsnGap: "), "{out}");
    let (code, out, _) = run(&["check", "-", "--json"], &capture(&frames));
    assert!(code == Some(1) && out.contains("\"roce.rule\":\"ReadResponsePsnGap\""), "{out}");
    let (code, ..) = run(&["check", "-", "--allow", "ReadResponsePsnGap"], &capture(&frames));
    assert_eq!(code, Some(0));
}

#[test]
fn read_that_goes_on_where_it_is_asked_again_is_a_note_on_rxe_alone() {
    let pair = Pair::new(1);
    let read = |n, pieces: u32| {
        let request = pair.request(0x0c, n).ack_request();
        request.reth(pair.passive.va, pair.passive.rkey, 1024 * pieces).build()
    };
    let end = |opcode, n| pair.response(opcode, n).aeth(0x1f, 1).payload(&[7; 1024]).build();
    let middle = pair.response(0x0e, 1).payload(&[7; 1024]).build();
    let management = [pair.req(7471, &[]), pair.rep(&[]), pair.rtu()];
    let frames = [&management[..], &[read(0, 3), end(0x0d, 0), read(1, 2), middle, end(0x0f, 2)]].concat();
    let check = |profile| run(&["check", "-", "--profile", profile], &capture(&frames));
    let (code, out, _) = check("generic");
    assert!(code == Some(1) && out.contains("error: OpcodeOutOfSequence"), "{out}");
    let (code, out, _) = check("rxe");
    assert!(code == Some(0) && out.contains("note: OpcodeOutOfSequence"), "{out}");
    let (code, _, err) = check("mlx5");
    assert!(code == Some(2) && err.contains("[possible values: generic, rxe]"), "{err}");
}

#[test]
fn check_and_stats_say_how_many_packets_were_not_counted_at_their_addresses() {
    let frames: Vec<Vec<u8>> = (0..65_537u32)
        .map(|number| {
            let [_, middle, high, low] = number.to_be_bytes();
            let source = [10, middle, high, low].into();
            FrameBuilder::new(source, [198, 51, 100, 1].into(), Opcode(0x04))
                .destination_qpn(17)
                .payload(b"four")
                .build()
        })
        .collect();
    for (frames, is_said) in [(&frames[..], true), (&frames[1..], false)] {
        let bytes = capture(frames);
        let (code, _, err) = run(&["check", "-"], &bytes);
        assert_eq!(code, Some(0));
        assert_eq!(err.contains("1 packets were not counted at their addresses"), is_said, "{err}");
        let (_, out, _) = run(&["stats", "-"], &bytes);
        assert_eq!(out.contains("and 1 packets that were not counted at their addresses"), is_said, "{out}");
    }
}

#[test]
fn diff_says_nothing_of_two_runs_that_mean_the_same() {
    let [a, b, c] =
        [fixture("write_read.pcapng"), fixture("write_read.pcapng"), fixture("write_with_imm.pcapng")]
            .map(|path| path.display().to_string());
    let (code, out, _) = run(&["diff", &a, &b], b"");
    assert_eq!((code, out.as_str()), (Some(0), ""));
    let other = capture(&Pair::new(5).write_then_read());
    let (code, out, _) = run(&["diff", "-", "-"], &other);
    assert!(code == Some(2) && out.is_empty(), "standard input is there once");
    let (code, out, _) = run(&["diff", &a, &c], b"");
    assert!(
        code == Some(1) && out.contains("+  client.qp1 > server.qp1 RC RDMA WRITE Only with Immediate"),
        "{out}"
    );
}

#[test]
fn every_view_of_a_capture_works_and_filters_apply() {
    let file = fixture("rping_1024.pcapng").display().to_string();
    let (code, out, _) = run(&["messages", &file, "--filter", "opcode=read"], b"");
    assert!(code == Some(0) && out.lines().count() == 3 && out.contains("responded"), "{out}");
    let (_, out, _) = run(&["stats", &file, "--json"], b"");
    assert!(out.contains("\"roce.kind\":\"RDMA READ\",\"roce.ended\":3"), "{out}");
    let (_, out, _) = run(&["ladder", &file], b"");
    assert!(
        out.starts_with("<svg") && out.ends_with("</svg>\n") && !out.contains("http://www.w3.org/1999/xlink")
    );
    let (_, out, _) = run(&["trace", &file, "--json", "--filter", "opcode=0x0c"], b"");
    assert!(
        out.lines().count() == 3
            && out.lines().all(|line| line.contains("\"infiniband.reth.dmalen\":\"5000\""))
    );
    let (_, out, _) = run(&["trace", &file, "--filter", "opcode=0x0c"], b"");
    assert_eq!(out.matches("RDMA READ Request").count(), 3);
    let (code, out, _) = run(&["follow", &file, "--idle", "0"], b"");
    // Its first line names the columns.
    assert!(code == Some(0) && out.lines().count() == 66 && out.trim_start().starts_with("packet"), "{out}");
    let (_, out, _) = run(&["man"], b"");
    assert!(out.contains("roce\\-check"), "the page of each subcommand");
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell], b"").1.contains("ladder"));
    }
}

#[test]
fn extension_of_the_output_chooses_what_a_ladder_is_written_as() {
    let directory = std::env::temp_dir().join(format!("roce-ladder-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = fixture("write_read.pcapng").display().to_string();
    let written = |name: &str| {
        let path = directory.join(name);
        let (code, _, err) =
            run(&["ladder", &file, "--packets", "5..6", "-o", &path.display().to_string()], b"");
        (code, err, std::fs::read(path).unwrap_or_default())
    };
    for (name, start) in [
        ("a.svg", "<svg"),
        ("a.html", "<!DOCTYPE html>"),
        ("a.mmd", "sequenceDiagram"),
        ("a.md", "```mermaid\nsequenceDiagram"),
    ] {
        let (code, err, bytes) = written(name);
        let text = String::from_utf8(bytes).unwrap();
        assert!(code == Some(0) && text.starts_with(start), "{name}: {err}");
        assert!(
            text.contains("write_read.pcapng")
                && text.contains("RC RDMA WRITE Only")
                && !text.contains("REQ"),
            "{text}"
        );
    }
    let (code, err, _) = written("a.gif");
    assert!(code == Some(1) && err.contains("no picture is written as .gif"), "{err}");
    #[cfg(feature = "pictures")]
    for (name, start) in [("a.png", &b"\x89PNG"[..]), ("a.pdf", b"%PDF")] {
        let (code, err, bytes) = written(name);
        assert!(code == Some(0) && bytes.starts_with(start), "{name}: {err}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
    for (command, start) in [("ladder", "<svg"), ("report", "<!DOCTYPE html>")] {
        let (code, out, err) = run(&[command, &file, "-o", "-"], b"");
        assert!(code == Some(0) && out.starts_with(start) && !Path::new("-").exists(), "{command}: {err}");
    }
    let (_, _, err) = run(&["ladder", &file, "--packets", "5000.."], b"");
    assert!(err.contains("--packets leaves none of 12 packets in "), "{err}");
    let (_, out, _) = run(&["ladder", &file, "--mermaid", "--title", "a;b"], b"");
    assert!(out.starts_with("sequenceDiagram\n    title a#59;b\n"), "{out}");
}

#[cfg(not(feature = "parquet"))]
#[test]
fn export_without_its_feature_says_where_it_is() {
    let file = fixture("write_read.pcapng").display().to_string();
    let (code, out, err) = run(&["export", "--packets", "p.parquet", &file], b"");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("built without Parquet") && err.contains("the feature `parquet`"), "{err}");
}

#[test]
fn a_filter_takes_the_names_of_the_trace_and_says_when_it_matches_nothing() {
    let file = fixture("write_read.pcapng").display().to_string();
    let names = ["--name", "198.51.100.1=server", "--name", "198.51.100.2=client"];
    let filtered = |command: &str, filter: &str| {
        run(&[&[command, &file, "--filter", filter][..], &names[..]].concat(), b"")
    };
    let (code, out, err) = filtered("trace", "psn=client+2..3 qp=client.qp1");
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out.lines().filter(|line| line.contains("READ response Middle")).count(), 2, "{out}");
    assert!(!out.contains("READ response Last"), "{out}");

    let (code, out, err) = filtered("check", "psn=client+99");
    assert_eq!((code, err), (Some(2), format!("note: the filter matches no packet in {file}\n")), "{out}");
    let (code, _, err) = filtered("check", "opcode=write findings");
    assert_eq!((code, err.as_str()), (Some(0), ""), "packets match, and are without findings");
    let (code, _, err) = filtered("trace", "qp=client.qp9");
    assert!(code == Some(1) && err.contains("no queue pair \"client.qp9\": there are"), "{err}");
    for command in ["trace", "check", "messages", "stats", "ladder"] {
        let filter = "direction=client>server";
        let (code, _, err) = run(&[command, &file, "--filter", filter], b"");
        assert_eq!((code, err.as_str()), (Some(0), ""), "{command}: nodes without a name have the trace's");
    }
    let (code, _, err) = filtered("messages", "opcode=reed");
    assert!(code == Some(2) && err.contains("the nearest is \"read\""), "{err}");
    let bytes = capture(&Pair::new(1).write_then_read());
    let (code, _, err) = run(&["trace", "-", "--filter", "qp=client.qp1"], &bytes);
    assert!(code == Some(1) && err.contains("standard input comes only once"), "{err}");
}

#[test]
fn messages_have_the_names_of_the_trace() {
    let directory = fixture("");
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if path.extension().is_none_or(|extension| extension != "pcapng") {
            continue;
        }
        // Both queue pairs, and the PSN.
        let ends = |line: &str| -> Vec<String> {
            let psn = line.split_whitespace().find(|word| word.contains('+'));
            line.split_whitespace().take(3).chain(psn).map(str::to_owned).collect()
        };
        let (_, trace, _) = run(&["trace", &name], b"");
        let rows = trace.lines().skip_while(|line| !line.starts_with("  messages")).skip(1);
        let expected: Vec<Vec<String>> = rows.take_while(|line| !line.is_empty()).map(ends).collect();
        let (_, messages, _) = run(&["messages", &name], b"");
        let got: Vec<Vec<String>> =
            messages.lines().map(|line| ends(line.trim_start().split_once(' ').unwrap().1)).collect();
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn what_holds_nothing_to_check_is_no_clean_capture() {
    let frame = Pair::new(1).write_then_read().remove(0);
    let mut other_link =
        vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 147, 0, 0, 0];
    other_link.extend([0; 8]);
    other_link.extend([(frame.len() as u32).to_le_bytes(), (frame.len() as u32).to_le_bytes()].concat());
    other_link.extend(&frame);
    let mut roce_v1 = vec![0; 60];
    roce_v1[12..14].copy_from_slice(&[0x89, 0x15]);
    for (bytes, said) in [
        (other_link, "1 other frame: 1 unsupported link type 147 (private use)\n"),
        (capture(&[roce_v1]), "1 other frame: 1 undecodable (grh: version 0 at offset 14, expected 6)\n"),
        (capture(&[]), "it has no frame at all\n"),
    ] {
        let (code, _, err) = run(&["check", "-"], &bytes);
        assert_eq!((code, err), (Some(2), format!("note: no RoCE packet in standard input: {said}")));
        for command in ["trace", "messages", "stats", "ladder"] {
            let (code, _, err) = run(&[command, "-"], &bytes);
            assert!(code == Some(0) && err.ends_with(said), "{command}: {err}");
        }
    }
}

/// A file with those bytes.
pub(crate) fn file(name: &str, bytes: &[u8]) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

#[test]
fn nodes_have_the_names_that_the_capture_says() {
    let mut pair = Pair::new(1);
    (pair.active.address, pair.passive.address) = ("fe80::2".parse().unwrap(), "fe80::1".parse().unwrap());
    let frames = pair.write_then_read();
    let recording = |interfaces: &[&str], of: fn(usize) -> u32, comment| {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, interfaces).unwrap();
        for (at, frame) in frames.iter().enumerate() {
            let is_passive = frame[6..12] == frames[1][6..12];
            writer.write(of(usize::from(is_passive)), at as u64 * 1_000, frame, comment).unwrap();
        }
        bytes
    };
    let own = recording(&["server", "client"], |is_passive| u32::from(is_passive == 0), "fate=forwarded");
    let shared = recording(&["eth0"], |_| 0, "fate=forwarded");
    let foreign = recording(&["server", "client"], |is_passive| u32::from(is_passive == 0), "");
    let mut resolved = foreign.clone();
    let record = |address: &str, name: &str| {
        let address: std::net::Ipv6Addr = address.parse().unwrap();
        let value = [&address.octets()[..], name.as_bytes(), &[0]].concat();
        let mut record = [2u16.to_le_bytes(), (value.len() as u16).to_le_bytes()].concat();
        record.extend(&value);
        record.resize(record.len().next_multiple_of(4), 0);
        record
    };
    let body = [record("fe80::2", "alpha"), record("fe80::1", "beta"), vec![0; 4]].concat();
    let length = (body.len() as u32 + 12).to_le_bytes();
    resolved.extend([&4u32.to_le_bytes()[..], &length, &body, &length].concat());
    for (name, bytes, ends) in [
        ("own", &own, ["client", "server"]),
        ("shared", &shared, ["node1", "node2"]),
        ("foreign", &foreign, ["node1", "node2"]),
        ("resolved", &resolved, ["alpha", "beta"]),
    ] {
        let file = file(&format!("named-{name}"), bytes);
        let [from, to] = ends;
        let (_, out, err) = run(&["trace", &file], b"");
        assert!(out.contains(&format!("connection 1: {from}.qp1 > {to}.qp1\n")), "{name}: {out}{err}");
        let direction = format!("direction={from}>{to}");
        let (_, out, err) = run(&["messages", &file, "--filter", &direction], b"");
        assert!(out.lines().count() == 2 && err.is_empty(), "{name}: {out}{err}");
        let (_, out, _) = run(&["trace", &file, "--name", "fe80::2=chosen"], b"");
        assert!(out.contains("connection 1: chosen.qp1 > "), "{name}: {out}");
    }
}

#[test]
fn of_packets_without_a_bth_there_is_nothing_to_check() {
    let frames = Pair::new(1).write_then_read();
    let mut bytes = capture(&frames[..1])[..0].to_vec();
    for word in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 42, 1] {
        bytes.extend(u32::to_le_bytes(word));
    }
    for frame in &frames {
        for word in [0, 0, 42, frame.len() as u32] {
            bytes.extend(u32::to_le_bytes(word));
        }
        bytes.extend(&frame[..42]);
    }
    let (code, out, err) = run(&["check", "-"], &bytes);
    assert_eq!(code, Some(2), "{out}");
    assert!(err.contains("of 12 packets the capture has no BTH: nothing can be checked of these"), "{err}");
}

#[test]
fn of_a_large_capture_the_first_packets_are_shown_and_all_are_counted() {
    let mut bytes = Vec::new();
    // With the acknowledgements 101,560 packets, of which one near the end is missing.
    let workload = roce::synth::Workload { data_packets: 100_000, tunnel: None };
    let written = workload.write_pcap(&mut bytes).unwrap();
    assert_eq!(written.packets, 101_560);
    let last = 16 + 1_082;
    bytes.drain(bytes.len() - 9 * last..bytes.len() - 8 * last);
    let large = file("large", &bytes);
    let rows = |out: &str| out.lines().filter(|line| line.contains("  RC ") && line.contains(" > ")).count();
    let (code, out, err) = run(&["trace", &large], b"");
    assert_eq!((code, rows(&out)), (Some(0), 100_000), "{err}");
    assert!(err.contains("this is of the first 100000 of 101559 packets: `--all` is of all"), "{err}");
    assert!(out.contains("of all packets:\n101559 packets") && out.contains("RequestPsnGap"), "the end");
    let (code, out, err) = run(&["trace", "--all", &large], b"");
    assert_eq!((code, rows(&out), err.as_str()), (Some(0), 101_559, ""));
    assert!(!out.contains("of all packets"));
    // What is asked for has room wherever it is.
    let (_, out, err) = run(&["trace", &large, "--filter", "time=0.1014.."], b"");
    assert_eq!((rows(&out), err.as_str()), (159, ""));
    assert!(
        out.contains("RDMA WRITE    ") && out.contains("  node1 > node2           RequestPsnGap"),
        "{out}"
    );
    let (_, out, _) = run(&["trace", &large, "--filter", "time=0.1014.. findings"], b"");
    assert_eq!(rows(&out), 1);
    let (_, out, err) = run(&["ladder", "--limit", "3", &large], b"");
    assert!(out.contains("and 101556 more packets") && err.contains("first 100000 of 101559"), "{err}");
    let (code, out, err) = run(&["diff", &large, &large], b"");
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    assert!(err.contains("the captures mean the same, as far as they were compared"), "{err}");
    let (code, _, err) = run(&["trace", &large, "--filter", "qp=node2.qp1"], b"");
    assert!(
        code == Some(1) && err.contains("names in a filter are known of the first 100000 packets"),
        "{err}"
    );
}

#[test]
fn filtered_statistics_count_the_findings_of_the_whole_capture() {
    let mut frames = Pair::new(1).write_then_read();
    frames.remove(7);
    let bytes = capture(&frames);
    let counts = |filter: &str| {
        let (_, out, _) = run(&["stats", "-", "--json", "--filter", filter], &bytes);
        let at = |key: &str| out.split_once(key).map(|(_, rest)| rest.chars().next().unwrap());
        (at("\"roce.packets\":"), at("\"roce.findings\":"), at("\"roce.ended\":"))
    };
    // The requests alone would seem to lack every answer, and the response behind the gap to be the first.
    assert_eq!(counts("opcode=write"), (Some('1'), Some('0'), Some('1')));
    assert_eq!(counts("findings"), (Some('1'), Some('1'), None));
}

#[test]
fn stats_tell_how_long_a_requester_was_quiet_before_it_sent_again() {
    let pair = Pair::new(3);
    let send = pair.request(0x04, 0).ack_request().payload(b"four").build();
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &["server", "client"]).unwrap();
    for at in [0, 67_000_000] {
        writer.write(1, at, &send, "").unwrap();
    }
    writer.write(0, 67_010_000, &pair.response(0x11, 0).aeth(0x1f, 1).build(), "").unwrap();
    let (_, out, _) = run(&["stats", "-"], &bytes);
    let line = out.lines().find(|line| line.starts_with("timeout ")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..4], ["timeout", "1", "67", "ms"], "{out}");
    let (_, out, _) = run(&["stats", "-", "--json"], &bytes);
    let times =
        "\"roce.retransmission_intervals_ns\":{\"timeout\":[67000000,67000000,67000000,67000000,67000000]}";
    assert!(out.contains(times), "{out}");
    let (_, out, _) = run(&["stats", "-", "--filter", "opcode=send"], &bytes);
    assert!(!out.contains("sent again"), "{out}");
}

#[test]
fn report_is_a_page_of_one_capture_or_of_two_side_by_side() {
    let [read, imm] = ["write_read", "write_with_imm"].map(|name| fixture(&format!("{name}.pcapng")));
    let [read, imm] = [read, imm].map(|file| file.display().to_string());
    let (code, page, err) = run(&["report", &read], b"");
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("RC RDMA WRITE Only"));
    assert!(!page.contains("id=\"compared\""));
    let output = std::env::temp_dir().join(format!("roce-report-{}.html", std::process::id()));
    let words = output.display().to_string();
    let (code, out, _) = run(&["report", &read, &imm, "-o", &words], b"");
    let page = std::fs::read_to_string(&output).unwrap();
    std::fs::remove_file(&output).unwrap();
    assert_eq!((code, out.as_str()), (Some(0), ""));
    assert!(page.contains("id=\"compared\"") && page.contains("write_read.pcapng</th>"), "{page}");
    let (_, page, _) = run(&["report", &read, "--filter", "opcode=read"], b"");
    assert!(!page.contains("RC RDMA WRITE Only"));
    // Of a capture that is cut there is a page too, which says so.
    let whole = std::fs::read(&read).unwrap();
    let (code, page, err) = run(&["report", "-"], &whole[..whole.len() - 40]);
    assert!(code == Some(1) && err.contains("is cut"), "{err}");
    assert!(page.contains("Of the capture there is only the part before a fault"));
}
