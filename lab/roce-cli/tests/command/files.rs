//! Files: rotated, several, compressed, damaged, a pipe.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use roce::capture::Writer;
use roce::synth::{Pair, Tunnel};

use crate::{capture, file, run};

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
fn a_pipe_is_read_as_a_file_is() {
    let whole = file("pipe-whole", &capture_at(0, &Pair::new(1).write_then_read()));
    let script = format!("{} check <(cat {whole})", env!("CARGO_BIN_EXE_roce"));
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && out.contains(": 12 packets, 0 errors"), "{out}");
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

/// A capture whose packets begin at a time.
fn capture_at(begin_ns: u64, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &["server", "client"]).unwrap();
    for (at, frame) in frames.iter().enumerate() {
        writer.write(0, begin_ns + at as u64, frame, "").unwrap();
    }
    bytes
}
