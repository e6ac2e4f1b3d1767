//! Answers of a peer to a kernel's requester: as a responder's should be, but for some that a seed makes otherwise.
//!
//! Numbers of a connection and a request in, frames out; no I/O. What becomes of an answer follows from the seed, the request's PSN and how often
//! it came: from no clock, and not from what came before.

use std::collections::BTreeMap;

use roce::synth::Pair;
use roce::wire::{Operation, Packet, Psn};

use crate::fuzz::answer::{
    ACCESS_ERROR, ACK, ACKNOWLEDGE, ATOMIC_ACKNOWLEDGE, AnswerDue, DraftAnswer, GivenAnswer, READ_FIRST,
    READ_LAST, READ_MIDDLE, READ_ONLY, SEQUENCE_ERROR,
};
use crate::fuzz::spoiled;

/// Path MTU of the connections, in bytes: that of the REQs on interfaces of 1500 bytes.
const MTU: usize = 1024;

/// Transmissions of one request that may be answered wrongly; what comes again more often is answered as it should be.
const SPOILED_AT_MOST: u32 = 2;

/// The responder's end of a connection.
#[derive(Debug)]
pub struct BadResponder {
    pair: Pair,
    seed: u64,
    /// Percentage of answers that are not as they should be.
    illegal: u8,
    memory: Vec<u8>,
    /// Distance of the PSN that is expected next from the first.
    expected: i32,
    /// Number of messages that were completed.
    msn: u32,
    /// Offset in memory at which the open WRITE goes on.
    open: Option<usize>,
    /// Values before atomics, by their PSN.
    originals: BTreeMap<i32, u64>,
    /// Times that each request came.
    came: BTreeMap<i32, u32>,
    /// Requests that no answer as it should be was given to, and the last PSNs of those that only an answer of their own completes.
    pending: BTreeMap<i32, Option<i32>>,
    is_nak_out: bool,
}

impl BadResponder {
    /// Begins the passive side of `pair`, which offers so many bytes from its address on; what it does otherwise follows from `seed`.
    pub fn new(seed: u64, pair: Pair, region_bytes: usize, illegal: u8) -> BadResponder {
        BadResponder {
            pair,
            seed,
            illegal,
            memory: vec![0; region_bytes],
            expected: 0,
            msn: 0,
            open: None,
            originals: BTreeMap::new(),
            came: BTreeMap::new(),
            pending: BTreeMap::new(),
            is_nak_out: false,
        }
    }

    /// The connection's numbers.
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// Distances of the PSNs of requests that nothing acknowledged as it should be.
    pub fn pending(&self) -> impl Iterator<Item = i32> {
        self.pending.keys().copied()
    }

    /// Answers a packet; `None` if it is no request of this connection, or asks for no answer.
    pub fn answer(&mut self, packet: &Packet<'_>) -> Option<GivenAnswer> {
        let bth = packet.bth.filter(|bth| bth.destination_qpn() == self.pair.passive.qpn)?;
        if !bth.opcode().is_request() {
            return None;
        }
        let n = Psn::distance(bth.psn(), self.pair.active.psn);
        let count = self.came.entry(n).or_default();
        *count += 1;
        let count = *count;
        let own = match bth.opcode().operation() {
            Operation::ReadRequest => Some(n + psns(packet.reth?.dma_length()) - 1),
            Operation::CmpSwap | Operation::FetchAdd => Some(n),
            _ => None,
        };
        // A READ that is asked again from the middle is no request more.
        let is_known =
            self.pending.iter().any(|(first, last)| *first < n && last.is_some_and(|last| n <= last));
        if (bth.ack_request() || own.is_some()) && count == 1 && !is_known {
            self.pending.insert(n, own);
        }
        let right = self.right(packet, n);
        if right.is_empty() {
            return None;
        }
        let what = format!("{} at +{n}", bth.opcode());
        let what = if count > 1 { format!("{what}, transmission {count}") } else { what };
        let mut random = fastrand::Rng::with_seed(mixed(self.seed, n as u64, u64::from(count)));
        let is_spoiled = count <= SPOILED_AT_MOST && random.u8(0..100) < self.illegal;
        let mut given = if is_spoiled {
            spoiled::draw(&mut random, &self.pair, right, bth.opcode())
        } else {
            let frames = right.iter().map(|draft| draft.builder(&self.pair).build()).collect();
            GivenAnswer {
                words: "answered".to_owned(),
                frames,
                due: AnswerDue::Right,
                is_answered: n <= self.expected,
            }
        };
        if given.due == AnswerDue::Fails && self.pending.range(..=n).next().is_none() {
            // It was acknowledged before, and comes again for nothing.
            given.due = AnswerDue::Anything;
        }
        if given.is_answered {
            self.acknowledged(n);
        }
        Some(GivenAnswer { words: format!("{what}: {}", given.words), ..given })
    }

    /// Takes note that an answer acknowledges the request at `n` and what came before it.
    fn acknowledged(&mut self, n: i32) {
        self.pending.retain(|first, last| *first > n || last.is_some_and(|last| last < n));
    }

    /// The answer as it should be; empty if none is due.
    fn right(&mut self, packet: &Packet<'_>, n: i32) -> Vec<DraftAnswer> {
        let Some(bth) = packet.bth else { return Vec::new() };
        if n > self.expected {
            // One NAK for a gap.
            let is_first = !std::mem::replace(&mut self.is_nak_out, true);
            return if is_first {
                vec![self.acknowledgement(self.expected, SEQUENCE_ERROR)]
            } else {
                Vec::new()
            };
        }
        self.is_nak_out = false;
        let is_new = n == self.expected;
        match bth.opcode().operation() {
            Operation::ReadRequest => self.read(packet, n, is_new),
            Operation::CmpSwap | Operation::FetchAdd => self.atomic(packet, n, is_new),
            Operation::Write if is_new && !self.write(packet) => {
                vec![self.acknowledgement(n, ACCESS_ERROR)]
            }
            _ => {
                if is_new {
                    self.expected += 1;
                    self.msn += u32::from(bth.opcode().place().ends());
                }
                match bth.ack_request() {
                    true => vec![self.acknowledgement(self.expected - 1, ACK)],
                    false => Vec::new(),
                }
            }
        }
    }

    fn acknowledgement(&self, n: i32, syndrome: u8) -> DraftAnswer {
        DraftAnswer {
            opcode: ACKNOWLEDGE,
            n,
            aeth: Some((syndrome, self.msn)),
            original: None,
            payload: Vec::new(),
        }
    }

    /// Takes a WRITE's bytes in; gives false if there is no memory for them.
    fn write(&mut self, packet: &Packet<'_>) -> bool {
        if let Some(reth) = packet.reth {
            if reth.dma_length() == 0 {
                return true;
            }
            let place = self.place(reth.va(), reth.rkey(), u64::from(reth.dma_length()));
            let Some(place) = place else { return false };
            self.open = Some(place);
        }
        let Some(at) = self.open else { return true };
        let to = self.memory.iter_mut().skip(at);
        to.zip(packet.payload).for_each(|(to, byte)| *to = *byte);
        self.open = Some(at + packet.payload.len());
        true
    }

    /// The place of so many bytes in memory.
    fn place(&self, va: u64, rkey: u32, length: u64) -> Option<usize> {
        let at = va.checked_sub(self.pair.passive.va)?;
        let is_inside = at.checked_add(length).is_some_and(|end| end <= self.memory.len() as u64);
        (rkey == self.pair.passive.rkey && is_inside).then_some(at as usize)
    }

    fn read(&mut self, packet: &Packet<'_>, n: i32, is_new: bool) -> Vec<DraftAnswer> {
        let Some(reth) = packet.reth else { return Vec::new() };
        let length = reth.dma_length() as usize;
        let place = if length == 0 { Some(0) } else { self.place(reth.va(), reth.rkey(), length as u64) };
        let Some(at) = place else { return vec![self.acknowledgement(n, ACCESS_ERROR)] };
        let bytes = self.memory.get(at..at + length).unwrap_or_default();
        let pieces: Vec<&[u8]> = if bytes.is_empty() { vec![&[]] } else { bytes.chunks(MTU).collect() };
        let count = pieces.len();
        if is_new {
            self.expected += count as i32;
            self.msn += 1;
        }
        let draft = |(index, piece): (usize, &[u8])| {
            let opcode = match index {
                _ if count == 1 => READ_ONLY,
                0 => READ_FIRST,
                index if index + 1 == count => READ_LAST,
                _ => READ_MIDDLE,
            };
            let aeth = (opcode != READ_MIDDLE).then_some((ACK, self.msn));
            DraftAnswer { opcode, n: n + index as i32, aeth, original: None, payload: piece.to_vec() }
        };
        pieces.into_iter().enumerate().map(draft).collect()
    }

    fn atomic(&mut self, packet: &Packet<'_>, n: i32, is_new: bool) -> Vec<DraftAnswer> {
        let Some(atomic) = packet.atomic_eth else { return Vec::new() };
        let at = self.place(atomic.va(), atomic.rkey(), 8).filter(|at| at % 8 == 0);
        let Some(at) = at else { return vec![self.acknowledgement(n, ACCESS_ERROR)] };
        let mut value = [0; 8];
        value.iter_mut().zip(&self.memory[at..]).for_each(|(to, byte)| *to = *byte);
        let mut original = u64::from_le_bytes(value);
        if is_new {
            self.expected += 1;
            self.msn += 1;
            self.originals.insert(n, original);
            let is_add = packet.opcode().map(|opcode| opcode.operation()) == Some(Operation::FetchAdd);
            let next = match is_add {
                true => original.wrapping_add(atomic.swap_or_add()),
                false if original == atomic.compare() => atomic.swap_or_add(),
                false => original,
            };
            self.memory.iter_mut().skip(at).zip(next.to_le_bytes()).for_each(|(to, byte)| *to = byte);
        } else {
            original = self.originals.get(&n).copied().unwrap_or(original);
        }
        let aeth = Some((ACK, self.msn));
        let opcode = ATOMIC_ACKNOWLEDGE;
        vec![DraftAnswer { opcode, n, aeth, original: Some(original), payload: Vec::new() }]
    }
}

/// Number of PSNs that the responses to a READ of so many bytes take.
fn psns(length_bytes: u32) -> i32 {
    (length_bytes as usize).div_ceil(MTU).max(1) as i32
}

/// A seed of its own for each transmission of each request.
fn mixed(seed: u64, n: u64, count: u64) -> u64 {
    let first = fastrand::Rng::with_seed(seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).u64(..);
    fastrand::Rng::with_seed(first ^ count).u64(..)
}

#[cfg(test)]
mod tests {
    use roce::wire::{Frame, LinkType};

    use super::*;

    fn answer(responder: &mut BadResponder, frame: &[u8]) -> Option<GivenAnswer> {
        responder.answer(Frame::decode(LinkType::ETHERNET, frame).packet().expect("RoCE"))
    }

    /// A WRITE of two packets, a READ of 2500 bytes, a FetchAdd and a SEND.
    fn requests(pair: &Pair) -> Vec<Vec<u8>> {
        let (va, rkey) = (pair.passive.va, pair.passive.rkey);
        vec![
            pair.request(0x06, 0).reth(va, rkey, 1030).payload(&[7; MTU]).build(),
            pair.request(0x08, 1).ack_request().payload(b"behind").build(),
            pair.request(0x0c, 2).ack_request().reth(va, rkey, 2500).build(),
            pair.request(0x14, 5).ack_request().atomic_eth(va + 2048, rkey, 5, 0).build(),
            pair.request(0x04, 6).ack_request().payload(b"send").build(),
        ]
    }

    #[test]
    fn right_answers_break_no_rule_and_leave_nothing_pending() {
        let pair = Pair::new(1);
        let mut responder = BadResponder::new(3, pair, 4096, 0);
        let mut frames = vec![pair.req(7471, &[]), pair.rep(&pair.advert()), pair.rtu()];
        for request in requests(&pair) {
            let given = answer(&mut responder, &request);
            frames.push(request);
            frames.extend(given.into_iter().flat_map(|given| given.frames));
        }
        let mut analysis = roce::Analysis::new(roce::Names::new());
        for (number, frame) in (1..).zip(&frames) {
            analysis.push(&roce::capture::Record::ethernet(number, number * 1_000, frame));
        }
        let report = analysis.finish();
        let rules: Vec<String> = report.findings.iter().map(|finding| finding.rule.name()).collect();
        assert_eq!((rules, report.packets), (Vec::new(), 14));
        assert_eq!(responder.pending().count(), 0);
        // What was written is what is read.
        let read = Frame::decode(LinkType::ETHERNET, &frames[7]).packet().map(|packet| packet.payload.len());
        assert_eq!(read, Some(MTU));
        assert_eq!(&responder.memory[..3], [7; 3]);
        assert_eq!((&responder.memory[1024..1030], responder.memory[2048]), (&b"behind"[..], 5));
    }

    #[test]
    fn request_again_is_answered_as_before_and_executed_once() {
        let pair = Pair::new(1);
        let mut responder = BadResponder::new(3, pair, 64, 0);
        let add = pair.request(0x14, 0).ack_request().atomic_eth(pair.passive.va, pair.passive.rkey, 5, 0);
        let add = add.build();
        let [first, again] = [(); 2].map(|()| answer(&mut responder, &add).unwrap());
        assert_eq!((first.frames, responder.memory[0]), (again.frames, 5));
    }

    #[test]
    fn read_that_is_asked_again_from_the_middle_completes_the_whole() {
        let pair = Pair::new(1);
        let (va, rkey) = (pair.passive.va, pair.passive.rkey);
        let mut responder = BadResponder::new(3, pair, 4096, 0);
        responder.pending.insert(0, Some(3));
        (responder.expected, responder.msn) = (4, 1);
        let rest = pair.request(0x0c, 3).reth(va + 3072, rkey, 1024).build();
        assert!(answer(&mut responder, &rest).unwrap().is_answered);
        assert_eq!(responder.pending().count(), 0);
        // An acknowledgement of what comes behind completes no READ.
        responder.pending.insert(4, Some(5));
        responder.acknowledged(6);
        assert_eq!(responder.pending().collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn gap_draws_one_nak_and_memory_that_is_not_there_a_refusal() {
        let pair = Pair::new(1);
        let mut responder = BadResponder::new(3, pair, 64, 0);
        let send = |n| pair.request(0x04, n).ack_request().payload(b"send").build();
        let of = |given: Option<GivenAnswer>| {
            let frame = given?.frames.remove(0);
            let frame = Frame::decode(LinkType::ETHERNET, &frame);
            let packet = frame.packet()?;
            Some((Psn::distance(packet.bth?.psn(), pair.active.psn), packet.aeth?.syndrome().byte()))
        };
        assert_eq!(of(answer(&mut responder, &send(2))), Some((0, SEQUENCE_ERROR)));
        assert_eq!(answer(&mut responder, &send(3)), None);
        let beyond = pair.request(0x0c, 0).reth(pair.passive.va, pair.passive.rkey, 65).build();
        assert_eq!(of(answer(&mut responder, &beyond)), Some((0, ACCESS_ERROR)));
    }

    #[test]
    fn seed_request_and_transmission_decide_what_becomes_of_an_answer() {
        let pair = Pair::new(1);
        let given = |seed, order: [usize; 2]| {
            let mut responder = BadResponder::new(seed, pair, 4096, 100);
            let frames: Vec<Vec<u8>> =
                (0..2).map(|n| pair.request(0x04, n).ack_request().payload(b"send").build()).collect();
            let mut all: Vec<_> =
                order.iter().filter_map(|at| answer(&mut responder, &frames[*at])).collect();
            all.sort_by(|one, other| one.words.cmp(&other.words));
            all
        };
        assert_eq!(given(7, [0, 1]), given(7, [0, 1]));
        assert_ne!(given(7, [0, 1]), given(8, [0, 1]));
        let mut responder = BadResponder::new(7, pair, 4096, 100);
        let send = pair.request(0x04, 0).ack_request().payload(b"send").build();
        let dues: Vec<AnswerDue> = (0..3).map(|_| answer(&mut responder, &send).unwrap().due).collect();
        assert!(dues[..2].iter().all(|due| *due > AnswerDue::Right), "{dues:?}");
        assert_eq!((dues[2], responder.pending().count()), (AnswerDue::Right, 0));
    }
}
