//! Packets of one requester and their answers, without what timing decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::fate::Fate;
use crate::flow::StreamId;
use crate::message::Message;
use crate::report::Report;
use crate::retransmission::RetransmissionClass;
use crate::row::Row;
use crate::trace::labels::Labels;
use crate::trace::render;
use crate::wire::{Opcode, Operation, Psn, Syndrome};

/// PSNs of lost packets that are listed; of more, how many there are.
const LISTED_MAX: usize = 16;

/// Every stream of a report, by its connection and requester.
pub(super) type Streams<'a> = BTreeMap<StreamId, StreamSummary<'a>>;

/// The requests of one side, and the answers to them.
pub(super) struct StreamSummary<'a> {
    id: StreamId,
    psn_first: Psn,
    pub(super) messages: Vec<&'a Message>,
    /// The packet that was sent first for each PSN.
    requests: BTreeMap<i32, &'a Row>,
    /// READ responses and results of atomics, likewise.
    answers: BTreeMap<i32, &'a Row>,
    /// The highest PSN that an answer accepts, with its MSN.
    acknowledged: Option<(i32, Option<u32>)>,
    /// First transmissions that did not arrive as they were, and copies: the word for it and the opcode, with their PSNs.
    touched: BTreeMap<(String, String), BTreeSet<i32>>,
    /// Fates of packets whose number timing decides: acknowledgements, and everything while the link was cut.
    other_fates: BTreeSet<String>,
    /// The first refusal of each kind.
    refusals: BTreeMap<String, i32>,
    /// The first packet that was sent again for each cause.
    again: BTreeMap<RetransmissionClass, i32>,
}

impl<'a> StreamSummary<'a> {
    /// Every stream of a report that has a packet or a message to show.
    pub(super) fn all(report: &'a Report) -> Streams<'a> {
        let mut streams = Streams::new();
        for row in report.rows.iter().filter(|row| !row.is_hidden) {
            if let (Some(id), Some(psn)) = (render::stream(row), row.psn) {
                Self::of(&mut streams, report, id, psn).packet(row, psn);
            }
        }
        for message in &report.messages {
            if let Some(id) = render::stream_of(report, message) {
                Self::of(&mut streams, report, id, message.psn_first).messages.push(message);
            }
        }
        for stream in streams.values_mut() {
            let first = stream.psn_first;
            stream.messages.sort_by_key(|message| message.psn_first.distance(first));
        }
        streams
    }

    fn of<'s>(streams: &'s mut Streams<'a>, report: &Report, id: StreamId, psn: Psn) -> &'s mut Self {
        streams.entry(id).or_insert_with(|| Self {
            id,
            psn_first: report
                .connection(id.connection)
                .and_then(|connection| connection.endpoint(id.requester).psn_first)
                .unwrap_or(psn),
            messages: Vec::new(),
            requests: BTreeMap::new(),
            answers: BTreeMap::new(),
            acknowledged: None,
            touched: BTreeMap::new(),
            other_fates: BTreeSet::new(),
            refusals: BTreeMap::new(),
            again: BTreeMap::new(),
        })
    }

    fn packet(&mut self, row: &'a Row, psn: Psn) {
        let Some(opcode) = row.opcode else { return };
        let at = psn.distance(self.psn_first);
        if let Some(class) = row.again {
            self.again.entry(class).or_insert(at);
        }
        let firsts = match opcode.operation() {
            Operation::Acknowledge | Operation::Cnp | Operation::Unknown(_) => None,
            _ if opcode.is_response() => Some(&mut self.answers),
            _ => Some(&mut self.requests),
        };
        let is_first = firsts.is_some_and(|firsts| {
            let is_first = row.fate.is_sent() && !firsts.contains_key(&at);
            if is_first {
                firsts.insert(at, row);
            }
            is_first
        });
        self.fate(row, opcode, at, is_first);
        if opcode.is_response() && row.fate.is_delivered() {
            self.response(row, at);
        }
    }

    fn fate(&mut self, row: &Row, opcode: Opcode, at: i32, is_first: bool) {
        let Some(words) = row.fate.words() else { return };
        match row.fate {
            Fate::LinkCut | Fate::PortFull => {
                self.other_fates.insert(words);
            }
            // Their originals say it; how long a queue is, timing decides.
            Fate::ReleaseOf { .. } | Fate::AlteredOf { .. } | Fate::QueueMarked | Fate::Unknown(_) => {}
            _ if is_first || matches!(row.fate, Fate::DuplicateOf { .. }) && self.knows(opcode, at) => {
                self.touched.entry((words, opcode.to_string())).or_default().insert(at);
            }
            _ if opcode.operation() == Operation::Acknowledge => {
                self.other_fates.insert(format!("{words}: {opcode}"));
            }
            _ => {}
        }
    }

    /// True if a packet is one of those that are counted by PSN.
    fn knows(&self, opcode: Opcode, at: i32) -> bool {
        let firsts = if opcode.is_response() { &self.answers } else { &self.requests };
        firsts.contains_key(&at)
    }

    fn response(&mut self, row: &Row, at: i32) {
        match row.aeth {
            Some((syndrome @ (Syndrome::Nak(_) | Syndrome::RnrNak { .. } | Syndrome::Unknown(_)), _)) => {
                self.refusals.entry(syndrome.to_string()).or_insert(at);
            }
            aeth => {
                let new = (at, aeth.map(|(_, msn)| msn));
                if self.acknowledged.is_none_or(|known| new >= known) {
                    self.acknowledged = Some(new);
                }
            }
        }
    }

    /// The request that was first sent at a PSN.
    pub(super) fn request(&self, at: i32) -> Option<Opcode> {
        self.requests.get(&at)?.opcode
    }

    /// The READ response or result that was first sent at a PSN.
    pub(super) fn answer(&self, at: i32) -> Option<Opcode> {
        self.answers.get(&at)?.opcode
    }

    /// Details of the request at a PSN: operands of an atomic, a solicited event. The memory that an atomic finds is not the requester's intent.
    pub(super) fn operands(&self, at: i32) -> Vec<String> {
        let row = self.requests.get(&at);
        let event = row.filter(|row| row.solicited_event).map(|_| "SE".to_owned());
        row.and_then(|row| render::operands(row)).into_iter().chain(event).collect()
    }

    /// Writes what became of its packets.
    pub(super) fn write(&self, out: &mut String, labels: &Labels<'_>) {
        let node = labels.requester_node(self.id);
        let psn = |at: &i32| format!("{node}{at:+}");
        for ((words, opcode), at) in &self.touched {
            let listed: Vec<String> = at.iter().take(LISTED_MAX).map(psn).collect();
            let more = at.len().saturating_sub(LISTED_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let _ = writeln!(out, "    {words}: {opcode} {}{more}", listed.join(", "));
        }
        for words in &self.other_fates {
            let _ = writeln!(out, "    {words}");
        }
        for (syndrome, at) in &self.refusals {
            let _ = writeln!(out, "    {syndrome} at {}", psn(at));
        }
        let causes = [
            (RetransmissionClass::GoBackN, "after NAK PSN sequence error"),
            (RetransmissionClass::RnrRetry, "after RNR NAK"),
            (RetransmissionClass::ReadRetry, "after a missing READ response"),
        ];
        let mut is_explained = false;
        for (class, words) in causes {
            if let Some(at) = self.again.get(&class) {
                is_explained = true;
                let _ = writeln!(out, "    retransmitted from {} {words}", psn(at));
            }
        }
        if !is_explained && self.again.contains_key(&RetransmissionClass::Timeout) {
            let _ = writeln!(out, "    retransmitted after a timeout");
        }
        if let Some((at, msn)) = self.acknowledged {
            let msn = msn.map_or_else(String::new, |msn| format!(", msn {msn}"));
            let _ = writeln!(out, "    acknowledged up to {}{msn}", psn(&at));
        }
    }
}
