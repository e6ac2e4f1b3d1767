//! Recorded cases of Multipass 1.16.3, replayed against the stand-in: exit code, standard output and standard
//! error, byte for byte, but for what differs by nature: how many frames a spinner drew, and times.
//!
//! `cases/*.jsonl`: a first line with what is given, then one line a case, in order. `cases/not-claimed.md` lists
//! every recorded case that is not claimed, with the reason; a test holds that nothing is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use multipass_stand_in::instance::StandInInstance;
use serde::Deserialize;

use crate::stand::{Input, LIMIT, Ran, Stand, run};

mod stand;

/// Number of cases that were recorded.
const RECORDED: u32 = 321;

/// Time for which a case that never ends is watched.
const WATCHED: Duration = Duration::from_secs(2);

/// The first line of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    given: Given,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    about: String,
    #[serde(default)]
    daemon: bool,
    /// Instances that exist, without machines.
    #[serde(default)]
    instances: Vec<StandInInstance>,
    /// Instances that are launched first, with machines.
    #[serde(default)]
    machines: Vec<String>,
    #[serde(default)]
    switches: BTreeMap<String, String>,
    /// A command that another client runs meanwhile.
    #[serde(default)]
    background: Vec<String>,
}

/// One recorded case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: u32,
    title: String,
    argv: Vec<String>,
    stdin: Option<String>,
    stdin_hex: Option<String>,
    stdin_repeat: Option<(String, usize)>,
    #[serde(default)]
    stdin_open: bool,
    exit: Option<i32>,
    /// It did not end by itself.
    #[serde(default)]
    still_running: bool,
    /// Time for which it is watched, in seconds.
    limit: Option<u64>,
    #[serde(default)]
    stdout: String,
    stdout_hex: Option<String>,
    stdout_repeat: Option<(String, usize)>,
    #[serde(default)]
    stderr: String,
}

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let entries = fs::read_dir(directory).expect("the cases").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect();
    files.sort();
    files
}

fn read(file: &Path) -> (Given, Vec<Case>) {
    let text = fs::read_to_string(file).expect("a file");
    let mut lines = text.lines();
    let first: First = serde_json::from_str(lines.next().unwrap_or_default()).expect("what is given");
    let cases = lines.map(|line| serde_json::from_str(line).expect("a case")).collect();
    (first.given, cases)
}

/// Replays every file that needs machines, or every one that needs none; gives how many cases were replayed.
fn replay(with_machines: bool) -> usize {
    let mut wrong = String::new();
    let mut count = 0;
    for file in files() {
        let (given, cases) = read(&file);
        if given.machines.is_empty() == with_machines {
            continue;
        }
        let stand = prepare(&given);
        let mut background = (!given.background.is_empty()).then(|| {
            let child = stand.command(&given.background).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            std::thread::sleep(Duration::from_millis(500));
            child.expect("a client")
        });
        for case in &cases {
            count += 1;
            if let Some(difference) = difference(&stand, case) {
                wrong.push_str(&format!(
                    "{} case {} ({}): {difference}\n",
                    given.about, case.case, case.title
                ));
            }
        }
        if let Some(child) = &mut background {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    count
}

fn prepare(given: &Given) -> Stand {
    let stand = match given.daemon {
        true => Stand::with(&given.instances),
        false => Stand::without_daemon(),
    };
    for name in &given.machines {
        let image = format!("file://{}", stand.work().join("image.img").display());
        stand.run(&["launch", &image, "--name", name]).ok();
    }
    let switches = stand.place.path().join("switches");
    fs::create_dir_all(&switches).expect("a directory");
    for (name, text) in &given.switches {
        fs::write(switches.join(name), text).expect("a file");
    }
    stand
}

/// Difference from the record.
fn difference(stand: &Stand, case: &Case) -> Option<String> {
    let work = stand.work().display().to_string();
    let here = |text: &str| text.replace("{work}", &work);
    let argv: Vec<String> = case.argv.iter().map(|word| here(word)).collect();
    let input = match (&case.stdin, &case.stdin_hex, &case.stdin_repeat) {
        _ if case.stdin_open => Input::Open,
        (Some(text), ..) => Input::Bytes(text.clone().into_bytes()),
        (_, Some(text), _) => Input::Bytes(bytes_of(text)),
        (.., Some((text, count))) => Input::Bytes(text.repeat(*count).into_bytes()),
        _ => Input::Nothing,
    };
    let watched = case.limit.map_or(WATCHED, Duration::from_secs);
    let ran = run(stand.command(&argv), input, if case.still_running { watched } else { LIMIT });
    let Ran { code, stdout, stderr } = ran;
    if code != case.exit {
        return Some(format!(
            "exit {code:?}, recorded {:?}; it said {:?}",
            case.exit,
            String::from_utf8_lossy(&stderr)
        ));
    }
    let recorded = match (&case.stdout_hex, &case.stdout_repeat) {
        (Some(text), _) => bytes_of(text),
        (_, Some((text, count))) => text.repeat(*count).into_bytes(),
        _ => here(&case.stdout).into_bytes(),
    };
    let same = |name: &str, seen: &[u8], recorded: &[u8]| {
        let seen = normal(seen);
        (seen != recorded).then(|| {
            let show = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
            format!("{name} {:?}\n  recorded {:?}", show(&seen), show(recorded))
        })
    };
    same("stdout", &stdout, &recorded).or_else(|| same("stderr", &stderr, here(&case.stderr).as_bytes()))
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).expect("a digit") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Names what differs by nature: a spinner's frames, a time.
fn normal(bytes: &[u8]) -> Vec<u8> {
    const TIME: &str = "[dddd-dd-ddTdd:dd:dd.ddd]";
    let is_time = |rest: &[u8]| {
        rest.len() >= TIME.len()
            && TIME.bytes().zip(rest).all(|(form, &byte)| match form {
                b'd' => byte.is_ascii_digit(),
                other => byte == other,
            })
    };
    let is_frame = |rest: &[u8]| matches!(rest, [0x08, b'/' | b'-' | b'\\' | b'|', ..]);
    let mut normal = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        if is_time(rest) {
            normal.extend_from_slice(b"[<time>]");
            rest = &rest[TIME.len()..];
        } else if is_frame(rest) {
            normal.extend_from_slice(b"<frames>");
            while is_frame(rest) {
                rest = &rest[2..];
            }
        } else {
            normal.push(byte);
            rest = after;
        }
    }
    normal
}

#[test]
fn recorded_cases_without_machines_are_as_recorded() {
    assert!(replay(false) > 0);
}

#[test]
#[ignore = "brings up machines"]
fn recorded_cases_with_machines_are_as_recorded() {
    assert!(replay(true) > 0);
}

#[test]
fn every_recorded_case_is_claimed_or_listed_with_a_reason() {
    // Some are replayed twice: with and without machines.
    let set: BTreeSet<u32> = files().iter().flat_map(|file| read(file).1).map(|case| case.case).collect();
    assert!(set.len() >= 100);
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/not-claimed.md"))
        .expect("the list");
    let mut listed = BTreeSet::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("| ")) {
        let (numbers, reason) = row.split_once(" | ").expect("a row of two");
        for part in numbers.split(", ").filter(|part| part.starts_with(|c: char| c.is_ascii_digit())) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = first.parse::<u32>().expect("a number")..=last.parse().expect("a number");
            listed.extend(range);
            assert!(reason.len() > 10, "{row}");
        }
    }
    let both: Vec<_> = set.intersection(&listed).collect();
    assert!(both.is_empty(), "claimed and listed: {both:?}");
    let neither: Vec<u32> =
        (1..=RECORDED).filter(|case| !set.contains(case) && !listed.contains(case)).collect();
    assert!(neither.is_empty(), "neither claimed nor listed: {neither:?}");
}

#[test]
fn only_frames_and_times_are_names() {
    assert_eq!(normal(b"x  \x08/\x08-\x08 y"), b"x  <frames>\x08 y");
    assert_eq!(normal(b"[2026-11-23T09:35:08.311] [error] x"), b"[<time>] [error] x");
    assert_eq!(normal(b"[2026-11-23] \x08x"), b"[2026-11-23] \x08x");
}
