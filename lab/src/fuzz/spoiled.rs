//! Answers that are not as they should be: what becomes of a right one, drawn from a seed.

use fastrand::Rng;
use roce::cm::{Mad, MadHeaderValues};
use roce::synth::{FrameBuilder, Pair};
use roce::wire::{Opcode, Operation};

use crate::fuzz::answer::{
    ACK, ACKNOWLEDGE, ATOMIC_ACKNOWLEDGE, AnswerDue, DraftAnswer, GivenAnswer, READ_FIRST, READ_LAST,
    READ_MIDDLE, READ_ONLY, SEQUENCE_ERROR,
};

/// Queue key of the queue pair of connection management.
const GSI_Q_KEY: u32 = 0x8001_0000;

/// Length of a management datagram behind its header, in bytes.
const MAD_DATA: usize = 232;

/// Number of PSNs beyond what any of the programs here has in flight.
const BEYOND: i32 = 1000;

/// A right answer on its way to become another.
struct Spoiling<'a> {
    random: &'a mut Rng,
    pair: &'a Pair,
    right: Vec<DraftAnswer>,
}

/// Draws what becomes of a right answer to `request`, which has at least one packet.
pub(super) fn draw(random: &mut Rng, pair: &Pair, right: Vec<DraftAnswer>, request: Opcode) -> GivenAnswer {
    Spoiling { random, pair, right }.draw(request)
}

impl Spoiling<'_> {
    fn draw(mut self, request: Opcode) -> GivenAnswer {
        use AnswerDue::{Anything, Fails, Recovers};
        let is_read = self.right.iter().any(|draft| is_read(draft.opcode));
        let takes_receive = request.operation() == Operation::Send || request.has_immediate();
        let n = self.right[0].n;
        match self.random.u8(0..if is_read { 40 } else { 32 }) {
            0 => self.with("answered twice", Recovers, |frames| [frames.clone(), frames].concat()),
            1 => self.instead("no answer", Recovers, Vec::new()),
            2 => {
                let by = self.random.i32(1..1 << 22);
                let frames = self.changed(|draft| draft.n -= by);
                self.instead(format!("an answer {by} PSNs behind"), Recovers, frames)
            }
            3 => {
                let by = self.random.i32(BEYOND..1 << 22);
                let frames = self.changed(|draft| draft.n += by);
                self.instead(format!("an answer {by} PSNs ahead, beyond what was sent"), Recovers, frames)
            }
            4 => {
                let by = self.random.i32(1..=3);
                let frames = self.changed(|draft| draft.n += by);
                self.instead(format!("an answer {by} PSNs ahead"), Anything, frames)
            }
            5 | 6 => {
                let syndrome = self.random.u8(0x61..=0x63);
                self.refused(n, syndrome, Fails)
            }
            7 | 8 => self.refused(n, SEQUENCE_ERROR, Recovers),
            9 => {
                let by = self.random.i32(1..1 << 22);
                self.refused(n - by, SEQUENCE_ERROR, Recovers)
            }
            10 => {
                let by = self.random.i32(1..1 << 22);
                self.refused(n + by, SEQUENCE_ERROR, Anything)
            }
            11 | 12 => {
                // Codes of up to 82 ms, and that of 655 ms.
                let timer = if self.random.u8(0..8) == 0 { 0 } else { self.random.u8(1..=26) };
                self.refused(n, 0x20 | timer, if takes_receive { Recovers } else { Anything })
            }
            13 => {
                let syndrome = self.random.choice([0x40, 0x5f, 0x64, 0x70, 0x7f, 0xff, 0x9f]).unwrap_or(0x7f);
                self.refused(n, syndrome, Anything)
            }
            14 => {
                let credits = self.random.u8(0..ACK);
                self.marked(format!("answered, with credit code {credits}"), |draft| {
                    draft.aeth = draft.aeth.map(|(_, msn)| (credits, msn));
                })
            }
            15 => {
                let msn = self.random.u32(..1 << 24);
                self.marked(format!("answered, with MSN {msn}"), |draft| {
                    draft.aeth = draft.aeth.map(|(syndrome, _)| (syndrome, msn));
                })
            }
            16 | 17 => {
                let opcodes =
                    [READ_FIRST, READ_MIDDLE, READ_LAST, READ_ONLY, ACKNOWLEDGE, ATOMIC_ACKNOWLEDGE];
                let own = self.right[0].opcode;
                let others: Vec<u8> = opcodes.into_iter().filter(|opcode| *opcode != own).collect();
                let opcode = self.random.choice(others).unwrap_or(READ_ONLY);
                let frames = self.changed(|draft| {
                    draft.opcode = opcode;
                    draft.aeth = (opcode != READ_MIDDLE).then_some(draft.aeth.unwrap_or((ACK, 1)));
                    draft.original = (opcode == ATOMIC_ACKNOWLEDGE).then_some(7);
                });
                self.instead(format!("{} in its place", Opcode(opcode)), Anything, frames)
            }
            18 => {
                let opcode = self.random.u8(..);
                let frames = self.changed(|draft| draft.opcode = opcode);
                self.instead(format!("opcode {opcode:#04x} in its place"), Anything, frames)
            }
            19 => {
                let bit = 1 << self.random.u8(0..8);
                let mut frames = self.changed(|_| ());
                frames.iter_mut().filter_map(|frame| frame.last_mut()).for_each(|byte| *byte ^= bit);
                self.instead("an answer with an ICRC that does not fit", Recovers, frames)
            }
            20 => {
                let qpn = self.random.u32(2..1 << 24);
                let frames = self.built(|builder| builder.destination_qpn(qpn));
                self.instead(format!("an answer to queue pair {qpn:#x}"), Recovers, frames)
            }
            21 => {
                let mut frames = self.changed(|_| ());
                for frame in &mut frames {
                    let left = self.random.usize(14..frame.len());
                    frame.truncate(left);
                }
                self.instead("an answer that is cut", Recovers, frames)
            }
            22 => {
                let more = self.random.usize(1..200);
                let mut frames = self.changed(|_| ());
                frames.iter_mut().for_each(|frame| frame.extend(std::iter::repeat_n(0x55, more)));
                // Behind the IP packet's end there is none of it.
                let given =
                    self.instead(format!("answered, with {more} bytes behind its end"), Recovers, frames);
                GivenAnswer { is_answered: true, ..given }
            }
            23 => {
                let p_key = self.random.choice([0, 0x7fff, 0x8001, 0xabcd]).unwrap_or(0);
                let frames = self.built(|builder| builder.bth(|bth| bth.p_key = p_key));
                self.instead(format!("an answer with P_Key {p_key:#06x}"), Anything, frames)
            }
            24 => {
                let version = self.random.u8(1..16);
                let frames = self.built(|builder| builder.bth(|bth| bth.transport_version = version));
                self.instead(format!("an answer of transport version {version}"), Anything, frames)
            }
            25 => {
                let pad = self.random.u8(1..=3);
                let frames = self.built(|builder| builder.pad_count(pad));
                self.instead(format!("an answer with pad count {pad}"), Anything, frames)
            }
            26 => {
                let Pair { active, passive, .. } = *self.pair;
                // The passive side disconnects.
                let frame = Pair { active: passive, passive: active, ..*self.pair }.dreq();
                self.before("DREQ", Anything, vec![frame])
            }
            27 => {
                let reason = self.random.u16(..64);
                let frame = self.pair.rej(reason, &[]);
                self.before(&format!("REJ with reason {reason}"), Anything, vec![frame])
            }
            28 => {
                let frame = self.pair.rep(&self.pair.advert());
                self.before("REP again", Recovers, vec![frame])
            }
            29 => {
                let (words, frame) = self.datagram();
                self.before(&words, Anything, vec![frame])
            }
            30 => {
                let opcode = self.random.choice([0x04, 0x0a, 0x0c, 0x06, 0x08, 0x14]).unwrap_or(0x04);
                let (va, rkey) = (self.pair.active.va, self.pair.active.rkey);
                let mut builder = self.pair.response(opcode, 0).psn(self.pair.passive.psn).ack_request();
                if !matches!(opcode, 0x04 | 0x08) {
                    builder = match opcode {
                        0x14 => builder.atomic_eth(va, rkey, 1, 0),
                        _ => builder.reth(va, rkey, 4),
                    };
                }
                if !matches!(opcode, 0x0c | 0x14) {
                    builder = builder.payload(b"fuzz");
                }
                let words = format!("{}, which nothing may await", Opcode(opcode));
                self.before(&words, Anything, vec![builder.build()])
            }
            31 => {
                let length = self.random.usize(0..4);
                let header = [ACK, 0, 0, 1];
                let n = self.right[0].n as u32;
                let opcode = self.right[0].opcode;
                let frame = self.pair.response(opcode, 0).psn(self.pair.active.psn.plus(n));
                let frame = frame.header(&header[..length]).build();
                self.instead(format!("an answer with {length} bytes of its AETH"), Anything, vec![frame])
            }
            of_read => self.spoil_read(of_read),
        }
    }

    /// Spoils the answer to a READ by what only that has.
    fn spoil_read(mut self, which: u8) -> GivenAnswer {
        use AnswerDue::{Anything, Recovers};
        let count = self.right.len();
        match which {
            32 => {
                let more = self.random.choice([1, 4, 64, 1024, 1400]).unwrap_or(4);
                if let Some(last) = self.right.last_mut() {
                    last.payload.extend(std::iter::repeat_n(0x55, more));
                }
                let frames = self.changed(|_| ());
                self.instead(format!("a READ response {more} bytes too long"), Anything, frames)
            }
            33 => {
                let mut less = 0;
                if let Some(last) = self.right.last_mut() {
                    less = self.random.usize(1..=last.payload.len().max(1));
                    last.payload.truncate(last.payload.len().saturating_sub(less));
                }
                let frames = self.changed(|_| ());
                self.instead(format!("a READ response {less} bytes too short"), Anything, frames)
            }
            34 if count > 1 => {
                let missing = self.random.usize(0..count);
                self.right.remove(missing);
                let frames = self.changed(|_| ());
                self.instead(
                    format!("all of its READ responses but number {}", missing + 1),
                    Recovers,
                    frames,
                )
            }
            35 if count > 1 => {
                let at = self.random.usize(1..count);
                self.right.rotate_left(at);
                let frames = self.changed(|_| ());
                self.instead(format!("its READ responses, number {} first", at + 1), Recovers, frames)
            }
            36 => {
                let mut more = self.right[count - 1].clone();
                let number = self.random.usize(1..=4);
                (more.opcode, more.aeth) = (READ_MIDDLE, None);
                for _ in 0..number {
                    let last = self.right.len() - 1;
                    self.right.insert(last, more.clone());
                    more.n += 1;
                }
                if let Some(last) = self.right.last_mut() {
                    last.n += number as i32;
                }
                let frames = self.changed(|_| ());
                self.instead(format!("{number} READ responses too many"), Anything, frames)
            }
            37 => {
                let syndrome = self.random.choice([0x20, 0x2e, 0x60, 0x61, 0x62, 0x63, 0x7f]).unwrap_or(0x62);
                let frames = self.changed(|draft| draft.aeth = draft.aeth.map(|(_, msn)| (syndrome, msn)));
                self.instead(format!("READ responses with syndrome {syndrome:#04x}"), Anything, frames)
            }
            38 => {
                let last = if count > 1 { READ_LAST } else { READ_ONLY };
                let n = self.right[count - 1].n;
                let frame = self.pair.response(last, 0).psn(self.pair.active.psn.plus(n as u32));
                self.instead(
                    "the last READ response alone, empty",
                    Anything,
                    vec![frame.aeth(ACK, 1).build()],
                )
            }
            _ => {
                let at = self.random.usize(0..count);
                let length = self.random.usize(0..=1400);
                self.right[at].payload = vec![0x33; length];
                let frames = self.changed(|_| ());
                let words = format!("READ response number {} of {length} bytes", at + 1);
                self.instead(words, Anything, frames)
            }
        }
    }

    /// The right answer's frames, each packet changed before it is built.
    fn changed(&mut self, change: impl Fn(&mut DraftAnswer)) -> Vec<Vec<u8>> {
        self.right.iter_mut().for_each(change);
        self.built(|builder| builder)
    }

    /// The answer's frames, each changed by its builder.
    fn built(&self, change: impl Fn(FrameBuilder) -> FrameBuilder) -> Vec<Vec<u8>> {
        self.right.iter().map(|draft| change(draft.builder(self.pair)).build()).collect()
    }

    /// Frames in place of the right ones.
    fn instead(&self, words: impl Into<String>, due: AnswerDue, frames: Vec<Vec<u8>>) -> GivenAnswer {
        GivenAnswer { words: words.into(), frames, due, is_answered: false }
    }

    /// An acknowledgement of another kind in place of the right answer.
    fn refused(&self, n: i32, syndrome: u8, due: AnswerDue) -> GivenAnswer {
        let frame = self.pair.response(ACKNOWLEDGE, 0).psn(self.pair.active.psn.plus(n as u32));
        let words = format!("{} at +{n}", roce::wire::Syndrome::from_byte(syndrome));
        self.instead(words, due, vec![frame.aeth(syndrome, 1).build()])
    }

    /// The right answer in more frames.
    fn with(
        mut self,
        words: &str,
        due: AnswerDue,
        more: impl FnOnce(Vec<Vec<u8>>) -> Vec<Vec<u8>>,
    ) -> GivenAnswer {
        let frames = more(self.changed(|_| ()));
        GivenAnswer { is_answered: true, ..self.instead(words, due, frames) }
    }

    /// The right answer but for something that a requester need not mind.
    fn marked(&mut self, words: String, change: impl Fn(&mut DraftAnswer)) -> GivenAnswer {
        let frames = self.changed(change);
        GivenAnswer { is_answered: true, ..self.instead(words, AnswerDue::Recovers, frames) }
    }

    /// The right answer behind other frames.
    fn before(self, words: &str, due: AnswerDue, first: Vec<Vec<u8>>) -> GivenAnswer {
        let words = format!("{words}, then the answer");
        self.with(&words, due, |frames| [first, frames].concat())
    }

    /// A message of connection management, or of another class, of this connection or of none.
    fn datagram(&mut self) -> (String, Vec<u8>) {
        let random = &mut *self.random;
        let attribute_id = if random.bool() { random.u16(0x10..=0x1a) } else { random.u16(..) };
        let class = if random.u8(0..4) == 0 { random.u8(..) } else { Mad::CLASS_CM };
        let mut sometimes = |usual: u8| if random.u8(0..8) == 0 { random.u8(..) } else { usual };
        let (base_version, class_version, method) = (sometimes(1), sometimes(2), sometimes(3));
        let header = MadHeaderValues {
            base_version,
            class,
            class_version,
            method,
            transaction_id: self.random.u64(..),
            attribute_id,
            ..MadHeaderValues::default()
        };
        let mut data: Vec<u8> = (0..MAD_DATA).map(|_| self.random.u8(..)).collect();
        let is_own = self.random.bool();
        if is_own {
            let ids = [self.pair.passive.comm_id, self.pair.active.comm_id];
            data.iter_mut().zip(ids.into_iter().flat_map(u32::to_be_bytes)).for_each(|(to, byte)| *to = byte);
        }
        let (from, to) = (self.pair.passive.address, self.pair.active.address);
        let frame = FrameBuilder::new(from, to, Opcode::UD_SEND_ONLY).destination_qpn(1).deth(GSI_Q_KEY, 1);
        let name = roce::cm::attribute_name(attribute_id).unwrap_or("an unknown message");
        let whose = if is_own { "this connection" } else { "no connection" };
        let words = format!("management class {class:#04x}, {name} ({attribute_id:#06x}), of {whose}");
        (words, frame.payload(&[&header.emit()[..], &data].concat()).build())
    }
}

fn is_read(opcode: u8) -> bool {
    (READ_FIRST..=READ_ONLY).contains(&opcode)
}

/// Draws how a connection is accepted, if not as it should be: frames in place of the REP, and before it.
pub(super) fn acceptance(random: &mut Rng, pair: &Pair) -> GivenAnswer {
    use AnswerDue::{Anything, Fails, Recovers};
    let rep = pair.rep(&pair.advert());
    let given = |words: String, due, frames| GivenAnswer { words, frames, due, is_answered: true };
    match random.u8(0..10) {
        0 => given("REP twice".to_owned(), Recovers, vec![rep.clone(), rep]),
        1 => {
            let mut other = *pair;
            other.active.comm_id ^= random.u32(1..);
            let frames = vec![other.rep(&pair.advert()), rep];
            given("REP of another connection, then the REP".to_owned(), Recovers, frames)
        }
        2 => {
            let mut other = *pair;
            other.passive.qpn = random.choice([0, 1, 0xff_ffff]).unwrap_or(0);
            given(
                format!("REP with queue pair {:#x}", other.passive.qpn),
                Anything,
                vec![other.rep(&pair.advert())],
            )
        }
        3 => {
            let reason = random.u16(1..40);
            given(format!("REJ with reason {reason}"), Fails, vec![pair.rej(reason, &[])])
        }
        4 => {
            let cut = random.usize(14..rep.len());
            given(format!("REP cut to {cut} bytes, then the REP"), Recovers, vec![rep[..cut].to_vec(), rep])
        }
        5 => given("DREQ right behind the REP".to_owned(), Anything, {
            let from_passive = Pair { active: pair.passive, passive: pair.active, ..*pair };
            vec![rep, from_passive.dreq()]
        }),
        6 => given("DREP, then the REP".to_owned(), Anything, vec![pair.drep(), rep]),
        7 => {
            let data: Vec<u8> = (0..196).map(|_| random.u8(..)).collect();
            given("REP with private data at random".to_owned(), Anything, vec![pair.rep(&data)])
        }
        8 => {
            let mut bad = rep.clone();
            if let Some(byte) = bad.last_mut() {
                *byte ^= 1;
            }
            given("REP with an ICRC that does not fit, then the REP".to_owned(), Recovers, vec![bad, rep])
        }
        _ => given("REJ behind the REP".to_owned(), Anything, vec![rep, pair.rej(random.u16(1..40), &[])]),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use roce::wire::{Frame, Icrc, LinkType};

    use super::*;

    fn right(opcode: u8) -> Vec<DraftAnswer> {
        let draft = |opcode: u8, n| DraftAnswer {
            opcode,
            n,
            aeth: (opcode != READ_MIDDLE).then_some((ACK, 1)),
            original: None,
            payload: if opcode == ACKNOWLEDGE { Vec::new() } else { vec![7; 1024] },
        };
        match opcode {
            ACKNOWLEDGE => vec![draft(ACKNOWLEDGE, 0)],
            _ => vec![draft(READ_FIRST, 0), draft(READ_MIDDLE, 1), draft(READ_LAST, 2)],
        }
    }

    fn drawn(opcode: u8, count: u64) -> Vec<GivenAnswer> {
        let request = Opcode(if opcode == ACKNOWLEDGE { 0x04 } else { 0x0c });
        let one = |seed| draw(&mut Rng::with_seed(seed), &Pair::new(1), right(opcode), request);
        (0..count).map(one).collect()
    }

    /// Words without their numbers.
    fn kinds(given: &[GivenAnswer]) -> BTreeSet<String> {
        let kind = |given: &GivenAnswer| {
            let word = |word: &str| !word.contains(|c: char| c.is_ascii_digit());
            given.words.split_whitespace().filter(|part| word(part)).collect::<Vec<_>>().join(" ")
        };
        given.iter().map(kind).collect()
    }

    #[test]
    fn every_kind_is_drawn_and_most_reach_the_transport() {
        let (of_send, of_read) = (drawn(ACKNOWLEDGE, 4000), drawn(READ_ONLY, 4000));
        assert!(kinds(&of_send).len() >= 30, "{:?}", kinds(&of_send));
        let only = [
            "a READ response bytes too long",
            "a READ response bytes too short",
            "all of its READ responses but number",
            "its READ responses, number first",
            "READ responses too many",
            "READ responses with syndrome",
            "the last READ response alone, empty",
            "READ response number of bytes",
        ];
        for kind in only {
            assert!(kinds(&of_read).contains(kind) && !kinds(&of_send).contains(kind), "{kind}");
        }
        let is_sealed = |frame: &Vec<u8>| {
            let frame = Frame::decode(LinkType::ETHERNET, frame);
            frame.packet().is_some_and(|packet| packet.icrc == Icrc::Good)
        };
        let frames: Vec<&Vec<u8>> = of_send.iter().flat_map(|given| &given.frames).collect();
        let sealed = frames.iter().filter(|frame| is_sealed(frame)).count();
        assert!(sealed * 10 > frames.len() * 8, "{sealed} of {}", frames.len());
        assert!(of_read.iter().flat_map(|given| &given.frames).all(|frame| frame.len() < 2600));
    }

    #[test]
    fn nothing_that_is_drawn_is_right_and_what_has_the_right_answer_says_so() {
        let frames: Vec<Vec<u8>> =
            right(ACKNOWLEDGE).iter().map(|draft| draft.builder(&Pair::new(1)).build()).collect();
        for given in drawn(ACKNOWLEDGE, 2000) {
            assert!(given.due > AnswerDue::Right && given.frames != frames, "{}", given.words);
            if given.frames.contains(&frames[0]) {
                assert!(given.is_answered, "{}", given.words);
            }
        }
    }

    #[test]
    fn seed_draws_the_same_acceptance() {
        let of = |seed| acceptance(&mut Rng::with_seed(seed), &Pair::new(1));
        assert_eq!(of(4), of(4));
        let words: BTreeSet<String> = (0..400).map(|seed| of(seed).words).collect();
        assert!(words.len() > 10, "{words:?}");
    }
}
