//! Captures in which no peer does wrong: the fixtures, and synthetic ones in which something is lost, refused and sent again.

use std::fs;
use std::path::Path;

use roce::capture::Reader;
use roce::synth::Pair;

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) data: Vec<u8>,
    pub(crate) timestamp_ns: u64,
    pub(crate) original_length: usize,
}

/// Frames with their times in microseconds.
type Steps = Vec<(u64, Vec<u8>)>;

fn entries(steps: Steps) -> Vec<Entry> {
    let entry = |(time_us, data): (u64, Vec<u8>)| Entry {
        original_length: data.len(),
        data,
        timestamp_ns: 1_700_000_000_000_000_000 + time_us * 1_000,
    };
    steps.into_iter().map(entry).collect()
}

fn fixtures(all: &mut Vec<(String, Vec<Entry>)>) {
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "pcapng") {
            continue;
        }
        let mut reader = Reader::new(fs::File::open(&path).unwrap()).unwrap();
        let mut entries = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            entries.push(Entry {
                data: record.data.to_vec(),
                timestamp_ns: record.timestamp_ns,
                original_length: record.original_length_bytes as usize,
            });
        }
        all.push((path.file_stem().unwrap().to_string_lossy().into_owned(), entries));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
}

fn send(pair: &Pair, n: u32) -> Vec<u8> {
    // Retransmissions of a card are equal in every byte; here the payload tells the number.
    pair.request(0x04, n).ack_request().payload(&n.to_be_bytes()).build()
}

fn answer(pair: &Pair, n: u32, syndrome: u8, msn: u32) -> Vec<u8> {
    pair.response(0x11, n).aeth(syndrome, msn).build()
}

fn with_cm(pair: &Pair, is_managed: bool, body: Steps) -> Steps {
    if !is_managed {
        return body;
    }
    let last = body.last().map_or(0, |(time, _)| *time);
    let mut steps = vec![(0, pair.req(7471, &[])), (1, pair.rep(&pair.advert())), (2, pair.rtu())];
    steps.extend(body.into_iter().map(|(time, frame)| (time + 10, frame)));
    steps.extend([(last + 1_000, pair.dreq()), (last + 1_010, pair.drep())]);
    steps
}

/// SENDs of which the network loses some: the responder asks for each once, and the requester goes back.
fn go_back_n(pair: &Pair) -> Steps {
    let (mut steps, mut at) = (Vec::new(), 10);
    let mut step = |steps: &mut Steps, frame, after| {
        at += after;
        steps.push((at, frame));
    };
    for round in 0..12 {
        let first = round * 5;
        for n in (first..first + 5).filter(|n| n % 5 != round % 4) {
            step(&mut steps, send(pair, n), 1);
        }
        let lost = first + round % 4;
        if lost > first {
            step(&mut steps, answer(pair, lost - 1, 0x1f, lost), 5);
        }
        step(&mut steps, answer(pair, lost, 0x60, lost), 5);
        for n in lost..first + 5 {
            step(&mut steps, send(pair, n), 10);
        }
        step(&mut steps, answer(pair, first + 4, 0x1f, first + 5), 20);
    }
    steps
}

/// A responder that is not ready, and a requester that waits.
fn not_ready(pair: &Pair) -> Steps {
    let mut steps = Vec::new();
    for n in 0..20 {
        let at = u64::from(n) * 5_000;
        steps.push((at + 10, send(pair, n)));
        if n % 3 == 0 {
            // Timer code 14: 1.28 ms.
            steps.push((at + 20, answer(pair, n, 0x2e, n)));
            steps.push((at + 1_500, send(pair, n)));
        }
        steps.push((at + 1_600, answer(pair, n, 0x1f, n + 1)));
    }
    steps
}

/// READs of which the network loses a response: the requester asks for the rest.
fn read_retry(pair: &Pair) -> Steps {
    let (va, rkey, piece) = (pair.passive.va, pair.passive.rkey, [0x5a; 1024]);
    let mut steps = Vec::new();
    for round in 0..15u32 {
        let (at, n) = (u64::from(round) * 1_000, round * 4);
        let read = |from: u32| {
            let begin = pair.request(0x0c, n + from).ack_request();
            begin.reth(va + 1024 * u64::from(from), rkey, 1024 * (4 - from)).build()
        };
        let response = |from: u32, i: u32| {
            let opcode = match (i == from, i == 3) {
                (true, true) => 0x10,
                (true, false) => 0x0d,
                (false, true) => 0x0f,
                (false, false) => 0x0e,
            };
            let frame = pair.response(opcode, n + i);
            let frame = if opcode == 0x0e { frame } else { frame.aeth(0x1f, round + 1) };
            frame.payload(&piece).build()
        };
        steps.push((at + 10, read(0)));
        let lost = round % 5;
        steps.extend((0..4).filter(|i| *i != lost).map(|i| (at + 20 + u64::from(i), response(0, i))));
        if lost < 4 {
            steps.push((at + 200, read(lost)));
            steps.extend((lost..4).map(|i| (at + 220 + u64::from(i), response(lost, i))));
        }
    }
    steps
}

/// WRITEs of several packets whose acknowledgements are lost, so that all comes again after the ACK timeout.
fn timeouts(pair: &Pair) -> Steps {
    let (va, rkey, piece) = (pair.passive.va, pair.passive.rkey, [0x33; 1024]);
    let mut steps = Vec::new();
    for round in 0..10u32 {
        let (at, n) = (u64::from(round) * 5_000_000, round * 3);
        let write = |at: u64| {
            [
                (at, pair.request(0x06, n).reth(va, rkey, 3072).payload(&piece).build()),
                (at + 1, pair.request(0x07, n + 1).payload(&piece).build()),
                (at + 2, pair.request(0x08, n + 2).ack_request().payload(&piece).build()),
            ]
        };
        steps.extend(write(at + 10));
        if round % 2 == 0 {
            steps.extend(write(at + 2_200_000));
        }
        steps.push((at + 2_300_000, answer(pair, n + 2, 0x1f, round + 1)));
    }
    steps
}

/// Two queue pairs that are used at a time.
fn interleaved(pair: &Pair, other: &Pair) -> Steps {
    let other = Pair {
        active: roce::synth::PairEnd { qpn: pair.active.qpn + 1, ..other.active },
        passive: roce::synth::PairEnd { qpn: pair.passive.qpn + 1, ..other.passive },
        ..*other
    };
    let (mut a, b) = (go_back_n(pair), go_back_n(&other));
    a.extend(b.into_iter().map(|(time, frame)| (time + 3, frame)));
    a.sort_by_key(|(time, _)| *time);
    a
}

/// Every capture under its name.
pub(crate) fn clean() -> Vec<(String, Vec<Entry>)> {
    let mut all = Vec::new();
    fixtures(&mut all);
    for (seed, is_managed) in [(1, true), (2, false)] {
        let pair = Pair::new(seed);
        for (name, body) in [
            ("go-back-N", go_back_n(&pair)),
            ("RNR", not_ready(&pair)),
            ("READ retry", read_retry(&pair)),
            ("timeouts", timeouts(&pair)),
        ] {
            all.push((format!("{name}, seed {seed}"), entries(with_cm(&pair, is_managed, body))));
        }
    }
    all.push(("interleaved".to_owned(), entries(interleaved(&Pair::new(3), &Pair::new(4)))));
    all
}
