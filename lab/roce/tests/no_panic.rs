//! Nothing panics and nothing hangs, whatever the bytes: every truncation, and pseudo-random mutations with a fixed seed.
#![cfg(feature = "synth")]

use roce::capture::{Reader, Writer};
use roce::fields::tshark_fields;
use roce::synth::{Pair, Tunnel, fragments};
use roce::wire::{Frame, LinkType};
use roce::{Analysis, Names};

/// xorshift64*: the same numbers in every run.
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

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.next() as u8),
                2 if !bytes.is_empty() => drop(bytes.remove(at)),
                3 => bytes.get_mut(at..).unwrap_or_default().iter_mut().take(4).for_each(|byte| *byte = 0xff),
                _ => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << (self.0 % 8)),
            }
        }
    }
}

fn frames() -> Vec<Vec<u8>> {
    let pair = Pair::new(1);
    let mut frames = pair.write_then_read();
    frames.extend(pair.write_with_immediate());
    frames.push(pair.rej(28, b"no"));
    frames.push(pair.request(0x13, 8).atomic_eth(8, 9, 5, 6).build());
    frames.push(pair.response(0x12, 8).aeth(0x1f, 9).header(&[7; 8]).build());
    frames
        .push(pair.request(0x65, 8).deth(1, 0x77).header(&[0, 0, 0, 9]).payload(b"datagram").vlan(7).build());
    for at in 0..Tunnel::ALL.len() {
        frames.push(Tunnel::ALL[at].wrap(&frames[at % 9]));
    }
    frames.extend(fragments(&frames[3].clone(), 16));
    frames.push(pair.request(0x0a, 8).reth(8, 9, 5).payload(b"hello").build_version_1());
    // Short payloads keep the headers a large part of what is mutated.
    frames.iter_mut().filter(|frame| frame.len() > 400).for_each(|frame| frame.truncate(120));
    frames
}

fn decode(link_type: LinkType, bytes: &[u8]) {
    match Frame::decode(link_type, bytes) {
        Frame::Roce(packet) => {
            let fields = tshark_fields(&packet).count();
            assert!(fields >= 5);
            assert!(packet.payload.len() <= bytes.len());
        }
        Frame::NotRoce(what) => assert!(!what.to_string().is_empty()),
    }
}

/// Reads what it can; gives the number of packets.
fn read(bytes: &[u8]) -> u64 {
    let Ok(mut reader) = Reader::new(bytes) else {
        return 0;
    };
    let mut analysis = Analysis::new(Names::new());
    let mut packets = 0;
    loop {
        match reader.next() {
            Ok(Some(record)) => {
                packets += 1;
                assert_eq!(record.number, packets);
                analysis.push(&record);
            }
            Ok(None) => break,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        }
    }
    assert!(analysis.finish().trace().ends_with("\n"));
    packets
}

fn capture() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &["server", "client"]).unwrap();
    for (at, frame) in frames().iter().enumerate() {
        let comment = [
            "fate=forwarded",
            "fate=dropped",
            "fate=delayed 20 ms",
            "fate=duplicate-of #1",
            "fate=altered-of #2",
            "fate=released #3",
        ][at % 6];
        writer.write(at as u32 % 2, at as u64, frame, comment).unwrap();
    }
    bytes
}

const LINK_TYPES: [LinkType; 13] = [
    LinkType::ETHERNET,
    LinkType::NULL,
    LinkType::PPP,
    LinkType::PPP_ETHER,
    LinkType::MPLS,
    LinkType::ERF,
    LinkType::INFINIBAND,
    LinkType::RAW,
    LinkType::LINUX_SLL,
    LinkType::LINUX_SLL2,
    LinkType::IPV4,
    LinkType::IPV6,
    LinkType(-1),
];

#[test]
fn every_truncation_of_every_frame_decodes() {
    for frame in frames() {
        for length in 0..=frame.len() {
            for link_type in LINK_TYPES {
                decode(link_type, &frame[..length]);
            }
        }
    }
}

#[test]
fn mutated_frames_decode() {
    let (frames, mut random) = (frames(), Random(1));
    for round in 0..200_000 {
        let mut bytes = frames[random.below(frames.len())].clone();
        random.mutate(&mut bytes);
        decode(
            if round % 8 == 0 { LINK_TYPES[random.below(LINK_TYPES.len())] } else { LinkType::ETHERNET },
            &bytes,
        );
    }
}

#[test]
fn arbitrary_bytes_decode() {
    let mut random = Random(2);
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..random.below(300)).map(|_| random.next() as u8).collect();
        for link_type in LINK_TYPES {
            decode(link_type, &bytes);
        }
        read(&bytes);
    }
}

#[test]
fn every_truncation_of_a_capture_gives_what_came_before() {
    let whole = capture();
    let mut most = 0;
    for length in (0..whole.len()).step_by(7) {
        let packets = read(&whole[..length]);
        assert!(packets >= most, "a longer capture has no fewer packets");
        most = packets;
    }
    assert_eq!(read(&whole), frames().len() as u64);
}

#[test]
fn mutated_captures_are_read_or_refused() {
    let (whole, mut random) = (capture(), Random(3));
    for _ in 0..5_000 {
        let mut bytes = whole.clone();
        random.mutate(&mut bytes);
        read(&bytes);
    }
}

#[test]
fn captures_of_mutated_frames_are_analysed() {
    let (frames, mut random) = (frames(), Random(4));
    for _ in 0..2_000 {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, &["server", "client"]).unwrap();
        for _ in 0..20 {
            let mut frame = frames[random.below(frames.len())].clone();
            if random.below(3) == 0 {
                random.mutate(&mut frame);
            }
            writer
                .write(
                    random.below(2) as u32,
                    random.next() >> 20,
                    &frame,
                    ["", "fate=dropped", "fate=delayed 9 ms"][random.below(3)],
                )
                .unwrap();
        }
        assert_eq!(read(&bytes), 20);
    }
}

#[test]
fn valid_packets_in_any_order_are_analysed() {
    let (pair, mut random) = (Pair::new(5), Random(5));
    let back = Pair { active: pair.passive, passive: pair.active, ..pair };
    for round in 0..3_000 {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, &["server", "client"]).unwrap();
        for at in 0..40 {
            let (pair, n) = ([pair, back][random.below(2)], random.below(6) as u32);
            let opcode = [
                0x00,
                0x01,
                0x02,
                0x04,
                0x06,
                0x07,
                0x09,
                0x0a,
                0x0c,
                0x13,
                0x1c,
                0x1d,
                0x26,
                0x28,
                random.next() as u8,
            ][random.below(15)];
            let response = [0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12][random.below(6)];
            let length = [0, 1, 4, 8, 4096, u32::MAX][random.below(6)];
            let payload = vec![1; random.below(9)];
            let frame = match random.below(8) {
                0 if round % 2 == 0 => pair.req(1, &[]),
                1 if round % 2 == 0 => pair.rep(&pair.advert()),
                2 => pair.dreq(),
                3 | 4 => pair.response(response, n).aeth(random.next() as u8, n).header(&payload).build(),
                _ => pair.request(opcode, n).reth(n.into(), 7, length).payload(&payload).build(),
            };
            writer.write(0, at, &frame, "").unwrap();
        }
        assert_eq!(read(&bytes), 40);
    }
}
