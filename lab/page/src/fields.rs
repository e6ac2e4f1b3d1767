//! The fields of a packet with their places in the frame.
//!
//! In: a record and its packet. Out: rows of header, name, place and value, and their split: what packets of a kind share is a [`Layout`], and of the values
//! only those remain that the bytes do not tell.

use roce::capture::Record;
use roce::fields::placed_fields;
use roce::wire::{Aeth, Bth, Icrc, LinkType, Packet};

/// A field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownField {
    pub(crate) header: &'static str,
    pub(crate) name: &'static str,
    pub(crate) start: usize,
    pub(crate) length: usize,
    /// Whether it shares its bytes with others.
    pub(crate) is_part: bool,
    pub(crate) value: String,
    /// Meaning of the value.
    pub(crate) note: String,
}

/// How a value reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ShownNotation {
    /// As in the layout.
    Same,
    /// As in the packet's values.
    Own,
    Decimal,
    Hexadecimal,
    /// Hexadecimal digits without a prefix.
    Bytes,
    Ipv4,
    Mac,
}

/// Place of a field, with its value where all packets of the layout share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    pub(crate) header: &'static str,
    pub(crate) name: &'static str,
    pub(crate) start: usize,
    pub(crate) length: usize,
    pub(crate) notation: ShownNotation,
    pub(crate) value: String,
    pub(crate) note: String,
}

/// Fields that packets of one kind share.
pub(crate) type Layout = Vec<Slot>;

/// Splits fields into what packets of one kind share and the values that are the packet's own.
pub(crate) fn split(fields: Vec<ShownField>, data: &[u8]) -> (Layout, Vec<String>) {
    let (mut layout, mut values) = (Vec::with_capacity(fields.len()), Vec::new());
    for field in fields {
        let ShownField { header, name, start, length, is_part, value, note } = field;
        let bytes = data.get(start..start + length).unwrap_or_default();
        let notation = if is_part { ShownNotation::Same } else { notation(&value, bytes) };
        let value = match notation {
            ShownNotation::Own => {
                values.push(value);
                String::new()
            }
            ShownNotation::Same => value,
            _ => String::new(),
        };
        layout.push(Slot { header, name, start, length, notation, value, note });
    }
    (layout, values)
}

/// The notation in which `bytes` read as `value`.
fn notation(value: &str, bytes: &[u8]) -> ShownNotation {
    let guess = match value {
        "" => return ShownNotation::Same,
        _ if value.starts_with("0x") => ShownNotation::Hexadecimal,
        _ if value.contains(':') => ShownNotation::Mac,
        _ if value.contains('.') => ShownNotation::Ipv4,
        _ if bytes.len() > 8 => ShownNotation::Bytes,
        _ => ShownNotation::Decimal,
    };
    if shown(guess, bytes).as_deref() == Some(value) { guess } else { ShownNotation::Own }
}

/// What `bytes` read as; the page's script does the same.
fn shown(notation: ShownNotation, bytes: &[u8]) -> Option<String> {
    let joined = |separator: &str| -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(separator)
    };
    Some(match notation {
        ShownNotation::Decimal if bytes.len() <= 8 => number(bytes).to_string(),
        ShownNotation::Hexadecimal if !bytes.is_empty() => format!("0x{}", joined("")),
        ShownNotation::Bytes => joined(""),
        ShownNotation::Mac => joined(":"),
        ShownNotation::Ipv4 => bytes.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
        _ => return None,
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The fields of a packet, in the order of the wire.
pub(crate) fn of(record: &Record<'_>, packet: &Packet<'_>) -> Vec<ShownField> {
    let mut rows = Rows { data: record.data, fields: Vec::with_capacity(48) };
    // A packet of several frames is not in this one alone.
    if packet.bth.is_none() || packet.frames > 1 {
        return rows.fields;
    }
    let bth = packet.bth_offset;
    if packet.grh.is_none() {
        rows.network(record.link_type, bth.saturating_sub(8));
        rows.add("udp", "source port", bth.wrapping_sub(8), 2, "");
        rows.add("udp", "destination port", bth.wrapping_sub(6), 2, "RoCEv2");
        rows.add("udp", "length", bth.wrapping_sub(4), 2, "");
        rows.hex("udp", "checksum", bth.wrapping_sub(2), 2);
    }
    headers(&mut rows, packet);
    rows.payload(packet);
    rows.fields
}

/// Where `part` begins in `whole`, if it is a part of it.
fn offset(whole: &[u8], part: &[u8]) -> Option<usize> {
    let at = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (at + part.len() <= whole.len()).then_some(at)
}

/// Headers of RoCE and of connection management, by their tables.
fn headers(rows: &mut Rows<'_>, packet: &Packet<'_>) {
    for placed in placed_fields(packet) {
        let (header, field) = (placed.header.layer, placed.field);
        let (start, length) = (placed.offset(), field.bytes().len());
        let note = note(packet, header, field.name());
        let is_part = field.width_bits() < 8 * length;
        rows.push(header, field.name(), (start, length), is_part, placed.to_string(), &note);
    }
}

/// Meaning of a value, where its number does not say it.
fn note(packet: &Packet<'_>, header: &str, field: &str) -> String {
    match (header, field) {
        (Bth::LAYER, "opcode") => packet.opcode().map(|opcode| opcode.to_string()),
        (Aeth::LAYER, "syndrome") => packet.extended.aeth.map(|aeth| aeth.syndrome().to_string()),
        _ => None,
    }
    .unwrap_or_default()
}

struct Rows<'a> {
    data: &'a [u8],
    fields: Vec<ShownField>,
}

impl Rows<'_> {
    fn push(
        &mut self,
        header: &'static str,
        name: &'static str,
        place: (usize, usize),
        is_part: bool,
        value: String,
        note: &str,
    ) {
        let (start, length) = place;
        let note = note.to_owned();
        self.fields.push(ShownField { header, name, start, length, is_part, value, note });
    }

    fn bytes(&self, start: usize, length: usize) -> &[u8] {
        self.data.get(start..start.saturating_add(length)).unwrap_or_default()
    }

    /// A decimal number of whole bytes.
    fn add(&mut self, header: &'static str, name: &'static str, start: usize, length: usize, note: &str) {
        self.of(header, name, start, length, ShownNotation::Decimal, note);
    }

    /// A hexadecimal one.
    fn hex(&mut self, header: &'static str, name: &'static str, start: usize, length: usize) {
        self.of(header, name, start, length, ShownNotation::Hexadecimal, "");
    }

    fn of(
        &mut self,
        header: &'static str,
        name: &'static str,
        start: usize,
        length: usize,
        notation: ShownNotation,
        note: &str,
    ) {
        let bytes = self.bytes(start, length);
        if bytes.len() != length {
            return;
        }
        let value = shown(notation, bytes).unwrap_or_default();
        self.push(header, name, (start, length), false, value, note);
    }

    /// A field that shares its bytes.
    fn part(&mut self, header: &'static str, name: &'static str, start: usize, length: usize, value: String) {
        self.push(header, name, (start, length), true, value, "");
    }

    /// What stands before UDP, where it is Ethernet and IP and nothing else; else the whole as one.
    fn network(&mut self, link_type: LinkType, udp: usize) {
        let mut at = 0;
        if link_type == LinkType::ETHERNET {
            at = 14;
            while matches!(self.bytes(at - 2, 2), [0x81, 0x00] | [0x88, 0xa8]) && at < udp {
                at += 4;
            }
        }
        let ether_type = [
            self.bytes(at.wrapping_sub(2), 2).first().copied(),
            self.bytes(at.wrapping_sub(1), 1).first().copied(),
        ];
        let version = self.bytes(at, 1).first().map(|byte| byte >> 4);
        let header = self.bytes(at, 1).first().map_or(0, |byte| usize::from(byte & 0xf) * 4);
        let is_plain = match version {
            Some(4) => at + header == udp,
            Some(6) => at + 40 == udp,
            _ => false,
        };
        if !is_plain {
            if udp > 0 {
                self.push(
                    "outer headers",
                    "link, network and tunnels",
                    (0, udp),
                    true,
                    format!("{udp} bytes"),
                    "",
                );
            }
            return;
        }
        if at >= 14 {
            let note = match ether_type {
                [Some(0x08), Some(0x00)] => "IPv4",
                [Some(0x86), Some(0xdd)] => "IPv6",
                _ => "",
            };
            self.of("ethernet", "destination", 0, 6, ShownNotation::Mac, "");
            self.of("ethernet", "source", 6, 6, ShownNotation::Mac, "");
            for tag in (12..at - 2).step_by(4) {
                self.hex("ethernet", "VLAN tag", tag, 4);
            }
            self.of("ethernet", "type", at - 2, 2, ShownNotation::Hexadecimal, note);
        }
        if version == Some(4) { self.ipv4(at) } else { self.ipv6(at) }
    }

    fn congestion(&mut self, header: &'static str, start: usize, length: usize, ecn: u8) {
        let note = ["not capable", "capable (1)", "capable (0)", "congestion experienced"];
        let note = note.get(usize::from(ecn)).copied().unwrap_or_default();
        self.push(header, "ECN", (start, length), true, ecn.to_string(), note);
    }

    fn ipv4(&mut self, at: usize) {
        let byte = |offset: usize| self.bytes(at + offset, 1).first().copied().unwrap_or_default();
        let (words, service, flags) = (byte(0) & 0xf, byte(1), byte(6) >> 5);
        self.part("ipv4", "version", at, 1, "4".to_owned());
        self.push("ipv4", "header length", (at, 1), true, words.to_string(), "words of 4 bytes");
        self.part("ipv4", "DSCP", at + 1, 1, (service >> 2).to_string());
        self.congestion("ipv4", at + 1, 1, service & 3);
        self.add("ipv4", "total length", at + 2, 2, "");
        self.hex("ipv4", "identification", at + 4, 2);
        let note = if flags & 2 > 0 { "do not fragment" } else { "" };
        self.push("ipv4", "flags", (at + 6, 2), true, flags.to_string(), note);
        self.add("ipv4", "time to live", at + 8, 1, "");
        self.add("ipv4", "protocol", at + 9, 1, "UDP");
        self.hex("ipv4", "checksum", at + 10, 2);
        self.of("ipv4", "source", at + 12, 4, ShownNotation::Ipv4, "");
        self.of("ipv4", "destination", at + 16, 4, ShownNotation::Ipv4, "");
        if words > 5 {
            self.of("ipv4", "options", at + 20, usize::from(words) * 4 - 20, ShownNotation::Bytes, "");
        }
    }

    fn ipv6(&mut self, at: usize) {
        let first = number(self.bytes(at, 4));
        let class = (first >> 20) as u8;
        self.part("ipv6", "version", at, 1, "6".to_owned());
        self.part("ipv6", "DSCP", at, 2, (class >> 2).to_string());
        self.congestion("ipv6", at, 2, class & 3);
        self.push("ipv6", "flow label", (at + 1, 3), false, format!("{:#07x}", first & 0xf_ffff), "");
        self.add("ipv6", "payload length", at + 4, 2, "");
        self.add("ipv6", "next header", at + 6, 1, "UDP");
        self.add("ipv6", "hop limit", at + 7, 1, "");
        for (name, start) in [("source", at + 8), ("destination", at + 24)] {
            let address = self.bytes(start, 16).first_chunk::<16>().copied().unwrap_or_default();
            self.push("ipv6", name, (start, 16), false, std::net::Ipv6Addr::from(address).to_string(), "");
        }
    }

    /// Payload, pad and ICRC.
    fn payload(&mut self, packet: &Packet<'_>) {
        let Some(start) = offset(self.data, packet.payload) else { return };
        let length = packet.payload.len();
        if length > 0 {
            let note = if length < packet.payload_length_bytes { "cut" } else { "" };
            self.push("payload", "payload", (start, length), true, format!("{length} bytes"), note);
        }
        if let Some(start) = offset(self.data, packet.pad).filter(|_| !packet.pad.is_empty()) {
            self.of("payload", "pad", start, packet.pad.len(), ShownNotation::Bytes, "");
        }
        if let Some(value) = packet.icrc_value {
            let note = match packet.icrc {
                Icrc::Good => "good".to_owned(),
                Icrc::Bad { .. } => "does not match the packet".to_owned(),
                Icrc::Unverifiable => "unverifiable".to_owned(),
            };
            let start = start + length + packet.pad.len();
            self.push("icrc", "ICRC", (start, 4), false, format!("{:#010x}", value.swap_bytes()), &note);
        }
    }
}
