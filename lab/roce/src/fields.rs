//! Every decoded field under tshark's name, in the text that `tshark -T fields` prints for it.
//!
//! In: a [`Packet`]. Out: pairs of field name and value, in the order of the wire. Made to compare this crate with tshark 4.0, field by field; what tshark does
//! not decode (XRC headers, FETH, congestion notifications, MRA) has no name there and is not listed, nor is the
//! REQ's primary flow label and packet rate, which it takes from the wrong bits.

use std::net::IpAddr;

use crate::cm::{Message, PortSpace, Rej, Rep, Req};
use crate::wire::{Opcode, Packet, Syndrome, Transport};

/// A field's name and its value as text.
pub type Field = (&'static str, String);

/// Gives every field that this crate decodes and tshark 4.0 names.
pub fn tshark_fields(packet: &Packet<'_>) -> impl Iterator<Item = Field> {
    let mut fields = Vec::with_capacity(48);
    network(&mut fields, packet);
    headers(&mut fields, packet);
    if let Some(Ok(mad)) = packet.mad() {
        fields.extend([
            ("infiniband.mad.baseversion", format!("{:#04x}", mad.base_version())),
            ("infiniband.mad.mgmtclass", format!("{:#04x}", mad.class())),
            ("infiniband.mad.classversion", format!("{:#04x}", mad.class_version())),
            ("infiniband.mad.method", format!("{:#04x}", mad.method())),
            ("infiniband.mad.status", format!("{:#06x}", mad.status())),
            ("infiniband.mad.classspecific", format!("{:#06x}", mad.class_specific())),
            ("infiniband.mad.transactionid", format!("{:#018x}", mad.transaction_id())),
            ("infiniband.mad.attributeid", format!("{:#06x}", mad.attribute_id())),
            ("infiniband.mad.attributemodifier", format!("{:#010x}", mad.attribute_modifier())),
        ]);
        if mad.is_cm()
            && let Ok(message) = mad.message()
        {
            connection_management(&mut fields, &message);
        }
    }
    if let Some(value) = packet.icrc_value {
        // tshark shows the four bytes as a big-endian number.
        fields.push(("infiniband.invariant.crc", format!("{:#010x}", value.swap_bytes())));
    }
    fields.into_iter()
}

fn flag(set: bool) -> String {
    u8::from(set).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn network(fields: &mut Vec<Field>, packet: &Packet<'_>) {
    if let Some(grh) = packet.grh {
        fields.extend([
            ("infiniband.grh.ipver", grh.version().to_string()),
            ("infiniband.grh.tclass", grh.traffic_class().to_string()),
            ("infiniband.grh.flowlabel", grh.flow_label().to_string()),
            ("infiniband.grh.paylen", grh.payload_length().to_string()),
            ("infiniband.grh.nxthdr", grh.next_header().to_string()),
            ("infiniband.grh.hoplmt", grh.hop_limit().to_string()),
            ("infiniband.grh.sgid", grh.source_gid().to_string()),
            ("infiniband.grh.dgid", grh.destination_gid().to_string()),
        ]);
        return;
    }
    let (source, destination) = match packet.source {
        IpAddr::V4(_) => ("ip.src", "ip.dst"),
        IpAddr::V6(_) => ("ipv6.src", "ipv6.dst"),
    };
    fields.extend([
        (source, packet.source.to_string()),
        (destination, packet.destination.to_string()),
        ("udp.srcport", packet.udp_source_port.to_string()),
        ("udp.dstport", crate::wire::UDP_PORT.to_string()),
        ("udp.length", packet.udp_length_bytes.to_string()),
    ]);
}

fn headers(fields: &mut Vec<Field>, packet: &Packet<'_>) {
    let Some(bth) = packet.bth else { return };
    fields.extend([
        ("infiniband.bth.opcode", bth.opcode().0.to_string()),
        ("infiniband.bth.se", flag(bth.solicited_event())),
        ("infiniband.bth.m", flag(bth.migration_request())),
        ("infiniband.bth.padcnt", bth.pad_count().to_string()),
        ("infiniband.bth.tver", bth.transport_version().to_string()),
        ("infiniband.bth.p_key", bth.p_key().to_string()),
        ("infiniband.bth.destqp", format!("{:#08x}", bth.destination_qpn())),
        ("infiniband.bth.a", flag(bth.ack_request())),
        ("infiniband.bth.reserved7", bth.reserved7().to_string()),
        ("infiniband.bth.psn", bth.psn().to_string()),
    ]);
    if !is_decoded_by_tshark(bth.opcode()) {
        return;
    }
    if let Some(rdeth) = packet.rdeth {
        fields.push(("infiniband.rdeth.eecnxt", rdeth.ee_context().to_string()));
    }
    if let Some(deth) = packet.deth {
        fields.push(("infiniband.deth.q_key", format!("{:#018x}", deth.q_key())));
        fields.push(("infiniband.deth.srcqp", format!("{:#010x}", deth.source_qpn())));
    }
    if let Some(reth) = packet.reth {
        fields.push(("infiniband.reth.va", format!("{:#018x}", reth.va())));
        fields.push(("infiniband.reth.r_key", format!("{:#010x}", reth.rkey())));
        fields.push(("infiniband.reth.dmalen", reth.dma_length().to_string()));
    }
    if let Some(atomic) = packet.atomic_eth {
        fields.push(("infiniband.reth.va", format!("{:#018x}", atomic.va())));
        fields.push(("infiniband.reth.r_key", format!("{:#010x}", atomic.rkey())));
        fields.push(("infiniband.atomiceth.swapdt", atomic.swap_or_add().to_string()));
        fields.push(("infiniband.atomiceth.cmpdt", atomic.compare().to_string()));
    }
    if let Some(aeth) = packet.aeth {
        let byte = aeth.syndrome_byte();
        fields.push(("infiniband.aeth.syndrome", byte.to_string()));
        fields.push(("infiniband.aeth.syndrome.opcode", ((byte >> 5) & 0x3).to_string()));
        let value = (byte & 0x1f).to_string();
        match aeth.syndrome() {
            Syndrome::Ack { .. } => fields.push(("infiniband.aeth.syndrome.credit_count", value)),
            Syndrome::RnrNak { .. } => fields.push(("infiniband.aeth.syndrome.timer", value)),
            Syndrome::Nak(_) => fields.push(("infiniband.aeth.syndrome.error_code", value)),
            Syndrome::Unknown(_) => {}
        }
        fields.push(("infiniband.aeth.msn", aeth.msn().to_string()));
    }
    if let Some(ack) = packet.atomic_ack_eth {
        fields.push(("infiniband.atomicacketh.origremdt", ack.original().to_string()));
    }
    if let Some(immdt) = packet.immdt {
        fields.push(("infiniband.immdt", hex(immdt.bytes())));
    }
    if let Some(ieth) = packet.ieth {
        fields.push(("infiniband.ieth", hex(ieth.bytes())));
    }
}

/// tshark 4.0 knows the opcodes of RC, UC, RD and UD without FLUSH and ATOMIC WRITE.
fn is_decoded_by_tshark(opcode: Opcode) -> bool {
    matches!(opcode.transport(), Transport::Rc | Transport::Uc | Transport::Rd | Transport::Ud)
        && !matches!(opcode.0 & 0x1f, 0x1c | 0x1d)
}

fn connection_management(fields: &mut Vec<Field>, message: &Message<'_>) {
    let ids = |fields: &mut Vec<Field>, local, remote| {
        fields.push((local, format!("{:#010x}", message.local_comm_id().unwrap_or_default())));
        fields.push((remote, format!("{:#010x}", message.remote_comm_id().unwrap_or_default())));
    };
    match message {
        Message::Req(req) => request(fields, req),
        Message::Rep(rep) => reply(fields, rep),
        Message::Rtu(rtu) => {
            ids(fields, "infiniband.cm.rtu.localcommid", "infiniband.cm.rtu.remotecommid");
            fields.push(("infiniband.cm.rtu.private", hex(rtu.private_data())));
        }
        Message::Rej(rej) => {
            ids(fields, "infiniband.cm.rej.localcommid", "infiniband.cm.rej.remotecommid");
            reject(fields, rej);
        }
        Message::Dreq(dreq) => {
            ids(fields, "infiniband.cm.dreq.localcommid", "infiniband.cm.dreq.remotecommid");
            fields.push(("infiniband.cm.req.remoteqpneecn", format!("{:#08x}", dreq.remote_qpn())));
            fields.push(("infiniband.cm.dreq.private", hex(dreq.private_data())));
        }
        Message::Drep(drep) => {
            ids(fields, "infiniband.cm.drsp.localcommid", "infiniband.cm.drsp.remotecommid");
            fields.push(("infiniband.cm.drsp.private", hex(drep.private_data())));
        }
        Message::Mra(_) | Message::Unknown { .. } => {}
    }
}

fn request(fields: &mut Vec<Field>, req: &Req<'_>) {
    fields.extend([
        ("infiniband.cm.req", format!("{:#010x}", req.local_comm_id())),
        ("infiniband.cm.req.localcaguid", format!("{:#018x}", req.local_ca_guid())),
        ("infiniband.cm.req.localqkey", format!("{:#010x}", req.local_q_key())),
        ("infiniband.cm.req.localqpn", format!("{:#08x}", req.local_qpn())),
        ("infiniband.cm.req.responderres", format!("{:#04x}", req.responder_resources())),
        ("infiniband.cm.req.localeecn", format!("{:#08x}", req.local_eecn())),
        ("infiniband.cm.req.initdepth", format!("{:#04x}", req.initiator_depth())),
        ("infiniband.cm.req.remoteeecn", format!("{:#08x}", req.remote_eecn())),
        ("infiniband.cm.req.remoteresptout", format!("{:#04x}", req.remote_response_timeout())),
        ("infiniband.cm.req.transpsvctype", format!("{:#04x}", req.transport_service())),
        ("infiniband.cm.req.e2eflowctrl", format!("{:#04x}", u8::from(req.flow_control()))),
        ("infiniband.cm.req.startpsn", format!("{:#08x}", req.starting_psn().value())),
        ("infiniband.cm.req.localresptout", format!("{:#04x}", req.local_response_timeout())),
        ("infiniband.cm.req.retrcount", format!("{:#04x}", req.retry_count())),
        ("infiniband.cm.req.pkey", format!("{:#06x}", req.p_key())),
        ("infiniband.cm.req.pppmtu", format!("{:#04x}", req.path_mtu_code())),
        ("infiniband.cm.req.rdcexist", format!("{:#04x}", u8::from(req.rdc_exists()))),
        ("infiniband.cm.req.rnrretrcount", format!("{:#04x}", req.rnr_retry_count())),
        ("infiniband.cm.req.maxcmretr", format!("{:#04x}", req.max_cm_retries())),
        ("infiniband.cm.req.srq", format!("{:#04x}", u8::from(req.srq()))),
        ("infiniband.cm.req.ext_transport", format!("{:#04x}", req.extended_transport())),
        ("infiniband.cm.req.prim_locallid", req.primary_local_lid().to_string()),
        ("infiniband.cm.req.prim_remotelid", req.primary_remote_lid().to_string()),
        ("infiniband.cm.req.prim_tfcclass", format!("{:#04x}", req.primary_traffic_class())),
        ("infiniband.cm.req.prim_hoplim", format!("{:#04x}", req.primary_hop_limit())),
        ("infiniband.cm.req.prim_sl", format!("{:#04x}", req.primary_sl())),
        ("infiniband.cm.req.prim_subnetlocal", format!("{:#04x}", u8::from(req.primary_subnet_local()))),
        ("infiniband.cm.req.prim_localacktout", format!("{:#04x}", req.primary_ack_timeout())),
    ]);
    for (address, v4, v6) in [
        (req.primary_local_gid(), "infiniband.cm.req.prim_localgid_ipv4", "infiniband.cm.req.prim_localgid"),
        (
            req.primary_remote_gid(),
            "infiniband.cm.req.prim_remotegid_ipv4",
            "infiniband.cm.req.prim_remotegid",
        ),
    ] {
        fields.push((if address.is_ipv4() { v4 } else { v6 }, address.to_string()));
    }
    match (req.port_space(), req.ip_cm()) {
        (PortSpace::Unknown(_), _) | (_, None) => {
            fields.push(("infiniband.cm.req.serviceid", format!("{:#018x}", req.service_id())));
            fields.push(("infiniband.cm.req.private", hex(req.private_data())));
        }
        (_, Some(ip_cm)) => {
            let id = req.service_id().to_be_bytes();
            fields.extend([
                ("infiniband.cm.req.serviceid.prefix", hex(id.get(..5).unwrap_or_default())),
                ("infiniband.cm.req.serviceid.protocol", format!("{:#04x}", (req.service_id() >> 16) as u8)),
                ("infiniband.cm.req.serviceid.dport", format!("{:#06x}", req.service_id() as u16)),
                ("infiniband.cm.req.ip_cm.majv", format!("{:#04x}", ip_cm.major_version())),
                ("infiniband.cm.req.ip_cm.minv", format!("{:#04x}", ip_cm.minor_version())),
                ("infiniband.cm.req.ip_cm.ipv", format!("{:#04x}", ip_cm.ip_version())),
                ("infiniband.cm.req.ip_cm.sport", format!("{:#06x}", ip_cm.source_port())),
                ("infiniband.cm.req.ip_cm.private", hex(req.consumer_private_data())),
            ]);
            for (address, v4, v6) in [
                (ip_cm.source(), "infiniband.cm.req.ip_cm.sip4", "infiniband.cm.req.ip_cm.sip6"),
                (ip_cm.destination(), "infiniband.cm.req.ip_cm.dip4", "infiniband.cm.req.ip_cm.dip6"),
            ] {
                let Some(address) = address else { continue };
                fields.push((if address.is_ipv4() { v4 } else { v6 }, address.to_string()));
            }
        }
    }
}

fn reply(fields: &mut Vec<Field>, rep: &Rep<'_>) {
    fields.extend([
        ("infiniband.cm.rep", format!("{:#010x}", rep.local_comm_id())),
        ("infiniband.cm.rep.remotecommid", format!("{:#010x}", rep.remote_comm_id())),
        ("infiniband.cm.rep.localqkey", format!("{:#010x}", rep.local_q_key())),
        ("infiniband.cm.rep.localqpn", format!("{:#08x}", rep.local_qpn())),
        ("infiniband.cm.rep.localeecn", format!("{:#08x}", rep.local_eecn())),
        ("infiniband.cm.rep.startpsn", format!("{:#08x}", rep.starting_psn().value())),
        ("infiniband.cm.rep.respres", format!("{:#04x}", rep.responder_resources())),
        ("infiniband.cm.rep.initdepth", format!("{:#04x}", rep.initiator_depth())),
        ("infiniband.cm.rep.tgtackdelay", format!("{:#04x}", rep.target_ack_delay())),
        ("infiniband.cm.rep.failoveracc", format!("{:#04x}", rep.failover_accepted())),
        ("infiniband.cm.rep.e2eflowctrl", format!("{:#04x}", u8::from(rep.flow_control()))),
        ("infiniband.cm.rep.rnrretrcount", format!("{:#04x}", rep.rnr_retry_count())),
        ("infiniband.cm.rep.srq", format!("{:#04x}", u8::from(rep.srq()))),
        ("infiniband.cm.rep.localcaguid", format!("{:#018x}", rep.local_ca_guid())),
        ("infiniband.cm.rep.private", hex(rep.private_data())),
    ]);
}

fn reject(fields: &mut Vec<Field>, rej: &Rej<'_>) {
    fields.extend([
        ("infiniband.cm.rej.msgrej", format!("{:#04x}", rej.message())),
        ("infiniband.cm.rej.rejinfolen", format!("{:#04x}", rej.info_length())),
        ("infiniband.cm.rej.reason", format!("{:#06x}", rej.reason().0)),
        ("infiniband.cm.rej.ari", hex(rej.info())),
        ("infiniband.cm.rej.private", hex(rej.private_data())),
    ]);
}
