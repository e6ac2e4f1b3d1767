//! A conversation that breaks each rule, as short as it can be: what `roce explain` shows, and what the tests of the rules begin from.

use crate::capture::Record;
use crate::rule::Rule;
use crate::synth::Pair;
use crate::wire::{AtomicAckEthValues, BthValues, Opcode, RdethValues};
use crate::{Analysis, Names, Report};

/// Frames with their times in microseconds.
type Steps = Vec<(u64, Vec<u8>)>;

const ACK: u8 = 0x1f;
const SEND: u8 = 0x04;
const READ: u8 = 0x0c;
const PIECE: [u8; 1024] = [0x5a; 1024];

/// Builds the conversations of one pair.
struct Script {
    pair: Pair,
    steps: Steps,
    now_us: u64,
}

impl Script {
    fn new() -> Self {
        Self { pair: Pair::new(1), steps: Vec::new(), now_us: 0 }
    }

    fn managed() -> Self {
        let script = Self::new();
        let [req, rep, rtu] =
            [script.pair.req(7471, &[]), script.pair.rep(&script.pair.advert()), script.pair.rtu()];
        script.put(req).put(rep).put(rtu)
    }

    fn put(self, frame: Vec<u8>) -> Self {
        self.after(10, frame)
    }

    fn after(mut self, us: u64, frame: Vec<u8>) -> Self {
        self.now_us += us;
        self.steps.push((self.now_us, frame));
        self
    }

    fn send(self, n: u32) -> Self {
        let frame = self.pair.request(SEND, n).ack_request().payload(b"four").build();
        self.put(frame)
    }

    fn ack(self, n: u32, msn: u32) -> Self {
        self.answer(n, ACK, msn)
    }

    fn answer(self, n: u32, syndrome: u8, msn: u32) -> Self {
        let frame = self.pair.response(0x11, n).aeth(syndrome, msn).build();
        self.put(frame)
    }

    /// A READ of `pieces` path MTUs.
    fn read(self, n: u32, pieces: u32) -> Self {
        let (va, rkey) = (self.pair.passive.va, self.pair.passive.rkey);
        let frame = self.pair.request(READ, n).ack_request().reth(va, rkey, 1024 * pieces).build();
        self.put(frame)
    }

    /// A response: First 0x0d, Middle 0x0e, Last 0x0f, Only 0x10.
    fn piece(self, opcode: u8, n: u32, msn: u32) -> Self {
        let frame = self.pair.response(opcode, n);
        let frame = if opcode == 0x0e { frame } else { frame.aeth(ACK, msn) };
        let frame = frame.payload(&PIECE).build();
        self.put(frame)
    }

    fn fetch_add(self, n: u32, va: u64) -> Self {
        let frame =
            self.pair.request(0x14, n).ack_request().atomic_eth(va, self.pair.passive.rkey, 1, 0).build();
        self.put(frame)
    }

    fn atomic_ack(self, n: u32, msn: u32, original: u64) -> Self {
        let frame = self
            .pair
            .response(0x12, n)
            .aeth(ACK, msn)
            .header(&AtomicAckEthValues { original }.emit())
            .build();
        self.put(frame)
    }

    fn write(self, opcode: u8, n: u32, announced: u32, bytes: usize) -> Self {
        let (va, rkey) = (self.pair.passive.va, self.pair.passive.rkey);
        let frame = self.pair.request(opcode, n);
        let frame = if matches!(opcode, 0x06 | 0x0a) { frame.reth(va, rkey, announced) } else { frame };
        let frame = if opcode >= 0x08 { frame.ack_request() } else { frame };
        let frame = frame.payload(PIECE.get(..bytes).unwrap_or(&PIECE)).build();
        self.put(frame)
    }

    fn cnp(self, after_us: u64, becn: bool) -> Self {
        let frame = self.pair.request(Opcode::CNP.0, 0).bth(|bth| bth.becn = becn).payload(&[0; 16]).build();
        self.after(after_us, frame)
    }

    fn end(self) -> Self {
        let [dreq, drep] = [self.pair.dreq(), self.pair.drep()];
        self.put(dreq).put(drep)
    }

    fn twice(mut self) -> Self {
        let steps = std::mem::take(&mut self.steps);
        self.steps =
            steps.into_iter().flat_map(|(at, frame)| [(at, frame.clone()), (at + 1, frame)]).collect();
        self
    }
}

/// A conversation that breaks a rule, and no other. Each frame has its time in microseconds.
pub fn conversation(rule: Rule) -> Vec<(u64, Vec<u8>)> {
    let (new, managed) = (Script::new, Script::managed);
    let pair = Pair::new(1);
    let send = |n| pair.request(SEND, n).ack_request().payload(b"four").build();
    let first =
        |set: fn(&mut BthValues)| pair.request(SEND, 0).ack_request().bth(set).payload(b"four").build();
    let script = match rule {
        Rule::IcrcMismatch => {
            let mut frame = send(0);
            if let Some(last) = frame.last_mut() {
                *last ^= 1;
            }
            new().put(frame).ack(0, 1)
        }
        Rule::MalformedPacket => {
            let mut frame = send(0);
            frame.truncate(frame.len().saturating_sub(3));
            new().put(frame).ack(0, 1)
        }
        Rule::PadCountMismatch => {
            // Six bytes behind the BTH, and no pad.
            new().put(pair.request(SEND, 0).header(b"ab").payload(b"four").build()).ack(0, 1)
        }
        Rule::PadNotZero => {
            let odd = pair.request(SEND, 0).ack_request().pad_count(1).payload(b"odd\x01");
            new().put(odd.build()).ack(0, 1)
        }
        Rule::ReservedOpcode => {
            let reserved = (0..0x20).rfind(|low| !Opcode(*low).is_known()).unwrap_or_default();
            managed().put(pair.request(reserved, 0).payload(b"four").build())
        }
        Rule::ReliableDatagramUsed => {
            let frame = pair.request(0x44, 0).header(&RdethValues::default().emit()).deth(1, 2);
            new().put(frame.payload(b"four").build())
        }
        Rule::TransportVersionUnknown => new().put(first(|bth| bth.transport_version = 1)).ack(0, 1),
        Rule::QueuePairZero => {
            let frame = pair.request(SEND, 0).destination_qpn(0).payload(b"four").build();
            new().put(frame).ack(0, 1)
        }
        Rule::PartitionKeyInvalid => new().put(first(|bth| bth.p_key = 0x8000)).ack(0, 1),
        Rule::PartitionKeyDiffers => managed().put(first(|bth| bth.p_key = 0x8001)).ack(0, 1),
        Rule::PayloadUnexpected => {
            let frame = pair.response(0x11, 0).aeth(ACK, 1).payload(b"four").build();
            managed().send(0).put(frame)
        }
        Rule::PayloadTooLarge => {
            new().put(pair.request(SEND, 0).ack_request().payload(&[1; 6000]).build()).ack(0, 1)
        }
        Rule::PathMtuInvalid => new().write(0x06, 0, 2000, 1000).write(0x08, 1, 0, 1000).ack(1, 1),
        Rule::ReservedSyndrome => managed().send(0).answer(0, 0x45, 1),
        Rule::RequestPsnGap => {
            managed().send(0).ack(0, 1).send(2).answer(1, 0x60, 1).send(1).send(2).ack(2, 3)
        }
        Rule::RequestBeforeFirstPsn => {
            let frame = pair.request(SEND, 0xff_ffff).payload(b"four").build();
            managed().put(frame)
        }
        Rule::RetransmissionDiffers => {
            managed().read(0, 3).piece(0x0d, 0, 1).piece(0x0e, 1, 1).piece(0x0f, 2, 1).send(2)
        }
        Rule::ReadResponsePsnGap => managed().read(0, 2).piece(0x0f, 1, 1),
        Rule::AtomicAckMissing => managed().fetch_add(0, 64).send(1).ack(1, 2),
        Rule::AckForUnsentPsn => managed().send(0).ack(0, 1).ack(1, 1),
        Rule::ResponseOfWrongKind => managed().send(0).piece(0x10, 0, 1),
        Rule::RequestNotAnswered => managed().send(0).end(),
        Rule::LengthMismatch => managed().write(0x0a, 0, 22, 18).ack(0, 1),
        Rule::DmaLengthTooLarge => {
            let frame = pair.request(READ, 0).ack_request().reth(0, 1, (1 << 31) + 1).build();
            managed().put(frame)
        }
        Rule::PathMtuViolated => {
            managed().write(0x06, 0, 1512, 512).write(0x07, 1, 0, 512).write(0x08, 2, 0, 488).ack(2, 1)
        }
        Rule::OpcodeOutOfSequence => managed().send(0).ack(0, 1).write(0x08, 1, 0, 18),
        Rule::MsnNotAdvanced => managed().send(0).ack(0, 1).send(1).ack(1, 1),
        Rule::MsnBeyondCompleted => managed().send(0).ack(0, 2),
        Rule::NakWithoutGap => managed().send(0).answer(0, 0x60, 0).send(0).ack(0, 1),
        Rule::NakForAcknowledgedPsn => managed().send(0).ack(0, 1).answer(0, 0x60, 1),
        Rule::NakWithoutRetransmission => managed().send(0).answer(0, 0x2e, 0).ack(0, 1),
        Rule::RnrRetryTooEarly => managed().send(0).answer(0, 0x2e, 0).after(100, send(0)).ack(0, 1),
        Rule::TrafficAfterFatalNak => managed().send(0).answer(0, 0x62, 0).after(500_000, send(1)),
        Rule::AtomicAddressMisaligned => managed().fetch_add(0, 65).atomic_ack(0, 1, 7),
        Rule::AtomicReplayDiffers => {
            let again = pair.request(0x14, 0).ack_request().atomic_eth(64, pair.passive.rkey, 1, 0).build();
            managed().fetch_add(0, 64).atomic_ack(0, 1, 7).after(2_000_000, again).atomic_ack(0, 1, 8)
        }
        Rule::InitiatorDepthExceeded => managed().read(0, 1).read(1, 1).piece(0x10, 0, 1).piece(0x10, 1, 2),
        Rule::CnpMalformed => managed().cnp(10, false),
        Rule::CmOutOfSequence => {
            let [req, rtu] = [pair.req(7471, &[]), pair.rtu()];
            new().put(req).put(rtu).ack(0, 1)
        }
        Rule::DreqForOtherQueuePair => {
            let other = Pair { passive: super::Side { qpn: pair.passive.qpn + 1, ..pair.passive }, ..pair };
            managed().put(other.dreq()).put(pair.drep())
        }
        Rule::RequestRefused => {
            let (va, rkey) = (pair.passive.va, pair.passive.rkey.swap_bytes());
            let frame = pair.request(0x0a, 0).ack_request().reth(va, rkey, 4).payload(b"four").build();
            managed().put(frame).answer(0, 0x62, 0)
        }
        Rule::RefusalWithoutCause => {
            managed().write(0x06, 0, 2048, 1024).write(0x08, 1, 0, 1024).answer(1, 0x61, 0)
        }
        Rule::RnrRetriesEnded => {
            managed().send(0).answer(0, 0x2e, 0).after(2_000, send(0)).answer(0, 0x2e, 0).end()
        }
        Rule::RetryCountExceeded => {
            let repeated = (0..8).fold(managed().send(0), |script, _| script.after(500_000, send(0)));
            repeated.ack(0, 1)
        }
        Rule::SequenceNakBehindRnrNak => {
            let script = managed().send(0).send(1).answer(0, 0x2e, 0).answer(0, 0x60, 0);
            script.after(2_000, send(0)).send(1).ack(1, 2)
        }
        Rule::CnpTooFrequent => managed().cnp(10, true).cnp(1, true),
        Rule::CaptureLostPackets => managed().send(0).ack(0, 1).ack(1, 2).send(2).ack(2, 3),
        Rule::CaptureReordered => managed().send(0).ack(0, 1).ack(1, 2).send(1),
        Rule::CaptureDoubled => managed().send(0).ack(0, 1).end().twice(),
        Rule::CaptureOneDirection => new().send(0).send(1),
    };
    script.steps
}

/// The report of [`conversation`], between `client` and `server`.
pub fn sample(rule: Rule) -> Report {
    let pair = Pair::new(1);
    let names = Names::new().with(pair.passive.address, "server").with(pair.active.address, "client");
    let mut analysis = Analysis::new(names);
    for (number, (time_us, frame)) in (1..).zip(conversation(rule)) {
        analysis.push(&Record::ethernet(number, time_us * 1_000, &frame));
    }
    analysis.finish()
}
