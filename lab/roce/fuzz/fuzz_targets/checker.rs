//! Arbitrary bytes as a script of packets of one connection, every ICRC sealed, so that the rules behind it are reached.
//!
//! The first byte says whether connection management comes first; each step of eight bytes is a packet: kind, opcode, PSN, syndrome, MSN, length, payload,
//! time since the last.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roce::capture::Record;
use roce::synth::Pair;
use roce::{Analysis, Names};

/// Lengths around the path MTU of a pair, and those that overflow.
const LENGTHS: [u32; 8] = [0, 1, 8, 1_024, 1_025, 2_048, 1 << 31, u32::MAX];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, script)) = bytes.split_first() else { return };
    let pair = Pair::new(1);
    let back = Pair { active: pair.passive, passive: pair.active, ..pair };
    let mut frames = Vec::new();
    if first & 1 == 1 {
        frames.extend([(0, pair.req(7471, &[])), (1, pair.rep(&pair.advert())), (2, pair.rtu())]);
    }
    let mut now_us = 10;
    for step in script.chunks_exact(8).take(200) {
        let [kind, opcode, psn, syndrome, msn, length, payload, wait] = step else { continue };
        let pair = if kind & 0x80 == 0 { &pair } else { &back };
        // A few before the first PSN, so that windows have both sides.
        let psn = u32::from(*psn).wrapping_sub(8);
        let length = LENGTHS[usize::from(length % 8)];
        let payload = vec![*payload; [0, 1, 4, 8, 1_023, 1_024, 1_025, 4_100][usize::from(payload % 8)]];
        let region = &pair.passive;
        let frame = match kind & 0x0f {
            0..=5 => pair.request(*opcode, psn).ack_request().reth(region.va, region.rkey, length),
            6 => pair.request(*opcode, psn).atomic_eth(region.va, region.rkey, 1, 2),
            7 => pair.request(*opcode, psn).ack_request(),
            8..=11 => pair.response(*opcode, psn).aeth(*syndrome, u32::from(*msn)),
            12 => pair.response(*opcode, psn),
            13 => pair.response(*opcode, psn).aeth(*syndrome, u32::from(*msn)).header(&[*msn; 8]),
            14 => {
                frames.push((now_us, pair.dreq()));
                continue;
            }
            _ => {
                frames.push((now_us, pair.drep()));
                continue;
            }
        };
        now_us += u64::from(*wait) << (kind >> 4 & 7) * 2;
        frames.push((now_us, frame.payload(&payload).build()));
    }
    for is_streaming in [false, true] {
        let mut analysis =
            if is_streaming { Analysis::streaming(Names::new()) } else { Analysis::new(Names::new()) };
        for (number, (time_us, frame)) in (1..).zip(&frames) {
            analysis.push(&Record::ethernet(number, time_us * 1_000, frame));
            let _ = analysis.take_messages();
        }
        let report = analysis.finish();
        assert_eq!(report.records, frames.len() as u64);
        if !is_streaming {
            assert!(report.trace().ends_with('\n') && report.summary().ends_with('\n'));
        }
    }
});
