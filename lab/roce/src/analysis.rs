//! The one entry point: records of a capture in, a report out.
//!
//! In: [`Record`]s in the order of the capture. Out: a [`Report`] of connections, messages, findings and counts, and the trace. The rules run over what the
//! receivers got, as the fates in the packet comments tell it; the trace shows everything that was sent.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::capture::Record;
use crate::checker::{Arrival, Sink};
use crate::cm::Message as CmMessage;
use crate::fate::Fate;
use crate::finding::{Evidence, Finding};
use crate::flow::{Connection, Flows, Side};
use crate::message::{Message, MessageKind, Outcome};
use crate::names::Names;
use crate::row::{CmRow, Row};
use crate::rule::Rule;
use crate::trace;
use crate::wire::{Frame, Icrc, LinkType, Packet, Transport};

/// Takes the records of one capture in.
///
/// # Example
/// See the [crate's documentation](crate).
#[derive(Debug, Default)]
pub struct Analysis {
    names: Names,
    flows: Flows,
    messages: Vec<Message>,
    findings: Vec<Finding>,
    rows: Vec<Row>,
    cm_rows: Vec<CmRow>,
    sent: BTreeMap<IpAddr, u64>,
    delivered: BTreeMap<IpAddr, u64>,
    not_roce: BTreeMap<String, u64>,
    records: u64,
    packets: u64,
    /// Frames that the switch holds back, with the time at which they are due.
    delayed: Vec<Delayed>,
}

#[derive(Debug)]
struct Delayed {
    due_ns: u64,
    number: u64,
    link_type: LinkType,
    data: Vec<u8>,
}

/// What a capture holds.
#[derive(Debug)]
pub struct Report {
    /// Records of the capture, of any kind.
    pub records: u64,
    /// RoCEv2 packets among them, frames that the switch made included.
    pub packets: u64,
    /// RoCEv2 packets that each address sent: the capture's side of a sender's counter.
    pub sent: BTreeMap<IpAddr, u64>,
    /// RoCEv2 packets that were delivered to each address: the capture's side of a receiver's counter.
    pub delivered: BTreeMap<IpAddr, u64>,
    /// Frames that are not RoCEv2, by what they are: `ARP`, `ICMPv6`, `IPv4 fragment`.
    pub not_roce: BTreeMap<String, u64>,
    /// Connections, in the order of their first packet.
    pub connections: Vec<Connection>,
    /// Messages, in the order of their first packet.
    pub messages: Vec<Message>,
    /// Broken rules, in the order of the packets that show them.
    pub findings: Vec<Finding>,
    /// Names of the nodes.
    pub names: Names,
    pub(crate) rows: Vec<Row>,
    pub(crate) cm_rows: Vec<CmRow>,
}

impl Analysis {
    /// Begins an analysis; `names` are used in the trace.
    pub fn new(names: Names) -> Self {
        Self { names, ..Self::default() }
    }

    /// Takes one record in.
    pub fn push(&mut self, record: &Record<'_>) {
        self.records += 1;
        self.deliver_until(record.timestamp_ns);
        let packet = match record.frame() {
            Frame::Roce(mut packet) => {
                packet.is_short = packet.is_cut && record.original_length_bytes as usize <= record.data.len();
                packet
            }
            Frame::NotRoce(what) => {
                *self.not_roce.entry(what.to_string()).or_default() += 1;
                return;
            }
        };
        let fate = record.fate();
        self.packets += 1;
        for address in [packet.source, packet.destination] {
            self.names.see(address);
        }
        if fate.is_sent() {
            *self.sent.entry(packet.source).or_default() += 1;
        }
        if fate.is_delivered() {
            *self.delivered.entry(packet.destination).or_default() += 1;
        }
        let flow = match &fate {
            Fate::Delayed { delay_ms } => {
                let due_ns = record.timestamp_ns.saturating_add(delay_ms.saturating_mul(1_000_000));
                self.delayed.push(Delayed {
                    due_ns,
                    number: record.number,
                    link_type: record.link_type,
                    data: record.data.to_vec(),
                });
                None
            }
            fate if fate.is_delivered() => self.deliver(record.number, record.timestamp_ns, &packet),
            _ => None,
        };
        self.keep_row(record.number, &packet, flow, fate);
    }

    /// Ends the analysis.
    pub fn finish(mut self) -> Report {
        self.deliver_until(u64::MAX);
        // Rows and messages point at flows; flows that were merged go, and what is left keeps its order.
        let mut numbers = Vec::with_capacity(self.flows.flows.len());
        let mut next = 0;
        for index in 0..self.flows.flows.len() {
            numbers.push(next);
            next += usize::from(!self.flows.is_merged(index));
        }
        let flows = &self.flows;
        let resolve = |(index, side): (usize, Side)| {
            let (index, side) = flows.resolve(index, side);
            (numbers.get(index).copied().unwrap_or(index), side)
        };
        for row in &mut self.rows {
            row.flow = row.flow.or_else(|| flows.find(row.destination, row.destination_qpn?)).map(resolve);
        }
        for row in &mut self.cm_rows {
            let found = || {
                let message = row.mad().and_then(|mad| mad.message().ok())?;
                flows.of_connection_management(row.source, row.destination, &message)
            };
            row.flow = row.flow.or_else(found).map(|index| resolve((index, Side::Active)).0);
        }
        for message in &mut self.messages {
            if let Some(index) = message.connection
                && let Some(flow) = flows.flows.get(flows.resolve(index, Side::Active).0)
            {
                let of = |address| {
                    [Side::Active, Side::Passive]
                        .into_iter()
                        .map(|side| flow.connection.endpoint(side))
                        .find(move |end| end.address == address)
                };
                if message.requester_qpn.is_none()
                    && flow.connection.active.address != flow.connection.passive.address
                {
                    message.requester_qpn = of(message.requester).and_then(|end| end.qpn);
                } else if message.requester_qpn.is_none() {
                    message.requester_qpn = flow.connection.active.qpn;
                }
                message.connection = Some(resolve((index, Side::Active)).0);
            }
        }
        for finding in &mut self.findings {
            finding.requester = finding.requester.map(resolve);
        }
        self.findings.sort_by_key(|finding| finding.packet);
        let merged: Vec<bool> = (0..flows.flows.len()).map(|index| flows.is_merged(index)).collect();
        let connections = self
            .flows
            .flows
            .into_iter()
            .zip(merged)
            .filter(|(_, merged)| !merged)
            .map(|(flow, _)| flow.connection)
            .collect();
        Report {
            records: self.records,
            packets: self.packets,
            sent: self.sent,
            delivered: self.delivered,
            not_roce: self.not_roce,
            connections,
            messages: self.messages,
            findings: self.findings,
            names: self.names,
            rows: self.rows,
            cm_rows: self.cm_rows,
        }
    }

    /// Delivers the frames that are due by `now_ns`, in the order in which they are due.
    fn deliver_until(&mut self, now_ns: u64) {
        while let Some(position) = (0..self.delayed.len())
            .filter(|at| self.delayed[*at].due_ns <= now_ns)
            .min_by_key(|at| (self.delayed[*at].due_ns, self.delayed[*at].number))
        {
            let held = self.delayed.remove(position);
            if let Frame::Roce(packet) = Frame::decode(held.link_type, &held.data) {
                self.deliver(held.number, held.due_ns, &packet);
            }
        }
    }

    fn find(
        &mut self,
        rule: Rule,
        number: u64,
        packet: &Packet<'_>,
        requester: Option<(usize, Side)>,
        evidence: Evidence,
    ) {
        self.findings.push(Finding {
            rule,
            packet: number,
            source: packet.source,
            destination: packet.destination,
            requester,
            psn: packet.bth.map(|bth| bth.psn()),
            evidence,
        });
    }

    /// Judges the packet by itself; gives whether a receiver would take it.
    fn judge_alone(&mut self, number: u64, packet: &Packet<'_>) -> bool {
        if let Icrc::Bad { expected, got } = packet.icrc {
            let requester = packet
                .bth
                .and_then(|bth| self.requester_of(packet, bth.opcode().is_response(), bth.destination_qpn()));
            self.find(Rule::IcrcMismatch, number, packet, requester, Evidence::Icrc { expected, got });
            return false;
        }
        if packet.is_cut && !packet.is_short {
            // The capture's doing: what is there of the packet is as good as whole.
            return packet.bth.is_some();
        }
        let evidence = if let Some(stop) = packet.stop {
            Evidence::Stop(stop)
        } else {
            let expected = (4 - packet.payload.len() % 4) as u8 % 4;
            let got = packet.pad.len() as u8;
            if expected != got {
                Evidence::Pad { expected, got }
            } else if packet.pad.iter().any(|byte| *byte != 0) {
                Evidence::PadNotZero
            } else {
                return true;
            }
        };
        let requester = packet
            .bth
            .and_then(|bth| self.requester_of(packet, bth.opcode().is_response(), bth.destination_qpn()));
        self.find(Rule::MalformedPacket, number, packet, requester, evidence);
        packet.stop.is_none()
    }

    fn requester_of(&self, packet: &Packet<'_>, is_response: bool, qpn: u32) -> Option<(usize, Side)> {
        let (index, sender) = self.flows.find(packet.destination, qpn)?;
        Some((index, if is_response { sender.other() } else { sender }))
    }

    /// Runs the rules over a packet that its receiver got; gives its flow and sender.
    fn deliver(&mut self, number: u64, timestamp_ns: u64, packet: &Packet<'_>) -> Option<(usize, Side)> {
        if !self.judge_alone(number, packet) {
            return None;
        }
        let bth = packet.bth?;
        let opcode = bth.opcode();
        if let Some(mad) = packet.mad() {
            if let Ok(mad) = mad
                && mad.is_cm()
                && let Ok(message) = mad.message()
            {
                self.flows.connection_management(packet.source, packet.destination, &message);
            }
            return None;
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
            return self.flows.find(packet.destination, bth.destination_qpn());
        }
        let (index, sender) = self.flows.take_in(packet)?;
        let requester = if opcode.is_response() { sender.other() } else { sender };
        let mut broken = Vec::new();
        let mut report = |rule: Rule, evidence: Evidence| broken.push((rule, evidence));
        let arrival = Arrival { number, timestamp_ns, packet, bth, flow: index };
        if let Some(flow) = self.flows.flows.get_mut(index) {
            let (connection, stream) = flow.parts(requester);
            let mut sink = Sink { messages: &mut self.messages, report: &mut report };
            if opcode.is_response() {
                stream.response(connection, &arrival, &mut sink);
            } else {
                stream.request(connection, requester, &arrival, &mut sink);
            }
        }
        for (rule, evidence) in broken {
            self.find(rule, number, packet, Some((index, requester)), evidence);
        }
        Some((index, sender))
    }

    fn datagram(&mut self, number: u64, timestamp_ns: u64, packet: &Packet<'_>) {
        let (Some(bth), Some(deth)) = (packet.bth, packet.deth) else {
            return;
        };
        let Some(kind) = MessageKind::of(bth.opcode()) else {
            return;
        };
        self.messages.push(Message {
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
            sent_ns: timestamp_ns,
            ended_ns: None,
            outcome: Outcome::Sent,
        });
    }

    fn keep_row(&mut self, number: u64, packet: &Packet<'_>, flow: Option<(usize, Side)>, fate: Fate) {
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
        self.rows.push(Row::new(number, packet, flow, fate));
    }
}

impl Report {
    /// The trace: every packet, message and finding as text under names that are the same in every run. Ends with a newline.
    ///
    /// | in the trace | is |
    /// |--|--|
    /// | `client` | a node, by its IP address |
    /// | `client.qp1` | the first queue pair of that node; `client.GSI` is queue pair 1 |
    /// | `client+3` | a PSN: the third after the first of that `client` queue pair's requests; responses count in the requester's numbers |
    /// | `server.mr1+8` | rkey `server.mr1` and the address 8 bytes above the region's base: what its node advertised in a REP, else the lowest seen |
    /// | `<port>` | a random port |
    /// | `~` before a row | the packet did not reach its receiver |
    ///
    /// Left out are MAC addresses, UDP source ports, IP identification, times, flow labels, GUIDs, and transaction and communication ids that match.
    /// Connection management stands apart, because its order against data packets is not defined by the protocol; data packets are in the order of the wire.
    pub fn trace(&self) -> String {
        trace::render(self)
    }
}
