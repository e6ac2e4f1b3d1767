//! The report: contents of a capture, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::checker::Adverts;
use crate::fate::Fate;
use crate::finding::Finding;
use crate::flow::{Connection, ConnectionId, Datagrams, Numbers, Side};
use crate::message::Message;
use crate::names::Names;
use crate::retransmission::Retransmissions;
use crate::row::{CmRow, Row};
use crate::stats::Stats;
use crate::wire::Encapsulation;

/// Contents of a capture.
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
    /// Frames among them that may hold RoCE and could not be read, by kind.
    pub unread: BTreeMap<String, u64>,
    /// RoCE packets by the innermost tunnel around them, without those that are in none.
    pub encapsulations: BTreeMap<Encapsulation, u64>,
    /// RoCE packets of version 1.
    pub packets_version_1: u64,
    /// RoCE packets of which the capture has not even the BTH: nothing can be checked of one.
    pub packets_without_bth: u64,
    /// RoCE packets that a mirror cut: shorter than they say, and as long as the longest frame so far.
    pub packets_cut_by_mirror: u64,
    /// Packets whose ICRC is wrong, as that of every one before them in their direction: the capture has other bytes than were sent.
    pub packets_rewritten: u64,
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
    /// Numbers of queue pairs that the nodes told.
    pub(crate) adverts: Adverts,
    /// Numbers that queue pairs have in their names, and the queue pairs of datagrams.
    pub(crate) numbers: Numbers,
    pub(crate) datagrams: Datagrams,
}

/// The names of a packet in the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketNames {
    /// Number of the packet in the capture, from 1.
    pub number: u64,
    /// Connection, and the side that sent the packet.
    pub connection: Option<(ConnectionId, Side)>,
    /// Sender's and receiver's queue pair: `client.qp1`.
    pub queue_pairs: [String; 2],
    /// The node whose requests its PSN counts, and the distance from the first of them: `client` and 3 for `client+3`.
    pub psn: Option<(String, i32)>,
}

impl Report {
    /// Numbers of the packets that a switch changed, and of the changed copies that it delivered.
    pub fn altered_packets(&self) -> BTreeSet<u64> {
        let is_altered =
            |fate: &Fate| matches!(fate, Fate::Corrupted | Fate::Truncated | Fate::AlteredOf { .. });
        let data = self.rows.iter().map(|row| (row.number, &row.fate));
        let management = self.cm_rows.iter().map(|row| (row.number, &row.fate));
        data.chain(management).filter(|(_, fate)| is_altered(fate)).map(|(number, _)| number).collect()
    }

    /// Messages of connection management that their senders sent again.
    pub fn management_again(&self) -> u64 {
        let mut sent = BTreeSet::new();
        let mads =
            self.cm_rows.iter().filter(|row| row.fate.is_sent()).filter_map(|row| {
                row.mad().map(|mad| (row.source, mad.transaction_id(), mad.attribute_id()))
            });
        mads.filter(|message| !sent.insert(*message)).count() as u64
    }

    /// The connection of that number.
    pub fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(id.index())
    }

    /// Numbers of the connections, in their order.
    pub fn connection_ids(&self) -> impl DoubleEndedIterator<Item = ConnectionId> + use<> {
        (0..self.connections.len()).map(ConnectionId)
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

#[cfg(test)]
mod tests {
    use crate::capture::Writer;
    use crate::synth::Pair;
    use crate::{Analysis, Names, Report};

    /// The report of these frames of the active side, each with its fate.
    fn report(frames: &[(Vec<u8>, &str)]) -> Report {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, &["client"]).unwrap();
        for (at, (frame, fate)) in (0..).zip(frames) {
            writer.write(0, at * 1_000, frame, &format!("fate={fate}")).unwrap();
        }
        writer.finish().unwrap();
        Analysis::new(Names::new()).of_capture(&bytes)
    }

    #[test]
    fn what_the_switch_changed_is_told_with_its_copies() {
        let pair = Pair::new(1);
        let send = |n| pair.request(0x04, n).payload(b"four").build();
        let frames = [
            (send(0), "forwarded"),
            (send(1), "corrupted"),
            (send(1), "altered-of #2"),
            (send(2), "dropped"),
        ];
        assert_eq!(report(&frames).altered_packets(), [2, 3].into());
    }

    #[test]
    fn message_that_its_sender_repeats_came_again_and_a_copy_did_not() {
        let pair = Pair::new(1);
        let req = || pair.req(7471, &[]);
        let count = |frames: &[(Vec<u8>, &str)]| report(frames).management_again();
        assert_eq!(count(&[(req(), "forwarded"), (req(), "duplicate-of #1"), (pair.rtu(), "forwarded")]), 0);
        assert_eq!(count(&[(req(), "dropped"), (req(), "forwarded"), (pair.rtu(), "forwarded")]), 1);
    }
}
