//! JSON lines: one object a line. Fields that tshark has too carry its names; the others begin with `roce.`.

use serde_json::{Map, Value, json};

use roce::capture::Record;
use roce::fields::tshark_fields;
use roce::wire::{Encapsulation, Icrc, Packet};
use roce::{Finding, Message, Names};

/// The time as tshark's `frame.time_epoch` has it.
pub(super) fn epoch(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

fn address_key(address: std::net::IpAddr, v4: &'static str, v6: &'static str) -> &'static str {
    if address.is_ipv4() { v4 } else { v6 }
}

/// A packet: every decoded field, as text, in the order of the wire.
pub(super) fn packet(record: &Record<'_>, packet: &Packet<'_>, names: &Names) -> Value {
    let mut object = Map::new();
    object.insert("roce.type".to_owned(), "packet".into());
    object.insert("frame.number".to_owned(), record.number.into());
    object.insert("frame.time_epoch".to_owned(), epoch(record.timestamp_ns).into());
    object.insert("frame.len".to_owned(), record.original_length_bytes.into());
    if let Some(comment) = record.comment {
        object.insert("frame.comment".to_owned(), comment.into());
    }
    for (name, value) in tshark_fields(packet) {
        object.entry(name).or_insert(value.into());
    }
    object.insert("roce.version".to_owned(), if packet.grh.is_some() { 1 } else { 2 }.into());
    if packet.encapsulation != Encapsulation::None {
        object.insert("roce.encapsulation".to_owned(), packet.encapsulation.to_string().into());
    }
    if packet.frames > 1 {
        object.insert("roce.fragments".to_owned(), packet.frames.into());
    }
    object.insert("roce.source".to_owned(), names.get(packet.source).into());
    object.insert("roce.destination".to_owned(), names.get(packet.destination).into());
    if let Some(opcode) = packet.opcode() {
        object.insert("roce.opcode".to_owned(), opcode.to_string().into());
        object.insert("roce.payload_bytes".to_owned(), packet.payload_length_bytes.into());
    }
    let icrc = match packet.icrc {
        Icrc::Good => "good",
        Icrc::Bad { .. } => "bad",
        Icrc::Unverifiable => "unverifiable",
    };
    object.insert("roce.icrc".to_owned(), icrc.into());
    if let Some(stop) = packet.stop {
        object.insert("roce.stop".to_owned(), stop.to_string().into());
    }
    Value::Object(object)
}

/// A finding.
pub(super) fn finding(finding: &Finding, names: &Names) -> Value {
    json!({
        "roce.type": "finding",
        "frame.number": finding.packet,
        "roce.rule": finding.rule.name(),
        "roce.severity": finding.severity.to_string(),
        "roce.title": finding.rule.title(),
        "roce.evidence": finding.evidence.to_string(),
        "roce.source": names.get(finding.source),
        "roce.destination": names.get(finding.destination),
        address_key(finding.source, "ip.src", "ipv6.src"): finding.source.to_string(),
        address_key(finding.destination, "ip.dst", "ipv6.dst"): finding.destination.to_string(),
        "infiniband.bth.psn": finding.psn.map(|psn| psn.to_string()),
        "roce.message": finding.message,
    })
}

/// A message.
pub(super) fn message(message: &Message, names: &Names) -> Value {
    json!({
        "roce.type": "message",
        "frame.number": message.packet_first,
        "frame.time_epoch": epoch(message.sent_ns),
        "roce.packet_last": message.packet_last,
        "roce.kind": message.kind.to_string(),
        "roce.source": names.get(message.requester),
        "roce.destination": names.get(message.responder),
        address_key(message.requester, "ip.src", "ipv6.src"): message.requester.to_string(),
        address_key(message.responder, "ip.dst", "ipv6.dst"): message.responder.to_string(),
        "roce.source_qp": message.requester_qpn.map(|qpn| format!("{qpn:#08x}")),
        "infiniband.bth.destqp": format!("{:#08x}", message.responder_qpn),
        "infiniband.bth.psn": message.psn_first.to_string(),
        "roce.psn_last": message.psn_last.to_string(),
        "roce.bytes": message.bytes,
        "infiniband.immdt": message.immediate.map(|immediate| format!("{immediate:08x}")),
        "infiniband.reth.va": message.va.map(|va| format!("{va:#018x}")),
        "infiniband.reth.r_key": message.rkey.map(|rkey| format!("{rkey:#010x}")),
        "roce.outcome": message.outcome.to_string(),
        "roce.latency_ns": message.ended_ns.map(|ended| ended.saturating_sub(message.sent_ns)),
    })
}
