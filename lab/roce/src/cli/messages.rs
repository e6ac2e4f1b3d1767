//! `roce messages`: one line a work request.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;

use crate::checker::Adverts;
use crate::cli::filter::PacketInfo;
use crate::cli::input::{FileArg, Input};
use crate::cli::output::{self, Output};
use crate::cli::{Common, Error, json};
use crate::flow::{Datagrams, unknown};
use crate::trace::immediate_words;
use crate::wire::{Frame, Packet, Psn};
use crate::{Analysis, Connection, Message, Names, Outcome, Side};

/// The arguments of `messages`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: FileArg,
    #[command(flatten)]
    common: Common,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// A time in the unit that suits it.
pub(super) fn duration(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{} us", ns / 1_000),
        10_000_000..10_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{} s", ns / 1_000_000_000),
    }
}

/// Queue pairs of datagrams that have names; the numbers of more are shown.
const DATAGRAMS_MAX: usize = 4_096;

/// The names of queue pairs as the trace has them: numbered by node, in the order of the connections, and those of datagrams in the order of the packets.
pub(super) struct Ends {
    counts: HashMap<String, usize>,
    numbers: BTreeMap<usize, [usize; 2]>,
    /// The number that the next new connection has at least.
    pub(super) next: usize,
    datagrams: Datagrams,
}

impl Ends {
    pub(super) fn new() -> Self {
        let datagrams = Datagrams::new(DATAGRAMS_MAX);
        Self { counts: HashMap::new(), numbers: BTreeMap::new(), next: 0, datagrams }
    }

    /// Takes note of a packet that may be a datagram.
    fn see(&mut self, packet: &Packet<'_>, names: &Names) {
        if let (Some(bth), Some(deth)) = (packet.bth, packet.deth)
            && !packet.mad().is_some_and(|mad| mad.is_ok_and(|mad| mad.is_cm()))
        {
            let source = (packet.source, deth.source_qpn());
            self.datagrams.see(source, (packet.destination, bth.destination_qpn()), bth.psn(), names);
        }
    }

    /// Numbers the ends of connections that are new, and forgets those before `first`, which are followed no more.
    pub(super) fn learn<'a>(
        &mut self,
        first: usize,
        new: impl Iterator<Item = (usize, &'a Connection)>,
        names: &Names,
    ) {
        for (index, connection) in new {
            self.next = index + 1;
            self.numbers.entry(index).or_insert_with(|| {
                [connection.active.address, connection.passive.address].map(|address| {
                    let count = self.counts.entry(names.get(address)).or_default();
                    *count += 1;
                    *count
                })
            });
        }
        while let Some(oldest) = self.numbers.first_entry().filter(|oldest| *oldest.key() < first) {
            oldest.remove();
        }
    }

    /// The queue pairs of a connection, `requester`'s first.
    pub(super) fn queue_pairs(
        &self,
        index: usize,
        requester: Side,
        connection: &Connection,
        (names, adverts): (&Names, &Adverts),
    ) -> Option<[String; 2]> {
        let [active, passive] = self.numbers.get(&index)?;
        let name = |side: Side| {
            let end = connection.endpoint(side);
            let (node, number) =
                (names.get(end.address), if side == Side::Active { active } else { passive });
            match end.qpn {
                Some(qpn) if connection.is_shown(side) || adverts.has_told(end.address, qpn) => {
                    format!("{node}.qp{number}")
                }
                Some(qpn) => unknown(&node, qpn),
                None => format!("{node}.qp?"),
            }
        };
        Some([name(requester), name(requester.other())])
    }

    /// A message with the connection that it belongs to.
    fn text(
        &self,
        message: &Message,
        connection: Option<&Connection>,
        (names, adverts): (&Names, &Adverts),
    ) -> String {
        let known = message.connection.zip(connection).and_then(|(index, connection)| {
            let (active, passive) = (connection.active, connection.passive);
            let is_passive = passive.address == message.requester
                && (active.address != message.requester || message.requester_qpn == passive.qpn);
            let requester = if is_passive { Side::Passive } else { Side::Active };
            let ends = self.queue_pairs(index, requester, connection, (names, adverts))?;
            Some((ends, connection.endpoint(requester).psn_first))
        });
        let (ends, psn) = match known {
            Some((ends, first)) => {
                let node = names.get(message.requester);
                let psn = first.map(|first| {
                    let distance = |psn: Psn| psn.distance(first);
                    (format!("{node}{:+}", distance(message.psn_first)), distance(message.psn_last))
                });
                (ends, psn)
            }
            None => {
                let node = names.get(message.requester);
                let name = |address, qpn: Option<u32>| match qpn {
                    None => format!("{}.qp?", names.get(address)),
                    Some(qpn) => {
                        let has_told = |(node, qpn)| adverts.has_told(node, qpn);
                        let known = self.datagrams.name((address, qpn), names, has_told);
                        known.unwrap_or_else(|| format!("{}.{qpn:#x}", names.get(address)))
                    }
                };
                let from = name(message.requester, message.requester_qpn);
                let psn = message.requester_qpn.and_then(|qpn| {
                    let distance = self.datagrams.psn_offset((message.requester, qpn), message.psn_first)?;
                    Some((format!("{node}{distance:+}"), distance))
                });
                ([from, name(message.responder, Some(message.responder_qpn))], psn)
            }
        };
        let psn = match psn {
            Some((first, _)) if message.psn_first == message.psn_last => first,
            Some((first, last)) => format!("{first}..{last}"),
            None if message.psn_first == message.psn_last => format!("psn {}", message.psn_first),
            None => format!("psn {}..{}", message.psn_first, message.psn_last),
        };
        let mut line = format!(
            "{:>7} {:<23} {:<25} {psn:<16} {:>9} bytes {}",
            message.packet_first,
            ends.join(" > "),
            message.kind,
            message.bytes,
            message.outcome
        );
        if let Some(immediate) = message.immediate {
            line += &format!(", {}", immediate_words(immediate));
        }
        if let (Outcome::Refused(_), Some(va), Some(rkey)) = (message.outcome, message.va, message.rkey) {
            line += &format!(" (va {va:#x}, rkey {rkey:#x})");
        }
        if let Some(ended_ns) = message.ended_ns {
            line += &format!(", after {}", duration(ended_ns.saturating_sub(message.sent_ns)));
        }
        line
    }
}

impl Args {
    /// Prints the messages in the order of their first packets.
    ///
    /// # Errors
    /// The capture cannot be read, or cannot be read to its end.
    pub fn run(&self, defaults: Names) -> Result<ExitCode, Error> {
        let mut input = Input::open(&self.file.files, &self.common)?;
        let names = self.common.names(defaults, &self.file.files);
        let filter = self.common.filter(&self.file.files, &names)?;
        let mut output = Output::new();
        let mut analysis = Analysis::streaming(names);
        let mut first = None;
        let mut ends = Ends::new();
        let show = |output: &mut Output,
                    names: &Names,
                    message: &Message,
                    first_ns: u64,
                    text: &dyn Fn() -> String| {
            if !filter.matches(&PacketInfo::of_message(message, first_ns, false), names) {
                Ok(())
            } else if self.json {
                output.line(json::message(message, names))
            } else {
                output.line(text())
            }
        };
        let stopped = input.for_each(|record, frame| {
            let first_ns = *first.get_or_insert(record.timestamp_ns);
            analysis.push_frame(record, frame);
            if let Frame::Roce(packet) = frame {
                ends.see(packet, analysis.names());
            }
            let messages = analysis.take_messages();
            if !messages.is_empty() && !self.json {
                let first = analysis.connections(0).next().map_or(0, |(index, _)| index);
                ends.learn(first, analysis.connections(ends.next), analysis.names());
            }
            for message in &messages {
                let connection = message.connection.and_then(|index| analysis.connection(index));
                let text = || ends.text(message, connection, (analysis.names(), analysis.adverts()));
                show(&mut output, analysis.names(), message, first_ns, &text)?;
            }
            drop(analysis.take_findings());
            Ok(!output.is_closed())
        })?;
        analysis.lost_by_capture(input.lost_elsewhere());
        let report = analysis.finish();
        let mut ends = Ends { datagrams: ends.datagrams, ..Ends::new() };
        ends.learn(0, report.connections.iter().enumerate(), &report.names);
        for message in &report.messages {
            let connection = message.connection.and_then(|index| report.connections.get(index));
            let text = || ends.text(message, connection, (&report.names, &report.adverts));
            show(&mut output, &report.names, message, first.unwrap_or_default(), &text)?;
        }
        output.flush()?;
        output::remarks(&input.name, &report, stopped.is_none());
        output::note_in_vain(&filter, "message", &input.name);
        stopped.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}
