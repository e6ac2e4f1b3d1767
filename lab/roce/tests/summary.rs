//! The summary: captures of one intent that differ in their timing give the same bytes, and captures of another intent do not.
#![cfg(feature = "synth")]

mod support;

use roce::capture::Reader;
use roce::synth::{FrameBuilder, Pair};
use roce::wire::Opcode;
use roce::{Analysis, Report};

/// Frames with their times in microseconds and their fates.
type Frames = Vec<(u64, Vec<u8>, &'static str)>;

const OK: &str = "fate=forwarded";
const MTU: usize = 1024;

fn analyse(frames: &Frames) -> Report {
    support::analyse(frames.iter().map(|(at_us, frame, comment)| (at_us * 1_000, &frame[..], *comment)))
}

fn summary(frames: &Frames) -> String {
    analyse(frames).summary()
}

/// Text below connection management.
fn body(frames: &Frames) -> String {
    let text = summary(frames);
    text.split_once("client.qp1 > server.qp1\n  client > server  REQ")
        .and_then(|(_, rest)| rest.split_once("  client.qp1 > server.qp1\n"))
        .map(|(_, body)| body.to_owned())
        .unwrap_or(text)
}

/// A capture as it grows: every frame is 10 us after the one before.
struct Wire {
    pair: Pair,
    frames: Frames,
    at_us: u64,
}

impl Wire {
    fn new(seed: u64) -> Self {
        let pair = Pair::new(seed);
        let mut wire = Self { frames: Vec::new(), at_us: 0, pair };
        for frame in [wire.pair.req(1, &[]), wire.pair.rep(&wire.pair.advert()), wire.pair.rtu()] {
            wire.put(frame, OK);
        }
        wire
    }

    fn put(&mut self, frame: Vec<u8>, fate: &'static str) {
        self.at_us += 10;
        self.frames.push((self.at_us, frame, fate));
    }

    fn wait(&mut self, us: u64) {
        self.at_us += us;
    }

    /// Packet `n` of a WRITE of `count` packets that begins at `first`.
    fn write(&mut self, first: u32, count: u32, n: u32, fate: &'static str) {
        let opcode = match (n == first, n + 1 == first + count) {
            (true, true) => 0x0a,
            (true, false) => 0x06,
            (false, true) => 0x08,
            (false, false) => 0x07,
        };
        let builder = self.pair.request(opcode, n).payload(&[7; MTU]);
        let builder = if n == first {
            builder.reth(self.pair.passive.va, self.pair.passive.rkey, count * MTU as u32)
        } else {
            builder
        };
        self.put(builder.build(), fate);
    }

    fn answer(&mut self, n: u32, syndrome: u8, msn: u32, fate: &'static str) {
        self.put(self.pair.response(0x11, n).aeth(syndrome, msn).build(), fate);
    }

    fn ack(&mut self, n: u32, msn: u32) {
        self.answer(n, 0x1f, msn, OK);
    }
}

#[test]
fn eight_mebibytes_are_a_few_lines_however_often_they_are_acknowledged() {
    let transfer = |every: u32| {
        let mut wire = Wire::new(1);
        for n in 0..8192 {
            wire.write(0, 8192, n, OK);
            if n % every == every - 1 && n != 8191 {
                wire.ack(n, 0);
            }
        }
        wire.ack(8191, 1);
        wire.frames
    };
    let text = body(&transfer(64));
    assert_eq!(
        text,
        "    \
    RC RDMA WRITE First, Middle ×8190, Last                client+0..8191        8388608  server.mr1+0, acknowledged
    acknowledged up to client+8191, msn 1

findings: none
"
    );
    assert_eq!(text, body(&transfer(1000)));
}

#[test]
fn lost_packet_is_the_same_wherever_the_refusal_found_the_requester() {
    // The requester had sent up to `reached` when the NAK came; the retransmission may time out before it arrives.
    let lossy = |reached: u32, acks: bool| {
        let mut wire = Wire::new(2);
        for n in 0..reached {
            wire.write(0, 8, n, if n == 3 { "fate=dropped" } else { OK });
            if n == 4 {
                wire.answer(3, 0x60, 0, OK);
            }
        }
        for n in 3..8 {
            wire.write(0, 8, n, OK);
            if acks && n == 5 {
                wire.ack(5, 0);
            }
        }
        wire.ack(7, 1);
        wire.frames
    };
    let text = body(&lossy(5, false));
    assert_eq!(
        text,
        "    \
    RC RDMA WRITE First, Middle ×6, Last                   client+0..7              8192  server.mr1+0, acknowledged
    dropped: RC RDMA WRITE Middle client+3
    NAK PSN sequence error at client+3
    retransmitted from client+3 after NAK PSN sequence error
    acknowledged up to client+7, msn 1

findings, the first of each kind
  client > server         RequestPsnGap                     client+4                 expected client+3
"
    );
    for (reached, acks) in [(6, false), (7, true), (8, true)] {
        assert_eq!(text, body(&lossy(reached, acks)), "{reached} {acks}");
    }
}

#[test]
fn timeout_is_the_same_however_often_it_repeats() {
    let silent = |times: u32| {
        let mut wire = Wire::new(3);
        wire.write(0, 1, 0, OK);
        wire.answer(0, 0x1f, 1, "fate=dropped");
        for _ in 0..times {
            wire.wait(2_500_000);
            wire.write(0, 1, 0, OK);
            wire.answer(0, 0x1f, 1, if times == 1 { OK } else { "fate=dropped" });
        }
        wire.wait(2_500_000);
        wire.write(0, 1, 0, OK);
        wire.ack(0, 1);
        wire.frames
    };
    let text = body(&silent(1));
    assert!(
        text.contains(
            "    dropped: RC Acknowledge\n    retransmitted after a timeout\n    acknowledged up to"
        ),
        "{text}"
    );
    assert_eq!(text, body(&silent(3)));
}

#[test]
fn receiver_that_is_not_ready_is_the_same_however_often_it_says_so() {
    let busy = |times: u32| {
        let mut wire = Wire::new(4);
        let send = wire.pair.request(0x04, 0).payload(b"four").build();
        for _ in 0..times {
            wire.put(send.clone(), OK);
            wire.answer(0, 0x2c, 0, OK);
            wire.wait(700);
        }
        wire.put(send, OK);
        wire.ack(0, 1);
        wire.frames
    };
    let text = body(&busy(1));
    assert!(text.contains("RNR NAK") && text.contains("retransmitted from client+0 after RNR NAK"), "{text}");
    assert_eq!(text, body(&busy(4)));
}

#[test]
fn directions_that_interleave_differently_are_the_same() {
    let both = |turns: &[usize]| {
        let mut wire = Wire::new(5);
        let (active, passive) = (wire.pair.active, wire.pair.passive);
        let mut next = [0, 0];
        for turn in turns {
            let n = next[*turn];
            next[*turn] += 1;
            if *turn == 0 {
                wire.write(n, 1, n, OK);
                wire.ack(n, n + 1);
            } else {
                let base = FrameBuilder::new(passive.address, active.address, Opcode(0x04));
                wire.put(
                    base.destination_qpn(active.qpn).psn(passive.psn.plus(n)).payload(b"four").build(),
                    OK,
                );
                let ack = FrameBuilder::new(active.address, passive.address, Opcode(0x11));
                wire.put(
                    ack.destination_qpn(passive.qpn).psn(passive.psn.plus(n)).aeth(0x1f, n + 1).build(),
                    OK,
                );
            }
        }
        wire.frames
    };
    let text = body(&both(&[0, 0, 0, 1, 1]));
    assert!(text.contains("3 times RC RDMA WRITE Only") && text.contains("2 times RC SEND Only"), "{text}");
    for turns in [[1, 1, 0, 0, 0], [0, 1, 0, 1, 0]] {
        assert_eq!(text, body(&both(&turns)));
    }
}

#[test]
fn connections_that_came_in_another_order_are_the_same() {
    let writer = |seed| {
        let mut wire = Wire::new(seed);
        wire.write(0, 3, 0, OK);
        wire.write(0, 3, 1, OK);
        wire.write(0, 3, 2, OK);
        wire.ack(2, 1);
        wire.frames
    };
    let sender = |seed| {
        let mut wire = Wire::new(seed);
        wire.put(wire.pair.request(0x04, 0).payload(b"four").build(), OK);
        wire.ack(0, 1);
        wire.frames
    };
    let one_then_other = [writer(6), sender(7)].concat();
    let other_then_one = [sender(8), writer(9)].concat();
    assert_eq!(summary(&one_then_other), summary(&other_then_one));
    assert_ne!(summary(&one_then_other), summary(&[sender(8), sender(9)].concat()));
}

#[test]
fn another_intent_is_another_summary() {
    let transfer = |count: u32, lost: Option<u32>| {
        let mut wire = Wire::new(10);
        for n in 0..count {
            wire.write(0, count, n, if lost == Some(n) { "fate=dropped" } else { OK });
        }
        if let Some(lost) = lost {
            wire.answer(lost, 0x60, 0, OK);
            for n in lost..count {
                wire.write(0, count, n, OK);
            }
        }
        wire.ack(count - 1, 1);
        wire.frames
    };
    let texts: Vec<String> = [(8, None), (9, None), (8, Some(2)), (8, Some(3))]
        .map(|(n, lost)| summary(&transfer(n, lost)))
        .into();
    for (at, text) in texts.iter().enumerate() {
        assert!(!texts[..at].contains(text), "{text}");
    }
}

#[test]
fn every_fixture_has_a_short_summary_without_findings() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "pcapng") {
            continue;
        }
        let mut reader = Reader::new(std::fs::File::open(&path).unwrap()).unwrap();
        let mut analysis = Analysis::default();
        while let Some(record) = reader.next().unwrap() {
            analysis.push(&record);
        }
        let text = analysis.finish().summary();
        assert!(text.ends_with("\nfindings: none\n"), "{}: {text}", path.display());
        assert!(text.lines().count() < 80 && !text.contains("not seen"), "{}: {text}", path.display());
        count += 1;
    }
    assert!(count >= 30, "{count} fixtures");
}
