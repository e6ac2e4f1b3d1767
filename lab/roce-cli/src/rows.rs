//! Rows of packets and messages, and the Parquet files that `roce export` writes them into.

use std::path::Path;
use std::process::ExitCode;

use roce::capture::Record;
use roce::wire::{Encapsulation, Frame, Icrc, Packet};
use roce::{Analysis, Message, Names};

use crate::filter::PacketInfo;
use crate::input::{FileArg, Input};
use crate::output;
use crate::parquet::{Cell, ColumnKind, ParquetTable};
use crate::{Common, Error};

/// The columns of a packet; docs/captures.md says what each is.
const PACKET: [(&str, ColumnKind); 24] = [
    ("number", ColumnKind::Number),
    ("time", ColumnKind::Time),
    ("length_bytes", ColumnKind::Number),
    ("captured_bytes", ColumnKind::Number),
    ("source", ColumnKind::Text),
    ("destination", ColumnKind::Text),
    ("source_address", ColumnKind::Text),
    ("destination_address", ColumnKind::Text),
    ("version", ColumnKind::Number),
    ("encapsulation", ColumnKind::Text),
    ("ecn", ColumnKind::Number),
    ("udp_source_port", ColumnKind::Number),
    ("opcode", ColumnKind::Text),
    ("opcode_number", ColumnKind::Number),
    ("destination_qp", ColumnKind::Number),
    ("psn", ColumnKind::Number),
    ("ack_req", ColumnKind::Truth),
    ("payload_bytes", ColumnKind::Number),
    ("va", ColumnKind::Number),
    ("rkey", ColumnKind::Number),
    ("immediate", ColumnKind::Number),
    ("syndrome", ColumnKind::Text),
    ("icrc", ColumnKind::Text),
    ("comment", ColumnKind::Text),
];

/// The columns of a message.
const MESSAGE: [(&str, ColumnKind); 18] = [
    ("packet_first", ColumnKind::Number),
    ("packet_last", ColumnKind::Number),
    ("time", ColumnKind::Time),
    ("kind", ColumnKind::Text),
    ("source", ColumnKind::Text),
    ("destination", ColumnKind::Text),
    ("source_address", ColumnKind::Text),
    ("destination_address", ColumnKind::Text),
    ("source_qp", ColumnKind::Number),
    ("destination_qp", ColumnKind::Number),
    ("psn_first", ColumnKind::Number),
    ("psn_last", ColumnKind::Number),
    ("bytes", ColumnKind::Number),
    ("immediate", ColumnKind::Number),
    ("va", ColumnKind::Number),
    ("rkey", ColumnKind::Number),
    ("outcome", ColumnKind::Text),
    ("latency_ns", ColumnKind::Number),
];

fn packet_row(record: &Record<'_>, packet: &Packet<'_>, names: &Names) -> [Cell; PACKET.len()] {
    let bth = packet.bth;
    let memory = packet.remote_memory();
    let is_in_tunnel = packet.encapsulation != Encapsulation::None;
    let icrc = match packet.icrc {
        Icrc::Good => "good",
        Icrc::Bad { .. } => "bad",
        Icrc::Unverifiable => "unverifiable",
    };
    [
        record.number.into(),
        record.timestamp_ns.into(),
        record.original_length_bytes.into(),
        (record.data.len() as u64).into(),
        names.get(packet.source).into(),
        names.get(packet.destination).into(),
        packet.source.to_string().into(),
        packet.destination.to_string().into(),
        if packet.grh.is_some() { 1u8 } else { 2 }.into(),
        is_in_tunnel.then(|| packet.encapsulation.to_string()).into(),
        packet.ecn.into(),
        packet.grh.is_none().then_some(u32::from(packet.udp_source_port)).into(),
        bth.map(|bth| bth.opcode().to_string()).into(),
        bth.map(|bth| bth.opcode().0).into(),
        bth.map(|bth| bth.destination_qpn()).into(),
        bth.map(|bth| bth.psn().value()).into(),
        bth.map(|bth| bth.ack_request()).into(),
        bth.map(|_| packet.payload_length_bytes as u64).into(),
        memory.map(|(va, _)| va).into(),
        memory.map(|(_, rkey)| rkey).into(),
        packet.immdt.map(|immdt| immdt.value()).into(),
        packet.aeth.map(|aeth| aeth.to_string()).into(),
        icrc.to_owned().into(),
        record.comment.map(str::to_owned).into(),
    ]
}

fn message_row(message: &Message, names: &Names) -> [Cell; MESSAGE.len()] {
    [
        message.packet_first.into(),
        message.packet_last.into(),
        message.sent_ns.into(),
        message.kind.to_string().into(),
        names.get(message.requester).into(),
        names.get(message.responder).into(),
        message.requester.to_string().into(),
        message.responder.to_string().into(),
        message.requester_qpn.into(),
        message.responder_qpn.into(),
        message.psn_first.value().into(),
        message.psn_last.value().into(),
        message.bytes.into(),
        message.immediate.into(),
        message.va.into(),
        message.rkey.into(),
        message.outcome.to_string().into(),
        message.ended_ns.map(|ended_ns| ended_ns.saturating_sub(message.sent_ns)).into(),
    ]
}

/// Writes the files that are named, in memory that does not grow with the capture.
pub(crate) fn write(
    file: &FileArg,
    common: &Common,
    packets: Option<&Path>,
    messages: Option<&Path>,
    defaults: Names,
) -> Result<ExitCode, Error> {
    let mut input = Input::open(&file.files, common)?;
    let names = common.names(defaults, &file.files);
    let filter = common.filter(&file.files, &names)?;
    let table = |path: Option<&Path>, name, columns: &[(&str, ColumnKind)]| {
        path.map(|path| ParquetTable::create(path, name, columns)).transpose()
    };
    let mut packets = table(packets, "packet", &PACKET)?;
    let mut messages = table(messages, "message", &MESSAGE)?;
    let mut analysis = Analysis::streaming(names);
    let mut first = None;
    let mut write = |message: &Message, names: &Names, first_ns: u64| match &mut messages {
        Some(table) if filter.matches(&PacketInfo::of_message(message, first_ns, false), names) => {
            table.row(message_row(message, names))
        }
        _ => Ok(()),
    };
    let stopped = input.for_each(|record, frame| {
        let first_ns = *first.get_or_insert(record.timestamp_ns);
        analysis.push_frame(record, frame);
        let findings = analysis.take_findings();
        if let (Frame::Roce(packet), Some(table)) = (frame, &mut packets) {
            let has_finding = findings.iter().any(|finding| finding.packet == record.number);
            let info = PacketInfo::of_packet(record, packet, first_ns, has_finding);
            if filter.matches(&info, analysis.names()) {
                table.row(packet_row(record, packet, analysis.names()))?;
            }
        }
        for message in analysis.take_messages() {
            write(&message, analysis.names(), first_ns)?;
        }
        Ok(true)
    })?;
    analysis.lost_by_capture(input.lost_elsewhere());
    let report = analysis.finish();
    for message in &report.messages {
        write(message, &report.names, first.unwrap_or_default())?;
    }
    for table in [packets, messages].into_iter().flatten() {
        table.finish()?;
    }
    output::remarks(&input.name, &report, stopped.is_none());
    output::note_in_vain(&filter, "packet or message", &input.name);
    stopped.map_or(Ok(ExitCode::SUCCESS), Err)
}
