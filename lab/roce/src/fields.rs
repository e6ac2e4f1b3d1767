//! Every decoded field of a packet: its place in the frame, its bytes and value, and tshark's name for it.
//!
//! In: a [`Packet`]. Out: [`PlacedField`]s, or pairs of tshark's field name and the text that `tshark -T fields` prints for it, both in the order of the wire.
//! The pairs are made to compare this crate with tshark 4.0, field by field; what tshark does not decode (XRC headers, FETH, congestion notifications, MRA)
//! has no name there and is no pair, nor is the REQ's primary flow label and packet rate, which it takes from the wrong bits.

use std::net::IpAddr;

use crate::cm::{IpCm, Mad, Message, PortSpace, Req};
use crate::wire::{
    Aeth, Bth, Extended, Grh, Opcode, Packet, PlacedField, PlacedHeader, Syndrome, TransportService, UDP_PORT,
};

/// Name of a field in tshark, and its value as text.
pub type TsharkField = (&'static str, String);

/// Places every field of the packet's headers: GRH, BTH, extended headers, and those of connection management in the payload.
///
/// # Example
/// ```
/// use roce::fields::placed_fields;
/// use roce::wire::{Frame, LinkType};
///
/// let frame = &roce::synth::Pair::new(1).write_then_read()[3];
/// let Frame::Roce(packet) = Frame::decode(LinkType::ETHERNET, frame) else { panic!("RoCE") };
/// let length = placed_fields(&packet).find(|placed| placed.field.name() == "dma_length").unwrap();
/// assert_eq!((length.header.layer, length.offset(), length.bytes()), ("reth", 66, &[0, 0, 0, 18][..]));
/// assert_eq!((length.to_string().as_str(), length.field.tshark_name()), ("18", Some("infiniband.reth.dmalen")));
/// assert_eq!(frame[length.offset()..][..4], [0, 0, 0, 18]);
/// ```
pub fn placed_fields<'a>(packet: &Packet<'a>) -> impl Iterator<Item = PlacedField<'a>> + use<'a> {
    let headers: Vec<_> = packet.headers().chain(management_headers(packet)).collect();
    headers.into_iter().flat_map(|header| header.placed_fields())
}

/// Places the headers of connection management.
fn management_headers<'a>(packet: &Packet<'a>) -> impl Iterator<Item = PlacedHeader<'a>> + use<'a> {
    let mad = packet.mad().and_then(Result::ok);
    let header = mad.map(|mad| mad.placed(packet.payload_offset));
    let message = mad.and_then(|mad| Some((mad.cm_message()?, mad.data_offset())));
    let placed = message.and_then(|(message, offset)| message.placed(offset));
    let ip_cm = message.and_then(|(message, _)| match message {
        Message::Req(req) => Some(req.ip_cm()?.placed(placed?.field("private_data")?.offset())),
        _ => None,
    });
    header.into_iter().chain(placed).chain(ip_cm)
}

impl<'a> Mad<'a> {
    /// The message of connection management, if it is one and whole.
    fn cm_message(&self) -> Option<Message<'a>> {
        self.message().ok().filter(|_| self.is_cm())
    }
}

/// Returns every field that this crate decodes and tshark 4.0 names.
pub fn tshark_fields(packet: &Packet<'_>) -> impl Iterator<Item = TsharkField> {
    let mut fields = Vec::with_capacity(48);
    if packet.grh.is_none() {
        network(&mut fields, packet);
    }
    let is_decoded = packet.opcode().is_some_and(is_decoded_by_tshark);
    let headers =
        packet.headers().filter(|header| is_decoded || [Grh::LAYER, Bth::LAYER].contains(&header.layer));
    for placed in headers.flat_map(|header| header.placed_fields()) {
        push(&mut fields, &placed);
        if placed.header.layer == Aeth::LAYER && placed.field.name() == "syndrome" {
            syndrome(&mut fields, packet);
        }
    }
    let req = packet.mad().and_then(Result::ok).and_then(|mad| match mad.cm_message() {
        Some(Message::Req(req)) => Some(req),
        _ => None,
    });
    for placed in management_headers(packet).flat_map(|header| header.placed_fields()) {
        match &req {
            Some(req) if [Req::LAYER, IpCm::LAYER].contains(&placed.header.layer) => {
                request(&mut fields, req, &placed);
            }
            _ => push(&mut fields, &placed),
        }
    }
    if let Some(value) = packet.icrc_value {
        // tshark shows the four bytes as a big-endian number.
        fields.push(("infiniband.invariant.crc", format!("{:#010x}", value.swap_bytes())));
    }
    fields.into_iter()
}

fn push(fields: &mut Vec<TsharkField>, placed: &PlacedField<'_>) {
    fields.extend(placed.field.tshark_name().map(|name| (name, placed.to_string())));
}

/// Fields of IP and UDP.
fn network(fields: &mut Vec<TsharkField>, packet: &Packet<'_>) {
    let (source, destination) = match packet.source {
        IpAddr::V4(_) => ("ip.src", "ip.dst"),
        IpAddr::V6(_) => ("ipv6.src", "ipv6.dst"),
    };
    fields.extend([
        (source, packet.source.to_string()),
        (destination, packet.destination.to_string()),
        ("udp.srcport", packet.udp_source_port.to_string()),
        ("udp.dstport", UDP_PORT.to_string()),
        ("udp.length", packet.udp_length_bytes.to_string()),
    ]);
}

/// Opcodes that tshark 4.0 knows: those of RC, UC, RD and UD without FLUSH, ATOMIC WRITE and newer ones.
fn is_decoded_by_tshark(opcode: Opcode) -> bool {
    matches!(
        opcode.transport(),
        TransportService::Rc | TransportService::Uc | TransportService::Rd | TransportService::Ud
    ) && opcode.0 & 0x1f < 0x18
}

/// Parts into which tshark takes the syndrome of an AETH.
fn syndrome(fields: &mut Vec<TsharkField>, extended: &Extended<'_>) {
    let Some(aeth) = extended.aeth else { return };
    let byte = aeth.syndrome_byte();
    fields.push(("infiniband.aeth.syndrome.opcode", ((byte >> 5) & 0x3).to_string()));
    let name = match aeth.syndrome() {
        Syndrome::Ack { .. } => "infiniband.aeth.syndrome.credit_count",
        Syndrome::RnrNak { .. } => "infiniband.aeth.syndrome.timer",
        Syndrome::Nak(_) => "infiniband.aeth.syndrome.error_code",
        Syndrome::Unknown(_) => return,
    };
    fields.push((name, (byte & 0x1f).to_string()));
}

/// Fields of a REQ and its IP CM header: names of addresses depend on their version, and the service id is taken apart when librdmacm made it.
fn request(fields: &mut Vec<TsharkField>, req: &Req<'_>, placed: &PlacedField<'_>) {
    let ip_cm = req.ip_cm();
    let mut address = |address: Option<IpAddr>, v4, v6| {
        fields.extend(address.map(|address| (if address.is_ipv4() { v4 } else { v6 }, address.to_string())));
    };
    match (placed.field.name(), ip_cm) {
        ("primary_local_gid", _) => address(
            Some(req.primary_local_gid()),
            "infiniband.cm.req.prim_localgid_ipv4",
            "infiniband.cm.req.prim_localgid",
        ),
        ("primary_remote_gid", _) => address(
            Some(req.primary_remote_gid()),
            "infiniband.cm.req.prim_remotegid_ipv4",
            "infiniband.cm.req.prim_remotegid",
        ),
        ("source_bytes", Some(ip_cm)) => {
            address(ip_cm.source(), "infiniband.cm.req.ip_cm.sip4", "infiniband.cm.req.ip_cm.sip6");
        }
        ("destination_bytes", Some(ip_cm)) => {
            address(ip_cm.destination(), "infiniband.cm.req.ip_cm.dip4", "infiniband.cm.req.ip_cm.dip6");
        }
        ("service_id", Some(_)) => {
            let (PortSpace::Tcp(port) | PortSpace::Udp(port) | PortSpace::Ib(port)) = req.port_space() else {
                return;
            };
            let (id, protocol) = (req.service_id(), (req.service_id() >> 16) as u8);
            fields.extend([
                ("infiniband.cm.req.serviceid.prefix", format!("{:010x}", id >> 24)),
                ("infiniband.cm.req.serviceid.protocol", format!("{protocol:#04x}")),
                ("infiniband.cm.req.serviceid.dport", format!("{port:#06x}")),
            ]);
        }
        ("private_data", Some(_)) => {
            let private: String =
                req.consumer_private_data().iter().map(|byte| format!("{byte:02x}")).collect();
            fields.push(("infiniband.cm.req.ip_cm.private", private));
        }
        _ => push(fields, placed),
    }
}
