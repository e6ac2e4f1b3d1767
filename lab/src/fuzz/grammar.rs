//! Moves of a peer: requests of a connection, drawn from a seed; most as they should be, some not.
//!
//! Seed and numbers of a connection in, frames out; no I/O. The draw never depends on what the other side answers.

use fastrand::Rng;
use roce::cm::{Mad, MadHeaderValues};
use roce::synth::{FrameBuilder, Pair};
use roce::wire::{AtomicEthValues, ImmDtValues, Opcode, RethValues};

/// Path MTU of the connections, in bytes.
const MTU: usize = 1024;

/// Queue key of the queue pair of connection management.
const GSI_Q_KEY: u32 = 0x8001_0000;

/// Length of a management datagram behind its header, in bytes.
const MAD_DATA: usize = 232;

const SEND_ONLY: u8 = 0x04;
const WRITE_FIRST: u8 = 0x06;
const WRITE_MIDDLE: u8 = 0x07;
const WRITE_LAST: u8 = 0x08;
const WRITE_ONLY: u8 = 0x0a;
const WRITE_ONLY_IMM: u8 = 0x0b;
const READ_REQUEST: u8 = 0x0c;
const ACKNOWLEDGE: u8 = 0x11;
const ATOMIC_ACKNOWLEDGE: u8 = 0x12;
const CMP_SWAP: u8 = 0x13;
const FETCH_ADD: u8 = 0x14;

/// One move of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerMove {
    /// The move, in words.
    pub words: String,
    /// Its frames, in their order.
    pub frames: Vec<Vec<u8>>,
    /// Demand on the responder.
    pub due: MoveDue,
}

/// Demand of a move on the responder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveDue {
    /// It is as it should be: the responder acknowledges the PSN at this distance.
    Acknowledged(i32),
    /// It is not: the responder does not acknowledge the PSN at this distance, and may end the connection.
    Refused(i32),
    /// It is not, or not for this responder, which drops it or asks for what came before, and goes on; it does not acknowledge the
    /// PSN at this distance.
    Dropped(i32),
    /// It is not, and anything may come of it.
    Anything,
}

/// The moves of one connection.
#[derive(Debug)]
pub struct Grammar {
    random: Rng,
    pair: Pair,
    /// Bytes that may be written and read from the pair's address on; 0 if none may.
    region_bytes: u64,
    /// Distance of the next request's PSN from the first.
    next: u32,
    /// Frames of the last request that was as it should be, and the distance of its last PSN.
    last: Option<(Vec<Vec<u8>>, u32)>,
    /// Percentage of moves that are not as they should be.
    illegal: u8,
}

impl Grammar {
    /// Begins the moves of a connection between `pair`, whose passive side offers so many bytes to WRITE and READ; the moves follow
    /// from `seed`.
    pub fn new(seed: u64, pair: Pair, region_bytes: u64, illegal: u8) -> Grammar {
        Grammar { random: Rng::with_seed(seed), pair, region_bytes, next: 0, last: None, illegal }
    }

    /// Draws the next move.
    pub fn draw(&mut self) -> PeerMove {
        match self.random.u8(0..100) < self.illegal {
            true => self.illegal(),
            false => self.legal(),
        }
    }

    /// A request as it should be, or the last once more.
    fn legal(&mut self) -> PeerMove {
        if self.region_bytes == 0 {
            return self.repeated();
        }
        match self.random.u8(0..8) {
            0..=2 => self.write(1),
            3 | 4 => {
                let packets = self.random.usize(2..=4);
                self.write(packets)
            }
            7 if self.last.is_some() => self.repeated(),
            _ => self.read(),
        }
    }

    fn write(&mut self, packets: usize) -> PeerMove {
        let length = match packets {
            1 => self.random.usize(0..=MTU),
            packets => (packets - 1) * MTU + self.random.usize(1..=MTU),
        };
        let length = length.min(usize::try_from(self.region_bytes).unwrap_or(usize::MAX));
        let va = self.pair.passive.va + self.random.u64(0..=self.region_bytes - length as u64);
        let bytes: Vec<u8> = (0..length).map(|_| self.random.u8(..)).collect();
        let (rkey, first) = (self.pair.passive.rkey, self.next);
        let chunks: Vec<&[u8]> = if bytes.is_empty() { vec![&[]] } else { bytes.chunks(MTU).collect() };
        let count = chunks.len();
        let frame = |(at, chunk): (usize, &[u8])| {
            let opcode = match at {
                _ if count == 1 => WRITE_ONLY,
                0 => WRITE_FIRST,
                at if at + 1 == count => WRITE_LAST,
                _ => WRITE_MIDDLE,
            };
            let mut builder = self.pair.request(opcode, first + at as u32).payload(chunk);
            if at == 0 {
                builder = builder.reth(va, rkey, length as u32);
            }
            if at + 1 == count {
                builder = builder.ack_request();
            }
            builder.build()
        };
        let frames: Vec<Vec<u8>> = chunks.into_iter().enumerate().map(frame).collect();
        self.requested(format!("WRITE of {length} bytes"), frames, count as u32)
    }

    fn read(&mut self) -> PeerMove {
        let length = self.random.u64(1..=self.region_bytes.min(4 * MTU as u64));
        let va = self.pair.passive.va + self.random.u64(0..=self.region_bytes - length);
        let request = self.request(READ_REQUEST).ack_request();
        let frame = request.reth(va, self.pair.passive.rkey, length as u32).build();
        self.requested(format!("READ of {length} bytes"), vec![frame], length.div_ceil(MTU as u64) as u32)
    }

    /// The last request once more, as after a timeout.
    fn repeated(&mut self) -> PeerMove {
        match self.last.clone() {
            Some((frames, psn)) => PeerMove {
                words: "the last request again".to_owned(),
                frames,
                due: MoveDue::Acknowledged(psn as i32),
            },
            None => PeerMove { words: "nothing".to_owned(), frames: Vec::new(), due: MoveDue::Anything },
        }
    }

    /// Takes note of a request that takes so many PSNs.
    fn requested(&mut self, words: String, frames: Vec<Vec<u8>>, psns: u32) -> PeerMove {
        let last = self.next + psns - 1;
        self.next += psns;
        self.last = Some((frames.clone(), last));
        PeerMove { words, frames, due: MoveDue::Acknowledged(last as i32) }
    }

    /// Begins the request with the next PSN.
    fn request(&self, opcode: u8) -> FrameBuilder {
        self.pair.request(opcode, self.next)
    }

    /// A WRITE of four bytes with the next PSN, as it should be.
    fn small_write(&self) -> FrameBuilder {
        let (va, rkey) = (self.pair.passive.va, self.pair.passive.rkey);
        self.request(WRITE_ONLY).ack_request().reth(va, rkey, 4).payload(b"fuzz")
    }

    /// A frame that is not as it should be.
    fn illegal(&mut self) -> PeerMove {
        let next = self.next as i32;
        let (va, rkey) = (self.pair.passive.va, self.pair.passive.rkey);
        let (due, dropped) = (MoveDue::Refused(next), MoveDue::Dropped(next));
        let (words, frame, due) = match self.random.u8(0..36) {
            0 => {
                let bits = self.random_bits();
                ("WRITE with a wrong rkey".to_owned(), self.small(va, rkey ^ bits, 4), due)
            }
            1 => {
                let beyond = va.wrapping_add(self.random.u64(self.region_bytes.saturating_sub(3)..1 << 40));
                (
                    format!("WRITE beyond the region, at +{:#x}", beyond.wrapping_sub(va)),
                    self.small(beyond, rkey, 4),
                    due,
                )
            }
            2 => ("WRITE that wraps the address space".to_owned(), self.small(u64::MAX - 1, rkey, 4), due),
            3 => {
                let length = self.random.choice([0, 3, 5, 1024, 0x8000_0000, u32::MAX]).unwrap_or(0);
                (format!("WRITE of 4 bytes that announces {length}"), self.small(va, rkey, length), due)
            }
            4 => {
                let opcode =
                    self.random.choice([WRITE_MIDDLE, WRITE_LAST, 0x01, 0x02, 0x03, 0x09]).unwrap_or(1);
                let builder = self.request(opcode).ack_request().payload(&[7; 8]);
                (format!("{} without a First", Opcode(opcode)), builder.build(), due)
            }
            5 => {
                let builder = self.request(WRITE_FIRST).reth(va, rkey, 2048).payload(&[7; 8]);
                ("WRITE First shorter than the path MTU".to_owned(), builder.build(), due)
            }
            6 => {
                let length = self.random.usize(MTU + 1..=1400);
                let builder = self.request(WRITE_ONLY).ack_request().reth(va, rkey, length as u32);
                (format!("WRITE Only of {length} bytes"), builder.payload(&vec![7; length]).build(), due)
            }
            7 => {
                let length =
                    self.random.choice([self.region_bytes as u32 + 1, 0x8000_0000, u32::MAX]).unwrap_or(0);
                let builder = self.request(READ_REQUEST).ack_request().reth(va, rkey, length);
                (format!("READ of {length} bytes"), builder.build(), due)
            }
            8 => {
                let builder = self.request(READ_REQUEST).ack_request().reth(va, rkey, 64).payload(&[7; 16]);
                ("READ Request with a payload".to_owned(), builder.build(), MoveDue::Anything)
            }
            9 => {
                let opcode = self.random.choice([CMP_SWAP, FETCH_ADD]).unwrap_or(FETCH_ADD);
                let at = va + self.random.u64(0..16);
                let builder = self.request(opcode).ack_request().atomic_eth(at, rkey, 1, 1);
                (format!("{} at +{}", Opcode(opcode), at - va), builder.build(), due)
            }
            10 => {
                let by = self.random.u32(1..1 << 22);
                let frame = self.moved_write(by);
                (format!("WRITE {by} PSNs ahead"), frame, MoveDue::Dropped((self.next + by) as i32))
            }
            11 => {
                let by = self.random.u32(1..1 << 22);
                (
                    format!("WRITE {by} PSNs behind"),
                    self.moved_write(0u32.wrapping_sub(by)),
                    MoveDue::Anything,
                )
            }
            12 => {
                let opcode = self.random.u8(..);
                let length = self.random.usize(0..=64);
                let builder = self.request(opcode).ack_request().payload(&self.bytes(length));
                (format!("opcode {opcode:#04x} and {length} bytes"), builder.build(), MoveDue::Anything)
            }
            13 => {
                let opcode = self.random.u8(0x18..0x20);
                (
                    format!("reserved opcode {opcode:#04x}"),
                    self.request(opcode).ack_request().build(),
                    MoveDue::Anything,
                )
            }
            14 => {
                let bits = self.random_bits() & 0xff_ffff;
                let frame = self.small_write().destination_qpn(bits).build();
                (format!("WRITE to queue pair {bits:#x}"), frame, dropped)
            }
            15 => {
                let qpn = self.random.choice([0, 1, 0xff_ffff]).unwrap_or(0);
                let frame = self.small_write().destination_qpn(qpn).build();
                (format!("WRITE to queue pair {qpn:#x}"), frame, dropped)
            }
            16 => {
                let p_key = self.random.choice([0, 0x7fff, 0x8001, 0xabcd]).unwrap_or(0);
                let frame = self.small_write().bth(|bth| bth.p_key = p_key).build();
                (format!("WRITE with P_Key {p_key:#06x}"), frame, MoveDue::Anything)
            }
            17 => {
                let version = self.random.u8(1..16);
                let frame = self.small_write().bth(|bth| bth.transport_version = version).build();
                (format!("WRITE of transport version {version}"), frame, MoveDue::Anything)
            }
            18 => {
                let pad = self.random.u8(1..=3);
                let builder = self.request(WRITE_ONLY).ack_request().reth(va, rkey, 4).payload(b"fuzz");
                (
                    format!("WRITE of 4 bytes and pad count {pad}"),
                    builder.pad_count(pad).build(),
                    MoveDue::Anything,
                )
            }
            19 => {
                let mut frame = self.small_write().build();
                if let Some(byte) = frame.last_mut() {
                    *byte ^= 1 << self.random.u8(0..8);
                }
                ("WRITE with an ICRC that does not fit".to_owned(), frame, dropped)
            }
            20 => {
                let mut frame = self.small_write().build();
                let left = self.random.usize(14..frame.len());
                frame.truncate(left);
                (format!("WRITE cut to {left} bytes"), frame, dropped)
            }
            21 => {
                let mut frame = self.small_write().build();
                let more = self.random.usize(1..200);
                frame.extend(std::iter::repeat_n(0x55, more));
                (format!("WRITE with {more} bytes behind its end"), frame, MoveDue::Anything)
            }
            22 => {
                let syndrome = self.random.u8(..);
                let builder = self.request(ACKNOWLEDGE).aeth(syndrome, self.random_bits() & 0xff_ffff);
                (
                    format!("Acknowledge, syndrome {syndrome:#04x}, that nothing asked for"),
                    builder.build(),
                    MoveDue::Anything,
                )
            }
            23 => {
                let opcode = self.random.choice([0x0d, 0x0e, 0x0f, 0x10]).unwrap_or(0x10);
                let mut builder = self.request(opcode).payload(&[7; 64]);
                if opcode != 0x0e {
                    builder = self.request(opcode).aeth(0x1f, 1).payload(&[7; 64]);
                }
                (format!("{} that nothing asked for", Opcode(opcode)), builder.build(), MoveDue::Anything)
            }
            24 => {
                let builder = self.request(ATOMIC_ACKNOWLEDGE).aeth(0x1f, 1).header(&[0; 8]);
                ("Atomic Acknowledge that nothing asked for".to_owned(), builder.build(), MoveDue::Anything)
            }
            25 => {
                let opcode = self.random.choice([0x20, 0x24, 0x2a, 0x64, 0x65, 0x81]).unwrap_or(0x64);
                let builder = self.request(opcode).deth(GSI_Q_KEY, 1).payload(&[7; 32]);
                (
                    format!("{} to a queue pair of another kind", Opcode(opcode)),
                    builder.build(),
                    MoveDue::Anything,
                )
            }
            26 => {
                let builder = self.request(SEND_ONLY).ack_request().payload(b"fuzz");
                ("SEND, which nothing may await".to_owned(), builder.build(), MoveDue::Anything)
            }
            27 => {
                let header = ImmDtValues { value: 22 }.emit();
                let builder = self.request(WRITE_ONLY_IMM).ack_request().reth(va, rkey, 4).header(&header);
                (
                    "WRITE with Immediate, which nothing may await".to_owned(),
                    builder.payload(b"fuzz").build(),
                    MoveDue::Anything,
                )
            }
            28 => {
                let header = RethValues { va, rkey, dma_length: 4 }.emit();
                let length = self.random.usize(0..header.len());
                let builder = self.request(WRITE_ONLY).ack_request().header(&header[..length]);
                (format!("WRITE with {length} bytes of its RETH"), builder.build(), due)
            }
            29 => {
                let header = AtomicEthValues { va, rkey, swap_or_add: 1, compare: 1 }.emit();
                let length = self.random.usize(0..header.len());
                let builder = self.request(FETCH_ADD).ack_request().header(&header[..length]);
                (format!("FetchAdd with {length} bytes of its AtomicETH"), builder.build(), due)
            }
            30..=33 => self.datagram(),
            34 => {
                let attribute_id = self.random.u16(0x10..=0x1a);
                let length = self.random.usize(0..24 + MAD_DATA);
                let bytes = self.mad(Mad::CLASS_CM, attribute_id, None);
                (
                    format!("management datagram, attribute {attribute_id:#06x}, of {length} bytes"),
                    self.to_gsi(&bytes[..length]),
                    MoveDue::Anything,
                )
            }
            _ => {
                let bits = self.random_bits();
                let payload = self.mad(Mad::CLASS_CM, 0x10, None);
                let frame = self.gsi(bits).payload(&payload).build();
                (format!("CM REQ with queue key {bits:#x}"), frame, MoveDue::Anything)
            }
        };
        PeerMove { words, frames: vec![frame], due }
    }

    /// A message of connection management, or of another class, that is not due.
    fn datagram(&mut self) -> (String, Vec<u8>, MoveDue) {
        let attribute_id = match self.random.bool() {
            true => self.random.u16(0x10..=0x1a),
            false => self.random.u16(..),
        };
        let class = if self.random.u8(0..4) == 0 { self.random.u8(..) } else { Mad::CLASS_CM };
        // Half of them name this connection; the rest name none that is there. A DREQ of this one would end it.
        let own = [self.pair.active.comm_id, self.pair.passive.comm_id];
        let own = Some(own).filter(|_| self.random.bool() && attribute_id != 0x15);
        let bytes = self.mad(class, attribute_id, own);
        let name = roce::cm::attribute_name(attribute_id).unwrap_or("an unknown message");
        let whose = if own.is_some() { "this connection" } else { "no connection" };
        let words = format!("management class {class:#04x}, {name} ({attribute_id:#06x}), of {whose}");
        let due = if own.is_some() { MoveDue::Anything } else { MoveDue::Dropped(self.next as i32) };
        (words, self.to_gsi(&bytes), due)
    }

    /// A management datagram with random data, but for these communication ids.
    fn mad(&mut self, class: u8, attribute_id: u16, ids: Option<[u32; 2]>) -> Vec<u8> {
        let header = MadHeaderValues {
            base_version: if self.random.u8(0..8) == 0 { self.random.u8(..) } else { 1 },
            class,
            class_version: if self.random.u8(0..8) == 0 { self.random.u8(..) } else { 2 },
            method: if self.random.u8(0..8) == 0 { self.random.u8(..) } else { 3 },
            transaction_id: self.random.u64(..),
            attribute_id,
            ..MadHeaderValues::default()
        };
        let mut data = self.bytes(MAD_DATA);
        if let Some(ids) = ids {
            let bytes = ids.into_iter().flat_map(u32::to_be_bytes);
            data.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
        }
        [&header.emit()[..], &data].concat()
    }

    fn to_gsi(&self, mad: &[u8]) -> Vec<u8> {
        self.gsi(GSI_Q_KEY).payload(mad).build()
    }

    fn gsi(&self, q_key: u32) -> FrameBuilder {
        let (from, to) = (self.pair.active.address, self.pair.passive.address);
        FrameBuilder::new(from, to, Opcode::UD_SEND_ONLY).destination_qpn(1).deth(q_key, 1)
    }

    fn small(&self, va: u64, rkey: u32, length: u32) -> Vec<u8> {
        self.request(WRITE_ONLY).ack_request().reth(va, rkey, length).payload(b"fuzz").build()
    }

    /// A small WRITE with a PSN so far from the next.
    fn moved_write(&self, by: u32) -> Vec<u8> {
        let psn = self.pair.active.psn.plus(self.next).plus(by);
        self.small_write().psn(psn).build()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.random.u8(..)).collect()
    }

    /// Random bits, not all zero.
    fn random_bits(&mut self) -> u32 {
        self.random.u32(1..)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use roce::wire::{Frame, Icrc, LinkType};

    use super::*;

    fn drawn(seed: u64, illegal: u8, count: usize) -> Vec<PeerMove> {
        let pair = Pair::new(1);
        let mut grammar = Grammar::new(seed, pair, 4096, illegal);
        (0..count).map(|_| grammar.draw()).collect()
    }

    #[test]
    fn seed_draws_the_same_moves() {
        assert_eq!(drawn(7, 50, 300), drawn(7, 50, 300));
        assert_ne!(drawn(7, 50, 30), drawn(8, 50, 30));
    }

    #[test]
    fn legal_moves_break_no_rule_of_a_requester() {
        let mut analysis = roce::Analysis::new(roce::Names::new());
        let mut number = 0;
        for peer_move in drawn(3, 0, 400) {
            assert!(matches!(peer_move.due, MoveDue::Acknowledged(_)), "{peer_move:?}");
            for frame in &peer_move.frames {
                number += 1;
                analysis.push(&roce::capture::Record::ethernet(number, number * 1_000_000, frame));
            }
        }
        let report = analysis.finish();
        let of_requests = report.findings.iter().filter(|finding| finding.severity == roce::Severity::Error);
        assert_eq!(of_requests.map(|finding| finding.rule.name()).collect::<BTreeSet<_>>(), BTreeSet::new());
        assert!(report.messages.len() > 300, "{}", report.messages.len());
    }

    #[test]
    fn every_kind_of_illegal_move_is_drawn_and_most_reach_the_transport() {
        let moves = drawn(5, 100, 4000);
        let kinds: BTreeSet<String> = moves
            .iter()
            .map(|peer_move| {
                peer_move.words.split(|c: char| c.is_ascii_digit() || c == '-').next().unwrap().to_owned()
            })
            .collect();
        assert!(kinds.len() >= 30, "{kinds:?}");
        let is_sealed = |frame: &[u8]| {
            let frame = Frame::decode(LinkType::ETHERNET, frame);
            frame.packet().is_some_and(|packet| packet.icrc == Icrc::Good)
        };
        let sealed = moves.iter().filter(|peer_move| is_sealed(&peer_move.frames[0])).count();
        assert!(sealed * 10 > moves.len() * 8, "{sealed} of {}", moves.len());
        assert!(
            moves.iter().all(|peer_move| peer_move.frames.len() == 1 && peer_move.frames[0].len() < 1600)
        );
    }
}
