//! Arbitrary bytes as a packet, as a capture, as a connection management datagram: no panic, no hang, no growth of memory.
//!
//! `cargo test --release -p roce --test fuzz -- --ignored` mutates fixtures, synthetic frames and the corpus for `ROCE_FUZZ_SECONDS` (default 10) each, from
//! `ROCE_FUZZ_SEED` (default 1). An input that fails or is slow is written to `tests/corpus/`, which every test run reads again. There is also the shortest
//! input of each kind that was seen: kinds of packets and of stops, ends of captures, rules that are broken; `ROCE_FUZZ_KEEP=1` adds those of a run.
#![cfg(feature = "synth")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use roce::capture::{Reader, Record, Writer};
use roce::cm::Mad;
use roce::fields::tshark_fields;
use roce::synth::{Pair, Tunnel, fragments, with_extensions};
use roce::wire::{Frame, LinkType};
use roce::{Analysis, Names, Report};

/// An input that takes longer is a hang in the making.
const SLOW: Duration = Duration::from_secs(2);
/// Memory may grow by this much: buffers of the longest inputs.
const GROWTH_KIB: u64 = 64 * 1024;
/// Longest input that mutations grow to.
const LONGEST: usize = 16 * 1024;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

const INTERESTING: [u8; 10] = [0, 1, 3, 4, 0x0f, 0x1f, 0x7f, 0x80, 0xfe, 0xff];

fn mutate(random: &mut Random, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        match random.below(9) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.next() as u8),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => {
                let value = INTERESTING[random.below(INTERESTING.len())];
                let length = 1 << random.below(4);
                bytes.iter_mut().skip(at).take(length).for_each(|byte| *byte = value);
            }
            4 => {
                // A piece of another input.
                let other = &others[random.below(others.len())];
                let from = random.below(other.len() + 1);
                let piece = &other[from..(from + random.below(64)).min(other.len())];
                let end = (at + piece.len()).min(bytes.len());
                bytes.splice(at..end, piece.iter().copied());
            }
            5 => {
                // A piece of itself again.
                let to = (at + random.below(200)).min(bytes.len());
                let piece = bytes[at..to].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => {
                let value = (random.next() as u32).to_be_bytes();
                bytes.iter_mut().skip(at).zip(value).for_each(|(byte, value)| *byte = value);
            }
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
        }
        bytes.truncate(LONGEST);
    }
}

/// Makes the ICRC of a mutated frame right, so that the rules behind it are reached.
fn seal(frame: &mut [u8]) {
    let Some(length) = frame.get(16..18).map(|field| usize::from(field[0]) << 8 | usize::from(field[1]))
    else {
        return;
    };
    let end = 14 + length;
    if end < 58 || end > frame.len() {
        return;
    }
    if let Some(crc) = roce::wire::icrc(&frame[14..34], &frame[34..end - 4]) {
        frame[end - 4..end].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Says what kind of input it was, so that one of each can be kept.
fn packet(bytes: &[u8]) -> String {
    let mut kind = String::new();
    for link_type in [
        LinkType::ETHERNET,
        LinkType::RAW,
        LinkType::LINUX_SLL,
        LinkType::LINUX_SLL2,
        LinkType::NULL,
        LinkType::PPP,
        LinkType::PPP_ETHER,
        LinkType::MPLS,
        LinkType::ERF,
        LinkType::INFINIBAND,
        LinkType(-1),
    ] {
        match Frame::decode(link_type, bytes) {
            Frame::Roce(packet) => {
                assert!(tshark_fields(&packet).count() >= 5);
                assert!(packet.payload.len() <= bytes.len());
                if link_type == LinkType::ETHERNET {
                    kind = packet.stop.map_or_else(|| "whole".to_owned(), |stop| stop.to_string());
                }
            }
            Frame::NotRoce(what) => {
                assert!(!what.to_string().is_empty());
                if link_type == LinkType::ETHERNET {
                    kind = what.to_string();
                }
            }
        }
    }
    // The same frame three times in a conversation that has begun.
    let pair = Pair::new(1);
    let mut analysis = Analysis::new(Names::new());
    let mut frames: Vec<Vec<u8>> = pair.write_then_read().into_iter().take(7).collect();
    let mut sealed = bytes.to_vec();
    seal(&mut sealed);
    frames.extend([bytes.to_vec(), sealed.clone(), sealed, pair.dreq(), pair.drep()]);
    for (number, data) in frames.iter().enumerate() {
        analysis.push(&Record::ethernet(number as u64 + 1, number as u64 * 1_000, data));
    }
    let report = analysis.finish();
    rendered(&report);
    without_numbers(&kind) + &rules(&report)
}

/// Draws everything that can be drawn of a report.
fn rendered(report: &Report) {
    assert!(report.trace().ends_with('\n') && report.summary().ends_with('\n'));
    assert!(report.ladder(5).ends_with("</svg>\n"));
    assert!(report.packet_names().len() as u64 <= report.packets);
}

fn rules(report: &Report) -> String {
    report.findings.iter().map(|finding| finding.rule.name()).collect::<BTreeSet<_>>().into_iter().collect()
}

fn without_numbers(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

fn capture(bytes: &[u8]) -> String {
    let mut kind = String::new();
    for is_streaming in [false, true] {
        let mut reader = match Reader::new(bytes) {
            Ok(reader) => reader,
            Err(error) => return without_numbers(&error.to_string()),
        };
        let mut analysis =
            if is_streaming { Analysis::streaming(Names::new()) } else { Analysis::new(Names::new()) };
        let mut records = 0;
        let end = loop {
            match reader.next() {
                Ok(Some(record)) => {
                    records += 1;
                    analysis.push(&record);
                    let _ = analysis.take_messages();
                }
                Ok(None) => break None,
                Err(error) => break Some(error.to_string()),
            }
        };
        assert!(end.as_ref().is_none_or(|error| !error.is_empty()));
        let report = analysis.finish();
        assert_eq!(report.records, records);
        if !is_streaming {
            rendered(&report);
            kind = without_numbers(&end.unwrap_or_default()) + &rules(&report);
        }
    }
    kind
}

fn cm(bytes: &[u8]) -> String {
    let mad = match Mad::new(bytes, 0) {
        Ok(mad) => mad,
        Err(stop) => return without_numbers(&stop.to_string()),
    };
    assert!(!mad.to_string().is_empty());
    let message = mad.message().map(|message| (message.private_data().len(), message.local_comm_id()));
    let pair = Pair::new(2);
    let datagram = roce::synth::FrameBuilder::new(
        pair.active.address,
        pair.passive.address,
        roce::wire::Opcode::UD_SEND_ONLY,
    )
    .destination_qpn(1)
    .deth(0x8001_0000, 1)
    .payload(bytes)
    .build();
    let attribute = roce::cm::attribute_name(mad.attribute_id()).unwrap_or("another");
    format!("{attribute} {} {}", message.is_ok(), packet(&datagram))
}

fn frames() -> Vec<Vec<u8>> {
    let pair = Pair::new(1);
    let mut frames = pair.write_then_read();
    frames.extend(pair.write_with_immediate());
    frames.push(pair.rej(28, b"no"));
    for opcode in 0..=255 {
        frames.push(pair.request(opcode, 8).header(&[7; 28]).payload(&[1; 21]).build());
        frames.push(pair.response(opcode, 1).aeth(0x1f, 9).header(&[7; 8]).vlan(3).build());
    }
    let mut version_6 = pair;
    version_6.active.address = "2001:db8:1::2".parse().unwrap();
    version_6.passive.address = "2001:db8:1::1".parse().unwrap();
    let request = version_6.request(0x0a, 0).reth(8, 9, 5).payload(b"hello").build();
    let write = pair.request(0x0a, 0).reth(8, 9, 5).payload(b"hello");
    for tunnel in Tunnel::ALL {
        frames.push(tunnel.wrap(&write.build()));
        frames.push(tunnel.wrap(&Tunnel::Vxlan(4789).wrap(&write.build_version_1())));
        frames.push(tunnel.wrap(&with_extensions(&request, 1)));
    }
    for whole in [&write.build(), &request, &Tunnel::Geneve.wrap(&write.build())] {
        frames.extend(fragments(whole, 24));
    }
    let mut erf = [0; 16];
    erf[8] = 0x95;
    let version_1 = write.build_version_1();
    frames.push([&erf[..], &[1; 8], &[0, 3, 0, 2, 0, 27, 0, 1], &version_1[14..]].concat());
    frames.push(pair.response(0x11, 1).aeth(0x60, 1).build());
    frames.push(pair.response(0x11, 1).aeth(0x2e, 1).build());
    frames
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let frames = frames();
    let mut seeds = match target {
        "packet" => frames,
        "cm" => frames
            .iter()
            .filter_map(|frame| {
                Some(Frame::decode(LinkType::ETHERNET, frame).packet()?.mad()?.ok()?)
                    .map(|_| frame[62..].to_vec())
            })
            .collect(),
        _ => frames
            .chunks(8)
            .map(|frames| {
                let mut bytes = Vec::new();
                let mut writer = Writer::new(&mut bytes, &["server", "client"]).unwrap();
                let comments = [
                    "fate=forwarded",
                    "fate=dropped",
                    "fate=delayed 20 ms",
                    "fate=duplicate-of #1",
                    "fate=altered-of #2",
                    "fate=released #3",
                    "",
                ];
                for (at, frame) in frames.iter().enumerate() {
                    writer
                        .write(at as u32 % 2, at as u64 * 1_000, frame, comments[at % comments.len()])
                        .unwrap();
                }
                bytes
            })
            .chain(fixtures())
            .collect(),
    };
    seeds.extend(corpus(target).into_iter().map(|(_, bytes)| bytes));
    seeds
}

fn fixtures() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut all: Vec<_> = entries.filter_map(|entry| fs::read(entry.ok()?.path()).ok()).collect();
    all.iter_mut().for_each(|bytes| bytes.truncate(LONGEST));
    all
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut all: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter_map(|path| fs::read(&path).ok().map(|bytes| (path, bytes)))
        .collect();
    all.sort();
    all
}

/// Memory of this process in KiB; `None` where nothing tells it.
fn resident_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A file of the corpus for an input.
fn path_of(target: &str, bytes: &[u8]) -> PathBuf {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target).join(format!("{hash:016x}"))
}

fn fuzz(target: &str, run: fn(&[u8]) -> String) {
    let seeds = seeds(target);
    let mut random = Random(number("ROCE_FUZZ_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let limit = Duration::from_secs(number("ROCE_FUZZ_SECONDS", 10));
    let begin = Instant::now();
    let (mut inputs, mut failures, mut slowest) = (0u64, 0u64, Duration::ZERO);
    let mut settled = None;
    let is_keeping = std::env::var_os("ROCE_FUZZ_KEEP").is_some();
    let mut kinds: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    while begin.elapsed() < limit {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        mutate(&mut random, &mut bytes, &seeds);
        let at = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| run(&bytes)));
        let took = at.elapsed();
        slowest = slowest.max(took);
        inputs += 1;
        if inputs == 10_000 {
            settled = resident_kib();
        }
        if result.is_err() || took > SLOW {
            failures += 1;
            let path = path_of(target, &bytes);
            fs::write(&path, &bytes).unwrap();
            println!("{}: {} bytes, {took:?}", path.display(), bytes.len());
            assert!(failures < 10, "enough");
        }
        if let Ok(kind) = result
            && is_keeping
            && kinds.get(&kind).is_none_or(|known| bytes.len() < known.len())
        {
            kinds.insert(kind, bytes);
        }
    }
    for bytes in kinds.values() {
        fs::write(path_of(target, bytes), bytes).unwrap();
    }
    let grown = settled.zip(resident_kib()).map(|(before, after)| after.saturating_sub(before));
    println!(
        "{target}: {inputs} inputs in {:?}, {failures} failures, slowest {slowest:?}, grown by {grown:?} KiB",
        begin.elapsed()
    );
    assert_eq!(failures, 0);
    assert!(grown.is_none_or(|grown| grown < GROWTH_KIB), "memory grew by {grown:?} KiB");
}

#[test]
fn corpus_stays_harmless() {
    for (target, run) in [("packet", packet as fn(&[u8]) -> String), ("capture", capture), ("cm", cm)] {
        let corpus = corpus(target);
        assert!(corpus.len() >= 10, "{target}: {} inputs", corpus.len());
        for (path, bytes) in corpus {
            let at = Instant::now();
            run(&bytes);
            assert!(at.elapsed() < 4 * SLOW, "{} took {:?}", path.display(), at.elapsed());
        }
    }
}

#[test]
#[ignore = "takes as long as it is told to"]
fn fuzz_packet() {
    fuzz("packet", packet);
}

#[test]
#[ignore = "takes as long as it is told to"]
fn fuzz_capture() {
    fuzz("capture", capture);
}

#[test]
#[ignore = "takes as long as it is told to"]
fn fuzz_cm() {
    fuzz("cm", cm);
}
