//! READs whose length the snap length cut: how many responses they have is told by these and by nothing else.
#![cfg(feature = "synth")]

use roce::capture::Record;
use roce::synth::Pair;
use roce::{Analysis, Names, Report, Rule};

/// Bytes of a frame that end before the DMA length of a READ.
const CUTS: [usize; 4] = [54, 58, 64, 69];

fn read(pair: &Pair, n: u32, pieces: u32, msn: u32) -> Vec<Vec<u8>> {
    let (va, rkey) = (pair.passive.va, pair.passive.rkey);
    let request = pair.request(0x0c, n).ack_request().reth(va, rkey, 1024 * pieces).build();
    let responses = (0..pieces).map(|at| {
        let opcode = match at {
            _ if pieces == 1 => 0x10,
            0 => 0x0d,
            _ if at + 1 == pieces => 0x0f,
            _ => 0x0e,
        };
        let response = pair.response(opcode, n + at);
        let response = if opcode == 0x0e { response } else { response.aeth(0x1f, msn) };
        response.payload(&[at as u8; 1024]).build()
    });
    std::iter::once(request).chain(responses).collect()
}

fn send(pair: &Pair, n: u32, msn: u32) -> [Vec<u8>; 2] {
    let request = pair.request(0x04, n).ack_request().payload(b"four").build();
    [request, pair.response(0x11, n).aeth(0x1f, msn).build()]
}

fn report(frames: &[Vec<u8>], snap_length: usize) -> Report {
    let mut analysis = Analysis::new(Names::new());
    for (number, frame) in (1..).zip(frames) {
        let whole = Record::ethernet(number, number * 10_000, frame);
        let data = frame.get(..snap_length).unwrap_or(frame);
        analysis.push(&Record { data, ..whole });
    }
    analysis.finish()
}

fn rules(report: &Report) -> Vec<Rule> {
    report.findings.iter().map(|finding| finding.rule).collect()
}

#[test]
fn requests_behind_a_read_of_unknown_length_lack_nothing() {
    let pair = Pair::new(51);
    for is_managed in [false, true] {
        for pieces in 1..5 {
            let begin = [pair.req(7471, &[]), pair.rep(&[]), pair.rtu()];
            let mut frames = if is_managed { begin.to_vec() } else { Vec::new() };
            frames.extend(send(&pair, 0, 1));
            frames.extend(read(&pair, 1, pieces, 2));
            frames.extend(send(&pair, 1 + pieces, 3));
            frames.extend(read(&pair, 2 + pieces, 2, 4));
            for cut in CUTS {
                let report = report(&frames, cut);
                assert_eq!(rules(&report), [], "{pieces} pieces, cut at {cut}");
                let read = &report.messages[1];
                assert_eq!((read.bytes, read.outcome.is_done()), (u64::from(1024 * pieces), true));
            }
        }
    }
}

#[test]
fn request_that_is_missing_behind_a_read_of_unknown_length_is_told() {
    let pair = Pair::new(52);
    // At 54 an answer says nothing.
    for cut in &CUTS[1..] {
        let mut frames: Vec<_> = send(&pair, 0, 1).into();
        frames.extend(read(&pair, 1, 3, 2));
        // The one under PSN 4 is not there.
        frames.extend(send(&pair, 5, 4));
        assert_eq!(rules(&report(&frames, *cut)), [Rule::CaptureLostPackets], "cut at {cut}");
    }
}
