//! The one entry point: records of a capture in, a report out.
//!
//! In: [`Record`]s in the order of the capture. Out: a [`Report`] of connections, messages, findings and counts, and the trace. The rules run over what the
//! receivers got, as the fates in the packet comments tell it; the trace shows everything that was sent.

mod deliver;
mod end;
mod found;
mod keep;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::broken::{Broken, Spot};
use crate::capture::Record;
use crate::checker::headers::{self, ToldReceivers};
use crate::checker::{
    Adverts, Alone, Arrival, Conversations, Copies, DatagramReceivers, DiscardedPacket, Ledger, Likeness,
    Stream, alone, remember,
};
use crate::cm::Message as CmMessage;
use crate::fate::Fate;
use crate::finding::{Evidence, Finding};
use crate::flow::{
    Connection, ConnectionId, Datagrams, FlowChange, Placed, Side, StreamId, Tracker, management, packets,
};
use crate::message::{Message, MessageKind, MessageOutcome};
use crate::message_log::MessageId;
use crate::names::Names;
use crate::paths::Paths;
use crate::profile::Profile;
use crate::report::Report;
use crate::retransmission::{RetransmissionClass, Retransmissions};
use crate::row::{CmRow, Row};
use crate::rule::Rule;
use crate::rules::{capture_one_direction, cnp_too_frequent, partition_key_differs, request_not_answered};
use crate::seen_frames::SeenFrames;
use crate::wire::{
    Decoder, Encapsulation, Frame, Icrc, LinkType, NotRoce, Opcode, Operation, Packet, Place, Psn,
    TransportService,
};

/// Sizes that bound the memory.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Packets that are kept for the trace.
    rows: usize,
    /// Findings that are kept and not taken out.
    findings: usize,
    connections: usize,
    /// Requests without an answer.
    requests: usize,
    /// Messages that are held back until they are finished.
    messages: usize,
    /// Pairs of addresses that are counted one by one.
    paths: usize,
    /// Kinds of frames that are not RoCEv2.
    kinds: usize,
}

const WHOLE: Limits = Limits {
    rows: usize::MAX,
    findings: usize::MAX,
    connections: 1 << 20,
    requests: 1 << 22,
    messages: usize::MAX,
    paths: usize::MAX,
    kinds: usize::MAX,
};

const STREAMING: Limits = Limits {
    rows: 0,
    findings: usize::MAX,
    connections: 131_072,
    requests: 1 << 20,
    messages: 1 << 18,
    paths: 65_536,
    kinds: 256,
};

/// Findings of an analysis that keeps the first packets.
const FINDINGS_MAX: usize = 10_000;

/// Packets after which messages behind the last one that is kept are dropped.
const SWEEP: u64 = 1_024;

/// Findings of a kind that wait for what would tell more.
const HELD_MAX: usize = 65_536;

/// Records behind a finding within which a shuffled capture shows that it is one.
const SHUFFLED_WITHIN: u64 = 1_024;

/// Receivers of congestion notifications that are followed.
const CNPS_MAX: usize = 65_536;

/// Length of an Ethernet frame's check sequence.
const CHECK_SEQUENCE_BYTES: usize = 4;

/// A SEND that gives memory out is not longer.
const ADVERT_MAX: usize = 64;

/// Place of a packet as the rules found it.
#[derive(Clone, Copy, Debug)]
struct Attribution {
    flow: ConnectionId,
    sender: Side,
    /// Retransmission class, if it was sent before.
    again: Option<RetransmissionClass>,
}

/// Packets, messages and findings that came when no more could be kept.
#[derive(Debug, Default)]
struct Untraced {
    /// Number of the first such packet.
    first: Option<u64>,
    packets: u64,
    messages: u64,
    findings: u64,
    /// Packets since messages were dropped.
    since_sweep: u64,
    /// True if the packet that comes is one that nobody asked for.
    is_hiding: bool,
    /// True if only packets that somebody asked for are kept.
    is_selective: bool,
}

/// Findings that are held back until later packets tell whether they are the capture's.
#[derive(Debug, Default)]
struct HeldFindings {
    /// Messages that lack the one that they answer, until something of the other side comes.
    of_management: Vec<Finding>,
    /// Errors of packets that are equal to another shortly before.
    of_copies: Vec<Finding>,
    /// Findings that another order of the packets explains.
    of_order: VecDeque<Finding>,
    /// The packet that was cut at `cut_at_bytes`.
    of_cuts: Vec<Finding>,
    /// Length of a frame that is cut and the longest so far.
    cut_at_bytes: usize,
}

/// Origin of a cut packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CutCause {
    /// A snap length or a mirror: what is missing is unknown.
    Recorder,
    /// The sender: the packet was short on the wire.
    Sender,
    /// A mirror, if another packet is cut at the same length before a longer frame comes.
    Unknown,
}

/// True for a length that a mirror cuts frames to, a check sequence counted or not: 64, 128 or 256 bytes, or another multiple of sixteen.
fn is_length_of_mirrors(length: usize) -> bool {
    let is_round = |length: usize| length >= 64 && length.is_multiple_of(16);
    is_round(length) || is_round(length + CHECK_SEQUENCE_BYTES)
}

/// Takes the records of one capture in.
///
/// # Example
/// See the [crate's documentation](crate).
#[derive(Debug)]
pub struct Analysis {
    limits: Limits,
    names: Names,
    tracker: Tracker,
    conversations: Conversations,
    ledger: Ledger,
    findings: Vec<Finding>,
    /// Retransmissions of evicted connections, and how many of them went before their end.
    dropped: Retransmissions,
    forgotten: u64,
    /// Rules that were told of a receiver and are not told again.
    once: ToldReceivers,
    copies: Copies,
    datagram_receivers: DatagramReceivers,
    /// Times of the last congestion notifications, by receiver.
    last_cnp: HashMap<(IpAddr, u32), u64>,
    /// Time of the last record.
    last_ns: u64,
    /// True if a packet told its fate.
    is_told: bool,
    held: HeldFindings,
    /// True if the packet that is looked at is equal to one shortly before, and no copy for sure.
    is_like_another: bool,
    /// A connection management message could not be read, so one may seem to lack another.
    cm_is_unsure: bool,
    rows: Vec<Row>,
    cm_rows: Vec<CmRow>,
    untraced: Untraced,
    /// Messages of the packets that are kept.
    kept: Vec<Message>,
    paths: Paths,
    decoder: Decoder,
    seen: SeenFrames,
    longest_frame_bytes: usize,
    records: u64,
    packets: u64,
}

impl Default for Analysis {
    fn default() -> Self {
        Self::new(Names::new())
    }
}

impl Analysis {
    /// Begins an analysis that keeps what a trace needs; `names` are used in the trace.
    pub fn new(names: Names) -> Self {
        Self::with_limits(names, WHOLE)
    }

    /// Begins an analysis whose memory does not grow with the capture: it keeps no packet, and its report has no trace.
    ///
    /// Take findings and messages out while it runs, with [`take_findings`](Self::take_findings) and [`take_messages`](Self::take_messages). At most 131,072
    /// connections and 1,048,576 requests without an answer are followed at a time, and packets are counted between at most 65,536 pairs of addresses; the
    /// report says how many were forgotten. A connection whose end was seen is none of those.
    pub fn streaming(names: Names) -> Self {
        Self::with_limits(names, STREAMING)
    }

    /// Begins an analysis that keeps what a trace needs of the first `packets`, their messages, and 10,000 findings; the rest is counted, as a
    /// [`streaming`](Self::streaming) analysis does it but for up to 1,048,576 connections at a time.
    pub fn of_first(names: Names, packets: usize) -> Self {
        let (rows, messages, paths, kinds) = (packets, STREAMING.messages, STREAMING.paths, STREAMING.kinds);
        Self::with_limits(names, Limits { rows, findings: FINDINGS_MAX, messages, paths, kinds, ..WHOLE })
    }

    /// Holds the peers to the rules as this implementation takes them.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.ledger.profile = profile;
        self
    }

    fn with_limits(names: Names, limits: Limits) -> Self {
        Self {
            limits,
            names,
            tracker: Tracker::new(limits.connections),
            conversations: Conversations::default(),
            ledger: Ledger::new(limits.requests),
            findings: Vec::new(),
            dropped: Retransmissions::default(),
            forgotten: 0,
            once: ToldReceivers::default(),
            copies: Copies::default(),
            datagram_receivers: DatagramReceivers::default(),
            last_cnp: HashMap::new(),
            last_ns: 0,
            is_told: false,
            held: HeldFindings::default(),
            is_like_another: false,
            cm_is_unsure: false,
            rows: Vec::new(),
            cm_rows: Vec::new(),
            untraced: Untraced::default(),
            kept: Vec::new(),
            paths: Paths::new(limits.paths),
            decoder: Decoder::new(),
            seen: SeenFrames::new(limits.kinds),
            longest_frame_bytes: 0,
            records: 0,
            packets: 0,
        }
    }

    /// Takes one record in.
    pub fn push(&mut self, record: &Record<'_>) {
        let mut decoder = std::mem::take(&mut self.decoder);
        self.push_frame(record, &decoder.decode(record.link_type, record.data));
        self.decoder = decoder;
    }

    /// Takes one record in whose frame is decoded already.
    pub fn push_frame(&mut self, record: &Record<'_>, frame: &Frame<'_>) {
        self.records += 1;
        if record.data.len() > self.longest_frame_bytes {
            self.see_longer(record.data.len());
        }
        self.seen.lost(record.lost_before);
        self.last_ns = self.last_ns.max(record.timestamp_ns);
        let packet = match frame {
            Frame::Roce(packet) => packet,
            Frame::NotRoce(what) => {
                self.beside(record, *what);
                return self.seen.other(what);
            }
        };
        self.seen.packet(packet);
        // Most captures are without fates.
        let fate = record.comment.map(Fate::from_comment);
        let (is_sent, is_delivered) =
            fate.as_ref().map_or((true, true), |fate| (fate.is_sent(), fate.is_delivered()));
        let is_told = fate.as_ref().is_some_and(|fate| !matches!(fate, Fate::Unknown(_)));
        self.is_told |= is_told;
        self.packets += 1;
        let rewritten;
        let packet = if matches!(packet.icrc, Icrc::Bad { .. }) && !is_told && self.paths.is_rewritten(packet)
        {
            self.seen.rewritten += 1;
            // Their receiver took those before it.
            self.ledger.discarded.clear();
            rewritten = Packet { icrc: Icrc::Unverifiable, ..*packet };
            &rewritten
        } else {
            packet
        };
        let cut = if packet.is_cut { self.cut_cause(record, packet, is_told) } else { CutCause::Recorder };
        let is_whole = cut != CutCause::Sender && !matches!(packet.icrc, Icrc::Bad { .. });
        self.is_like_another = false;
        self.paths.count(packet, record.number, &mut self.names, is_sent, is_delivered && is_whole);
        if packet.deth.is_some() && management(packet).is_none() {
            self.tracker.see_datagram(packet, &self.names);
        }
        let seen = if is_delivered {
            self.deliver(record.number, record.timestamp_ns, packet, is_sent, cut, is_told)
        } else {
            self.sent_only(record.number, record.timestamp_ns, packet)
        };
        if self.limits.rows > 0 {
            self.keep((record.number, record.timestamp_ns), packet, seen, fate.unwrap_or(Fate::Forwarded));
        }
    }

    /// Finds the origin of a cut: a snap length, a mirror, or a sender whose packet was short on the wire.
    #[cold]
    fn cut_cause(&mut self, record: &Record<'_>, packet: &Packet<'_>, is_told: bool) -> CutCause {
        let length = record.data.len();
        // In a tunnel a mirror may have cut it, which no length says.
        if record.original_length_bytes as usize > length || packet.encapsulation != Encapsulation::None {
            return CutCause::Recorder;
        }
        if is_told || length != self.longest_frame_bytes {
            return CutCause::Sender;
        }
        if is_length_of_mirrors(length) {
            self.seen.cut_by_mirror += 1;
            return CutCause::Recorder;
        }
        if self.held.cut_at_bytes != length {
            self.held.cut_at_bytes = length;
            return CutCause::Unknown;
        }
        // Two cut at one length, and none is longer: senders do not err like that.
        self.seen.cut_by_mirror += 1 + self.held.of_cuts.len() as u64;
        self.held.of_cuts.clear();
        CutCause::Recorder
    }

    /// Releases the findings of cut packets when a longer frame comes: no mirror cut those.
    #[cold]
    fn see_longer(&mut self, length: usize) {
        self.longest_frame_bytes = length;
        self.findings.append(&mut self.held.of_cuts);
    }

    /// Looks at a frame beside RoCE: programs exchange addresses and keys in them.
    fn beside(&mut self, record: &Record<'_>, what: NotRoce) {
        if !matches!(what, NotRoce::IpProtocol(6) | NotRoce::Udp) || record.link_type != LinkType::ETHERNET {
            return;
        }
        let Ok(sliced) = etherparse::SlicedPacket::from_ethernet(record.data) else { return };
        let source = match &sliced.net {
            Some(etherparse::NetSlice::Ipv4(ip)) => ip.header().source_addr().into(),
            Some(etherparse::NetSlice::Ipv6(ip)) => ip.header().source_addr().into(),
            _ => return,
        };
        match &sliced.transport {
            Some(etherparse::TransportSlice::Tcp(tcp)) => self.ledger.adverts.see(source, tcp.payload()),
            Some(etherparse::TransportSlice::Udp(udp)) => self.ledger.adverts.see(source, udp.payload()),
            _ => {}
        }
    }

    /// Takes one record in of which nothing is kept; its packet counts as one that nobody asked for.
    pub fn push_hidden(&mut self, record: &Record<'_>, frame: &Frame<'_>) {
        self.untraced.is_hiding = true;
        self.push_frame(record, frame);
        self.untraced.is_hiding = false;
    }

    /// Keeps, of the packets that are kept, those whose number `is_wanted`, and makes room for others like them. From then on a message is kept with its first
    /// packet.
    pub fn keep_only(&mut self, is_wanted: impl Fn(u64) -> bool) {
        self.untraced.is_selective = true;
        self.rows.retain(|row| is_wanted(row.number));
        self.cm_rows.retain(|row| is_wanted(row.number));
        self.kept.retain(|message| is_wanted(message.packet_first));
    }

    /// Takes note of packets that the capture says it lost, where no record says where.
    pub fn lost_by_capture(&mut self, packets: u64) {
        self.seen.lost(packets);
    }

    /// Takes the findings out that there are so far, in the order in which they were found.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        self.release_of_order();
        let mut findings = std::mem::take(&mut self.findings);
        for finding in &mut findings {
            finding.stream = finding.stream.map(|stream| self.tracker.resolve_stream(stream));
        }
        findings
    }

    /// True if there are findings that were not taken out.
    #[inline]
    pub fn has_findings(&self) -> bool {
        let is_due = |held: &Finding| held.packet + SHUFFLED_WITHIN <= self.records;
        !self.findings.is_empty()
            || self.held.of_order.front().is_some_and(is_due)
                && !self.ledger.capture.is_shuffled(self.packets)
    }

    /// Takes the messages out that are finished, in the order of their first packets.
    ///
    /// A message that waits holds those behind it back, 262,144 at most in a streaming analysis; then it is given as it is.
    pub fn take_messages(&mut self) -> Vec<Message> {
        let mut taken = Vec::new();
        while let Some(mut message) = self.ledger.messages.take(self.limits.messages) {
            self.complete(&mut message);
            taken.push(message);
        }
        taken
    }

    /// Drops the finished messages without looking at them.
    pub fn discard_messages(&mut self) {
        while self.ledger.messages.take(self.limits.messages).is_some() {}
    }

    /// True if further packets are counted and not kept.
    pub fn is_full(&self) -> bool {
        self.rows.len() + self.cm_rows.len() >= self.limits.rows
    }

    /// The connection of that number, if it is followed now.
    pub fn connection(&self, index: ConnectionId) -> Option<&Connection> {
        self.tracker.connection(index)
    }

    /// The names of the nodes that came so far.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Addresses and keys that the nodes told so far, beside RoCE.
    pub(crate) fn adverts(&self) -> &Adverts {
        &self.ledger.adverts
    }

    /// Queue pairs of the datagrams that came so far.
    pub(crate) fn datagrams(&self) -> &Datagrams {
        self.tracker.datagrams()
    }

    /// Number of RoCEv2 packets so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Fills in what only later packets told of a message.
    fn complete(&self, message: &mut Message) {
        let Some(index) = message.connection else { return };
        let index = self.tracker.resolve(index, Side::Active).0;
        message.connection = Some(index);
        let Some(connection) = self.tracker.connection(index) else { return };
        // A READ that was asked for before the path MTU was known.
        if let (MessageKind::Read, Some(mtu), Ok(bytes)) =
            (message.kind, connection.path_mtu_bytes, u32::try_from(message.bytes))
        {
            message.psn_last = message.psn_first.plus(packets(bytes, mtu) - 1);
        }
        if message.requester_qpn.is_some() {
            return;
        }
        message.requester_qpn = if connection.active.address == connection.passive.address {
            connection.active.qpn
        } else {
            [connection.active, connection.passive]
                .into_iter()
                .find(|end| end.address == message.requester)
                .and_then(|end| end.qpn)
        };
    }

    /// Ends the analysis.
    pub fn finish(mut self) -> Report {
        for index in self.tracker.numbers() {
            self.end_flow(index);
            self.judge_end(index);
        }
        self.judge_capture();
        self.bound_findings();
        while let Some(mut message) = self.ledger.messages.take(0) {
            self.complete(&mut message);
            self.keep_message(message);
        }
        let mut messages = std::mem::take(&mut self.kept);
        for index in self.tracker.numbers() {
            self.settle(index);
        }
        // Rows and messages point at flows; flows that were merged or dropped go, and what is left keeps its order.
        let mut numbers = HashMap::new();
        for index in self.tracker.numbers() {
            if !self.tracker.is_merged(index) {
                numbers.insert(index, ConnectionId(numbers.len()));
            }
        }
        let tracker = &self.tracker;
        let resolve = |(index, side): (ConnectionId, Side)| {
            let (index, side) = tracker.resolve(index, side);
            numbers.get(&index).map(|index| (*index, side))
        };
        for row in &mut self.rows {
            row.flow =
                row.flow.or_else(|| tracker.find(row.destination, row.destination_qpn?)).and_then(resolve);
        }
        for row in &mut self.cm_rows {
            let found = || {
                let message = row.mad().and_then(|mad| mad.message().ok())?;
                tracker.of_connection_management(row.source, row.destination, &message)
            };
            row.flow = row.flow.or_else(found).and_then(|index| Some(resolve((index, Side::Active))?.0));
        }
        for message in &mut messages {
            message.connection = message.connection.and_then(|index| Some(resolve((index, Side::Active))?.0));
        }
        for finding in &mut self.findings {
            let of = |stream: StreamId| {
                let StreamId { connection, requester } = tracker.resolve_stream(stream);
                Some(StreamId { connection: *numbers.get(&connection)?, requester })
            };
            finding.stream = finding.stream.and_then(of);
        }
        self.findings.sort_by_key(|finding| finding.packet);
        let connections_dropped = self.forgotten;
        let mut retransmissions = self.dropped;
        let (connections, numbers, datagrams) = self.tracker.into_parts();
        for connection in &connections {
            retransmissions += connection.retransmissions;
        }
        Report {
            records: self.records,
            packets: self.packets,
            sent: self.paths.sent(),
            delivered: self.paths.delivered(),
            not_roce: self.seen.not_roce,
            unread: self.seen.unread,
            encapsulations: self.seen.encapsulations,
            packets_version_1: self.seen.packets_version_1,
            packets_without_bth: self.seen.packets_without_bth,
            packets_cut_by_mirror: self.seen.cut_by_mirror,
            packets_rewritten: self.seen.rewritten,
            lost_by_capture: self.seen.lost,
            connections,
            messages,
            findings: self.findings,
            retransmissions,
            stats: self.ledger.stats,
            connections_dropped,
            requests_dropped: self.ledger.budget.forgotten,
            packets_uncounted: self.paths.uncounted,
            packets_untraced: self.untraced.packets,
            messages_untraced: self.untraced.messages,
            findings_untraced: self.untraced.findings,
            names: self.names,
            rows: self.rows,
            cm_rows: self.cm_rows,
            adverts: self.ledger.adverts,
            numbers,
            datagrams,
        }
    }
}

#[cfg(test)]
impl Analysis {
    /// The report of a capture that lacks nothing.
    pub(crate) fn of_capture(mut self, bytes: &[u8]) -> Report {
        let mut reader = crate::capture::Reader::new(bytes).unwrap();
        while let Some(record) = reader.next().unwrap() {
            self.push(&record);
        }
        self.finish()
    }
}
