//! The one entry point: records of a capture in, a report out.
//!
//! In: [`Record`]s in the order of the capture. Out: a [`Report`] of connections, messages, findings and counts, and the trace. The rules run over what the
//! receivers got, as the fates in the packet comments tell it; the trace shows everything that was sent.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::capture::Record;
use crate::checker::headers::{self, Once};
use crate::checker::{
    Adverts, Alone, Arrival, Broken, Budget, CaptureFaults, Copies, Discarded, Sink, Spot, Stream, alone,
    packets, remember,
};
use crate::cm::Message as CmMessage;
use crate::fate::Fate;
use crate::finding::{Evidence, Finding};
use crate::flow::{Connection, Flows, Side};
use crate::message::{Message, MessageKind, Outcome};
use crate::message_log::MessageLog;
use crate::names::Names;
use crate::paths::Paths;
use crate::report::Report;
use crate::retransmission::RetransmissionClass;
use crate::row::{CmRow, Row};
use crate::rule::{Rule, Severity};
use crate::seen_frames::SeenFrames;
use crate::stats::Stats;
use crate::wire::{
    Decoder, Encapsulation, Frame, Icrc, LinkType, NotRoce, Opcode, Operation, Packet, Transport,
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

/// Findings of connection management that wait for something of the other side.
const CM_HELD_MAX: usize = 65_536;

/// Time between two congestion notifications of a flow, and receivers of them that are followed.
const CNP_PACE_NS: u64 = 4_000;
const CNPS_MAX: usize = 65_536;

/// A SEND that gives memory out is not longer.
const ADVERT_MAX: usize = 64;

/// What the rules found out of a packet.
#[derive(Clone, Copy, Debug)]
struct Seen {
    flow: usize,
    sender: Side,
    /// Why it was sent, when it was sent before.
    again: Option<RetransmissionClass>,
}

/// What came when as many packets were kept as may be.
#[derive(Debug, Default)]
struct Untraced {
    /// Number of the first such packet.
    first: Option<u64>,
    packets: u64,
    messages: u64,
    findings: u64,
    /// Packets since messages were dropped.
    since_sweep: u64,
    /// Whether the packet that comes is one that nobody asked for.
    is_hiding: bool,
    /// Whether only packets that somebody asked for are kept.
    is_selective: bool,
}

/// Takes the records of one capture in.
///
/// # Example
/// See the [crate's documentation](crate).
#[derive(Debug)]
pub struct Analysis {
    limits: Limits,
    names: Names,
    flows: Flows,
    messages: MessageLog,
    findings: Vec<Finding>,
    broken: Vec<Broken>,
    discarded: Vec<Discarded>,
    /// What was told of a receiver and is not told again.
    once: Once,
    capture: CaptureFaults,
    copies: Copies,
    /// Times of the last congestion notifications, by receiver.
    last_cnp: HashMap<(IpAddr, u32), u64>,
    adverts: Adverts,
    /// Time of the last record.
    last_ns: u64,
    /// Whether a packet told its fate.
    is_told: bool,
    /// Messages that lack the one that they answer, until something of the other side comes.
    cm_held: Vec<Finding>,
    /// A connection management message could not be read, so one may seem to lack another.
    cm_is_unsure: bool,
    budget: Budget,
    stats: Stats,
    rows: Vec<Row>,
    cm_rows: Vec<CmRow>,
    untraced: Untraced,
    /// Messages of the packets that are kept.
    kept: Vec<Message>,
    paths: Paths,
    decoder: Decoder,
    seen: SeenFrames,
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

    fn with_limits(names: Names, limits: Limits) -> Self {
        Self {
            limits,
            names,
            flows: Flows::new(limits.connections),
            messages: MessageLog::default(),
            findings: Vec::new(),
            broken: Vec::new(),
            discarded: Vec::new(),
            once: Once::default(),
            capture: CaptureFaults::default(),
            copies: Copies::default(),
            last_cnp: HashMap::new(),
            adverts: Adverts::default(),
            last_ns: 0,
            is_told: false,
            cm_held: Vec::new(),
            cm_is_unsure: false,
            budget: Budget { left: limits.requests, forgotten: 0 },
            stats: Stats::default(),
            rows: Vec::new(),
            cm_rows: Vec::new(),
            untraced: Untraced::default(),
            kept: Vec::new(),
            paths: Paths::new(limits.paths),
            decoder: Decoder::new(),
            seen: SeenFrames::new(limits.kinds),
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
        // In a tunnel a mirror may have cut it, which no length says.
        let is_whole_frame = record.original_length_bytes as usize <= record.data.len();
        let is_short = packet.is_cut && is_whole_frame && packet.encapsulation == Encapsulation::None;
        // Most captures are without fates.
        let fate = record.comment.map(Fate::from_comment);
        let (is_sent, is_delivered) =
            fate.as_ref().map_or((true, true), |fate| (fate.is_sent(), fate.is_delivered()));
        let is_told = fate.as_ref().is_some_and(|fate| !matches!(fate, Fate::Unknown(_)));
        self.is_told |= is_told;
        self.packets += 1;
        let is_whole = !is_short && !matches!(packet.icrc, Icrc::Bad { .. });
        self.paths.count(packet, record.number, &mut self.names, is_sent, is_delivered && is_whole);
        let seen = if is_delivered {
            self.deliver(record.number, record.timestamp_ns, packet, is_sent, is_short, is_told)
        } else {
            self.sent_only(record.number, record.timestamp_ns, packet)
        };
        if self.limits.rows > 0 {
            self.keep((record.number, record.timestamp_ns), packet, seen, fate.unwrap_or(Fate::Forwarded));
        }
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
            Some(etherparse::TransportSlice::Tcp(tcp)) => self.adverts.see(source, tcp.payload()),
            Some(etherparse::TransportSlice::Udp(udp)) => self.adverts.see(source, udp.payload()),
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
        let mut findings = std::mem::take(&mut self.findings);
        for finding in &mut findings {
            finding.requester = finding.requester.map(|(index, side)| self.flows.resolve(index, side));
        }
        findings
    }

    /// Whether there are findings that were not taken out.
    #[inline]
    pub fn has_findings(&self) -> bool {
        !self.findings.is_empty()
    }

    /// Takes the messages out that are finished, in the order of their first packets.
    ///
    /// A message that waits holds those behind it back, 262,144 at most in a streaming analysis; then it is given as it is.
    pub fn take_messages(&mut self) -> Vec<Message> {
        let mut taken = Vec::new();
        while let Some(mut message) = self.messages.take(self.limits.messages) {
            self.complete(&mut message);
            taken.push(message);
        }
        taken
    }

    /// Drops the finished messages without looking at them.
    pub fn discard_messages(&mut self) {
        while self.messages.take(self.limits.messages).is_some() {}
    }

    /// Whether further packets are counted and not kept.
    pub fn is_full(&self) -> bool {
        self.rows.len() + self.cm_rows.len() >= self.limits.rows
    }

    /// The connections that are followed now, in the order of their first packets, under the numbers that messages have them by; `from` is the least of those
    /// numbers.
    pub fn connections(&self, from: usize) -> impl Iterator<Item = (usize, &Connection)> {
        let is_own = |index: &usize| !self.flows.is_merged(*index);
        let numbers = self.flows.numbers();
        (numbers.start.max(from)..numbers.end)
            .filter(is_own)
            .filter_map(|index| Some((index, self.connection(index)?)))
    }

    /// The connection of that number, if it is followed now.
    pub fn connection(&self, index: usize) -> Option<&Connection> {
        self.flows.get(index).map(|flow| &flow.connection)
    }

    /// The names of the nodes that came so far.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// What the nodes told so far, beside RoCE.
    #[cfg(feature = "cli")]
    pub(crate) fn adverts(&self) -> &Adverts {
        &self.adverts
    }

    /// How many packets of RoCEv2 came so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Fills in what only later packets told of a message.
    fn complete(&self, message: &mut Message) {
        let Some(index) = message.connection else { return };
        let index = self.flows.resolve(index, Side::Active).0;
        message.connection = Some(index);
        let Some(flow) = self.flows.get(index) else { return };
        let connection = &flow.connection;
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
        for index in self.flows.numbers() {
            self.end_flow(index);
            self.judge_end(index);
        }
        self.judge_capture();
        self.bound_findings();
        while let Some(mut message) = self.messages.take(0) {
            self.complete(&mut message);
            self.keep_message(message);
        }
        let mut messages = std::mem::take(&mut self.kept);
        self.flows.settle(&mut self.budget, !self.copies.is_recorders());
        // Rows and messages point at flows; flows that were merged or dropped go, and what is left keeps its order.
        let mut numbers = HashMap::new();
        for index in self.flows.numbers() {
            if !self.flows.is_merged(index) {
                numbers.insert(index, numbers.len());
            }
        }
        let flows = &self.flows;
        let resolve = |(index, side): (usize, Side)| {
            let (index, side) = flows.resolve(index, side);
            numbers.get(&index).map(|index| (*index, side))
        };
        for row in &mut self.rows {
            row.flow =
                row.flow.or_else(|| flows.find(row.destination, row.destination_qpn?)).and_then(resolve);
        }
        for row in &mut self.cm_rows {
            let found = || {
                let message = row.mad().and_then(|mad| mad.message().ok())?;
                flows.of_connection_management(row.source, row.destination, &message)
            };
            row.flow = row.flow.or_else(found).and_then(|index| Some(resolve((index, Side::Active))?.0));
        }
        for message in &mut messages {
            message.connection = message.connection.and_then(|index| Some(resolve((index, Side::Active))?.0));
        }
        for finding in &mut self.findings {
            finding.requester = finding.requester.and_then(resolve);
        }
        self.findings.sort_by_key(|finding| finding.packet);
        let connections_dropped = self.flows.forgotten;
        let mut retransmissions = self.flows.dropped;
        let connections = self.flows.into_connections();
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
            lost_by_capture: self.seen.lost,
            connections,
            messages,
            findings: self.findings,
            retransmissions,
            stats: self.stats,
            connections_dropped,
            requests_dropped: self.budget.forgotten,
            packets_uncounted: self.paths.uncounted,
            packets_untraced: self.untraced.packets,
            messages_untraced: self.untraced.messages,
            findings_untraced: self.untraced.findings,
            names: self.names,
            rows: self.rows,
            cm_rows: self.cm_rows,
            adverts: self.adverts,
        }
    }

    fn find(&mut self, broken: Broken, number: u64, packet: &Packet<'_>, requester: Option<(usize, Side)>) {
        if let (Some(at), Some(requester)) = (broken.at, requester) {
            return self.find_at(broken, at, requester);
        }
        self.findings.push(Finding {
            rule: broken.rule,
            severity: broken.severity,
            packet: number,
            source: packet.source,
            destination: packet.destination,
            requester,
            psn: packet.bth.map(|bth| bth.psn()),
            evidence: broken.evidence,
        });
    }

    /// Makes a finding of what another packet of a connection shows than the one that is looked at.
    fn find_at(&mut self, broken: Broken, at: Spot, (index, side): (usize, Side)) {
        let (index, side) = self.flows.resolve(index, side);
        let Some(connection) = self.connection(index) else { return };
        let sender = if at.is_request { side } else { side.other() };
        let (source, destination) =
            (connection.endpoint(sender).address, connection.endpoint(sender.other()).address);
        self.findings.push(Finding {
            rule: broken.rule,
            severity: broken.severity,
            packet: at.number,
            source,
            destination,
            requester: Some((index, side)),
            psn: Some(at.psn),
            evidence: broken.evidence,
        });
    }

    /// Judges the packet by itself; gives whether a receiver would take it.
    fn judge_alone(&mut self, number: u64, packet: &Packet<'_>, is_short: bool) -> bool {
        let (rule, evidence, is_taken) = match alone::judge(packet, is_short) {
            Alone::Clean => return true,
            Alone::Cut => return packet.bth.is_some(),
            Alone::Broken { rule, evidence, is_taken } => (rule, evidence, is_taken),
        };
        let requester = packet
            .bth
            .and_then(|bth| self.requester_of(packet, bth.opcode().is_response(), bth.destination_qpn()));
        self.find(Broken::new(rule, evidence), number, packet, requester);
        let opcode = packet.opcode();
        self.cm_is_unsure |= opcode.is_none_or(|opcode| opcode.transport() == Transport::Ud);
        let leaves_gap = opcode.is_none_or(|opcode| opcode.operation() != Operation::Acknowledge);
        if !is_taken && opcode.is_none_or(|opcode| opcode.transport() != Transport::Ud) {
            let psn = packet.bth.map(|bth| bth.psn());
            remember(&mut self.discarded, Discarded { psn, number, leaves_gap });
        }
        is_taken
    }

    /// Reports what the headers break, once where a sender does it in every packet.
    #[cold]
    fn judge_headers(&mut self, broken: Broken, number: u64, packet: &Packet<'_>) {
        let Some(bth) = packet.bth else { return };
        if self.once.is_new(broken.rule, bth.opcode(), packet.destination, bth.destination_qpn()) {
            let requester = self.requester_of(packet, bth.opcode().is_response(), bth.destination_qpn());
            self.find(broken, number, packet, requester);
        }
    }

    fn requester_of(&self, packet: &Packet<'_>, is_response: bool, qpn: u32) -> Option<(usize, Side)> {
        let (index, sender) = self.flows.find(packet.destination, qpn)?;
        Some((index, if is_response { sender.other() } else { sender }))
    }

    /// Takes note of a packet that its sender sent and its receiver did not get, or not here.
    fn sent_only(&mut self, number: u64, timestamp_ns: u64, packet: &Packet<'_>) -> Option<Seen> {
        let bth = packet.bth?;
        if !matches!(bth.opcode().transport(), Transport::Rc | Transport::Uc | Transport::Xrc)
            || matches!(packet.icrc, Icrc::Bad { .. })
        {
            return None;
        }
        let is_new = bth.opcode().is_request() && bth.opcode().transport() != Transport::Uc;
        let (index, sender) = match self.flows.find(packet.destination, bth.destination_qpn()) {
            None if is_new => {
                let new = self.flows.take_in(packet)?;
                self.make_room();
                new
            }
            known => known?,
        };
        let mut seen = Seen { flow: index, sender, again: None };
        if !bth.opcode().is_request() {
            return Some(seen);
        }
        if let Some(flow) = self.flows.get_mut(index) {
            let (connection, stream) = flow.parts(sender);
            let arrival =
                Arrival { number, timestamp_ns, packet, bth, flow: index, is_sent: true, is_told: true };
            let mut sink = Sink {
                messages: &mut self.messages,
                findings: &mut self.broken,
                discarded: &mut self.discarded,
                budget: &mut self.budget,
                stats: &mut self.stats,
                capture: &mut self.capture,
                adverts: &mut self.adverts,
                number,
                flow: index,
            };
            connection.endpoint_mut(sender).psn_first.get_or_insert(bth.psn());
            seen.again = stream.sent(connection, &arrival, Stream::count(connection, &arrival), &mut sink);
        }
        self.report_broken(number, packet, Some((index, sender)));
        Some(seen)
    }

    /// Turns what a packet broke into findings.
    #[inline]
    fn report_broken(&mut self, number: u64, packet: &Packet<'_>, requester: Option<(usize, Side)>) {
        if !self.broken.is_empty() {
            self.report(number, packet, requester);
        }
    }

    #[cold]
    fn report(&mut self, number: u64, packet: &Packet<'_>, requester: Option<(usize, Side)>) {
        let mut broken = std::mem::take(&mut self.broken);
        for broken in broken.drain(..) {
            self.find(broken, number, packet, requester);
            if broken.rule == Rule::CmOutOfSequence
                && !self.is_told
                && !self.paths.has(packet.destination, packet.source)
                && self.cm_held.len() < CM_HELD_MAX
            {
                // Perhaps nothing of the other side is in the capture.
                self.cm_held.extend(self.findings.pop());
            }
        }
        self.broken = broken;
    }

    /// Runs the rules over a packet that its receiver got.
    fn deliver(
        &mut self,
        number: u64,
        timestamp_ns: u64,
        packet: &Packet<'_>,
        is_sent: bool,
        is_short: bool,
        is_told: bool,
    ) -> Option<Seen> {
        if !self.judge_alone(number, packet, is_short) {
            return None;
        }
        let bth = packet.bth?;
        let opcode = bth.opcode();
        if let Some(broken) = headers::judge(packet) {
            self.judge_headers(broken, number, packet);
        }
        self.stats.packet(opcode, packet.payload_length_bytes as u64, timestamp_ns);
        if opcode == Opcode::CNP {
            self.judge_pace(number, timestamp_ns, packet);
            return None;
        }
        if !is_told && self.copies.see(packet, bth, timestamp_ns) {
            return self.copy(number, packet);
        }
        match opcode.transport() {
            Transport::Rc | Transport::Uc | Transport::Xrc => {}
            Transport::Ud => {
                self.datagram(number, timestamp_ns, packet);
                return None;
            }
            _ => return None,
        }
        if !opcode.is_known() {
            let (flow, sender) = self.flows.find(packet.destination, bth.destination_qpn())?;
            return Some(Seen { flow, sender, again: None });
        }
        let (index, sender) = self.flows.take_in(packet)?;
        self.make_room();
        let is_response = opcode.is_response();
        let index = if is_response { index } else { self.used_again(index, sender, packet)? };
        let requester = if is_response { sender.other() } else { sender };
        let arrival = Arrival { number, timestamp_ns, packet, bth, flow: index, is_sent, is_told };
        let mut seen = Seen { flow: index, sender, again: None };
        if let Some(flow) = self.flows.get_mut(index) {
            flow.count(sender, packet.payload_length_bytes as u64);
            let (connection, stream) = flow.parts(requester);
            let mut sink = Sink {
                messages: &mut self.messages,
                findings: &mut self.broken,
                discarded: &mut self.discarded,
                budget: &mut self.budget,
                stats: &mut self.stats,
                capture: &mut self.capture,
                adverts: &mut self.adverts,
                number,
                flow: index,
            };
            if opcode.operation() == Operation::Send && packet.payload.len() <= ADVERT_MAX {
                sink.adverts.see(packet.source, packet.payload);
            }
            if is_response {
                stream.response(connection, requester, &arrival, &mut sink);
            } else {
                seen.again = stream.request(connection, requester, &arrival, &mut sink);
            }
        }
        self.report_broken(number, packet, Some((index, requester)));
        Some(seen)
    }

    /// The connection of a request whose queue pair numbers may have been used before, by a connection without management: a new one then.
    #[inline]
    fn used_again(&mut self, index: usize, sender: Side, packet: &Packet<'_>) -> Option<usize> {
        let bth = packet.bth?;
        let is_used = self.flows.get(index)?.is_used_again(sender, bth);
        if !is_used {
            return Some(index);
        }
        self.end_flow(index);
        self.judge_end(index);
        let new = self.flows.begin_again(index, sender)?;
        self.make_room();
        Some(new)
    }

    /// Holds a congestion notification against the one before it to the same queue pair.
    fn judge_pace(&mut self, number: u64, timestamp_ns: u64, packet: &Packet<'_>) {
        let Some(bth) = packet.bth else { return };
        let key = (packet.destination, bth.destination_qpn());
        if self.last_cnp.len() >= CNPS_MAX && !self.last_cnp.contains_key(&key) {
            return;
        }
        let Some(before_ns) = self.last_cnp.insert(key, timestamp_ns) else { return };
        let got_ns = timestamp_ns.saturating_sub(before_ns);
        if got_ns < CNP_PACE_NS
            && !self.copies.is_recorders()
            && self.once.is_new(Rule::CnpTooFrequent, bth.opcode(), packet.destination, bth.destination_qpn())
        {
            let evidence = Evidence::Time { expected_ns: CNP_PACE_NS, got_ns };
            self.find(Broken::new(Rule::CnpTooFrequent, evidence), number, packet, None);
        }
    }

    /// Takes note of a packet that is equal to one shortly before.
    #[cold]
    fn copy(&mut self, number: u64, packet: &Packet<'_>) -> Option<Seen> {
        let bth = packet.bth?;
        let opcode = bth.opcode();
        let at = Spot { number, psn: bth.psn(), is_request: opcode.is_request() };
        let (index, sender) = self.flows.find(packet.destination, bth.destination_qpn())?;
        let requester = if opcode.is_response() { sender.other() } else { sender };
        self.copies.name(at, (index, requester));
        if let Some(flow) = self.flows.get_mut(index) {
            flow.count(sender, packet.payload_length_bytes as u64);
            if opcode.is_request() {
                flow.count_copy();
            }
        }
        let again = opcode.is_request().then_some(RetransmissionClass::Duplicate);
        Some(Seen { flow: index, sender, again })
    }

    fn datagram(&mut self, number: u64, timestamp_ns: u64, packet: &Packet<'_>) {
        if let Some(mad) = packet.mad() {
            if let Ok(mad) = mad
                && mad.is_cm()
                && let Ok(message) = mad.message()
            {
                self.connection_management(number, packet, &message);
            } else {
                self.cm_is_unsure = true;
            }
            return;
        }
        let (Some(bth), Some(deth)) = (packet.bth, packet.deth) else {
            return;
        };
        let Some(kind) = MessageKind::of(bth.opcode()) else {
            return;
        };
        let id = self.messages.add(Message {
            kind,
            requester: packet.source,
            requester_qpn: Some(deth.source_qpn()),
            responder: packet.destination,
            responder_qpn: bth.destination_qpn(),
            connection: None,
            bytes: packet.payload_length_bytes as u64,
            immediate: packet.immdt.map(|immdt| immdt.value()),
            va: None,
            rkey: None,
            psn_first: bth.psn(),
            psn_last: bth.psn(),
            packet_first: number,
            packet_last: number,
            is_whole: true,
            sent_ns: timestamp_ns,
            ended_ns: None,
            outcome: Outcome::Sent,
        });
        self.messages.end(id, Outcome::Sent, None);
    }

    fn connection_management(&mut self, number: u64, packet: &Packet<'_>, message: &CmMessage<'_>) {
        match message {
            CmMessage::Req(req) => self.adverts.see(packet.source, req.consumer_private_data()),
            CmMessage::Rep(rep) => self.adverts.see(packet.source, rep.private_data()),
            _ => {}
        }
        if let Some(qpn) = message.sidr_rep_qpn() {
            self.adverts.see_queue_pair(packet.source, qpn);
        }
        if let CmMessage::Req(req) = message {
            // A queue pair that is used again: what it was before has ended.
            if let Some((index, _)) = self.flows.find(packet.source, req.local_qpn()) {
                self.end_flow(index);
                self.judge_end(index);
            }
        }
        let index =
            self.flows.connection_management(packet.source, packet.destination, message, &mut self.broken);
        self.make_room();
        if self.cm_is_unsure {
            self.broken.retain(|broken| broken.rule != Rule::CmOutOfSequence);
        }
        self.report_broken(number, packet, index.map(|index| (index, Side::Active)));
    }

    /// Takes the oldest connection out when there are too many, and tells what was held back of it.
    #[inline]
    fn make_room(&mut self) {
        if let Some(oldest) = self.flows.in_excess() {
            self.end_flow(oldest);
            self.judge_end(oldest);
            self.flows.drop_oldest(&mut self.budget, !self.copies.is_recorders());
        }
    }

    /// Tells what was held back of a connection until now.
    fn end_flow(&mut self, index: usize) {
        for side in [Side::Active, Side::Passive] {
            let last_ns = self.last_ns;
            let Some(flow) = self.flows.get_mut(index) else { return };
            let has_ended = flow.has_ended();
            let (_, stream) = flow.parts(side);
            let mut sink = Sink {
                messages: &mut self.messages,
                findings: &mut self.broken,
                discarded: &mut self.discarded,
                budget: &mut self.budget,
                stats: &mut self.stats,
                capture: &mut self.capture,
                adverts: &mut self.adverts,
                number: 0,
                flow: index,
            };
            stream.end(side, last_ns, has_ended, &mut sink);
            stream.end_repeated(last_ns, &mut sink);
            for mut broken in std::mem::take(&mut self.broken) {
                if let Evidence::Refusal(refusal) = &mut broken.evidence
                    && let (Some(va), Some(rkey)) = (refusal.va, refusal.rkey)
                    && let Some(connection) = self.connection(index)
                {
                    let responder = connection.endpoint(side.other()).address;
                    refusal.difference = self.adverts.difference(responder, va, rkey);
                }
                if let Some(at) = broken.at {
                    self.find_at(broken, at, (index, side));
                }
            }
        }
    }

    /// Tells what the capture lacks, doubles or has in another order, each once.
    fn judge_capture(&mut self) {
        for finding in std::mem::take(&mut self.cm_held) {
            if self.paths.has(finding.destination, finding.source) {
                self.findings.push(finding);
            }
        }
        self.judge_directions();
        let found: Vec<_> = self.capture.findings().chain(self.copies.finding()).collect();
        for (broken, at, requester) in found {
            self.find_at(broken, at, requester);
        }
    }

    /// Tells once that nothing of one direction is in the capture. A node that is asked again and again, and answers nothing, is told of already.
    fn judge_directions(&mut self) {
        if self.is_told {
            return;
        }
        let is_dead = |source, destination| {
            self.findings.iter().any(|finding| {
                (finding.source, finding.destination) == (source, destination)
                    && matches!(finding.evidence, Evidence::Unanswered { .. })
            })
        };
        let mut found = None;
        let mut count = 0;
        for (number, source, destination) in self.paths.one_sided() {
            if is_dead(source, destination) {
                continue;
            }
            count += 1;
            found.get_or_insert((number, source, destination));
        }
        if let Some((packet, source, destination)) = found {
            self.findings.push(Finding {
                rule: Rule::CaptureOneDirection,
                severity: Severity::Note,
                packet,
                source,
                destination,
                requester: None,
                psn: None,
                evidence: Evidence::OneDirection { count },
            });
        }
    }

    /// Names the request that a connection left without an answer.
    fn judge_end(&mut self, index: usize) {
        let Some(flow) = self.flows.get_mut(index).filter(|flow| flow.has_ended()) else {
            return;
        };
        for side in [Side::Active, Side::Passive] {
            let (connection, stream) = flow.parts(side);
            let Some((number, psn, count)) = stream.unanswered() else { continue };
            let is_discarded = |discarded: &Discarded| {
                discarded.psn.is_none_or(|discarded| (0..count as i32).contains(&discarded.distance(psn)))
            };
            let is_excused = self.discarded.iter().any(is_discarded);
            let (source, destination) =
                (connection.endpoint(side).address, connection.endpoint(side.other()).address);
            stream.release(&mut self.budget);
            if is_excused || !self.is_told && !self.paths.has(destination, source) {
                continue;
            }
            self.findings.push(Finding {
                rule: Rule::RequestNotAnswered,
                severity: Severity::Warning,
                packet: number,
                source,
                destination,
                requester: Some((index, side)),
                psn: Some(psn),
                evidence: Evidence::Words { expected: "an answer before the connection ends", got: "none" },
            });
        }
    }

    /// Keeps the packet while there is room, and drops what belongs to none that is kept.
    fn keep(
        &mut self,
        (number, timestamp_ns): (u64, u64),
        packet: &Packet<'_>,
        seen: Option<Seen>,
        fate: Fate,
    ) {
        if !self.untraced.is_hiding && !self.is_full() {
            self.keep_row((number, timestamp_ns), packet, seen, fate);
            return;
        }
        if !self.untraced.is_hiding {
            self.untraced.first.get_or_insert(number);
            self.untraced.packets += 1;
        }
        self.untraced.since_sweep += 1;
        if self.untraced.since_sweep == SWEEP {
            self.untraced.since_sweep = 0;
            for message in self.take_messages() {
                self.keep_message(message);
            }
        }
        self.bound_findings();
    }

    fn keep_message(&mut self, message: Message) {
        let number = message.packet_first;
        let is_before = self.untraced.first.is_none_or(|first| number < first);
        let is_wanted =
            !self.untraced.is_selective || self.rows.binary_search_by_key(&number, |row| row.number).is_ok();
        if is_before && is_wanted {
            self.kept.push(message);
        } else {
            self.untraced.messages += u64::from(is_wanted);
        }
    }

    fn bound_findings(&mut self) {
        self.untraced.findings += self.findings.len().saturating_sub(self.limits.findings) as u64;
        self.findings.truncate(self.limits.findings);
    }

    fn keep_row(
        &mut self,
        (number, timestamp_ns): (u64, u64),
        packet: &Packet<'_>,
        seen: Option<Seen>,
        fate: Fate,
    ) {
        if let Some(Ok(mad)) = packet.mad()
            && mad.is_cm()
        {
            let message = mad.message().ok();
            let flow = message.and_then(|message: CmMessage<'_>| {
                self.flows.of_connection_management(packet.source, packet.destination, &message)
            });
            self.cm_rows.push(CmRow::new(number, packet, flow, fate));
            return;
        }
        let flow = seen.map(|seen| (seen.flow, seen.sender));
        self.rows.push(Row::new(number, timestamp_ns, packet, flow, seen.and_then(|seen| seen.again), fate));
    }
}
