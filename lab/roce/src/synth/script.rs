//! Short conversations of one pair, frame by frame: the examples of the rules are written in these words.

use crate::rule::Rule;
use crate::synth::{FrameBuilder, Pair};
use crate::wire::{AtomicAckEthValues, BthValues, Opcode};

/// Frames with their times in microseconds.
pub(crate) type Steps = Vec<(u64, Vec<u8>)>;

/// Syndrome of an ACK.
pub(crate) const ACK: u8 = 0x1f;
/// Opcode of an RC SEND Only.
pub(crate) const SEND: u8 = 0x04;
const READ: u8 = 0x0c;
const PIECE: [u8; 1024] = [0x5a; 1024];

/// Conversations about one rule.
pub(crate) struct Examples {
    /// Shortest conversation that breaks it, and no other.
    pub(crate) breaks: fn() -> Script,
    /// Nearest conversation that does not break it.
    pub(crate) keeps: fn() -> Script,
    /// Rules that the nearest conversation breaks; nearly always none.
    pub(crate) beside: &'static [Rule],
}

/// A conversation of one pair, as far as it is written.
pub(crate) struct Script {
    pair: Pair,
    pub(crate) steps: Steps,
    now_us: u64,
}

impl Script {
    /// Adds a frame ten microseconds later.
    pub(crate) fn put(self, frame: Vec<u8>) -> Self {
        self.after(10, frame)
    }

    /// Adds a frame so many microseconds later.
    pub(crate) fn after(mut self, us: u64, frame: Vec<u8>) -> Self {
        self.now_us += us;
        self.steps.push((self.now_us, frame));
        self
    }

    /// Adds an ACK of PSN `n`.
    pub(crate) fn ack(self, n: u32, msn: u32) -> Self {
        self.answer(n, ACK, msn)
    }

    /// Adds an acknowledgement with any syndrome.
    pub(crate) fn answer(self, n: u32, syndrome: u8, msn: u32) -> Self {
        let frame = self.pair.response(0x11, n).aeth(syndrome, msn).build();
        self.put(frame)
    }

    /// Adds a READ of `pieces` path MTUs.
    pub(crate) fn read(self, n: u32, pieces: u32) -> Self {
        let (va, rkey) = (self.pair.passive.va, self.pair.passive.rkey);
        let frame = self.pair.request(READ, n).ack_request().reth(va, rkey, 1024 * pieces).build();
        self.put(frame)
    }

    /// Adds a READ response: First 0x0d, Middle 0x0e, Last 0x0f, Only 0x10.
    pub(crate) fn piece(self, opcode: u8, n: u32, msn: u32) -> Self {
        let frame = self.pair.response(opcode, n);
        let frame = if opcode == 0x0e { frame } else { frame.aeth(ACK, msn) };
        let frame = frame.payload(&PIECE).build();
        self.put(frame)
    }

    /// Adds a FetchAdd of 1.
    pub(crate) fn fetch_add(self, n: u32, va: u64) -> Self {
        let frame =
            self.pair.request(0x14, n).ack_request().atomic_eth(va, self.pair.passive.rkey, 1, 0).build();
        self.put(frame)
    }

    /// Adds the answer to an atomic.
    pub(crate) fn atomic_ack(self, n: u32, msn: u32, original: u64) -> Self {
        let frame = self
            .pair
            .response(0x12, n)
            .aeth(ACK, msn)
            .header(&AtomicAckEthValues { original }.emit())
            .build();
        self.put(frame)
    }

    /// Adds a packet of a WRITE: First 0x06, Middle 0x07, Last 0x08, Only 0x0a.
    pub(crate) fn write(self, opcode: u8, n: u32, announced: u32, bytes: usize) -> Self {
        let (va, rkey) = (self.pair.passive.va, self.pair.passive.rkey);
        let frame = self.pair.request(opcode, n);
        let frame = if matches!(opcode, 0x06 | 0x0a) { frame.reth(va, rkey, announced) } else { frame };
        let frame = if opcode >= 0x08 { frame.ack_request() } else { frame };
        let frame = frame.payload(PIECE.get(..bytes).unwrap_or(&PIECE)).build();
        self.put(frame)
    }

    /// Adds a congestion notification.
    pub(crate) fn cnp(self, after_us: u64, becn: bool) -> Self {
        let frame = self.pair.request(Opcode::CNP.0, 0).bth(|bth| bth.becn = becn).payload(&[0; 16]).build();
        self.after(after_us, frame)
    }

    /// Adds a datagram from the active side's queue pair 0x1f1.
    pub(crate) fn datagram(self, qpn: u32, q_key: u32) -> Self {
        let (source, destination) = (self.pair.active.address, self.pair.passive.address);
        let frame = FrameBuilder::new(source, destination, Opcode::UD_SEND_ONLY)
            .destination_qpn(qpn)
            .deth(q_key, 0x1f1)
            .payload(b"four")
            .build();
        self.put(frame)
    }

    /// Ends the connection with DREQ and DREP.
    pub(crate) fn end(self) -> Self {
        let [dreq, drep] = [self.pair.dreq(), self.pair.drep()];
        self.put(dreq).put(drep)
    }

    /// Doubles every frame.
    pub(crate) fn twice(mut self) -> Self {
        let steps = std::mem::take(&mut self.steps);
        self.steps =
            steps.into_iter().flat_map(|(at, frame)| [(at, frame.clone()), (at + 1, frame)]).collect();
        self
    }
}

/// The pair of every conversation.
pub(crate) fn pair() -> Pair {
    Pair::new(1)
}

/// Begins a conversation whose connection was made before the capture.
pub(crate) fn bare() -> Script {
    Script { pair: pair(), steps: Vec::new(), now_us: 0 }
}

/// Begins a conversation with REQ, REP and RTU.
pub(crate) fn managed() -> Script {
    bare().put(pair().req(7471, &[])).put(pair().rep(&pair().advert())).put(pair().rtu())
}

/// The same, where both sides tell a queue pair of datagrams in their private data.
pub(crate) fn told(active_qpn: u32, passive_qpn: u32) -> Script {
    let [active, passive] = [active_qpn, passive_qpn].map(u32::to_be_bytes);
    bare().put(pair().req(7471, &active)).put(pair().rep(&passive)).put(pair().rtu())
}

/// A SEND of four bytes under PSN `n`, which asks for an acknowledgement.
pub(crate) fn send(n: u32) -> Vec<u8> {
    pair().request(SEND, n).ack_request().payload(b"four").build()
}

/// The first SEND with fields of its BTH changed.
pub(crate) fn first(set: fn(&mut BthValues)) -> Vec<u8> {
    pair().request(SEND, 0).ack_request().bth(set).payload(b"four").build()
}
