//! What a capture holds, and its renderings.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::checker::Adverts;
use crate::finding::Finding;
use crate::flow::{Connection, Side};
use crate::message::Message;
use crate::names::Names;
use crate::retransmission::Retransmissions;
use crate::row::{CmRow, Row};
use crate::stats::Stats;
use crate::trace::{self, Known};
use crate::wire::Encapsulation;

/// What a capture holds.
#[derive(Debug)]
pub struct Report {
    /// Records of the capture, of any kind.
    pub records: u64,
    /// RoCEv2 packets among them, frames that the switch made included.
    pub packets: u64,
    /// RoCEv2 packets that each address sent: the capture's side of a sender's counter.
    pub sent: BTreeMap<IpAddr, u64>,
    /// RoCEv2 packets that each address got whole and with an ICRC that is not wrong: the capture's side of a receiver's counter.
    ///
    /// rxe counts `rcvd_pkts` behind its check of the ICRC (`rxe_rcv`). It also looks for the queue pair before it counts: a packet to one that is gone, or
    /// not ready, is in this number and not in rxe's.
    pub delivered: BTreeMap<IpAddr, u64>,
    /// Frames that are not RoCE, by what they are: `ARP`, `ICMPv6`, `IP fragment`.
    pub not_roce: BTreeMap<String, u64>,
    /// Those of them that may hold RoCE and could not be read, by what they are.
    pub unread: BTreeMap<String, u64>,
    /// RoCE packets by the innermost tunnel around them, without those that are in none.
    pub encapsulations: BTreeMap<Encapsulation, u64>,
    /// RoCE packets of version 1.
    pub packets_version_1: u64,
    /// RoCE packets of which the capture has not even the BTH: nothing can be checked of one.
    pub packets_without_bth: u64,
    /// Packets that the capture says it lost.
    pub lost_by_capture: u64,
    /// Connections, in the order of their first packet.
    pub connections: Vec<Connection>,
    /// Messages, in the order of their first packet.
    pub messages: Vec<Message>,
    /// Broken rules, in the order of the packets that show them.
    pub findings: Vec<Finding>,
    /// Requests that came again, of all connections, by class.
    pub retransmissions: Retransmissions,
    /// Packets by opcode, messages by kind, latencies.
    pub stats: Stats,
    /// Connections that were forgotten to bound the memory; what came of them later counts as new.
    pub connections_dropped: u64,
    /// Requests that were forgotten before their answer to bound the memory.
    pub requests_dropped: u64,
    /// RoCEv2 packets that `sent` and `delivered` leave out to bound the memory: they came when too many pairs of addresses were counted.
    pub packets_uncounted: u64,
    /// RoCE packets that the trace leaves out to bound the memory.
    pub packets_untraced: u64,
    /// Messages of those packets, which `messages` leaves out.
    pub messages_untraced: u64,
    /// Findings that `findings` leaves out to bound the memory.
    pub findings_untraced: u64,
    /// Names of the nodes.
    pub names: Names,
    pub(crate) rows: Vec<Row>,
    pub(crate) cm_rows: Vec<CmRow>,
    /// What the nodes told of their queue pairs.
    pub(crate) adverts: Adverts,
}

/// The names of a packet in the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketNames {
    /// Number of the packet in the capture, from 1.
    pub number: u64,
    /// Its connection, as an index into the report's, and the side that sent it.
    pub connection: Option<(usize, Side)>,
    /// Its sender's and its receiver's queue pair: `client.qp1`.
    pub queue_pairs: [String; 2],
    /// The node whose requests its PSN counts, and the distance from the first of them: `client` and 3 for `client+3`.
    pub psn: Option<(String, i32)>,
}

impl Report {
    /// The trace: every packet, message and finding as text under names that are the same in every run. Ends with a newline.
    ///
    /// | in the trace | is |
    /// |--|--|
    /// | `client` | a node, by its IP address |
    /// | `client.qp1` | the first queue pair of that node |
    /// | `client.ud1` | its first for datagrams, which have no connection; `client.GSI` is queue pair 1 |
    /// | `client.0x77` | a queue pair number that packets are sent to and nothing in the capture explains: no packet of it, no word of its node |
    /// | `client+3` | a PSN: the third after the first of that `client` queue pair's requests; responses count in the requester's numbers |
    /// | `server.mr1+8` | rkey `server.mr1` and the address 8 bytes above the region's base: what its node advertised in a REP, else the lowest seen |
    /// | `<port>` | a random port |
    /// | `~` before a row | its receiver did not get the packet, or not here, or not as it is here |
    /// | `+` before a row | the switch put the packet there: a copy, an altered one, one that was held back |
    ///
    /// Left out are MAC addresses, UDP source ports, IP identification, times, flow labels, GUIDs, and transaction and communication ids that match.
    /// Connection management stands apart, because its order against data packets is not defined by the protocol; data packets are in the order of the wire.
    pub fn trace(&self) -> String {
        trace::render(self)
    }

    /// The trace with the number of each packet before it, its time in seconds since the first and since the one before, and behind it why it came again, when
    /// it did.
    pub fn trace_with_times(&self) -> String {
        trace::render_with(self, true)
    }

    /// The trace as what must hold whatever the timing: messages with their packets folded, what was acknowledged, lost and sent again, and the findings. Ends
    /// with a newline.
    ///
    /// The names are the trace's. What timing decides is left out: how acknowledgements coalesce, how directions and connections interleave, how far a
    /// requester got before a refusal reached it, how often it timed out. So of each kind of refusal, retransmission and finding only the first of a direction
    /// is there, a timeout only when nothing else made the requester send again, and connections stand in the order of their text.
    pub fn summary(&self) -> String {
        trace::summary(self)
    }

    /// The names under which the trace shows each data packet, in the order of the capture.
    pub fn packet_names(&self) -> Vec<PacketNames> {
        trace::packet_names(self)
    }

    /// The nodes and connections of the whole capture, for [`RunningNames`](crate::RunningNames).
    pub fn known(&self) -> Known<'_> {
        Known::of_report(self)
    }

    /// The packets between the nodes as one SVG picture that needs nothing else: a line a node, an arrow a packet, lost ones dashed, broken rules beside.
    ///
    /// At most `limit` packets are drawn; the picture says how many more there are.
    pub fn ladder(&self, limit: usize) -> String {
        trace::draw(self, limit)
    }

    /// Hides packets from trace and ladder, with the messages that begin and the findings at them; names do not change by it.
    pub fn show_only(&mut self, keep: impl Fn(u64) -> bool) {
        for row in &mut self.rows {
            row.is_hidden |= !keep(row.number);
        }
        for row in &mut self.cm_rows {
            row.is_hidden |= !keep(row.number);
        }
        self.messages.retain(|message| keep(message.packet_first));
        self.findings.retain(|finding| keep(finding.packet));
    }
}
