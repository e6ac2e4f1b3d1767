//! The command `roce` as a user runs it: exit codes, compressed captures, bad input.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use roce::capture::Writer;
use roce::synth::{FrameBuilder, Pair, Tunnel};
use roce::wire::Opcode;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &["server", "client"]).unwrap();
    for (at, frame) in frames.iter().enumerate() {
        writer.write(0, at as u64 * 1_000, frame, "fate=forwarded").unwrap();
    }
    bytes
}

/// Runs with `input` as standard input; gives exit code, standard output and standard error.
fn run(args: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
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
fn the_same_capture_in_gzip_gives_the_same_trace() {
    let frames = Pair::new(1).write_then_read();
    let bytes = capture(&frames);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes).unwrap();
    let zstd = ruzstd::encoding::compress_to_vec(&bytes[..], ruzstd::encoding::CompressionLevel::Fastest);
    let plain = run(&["trace", "-"], &bytes);
    assert!(plain.0 == Some(0) && plain.1.contains("RDMA READ response Last"), "{plain:?}");
    assert_eq!(run(&["trace", "-"], &gzip.finish().unwrap()), plain);
    assert_eq!(run(&["trace", "-"], &zstd), plain);
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    let pieces: Vec<u8> = [head, &[], tail]
        .iter()
        .flat_map(|piece| {
            ruzstd::encoding::compress_to_vec(*piece, ruzstd::encoding::CompressionLevel::Fastest)
        })
        .collect();
    assert_eq!(run(&["trace", "-"], &pieces), plain, "frames one behind the other");
}

#[test]
fn bad_input_is_a_clear_message_and_nothing_before_it_is_lost() {
    let bytes = capture(&Pair::new(1).write_then_read());
    for (input, words) in [
        (&b""[..], "the capture is empty"),
        (&b"hello, world"[..], "not a capture: it begins with 0x68656c6c"),
        (&b"\x28\xb5\x2f\xfd then nonsense"[..], "zstd"),
    ] {
        let (code, out, err) = run(&["check", "-"], input);
        assert_eq!((code, out.as_str()), (Some(2), ""));
        assert!(err.starts_with("error: ") && err.contains(words), "{err}");
    }
    let (code, out, err) = run(&["check", "-"], &bytes[..bytes.len() - 7]);
    assert!(code == Some(2) && out.contains("11 packets") && err.contains("is cut"), "{out}{err}");
    let (code, _, err) = run(&["check"], b"");
    assert_eq!(code, Some(2), "{err}");
    let (code, _, err) = run(&["check", "-", "--filter", "opcod=1"], b"");
    assert!(code == Some(2) && err.contains("opcod=1"), "{err}");
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
    assert!(code == Some(0) && out.lines().count() == 65, "{out}");
    let (_, out, _) = run(&["man"], b"");
    assert!(out.contains("roce\\-check"), "the page of each subcommand");
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell], b"").1.contains("ladder"));
    }
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

#[test]
fn a_difference_is_shown_before_what_is_wrong_with_a_file() {
    let file = |name: &str, bytes: &[u8]| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let whole = capture(&Pair::new(1).write_then_read());
    let (whole, cut) = (file("diff-whole", &whole), file("diff-cut", &whole[..whole.len() - 10]));
    let (code, out, err) = run(&["diff", &whole, &cut], b"");
    assert!(out.contains("DREP\n"), "{out}");
    assert!(code == Some(2) && err.contains("is cut"), "{err}");
    let (code, out, err) = run(&["diff", &cut, &cut], b"");
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.starts_with("note: the captures mean the same, as far as they can be read\n"), "{err}");
    assert_eq!(err.matches("is cut").count(), 2, "{err}");
}

/// A file with those bytes.
fn file(name: &str, bytes: &[u8]) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

/// A capture whose packets begin at a time.
fn capture_at(begin_ns: u64, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &["server", "client"]).unwrap();
    for (at, frame) in frames.iter().enumerate() {
        writer.write(0, begin_ns + at as u64, frame, "").unwrap();
    }
    bytes
}

#[test]
fn rotated_files_are_one_capture_in_the_order_of_their_packets() {
    let frames = Pair::new(1).write_then_read();
    let whole = file("rotated-whole", &capture_at(0, &frames));
    let parts = [("rotated-1", 0..5), ("rotated-2", 5..8), ("rotated-3", 8..8), ("rotated-10", 8..12)];
    let mut files: Vec<String> = parts
        .iter()
        .map(|(name, range)| file(name, &capture_at(range.start as u64 * 1_000, &frames[range.clone()])))
        .collect();
    // As a shell sorts them.
    files.sort();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    for command in ["check", "trace", "messages", "stats"] {
        let (code, expected, _) = run(&[command, &whole], b"");
        let (got_code, got, err) = run(&[&[command][..], &files].concat(), b"");
        assert_eq!(got_code, code, "{command}: {err}");
        if command == "trace" {
            assert_eq!(got, expected);
            assert!(err.contains("rotated-2 begins with packet 6\n"), "{err}");
            assert!(err.contains("rotated-10 begins with packet 9\n"), "{err}");
        }
    }
    let lost = file("rotated-2", &capture_at(5_000, &frames[6..8]));
    let (code, out, _) = run(&["check", &lost, files[0], files[1]], b"");
    assert!(code == Some(1) && out.contains("packet "), "{out}");
    let (_, _, err) = run(&["check", &whole, files[0]], b"");
    assert!(err.contains("the files overlap in time"), "{err}");
    let (code, _, err) = run(&["check", &whole, "-"], b"");
    assert!(code == Some(2) && err.contains("- comes only once, beside other files"), "{err}");
    let cut = file("rotated-cut", &capture_at(9_000, &frames)[..300]);
    let (_, _, err) = run(&["check", &whole, &cut], b"");
    assert!(err.contains("rotated-cut: the capture is cut"), "{err}");
}

#[test]
fn each_of_several_captures_is_checked_by_itself_and_told_in_the_order_of_the_arguments() {
    let clean = file("each-clean", &capture(&Pair::new(1).write_then_read()));
    let mut frames = Pair::new(1).write_then_read();
    frames.remove(7);
    let broken = file("each-broken", &capture(&frames));
    // Of the same time: as parts of one capture they would be nonsense.
    for (files, expected) in
        [([&clean, &clean], 0), ([&clean, &broken], 1), ([&broken, &clean], 1), ([&broken, &broken], 1)]
    {
        let alone: String = files.iter().map(|file| run(&["check", file], b"").1).collect();
        for threads in ["1", "2", "7"] {
            let (code, out, err) = run(&["check", "--each", "--threads", threads, files[0], files[1]], b"");
            assert_eq!((code, out.as_str(), err.as_str()), (Some(expected), alone.as_str(), ""));
        }
    }
    let missing = file("each-clean", &capture(&Pair::new(1).write_then_read())) + "-not";
    let (code, out, err) = run(&["check", "--each", &missing, &clean], b"");
    assert!(code == Some(2) && out.contains("each-clean: 12 packets, 0 errors"), "{out}{err}");
    assert!(err.contains("failed to open") && err.contains("each-clean-not"), "{err}");
    let (_, out, _) = run(&["check", "--each", "--json", &clean, &broken], b"");
    let captures: Vec<&str> = out.lines().filter(|line| line.contains("\"roce.type\":\"summary\"")).collect();
    assert!(captures[0].contains("each-clean\"") && captures[1].contains("each-broken\""), "{out}");
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
fn a_pipe_is_read_as_a_file_is() {
    let whole = file("pipe-whole", &capture_at(0, &Pair::new(1).write_then_read()));
    let script = format!("{} check <(cat {whole})", env!("CARGO_BIN_EXE_roce"));
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && out.contains(": 12 packets, 0 errors"), "{out}");
}

#[test]
fn what_cannot_be_read_is_named_beside_what_can() {
    let pair = Pair::new(1);
    let mut frames = pair.write_then_read();
    let mut esp = frames[0].clone();
    esp[23] = 50;
    let mut tcp = frames[0].clone();
    tcp[23] = 6;
    let pieces = roce::synth::fragments(&frames[6], 512);
    frames.extend([esp, tcp, pieces[0].clone(), Tunnel::Vxlan(9_999).wrap(&frames[3])]);
    frames.push(pair.request(0x04, 9).payload(b"four").build_version_1());
    let bytes = capture(&frames);
    for command in ["check", "trace", "messages", "stats", "ladder", "follow"] {
        let more: &[&str] = if command == "follow" { &["--idle", "0"] } else { &[] };
        let (_, _, err) = run(&[&[command, "-"][..], more].concat(), &bytes);
        let said = "note: 3 frames may hold RoCE and could not be read: 1 ESP, 1 IP fragment, 1 VXLAN to port 9999\n";
        assert!(err.contains(said) && err.contains("note: RoCE v1: 1 packet\n"), "{command}: {err}");
        assert!(err.contains("--vxlan-port PORT"), "{command}: {err}");
    }
    let (_, out, _) = run(&["trace", "--json", "-", "--vxlan-port", "9999"], &bytes);
    assert!(out.contains("\"roce.version\":2,\"roce.encapsulation\":\"VXLAN\""), "{out}");
    assert!(
        out.contains("\"infiniband.grh.sgid\":\"::ffff:198.51.100.2\"") && out.contains("\"roce.version\":1")
    );
    let (_, _, err) = run(&["check", "-", "--vxlan-port", "9999"], &bytes);
    assert!(err.contains("note: in tunnels: 1 VXLAN\n") && err.contains("2 frames may hold RoCE"), "{err}");
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
fn the_number_of_threads_changes_nothing() {
    let directory = std::env::temp_dir().join(format!("roce-threads-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("damaged.pcap");
    let (code, _, err) = run(&["synth", &file.display().to_string(), "--data-packets", "1200"], b"");
    assert_eq!(code, Some(0), "{err}");
    // Several chunks, with damage in each.
    let mut bytes = std::fs::read(&file).unwrap();
    assert!(bytes.len() > 1_200_000, "{}", bytes.len());
    for at in (1_000..bytes.len()).step_by(200_003) {
        bytes[at] ^= 0x40;
    }
    std::fs::write(&file, &bytes).unwrap();
    let file = file.display().to_string();
    for command in [&["check"][..], &["messages"], &["trace", "--json"]] {
        let of = |threads: &str| run(&[command, &["--threads", threads, &file]].concat(), b"");
        let expected = of("1");
        assert!(expected.1.len() > 100, "{command:?}: {}{}", expected.1, expected.2);
        for threads in ["2", "4"] {
            assert!(of(threads) == expected, "{command:?} with {threads} threads");
        }
        // What is standard input is read by one thread.
        let piped = Command::new(env!("CARGO_BIN_EXE_roce"))
            .args([command, &["-"]].concat())
            .stdin(std::fs::File::open(&file).unwrap())
            .output()
            .unwrap();
        let out = String::from_utf8(piped.stdout).unwrap().replace("standard input", &file);
        assert_eq!((piped.status.code(), out), (expected.0, expected.1), "{command:?}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
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
