//! Two peers that do what the standard says, and a network between them that loses packets on either side of the place of capture.
//!
//! The requester keeps a window of packets in flight and goes back: at a NAK "PSN sequence error", at a response that shows that one before it is missing, at an
//! RNR NAK after its timer, at the ACK timeout. The responder takes requests in order, refuses the first behind a gap, and answers again what comes again.

use crate::splitmix;
use std::collections::BTreeMap;

use roce::synth::Pair;
use roce::wire::AtomicAckEthValues;

/// Path MTU of the pair in bytes.
const MTU: u32 = 1024;

/// Code and time of the RNR NAKs.
const RNR_CODE: u8 = 12;
const RNR_NS: u64 = 640_000;

/// Differences between the networks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    /// Packets in a thousand that are lost before and behind the place of capture.
    pub(crate) lost_before: u64,
    pub(crate) lost_behind: u64,
    /// Requests in a thousand for which the responder is not ready.
    pub(crate) not_ready: u64,
    /// Packets in flight.
    pub(crate) window: usize,
    /// Messages of each side.
    pub(crate) messages: usize,
    pub(crate) kinds: &'static [WorkKind],
    pub(crate) is_managed: bool,
    /// ACK timeout.
    pub(crate) timeout_ns: u64,
}

/// A frame at the place of capture.
#[derive(Clone, Debug)]
pub(crate) struct PassingFrame {
    pub(crate) time_ns: u64,
    pub(crate) frame: Vec<u8>,
    /// True if it was lost before: a capture that tells fates has it, another has not.
    pub(crate) is_lost: bool,
}

impl PassingFrame {
    fn arrived(time_ns: u64, frame: Vec<u8>) -> Self {
        Self { time_ns, frame, is_lost: false }
    }
}

/// WorkKind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkKind {
    Send,
    Write,
    Read,
    FetchAdd,
}

/// Dice from a seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        splitmix::next(&mut self.0)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn happens(&mut self, in_a_thousand: u64) -> bool {
        self.below(1_000) < in_a_thousand
    }
}

/// One PSN of a requester's work: a packet, or a response that a READ asks for.
#[derive(Clone, Copy, Debug)]
struct WorkStep {
    kind: WorkKind,
    /// Place in its message, and PSNs of that.
    index: u32,
    count: u32,
    length: u32,
}

#[derive(Clone, Copy, Debug)]
enum ParcelContent {
    /// A request of so many PSNs; the length of a READ.
    Request {
        step: WorkStep,
        count: u32,
        length: u32,
    },
    Ack,
    SequenceNak,
    RnrNak,
    ReadResponse,
    AtomicAck,
}

#[derive(Clone, Debug)]
struct SimulatedPacket {
    /// PSN from the first of its requester.
    psn: u32,
    content: ParcelContent,
    frame: Vec<u8>,
}

#[derive(Debug)]
enum NetworkEvent {
    Tap { to: usize, parcel: SimulatedPacket, is_lost: bool },
    Arrival { to: usize, parcel: SimulatedPacket },
    Timer { of: usize, version: u64 },
    Resume { of: usize },
}

#[derive(Debug, Default)]
struct SimulatedPeer {
    steps: Vec<WorkStep>,
    /// First PSN that is not answered, and the next one to send.
    unanswered: usize,
    next: usize,
    /// PSN at which it went back last for a missing response.
    went_back_to: Option<usize>,
    waits_until_ns: u64,
    timer: u64,
    timeouts: u64,
    link_free_ns: u64,
    // As a responder.
    expected: u32,
    msn: u32,
    has_refused: bool,
    is_not_ready: bool,
    results: BTreeMap<u32, u64>,
}

/// The network with both peers.
pub(crate) struct LossyNetwork<'a> {
    conditions: Conditions,
    numbers: Dice,
    /// The pair as either side sees it.
    pairs: [Pair; 2],
    peers: [SimulatedPeer; 2],
    events: BTreeMap<(u64, u64), NetworkEvent>,
    order: u64,
    now_ns: u64,
    captured: Vec<PassingFrame>,
    /// Packets that were sent, and which of them are lost beside those by chance, from 0.
    sent: usize,
    lost: &'a [usize],
}

/// Runs a conversation to its end; the frames that pass the place of capture.
pub(crate) fn converse(seed: u64, conditions: Conditions) -> Vec<PassingFrame> {
    converse_losing(&[], seed, conditions)
}

/// Runs a conversation to its end that loses those of its packets, in the order in which they are sent, from 0.
pub(crate) fn converse_losing(lost: &[usize], seed: u64, conditions: Conditions) -> Vec<PassingFrame> {
    let pair = Pair::new(seed);
    let reversed = Pair { active: pair.passive, passive: pair.active, ..pair };
    let mut network = LossyNetwork {
        conditions,
        numbers: Dice(seed ^ 0x10_55e5),
        pairs: [pair, reversed],
        peers: Default::default(),
        events: BTreeMap::new(),
        order: 0,
        now_ns: 1_000_000,
        captured: Vec::new(),
        sent: 0,
        lost,
    };
    if conditions.is_managed {
        let frames = [(0, pair.req(7471, &[])), (9_000, pair.rep(&[])), (20_000, pair.rtu())];
        network.captured.extend(frames.map(|(time_ns, frame)| PassingFrame::arrived(time_ns, frame)));
    }
    for of in [0, 1] {
        for _ in 0..conditions.messages {
            network.add_message(of);
        }
        network.at(of as u64 * 700, NetworkEvent::Resume { of });
    }
    while let Some(((now_ns, _), event)) = network.events.pop_first() {
        network.now_ns = now_ns;
        network.happen(event);
    }
    let is_done = network.peers.iter().all(|peer| peer.unanswered == peer.steps.len());
    if conditions.is_managed && is_done {
        let end_ns = network.now_ns + 1_000_000;
        let frames = [(end_ns, pair.dreq()), (end_ns + 9_000, pair.drep())];
        network.captured.extend(frames.map(|(time_ns, frame)| PassingFrame::arrived(time_ns, frame)));
    }
    network.captured
}

impl LossyNetwork<'_> {
    fn at(&mut self, after_ns: u64, event: NetworkEvent) {
        self.order += 1;
        self.events.insert((self.now_ns + after_ns, self.order), event);
    }

    fn add_message(&mut self, of: usize) {
        let kind = self.conditions.kinds[self.numbers.below(self.conditions.kinds.len() as u64) as usize];
        let length = match (kind, self.numbers.below(3)) {
            (WorkKind::FetchAdd, _) => 8,
            (_, 0) => self.numbers.below(5) as u32 * MTU,
            (_, _) => self.numbers.below(6_000) as u32,
        };
        let count = length.div_ceil(MTU).max(1);
        self.peers[of].steps.extend((0..count).map(|index| WorkStep { kind, index, count, length }));
    }

    fn happen(&mut self, event: NetworkEvent) {
        match event {
            NetworkEvent::Tap { to, parcel, is_lost } => {
                let (time_ns, frame) = (self.now_ns, parcel.frame.clone());
                self.captured.push(PassingFrame { time_ns, frame, is_lost });
                if !is_lost && !self.numbers.happens(self.conditions.lost_behind) {
                    self.at(if to == 1 { 6_000 } else { 2_000 }, NetworkEvent::Arrival { to, parcel });
                }
            }
            NetworkEvent::Arrival { to, parcel } => match parcel.content {
                ParcelContent::Request { step, count, length } => {
                    self.take(to, parcel.psn, step, count, length)
                }
                _ => self.hear(to, &parcel),
            },
            NetworkEvent::Resume { of } => self.pump(of),
            NetworkEvent::Timer { of, version } => {
                let peer = &mut self.peers[of];
                if version == peer.timer && peer.unanswered < peer.steps.len() && peer.timeouts < 7 {
                    peer.timeouts += 1;
                    (peer.next, peer.went_back_to) = (peer.unanswered, None);
                    self.pump(of);
                }
            }
        }
    }

    fn send(&mut self, from: usize, parcel: SimulatedPacket) {
        let free_ns = self.peers[from].link_free_ns.max(self.now_ns) + 300;
        self.peers[from].link_free_ns = free_ns;
        let is_lost = self.numbers.happens(self.conditions.lost_before) || self.lost.contains(&self.sent);
        self.sent += 1;
        let on_its_way_ns = free_ns - self.now_ns + if from == 0 { 2_000 } else { 6_000 };
        self.at(on_its_way_ns, NetworkEvent::Tap { to: 1 - from, parcel, is_lost });
    }

    /// Sends requests as far as the window goes.
    fn pump(&mut self, of: usize) {
        while self.peers[of].next < self.peers[of].steps.len() && self.now_ns >= self.peers[of].waits_until_ns
        {
            let peer = &self.peers[of];
            let (psn, step) = (peer.next, peer.steps[peer.next]);
            let has_own_answer = |step: &&WorkStep| matches!(step.kind, WorkKind::Read | WorkKind::FetchAdd);
            let under_way = &peer.steps[peer.unanswered..psn];
            let messages =
                under_way.iter().filter(has_own_answer).filter(|step| step.index + 1 == step.count);
            // As the REQ of the pair says.
            let depth = if self.conditions.is_managed { 1 } else { 4 };
            if under_way.len() >= self.conditions.window
                || has_own_answer(&&step) && messages.count() >= depth
            {
                break;
            }
            let parcel = self.request(of, psn as u32, step);
            if let ParcelContent::Request { count, .. } = parcel.content {
                self.peers[of].next += count as usize;
            }
            self.send(of, parcel);
        }
        self.peers[of].timer += 1;
        let version = self.peers[of].timer;
        if self.peers[of].unanswered < self.peers[of].steps.len() {
            self.at(self.conditions.timeout_ns, NetworkEvent::Timer { of, version });
        }
    }

    fn request(&self, of: usize, psn: u32, step: WorkStep) -> SimulatedPacket {
        let (pair, WorkStep { kind, index, count, length }) = (&self.pairs[of], step);
        let (va, rkey) = (pair.passive.va, pair.passive.rkey);
        let place = match (index == 0, index + 1 == count) {
            (true, true) => 3,
            (true, false) => 0,
            (false, true) => 2,
            (false, false) => 1,
        };
        let begun = index * MTU;
        let payload = [psn as u8; MTU as usize];
        let payload = &payload[..MTU.min(length - begun.min(length)) as usize];
        let asks =
            |builder: roce::synth::FrameBuilder| if place >= 2 { builder.ack_request() } else { builder };
        let (frame, count, length) = match kind {
            WorkKind::Send => (asks(pair.request([0, 1, 2, 4][place], psn)).payload(payload).build(), 1, 0),
            WorkKind::Write => {
                let builder = asks(pair.request([6, 7, 8, 10][place], psn));
                let builder = if index == 0 { builder.reth(va, rkey, length) } else { builder };
                (builder.payload(payload).build(), 1, 0)
            }
            WorkKind::Read => {
                let rest = length - begun.min(length);
                let builder = pair.request(0x0c, psn).ack_request().reth(va + u64::from(begun), rkey, rest);
                (builder.build(), count - index, rest)
            }
            WorkKind::FetchAdd => {
                (pair.request(0x14, psn).ack_request().atomic_eth(va, rkey, 1, 0).build(), 1, 0)
            }
        };
        SimulatedPacket { psn, content: ParcelContent::Request { step, count, length }, frame }
    }

    /// Takes a request in as its responder.
    fn take(&mut self, at: usize, psn: u32, step: WorkStep, count: u32, length: u32) {
        let peer = &mut self.peers[at];
        if psn > peer.expected {
            if !peer.is_not_ready && !std::mem::replace(&mut peer.has_refused, true) {
                self.answer(at, self.peers[at].expected, ParcelContent::SequenceNak);
            }
            return;
        }
        let is_new = psn == peer.expected;
        let ends = step.kind == WorkKind::Read || step.index + 1 == step.count;
        if is_new {
            peer.has_refused = false;
            let needs_buffer = step.kind == WorkKind::Send && step.index == 0;
            peer.is_not_ready = needs_buffer && self.numbers.happens(self.conditions.not_ready);
            if peer.is_not_ready {
                return self.answer(at, psn, ParcelContent::RnrNak);
            }
            peer.expected += count;
            peer.msn += u32::from(ends);
        }
        match step.kind {
            WorkKind::Read => self.respond(at, psn, count, length),
            WorkKind::FetchAdd => {
                if is_new {
                    let original = self.numbers.next();
                    self.peers[at].results.insert(psn, original);
                }
                self.answer(at, psn, ParcelContent::AtomicAck);
            }
            _ if !is_new => self.answer(at, self.peers[at].expected - 1, ParcelContent::Ack),
            _ if ends => self.answer(at, psn, ParcelContent::Ack),
            _ => {}
        }
    }

    fn answer(&mut self, at: usize, psn: u32, content: ParcelContent) {
        // The pair of the requester.
        let (pair, msn) = (&self.pairs[1 - at], self.peers[at].msn);
        let frame = match content {
            ParcelContent::SequenceNak => pair.response(0x11, psn).aeth(0x60, msn).build(),
            ParcelContent::RnrNak => pair.response(0x11, psn).aeth(0x20 | RNR_CODE, msn).build(),
            ParcelContent::AtomicAck => {
                let original = self.peers[at].results[&psn];
                let original = AtomicAckEthValues { original }.emit();
                pair.response(0x12, psn).aeth(0x1f, msn).header(&original).build()
            }
            _ => pair.response(0x11, psn).aeth(0x1f, msn).build(),
        };
        self.send(at, SimulatedPacket { psn, content, frame });
    }

    fn respond(&mut self, at: usize, psn: u32, count: u32, length: u32) {
        for index in 0..count {
            let opcode = match (index == 0, index + 1 == count) {
                (true, true) => 0x10,
                (true, false) => 0x0d,
                (false, true) => 0x0f,
                (false, false) => 0x0e,
            };
            let builder = self.pairs[1 - at].response(opcode, psn + index);
            let builder = if opcode == 0x0e { builder } else { builder.aeth(0x1f, self.peers[at].msn) };
            let payload = [index as u8; MTU as usize];
            let frame = builder.payload(&payload[..MTU.min(length - index * MTU) as usize]).build();
            self.send(at, SimulatedPacket { psn: psn + index, content: ParcelContent::ReadResponse, frame });
        }
    }

    /// Takes an answer in as its requester.
    fn hear(&mut self, of: usize, parcel: &SimulatedPacket) {
        let peer = &mut self.peers[of];
        let psn = parcel.psn as usize;
        if psn < peer.unanswered {
            return;
        }
        // What has an answer of its own is answered by nothing else.
        let is_own = matches!(parcel.content, ParcelContent::ReadResponse | ParcelContent::AtomicAck);
        let is_refusal = matches!(parcel.content, ParcelContent::SequenceNak | ParcelContent::RnrNak);
        let passed = &peer.steps[peer.unanswered..psn + usize::from(!is_own && !is_refusal)];
        let missing = passed.iter().position(|step| matches!(step.kind, WorkKind::Read | WorkKind::FetchAdd));
        let answered = match missing {
            Some(at) => peer.unanswered + at,
            None => psn + usize::from(!is_refusal),
        };
        if answered > peer.unanswered {
            (peer.unanswered, peer.went_back_to, peer.timeouts) = (answered, None, 0);
            peer.next = peer.next.max(answered);
        }
        match (parcel.content, missing) {
            (ParcelContent::RnrNak, _) => {
                let wait_ns = RNR_NS + 2_000 + self.numbers.below(100_000);
                let peer = &mut self.peers[of];
                peer.next = peer.unanswered;
                peer.waits_until_ns = self.now_ns + wait_ns;
                peer.timer += 1;
                self.at(wait_ns, NetworkEvent::Resume { of });
                return;
            }
            (ParcelContent::SequenceNak, _) => peer.next = peer.unanswered,
            (_, Some(_)) if peer.went_back_to != Some(answered) => {
                (peer.next, peer.went_back_to) = (answered, Some(answered));
            }
            _ => {}
        }
        self.pump(of);
    }
}
