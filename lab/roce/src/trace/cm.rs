//! Connection management in the trace: one block a connection, one line a parameter.

use std::collections::HashSet;
use std::fmt::Write;
use std::net::IpAddr;

use crate::cm::{Message, PrivateData, Rep, Req, ack_timeout_ns, attribute_name, path_mtu_bytes};
use crate::fate::Fate;
use crate::flow::{ConnectionId, Side, StreamId};
use crate::message::{MessageKind, MessageOutcome};
use crate::report::Report;
use crate::row::CmRow;
use crate::trace::labels::Labels;
use crate::wire::Icrc;

/// Ids in the block's earlier messages, to check the random ids of the later ones.
#[derive(Default)]
struct Ids {
    active: Option<u32>,
    passive: Option<u32>,
    connect_transaction: Option<u64>,
    /// Sender and transaction of each DREQ: where both sides disconnect there are two.
    disconnect_transactions: Vec<(IpAddr, u64)>,
}

/// A row's parameters: name and value.
type Lines = Vec<(&'static str, String)>;

const QUEUE_PAIR: &str = "queue pair";
/// A DREQ for a queue pair that is none of the connection's at the receiver.
const NOT_ITS_OWN: &str = "not the receiver's";

const MRA: u16 = 1;
const DREQ: u16 = 5;
const DREP: u16 = 6;

/// The place of a message in the order of a connection's life.
fn rank(row: &CmRow) -> u16 {
    match row.mad().map(|mad| mad.attribute_id()) {
        Some(0x10) => 0,
        Some(0x11) => MRA,
        Some(0x13) => 2,
        Some(0x12) => 3,
        Some(0x14) => 4,
        Some(0x15) => DREQ,
        Some(0x16) => DREP,
        _ => 7,
    }
}

/// Writes the connection management packets of one connection, or those of none.
pub(super) fn block(
    out: &mut String,
    report: &Report,
    labels: &Labels<'_>,
    connection: Option<ConnectionId>,
) {
    let mut told = told(report, labels, connection, of(labels, connection));
    let is_either = connection.is_some_and(|index| ends_on_either_side(report, index, &told));
    if is_either {
        told.retain(|(row, _)| !matches!(rank(row), DREQ | DREP));
    }
    write(out, labels, told);
    if is_either {
        out.push_str("  either side      DREQ, DREP\n");
    }
}

/// Counts the packets that connections take more to end than one DREQ and one DREP, where either side may be first.
pub(super) fn surplus(report: &Report, labels: &Labels<'_>) -> u64 {
    let of_one = |index| {
        let told = told(report, labels, Some(index), of(labels, Some(index)));
        let end = told.iter().filter(|(row, _)| matches!(rank(row), DREQ | DREP)).count();
        if ends_on_either_side(report, index, &told) { end as u64 - 2 } else { 0 }
    };
    report.connection_ids().map(of_one).sum()
}

/// True if a connection ended in order after a WRITE with immediate.
///
/// That completes on both sides, so that both may disconnect at once: which is first, and whether their DREQs cross, is
/// for timing to decide, and the trace has one form for all of it.
fn ends_on_either_side(report: &Report, index: ConnectionId, told: &[(&CmRow, Lines)]) -> bool {
    let last = report.messages.iter().rfind(|message| message.connection == Some(index));
    let is_told_to_both = last.is_some_and(|message| {
        message.kind == MessageKind::WriteWithImmediate && message.outcome == MessageOutcome::Acknowledged
    });
    let of_rank = |wanted: u16| told.iter().filter(move |(row, _)| rank(row) == wanted);
    let is_once = |wanted: u16| {
        let senders: HashSet<IpAddr> = of_rank(wanted).map(|(row, _)| row.source).collect();
        !senders.is_empty() && senders.len() == of_rank(wanted).count()
    };
    let is_plain = |(row, lines): &(&CmRow, Lines)| {
        row.fate.mark().trim().is_empty()
            && match lines.as_slice() {
                [(key, pair)] => rank(row) == DREQ && *key == QUEUE_PAIR && *pair != NOT_ITS_OWN,
                [] => rank(row) == DREP && of_rank(DREQ).any(|(dreq, _)| dreq.source == row.destination),
                _ => false,
            }
    };
    is_told_to_both && is_once(DREQ) && is_once(DREP) && of_rank(DREQ).chain(of_rank(DREP)).all(is_plain)
}

/// The same without what only timing decides: that a message came again or met a long queue, the MRA that asks for more time, which side
/// was first to disconnect.
pub(super) fn folded(
    out: &mut String,
    report: &Report,
    labels: &Labels<'_>,
    connection: Option<ConnectionId>,
) {
    let mut known = HashSet::new();
    let mut all = of(labels, connection);
    let marked: Vec<CmRow> = all
        .iter()
        .filter(|row| row.fate == Fate::QueueMarked)
        .map(|row| {
            let mut row = (*row).clone();
            row.fate = Fate::Forwarded;
            row
        })
        .collect();
    let is_marked = |wanted: u64| marked.iter().any(|row| row.number == wanted);
    all.retain(|row| match row.fate {
        Fate::QueueMarked => false,
        Fate::AlteredOf { number } => !is_marked(number),
        _ => true,
    });
    all.extend(&marked);
    all.sort_by_key(|row| rank(row));
    let is_end = |row: &CmRow| matches!(rank(row), DREQ | DREP) && row.fate.is_delivered();
    let has_ended = all.iter().any(|row| is_end(row));
    all.retain(|row| {
        rank(row) != MRA && !is_end(row) && known.insert((rank(row), row.source, row.fate.words()))
    });
    write(out, labels, told(report, labels, connection, all));
    if has_ended {
        out.push_str("  disconnected\n");
    }
}

/// The packets of a connection in the order of its life.
fn of<'a>(labels: &Labels<'a>, connection: Option<ConnectionId>) -> Vec<&'a CmRow> {
    let mut rows = labels.cm_rows(connection);
    rows.sort_by_key(|row| rank(row));
    rows
}

/// Rows with what there is to say of each.
fn told<'a>(
    report: &Report,
    labels: &Labels<'_>,
    connection: Option<ConnectionId>,
    rows: Vec<&'a CmRow>,
) -> Vec<(&'a CmRow, Lines)> {
    let mut ids = Ids::default();
    rows.into_iter().map(|row| (row, lines(report, labels, row, connection, &mut ids))).collect()
}

fn write(out: &mut String, labels: &Labels<'_>, told: Vec<(&CmRow, Lines)>) {
    for (row, lines) in told {
        let mark = row.fate.mark();
        let direction = format!("{} > {}", labels.node(row.source), labels.node(row.destination));
        let name = name(row);
        let mut head = format!("{mark}{direction:<16} {name:<5}");
        if lines.is_empty() {
            let _ = writeln!(out, "{}", head.trim_end());
        }
        for (key, value) in lines {
            let _ = writeln!(out, "{head} {key:<17} {value}");
            head = " ".repeat(24);
        }
    }
}

/// The message's name: `REQ`.
pub(super) fn name(row: &CmRow) -> String {
    match row.mad() {
        Some(mad) => attribute_name(mad.attribute_id())
            .map_or_else(|| format!("Unknown({:#06x})", mad.attribute_id()), str::to_owned),
        None => "MAD cut".to_owned(),
    }
}

/// The connection management packets of one connection, or those of none, each with its parameters.
pub(super) fn parts<'a>(
    report: &Report,
    labels: &Labels<'a>,
    connection: Option<ConnectionId>,
) -> Vec<(&'a CmRow, Vec<(&'static str, String)>)> {
    let mut ids = Ids::default();
    let rows = of(labels, connection).into_iter();
    rows.map(|row| (row, lines(report, labels, row, connection, &mut ids))).collect()
}

fn lines(
    report: &Report,
    labels: &Labels<'_>,
    row: &CmRow,
    connection: Option<ConnectionId>,
    ids: &mut Ids,
) -> Lines {
    let mut lines = Vec::new();
    match row.mad().map(|mad| (mad.transaction_id(), mad.message())) {
        Some((transaction, Ok(message))) => {
            parameters(&mut lines, report, labels, row, connection, &message);
            relations(
                &mut lines,
                row,
                connection.and_then(|index| report.connection(index)).map(|c| c.active.address),
                transaction,
                &message,
                ids,
            );
        }
        Some((_, Err(stop))) => lines.push(("stop", stop.to_string())),
        None => {}
    }
    if matches!(row.icrc, Icrc::Bad { .. }) {
        lines.push(("ICRC", "bad".to_owned()));
    }
    if row.p_key != 0xffff {
        lines.push(("P_Key of packet", format!("{:#06x}", row.p_key)));
    }
    if let Some(words) = row.fate.words() {
        lines.push(("fate", words));
    }
    lines
}

fn parameters(
    lines: &mut Vec<(&'static str, String)>,
    report: &Report,
    labels: &Labels<'_>,
    row: &CmRow,
    connection: Option<ConnectionId>,
    message: &Message<'_>,
) {
    let private_data = match message {
        Message::Req(req) => {
            request(lines, labels, row, connection, req);
            req.consumer_private_data()
        }
        Message::Rep(rep) => {
            reply(lines, labels, row, connection, rep);
            rep.private_data()
        }
        Message::Rej(rej) => {
            let which =
                ["REQ", "REP", "no message"].get(usize::from(rej.message())).copied().unwrap_or("Unknown(3)");
            lines.push(("reason", format!("{}, of {which}", rej.reason())));
            rej.private_data()
        }
        Message::Mra(mra) => {
            lines.push((
                "service timeout",
                format!("code {}, of message {}", mra.service_timeout(), mra.message()),
            ));
            mra.private_data()
        }
        Message::Dreq(dreq) => {
            let receiver = connection.and_then(|index| {
                let connection = report.connection(index)?;
                let side = [Side::Active, Side::Passive].into_iter().find(|side| {
                    let end = connection.endpoint(*side);
                    end.address == row.destination && end.qpn == Some(dreq.remote_qpn())
                })?;
                Some(labels.queue_pair(index, side).to_owned())
            });
            lines.push((QUEUE_PAIR, receiver.unwrap_or_else(|| NOT_ITS_OWN.to_owned())));
            dreq.private_data()
        }
        other => other.private_data(),
    };
    let words = private_data_words(labels, row.source, private_data, matches!(message, Message::Rep(_)));
    if matches!(message, Message::Req(_) | Message::Rep(_) | Message::Rej(_)) || words != "none" {
        lines.push(("private data", words));
    }
}

fn queue_pair(labels: &Labels<'_>, row: &CmRow, connection: Option<ConnectionId>, side: Side) -> String {
    let node = labels.node(row.source);
    connection.map_or_else(|| format!("{node}.qp?"), |index| labels.queue_pair(index, side).to_owned())
}

fn request(
    lines: &mut Vec<(&'static str, String)>,
    labels: &Labels<'_>,
    row: &CmRow,
    connection: Option<ConnectionId>,
    req: &Req<'_>,
) {
    let transport =
        ["RC", "UC", "RD", "extended"].get(usize::from(req.transport_service())).copied().unwrap_or_default();
    let mtu = path_mtu_bytes(req.path_mtu_code())
        .map_or_else(|| format!("Unknown({})", req.path_mtu_code()), |bytes| format!("{bytes} bytes"));
    let timeout = req.primary_ack_timeout();
    let time = ack_timeout_ns(timeout).map_or_else(|| "none".to_owned(), duration);
    let psn = connection.map_or_else(String::new, |index| {
        labels.psn(StreamId { connection: index, requester: Side::Passive }, req.starting_psn())
    });
    lines.push(("service", format!("{}, {transport}", req.port_space())));
    lines.push((
        "queue pair",
        format!("{}, starting PSN {psn}", queue_pair(labels, row, connection, Side::Active)),
    ));
    lines.push(("path", format!("MTU {mtu}, P_Key {:#06x}, ACK timeout {timeout} ({time})", req.p_key())));
    lines.push((
        "GIDs",
        format!("{} > {}", labels.node(req.primary_local_gid()), labels.node(req.primary_remote_gid())),
    ));
    lines.push((
        "limits",
        format!(
            "responder resources {}, initiator depth {}",
            req.responder_resources(),
            req.initiator_depth()
        ),
    ));
    let (retry, rnr, cm) = (req.retry_count(), req.rnr_retry_count(), req.max_cm_retries());
    lines.push(("retries", format!("retry count {retry}, RNR retry {rnr}, CM retries {cm}")));
    let (local, remote) = (req.local_response_timeout(), req.remote_response_timeout());
    lines.push(("CM timeouts", format!("local {local}, remote {remote}")));
    if req.srq() || req.flow_control() {
        let words = [(req.srq(), "SRQ"), (req.flow_control(), "end-to-end flow control")];
        lines.push((
            "flags",
            words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect::<Vec<_>>().join(", "),
        ));
    }
    if let Some(ip_cm) = req.ip_cm() {
        let name =
            |address: Option<IpAddr>| address.map_or_else(|| "?".to_owned(), |address| labels.node(address));
        let (major, minor, ip) = (ip_cm.major_version(), ip_cm.minor_version(), ip_cm.ip_version());
        let (source, destination) = (name(ip_cm.source()), name(ip_cm.destination()));
        lines.push((
            "IP CM",
            format!("version {major}.{minor}, IPv{ip}, {source} port <port> > {destination}"),
        ));
    }
}

fn reply(
    lines: &mut Vec<(&'static str, String)>,
    labels: &Labels<'_>,
    row: &CmRow,
    connection: Option<ConnectionId>,
    rep: &Rep<'_>,
) {
    let psn = connection.map_or_else(String::new, |index| {
        labels.psn(StreamId { connection: index, requester: Side::Active }, rep.starting_psn())
    });
    lines.push((
        "queue pair",
        format!("{}, starting PSN {psn}", queue_pair(labels, row, connection, Side::Passive)),
    ));
    lines.push((
        "limits",
        format!(
            "responder resources {}, initiator depth {}",
            rep.responder_resources(),
            rep.initiator_depth()
        ),
    ));
    lines.push((
        "retries",
        format!("RNR retry {}, target ACK delay {}", rep.rnr_retry_count(), rep.target_ack_delay()),
    ));
    if rep.srq() || rep.flow_control() || rep.failover_accepted() != 0 {
        let words = [
            (rep.srq(), "SRQ"),
            (rep.flow_control(), "end-to-end flow control"),
            (rep.failover_accepted() != 0, "failover not accepted"),
        ];
        lines.push((
            "flags",
            words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect::<Vec<_>>().join(", "),
        ));
    }
}

/// Checks the random ids against those of the messages before; only what does not match is shown.
fn relations(
    lines: &mut Vec<(&'static str, String)>,
    row: &CmRow,
    active: Option<IpAddr>,
    transaction: u64,
    message: &Message<'_>,
    ids: &mut Ids,
) {
    match message {
        Message::Req(req) => {
            ids.active = Some(req.local_comm_id());
            ids.connect_transaction = Some(transaction);
            return;
        }
        Message::Unknown { .. } => return,
        Message::Rep(rep) => ids.passive = ids.passive.or(Some(rep.local_comm_id())),
        _ => {}
    }
    let is_active = active == Some(row.source) && !matches!(message, Message::Rep(_));
    let (local, remote) = if is_active { (ids.active, ids.passive) } else { (ids.passive, ids.active) };
    let differs = |known: Option<u32>, got: Option<u32>| known.is_some() && got.is_some() && known != got;
    if differs(local, message.local_comm_id()) && !matches!(message, Message::Rej(_)) {
        lines.push(("local comm id", "not the one of before".to_owned()));
    }
    if differs(remote, message.remote_comm_id()) {
        lines.push(("remote comm id", "not the peer's".to_owned()));
    }
    let is_foreign = match message {
        Message::Dreq(_) => {
            ids.disconnect_transactions.push((row.source, transaction));
            return;
        }
        Message::Drep(_) => {
            let mut asked = ids
                .disconnect_transactions
                .iter()
                .filter(|(sender, _)| *sender == row.destination)
                .peekable();
            asked.peek().is_some() && !asked.any(|(_, asked)| *asked == transaction)
        }
        _ => ids.connect_transaction.is_some_and(|expected| expected != transaction),
    };
    if is_foreign {
        lines.push(("transaction", "not the request's".to_owned()));
    }
}

/// A time with three digits: `2.15 s`, `8.19 us`.
fn duration(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000_000 => (ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

fn private_data_words(labels: &Labels<'_>, source: IpAddr, field: &[u8], is_rep: bool) -> String {
    match PrivateData::new(field, is_rep) {
        PrivateData::None => "none".to_owned(),
        PrivateData::Text(text) => format!("{text:?}"),
        PrivateData::Advert(advert) => {
            format!(
                "va {}, rkey {}",
                labels.memory(source, advert.va, advert.rkey),
                labels.rkey(source, advert.rkey)
            )
        }
        PrivateData::Bytes(bytes) => {
            // Whole words: zeros at the end may belong to the last number.
            let whole = field.get(..bytes.len().next_multiple_of(4)).unwrap_or(bytes);
            hex_words(labels, whole)
        }
    }
}

/// Bytes in hexadecimal, four to a word, with what is a known address or key renamed.
fn hex_words(labels: &Labels<'_>, mut bytes: &[u8]) -> String {
    let mut words = Vec::new();
    let numbers: Vec<u32> = bytes.as_chunks().0.iter().copied().map(u32::from_be_bytes).collect();
    while !bytes.is_empty() {
        if let Some((eight, rest)) = bytes.split_first_chunk()
            && let Some(region) = labels.region_at(u64::from_be_bytes(*eight), &numbers)
        {
            words.push(format!("<va {}+0>", region.name));
            bytes = rest;
        } else if let Some((four, rest)) = bytes.split_first_chunk() {
            let word = u32::from_be_bytes(*four);
            words.push(
                labels
                    .region_of(word)
                    .map_or_else(|| format!("{word:08x}"), |region| format!("<rkey {}>", region.name)),
            );
            bytes = rest;
        } else {
            words.push(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
            bytes = &[];
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        assert_eq!(
            [8_192, 4_194_304, 67_108_864, 2_147_483_648].map(duration),
            ["8.19 us", "4.19 ms", "67.1 ms", "2.15 s"]
        );
    }
}
