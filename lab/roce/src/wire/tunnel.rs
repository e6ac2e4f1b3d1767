//! Tunnels: what a header that is no IP header has inside.
//!
//! In: a layer. Out: the layer inside. One step a call, so that whoever walks bounds the depth. The source is the RFC that each function names.

use etherparse::{IpNumber, SingleVlanHeaderSlice};

use super::layer::{Layer, ether_type, too_short};
use super::link;
use crate::wire::{Encapsulation, NotRoce, be_u8, be_u16};

/// Length of a UDP header.
const UDP_LENGTH: usize = 8;

/// UDP ports of VXLAN that need not be named: IANA's, and Linux's.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
/// UDP port of VXLAN with a field for the inner protocol.
const VXLAN_GPE_PORT: u16 = 4790;
/// UDP port of Geneve.
const GENEVE_PORT: u16 = 6081;
/// UDP port of GRE in UDP, RFC 8086.
const GRE_PORT: u16 = 4754;
/// UDP port of MPLS in UDP, RFC 7510.
const MPLS_PORT: u16 = 6635;

/// Steps into what an ethertype names that is no IP.
pub(super) fn of_ether_type(layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    match layer.ether_type {
        other if is_vlan(other) => vlan(layer),
        ether_type::VN_TAG | ether_type::R_TAG | ether_type::HSR_TAG => tag(layer, 6),
        ether_type::E_TAG | ether_type::METADATA => tag(layer, 8),
        ether_type::NSH => nsh(layer),
        ether_type::MPLS | ether_type::MPLS_MULTICAST => mpls(layer),
        ether_type::PPPOE_SESSION => pppoe(layer),
        ether_type::PPP => ppp(layer),
        ether_type::ETHERNET => link::ethernet(layer),
        ether_type::BACKBONE => {
            layer.check("i-tag", 4)?;
            Ok(layer.inside(Encapsulation::Ethernet, ether_type::ETHERNET, 4))
        }
        other => Err(NotRoce::EtherType(other)),
    }
}

/// Steps into what an IP protocol names that is no UDP.
pub(super) fn of_protocol(protocol: IpNumber, layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    match protocol {
        IpNumber::IPV4 => Ok(layer.inside(Encapsulation::IpInIp, ether_type::IPV4, 0)),
        IpNumber::IPV6 => Ok(layer.inside(Encapsulation::IpInIp, ether_type::IPV6, 0)),
        IpNumber::GRE => gre(layer),
        IpNumber::MPLS_IN_IP => Ok(Layer { ether_type: ether_type::MPLS, ..layer }),
        // RFC 3378: two bytes, of which four bits are a version.
        IpNumber::ETHER_IP => {
            layer.check("etherip", 2)?;
            Ok(layer.inside(Encapsulation::Ethernet, ether_type::ETHERNET, 2))
        }
        // RFC 8986: an Ethernet frame behind a segment routing header.
        IpNumber(143) => Ok(layer.inside(Encapsulation::Ethernet, ether_type::ETHERNET, 0)),
        other => Err(NotRoce::IpProtocol(other.0)),
    }
}

/// Steps into a datagram to a port that is not RoCE's; `layer` begins at the UDP header, which is there.
pub(super) fn of_udp<'a>(port: u16, layer: Layer<'a>, vxlan_ports: &[u16]) -> Result<Layer<'a>, NotRoce> {
    match port {
        port if VXLAN_PORTS.contains(&port) || vxlan_ports.contains(&port) => vxlan(layer),
        VXLAN_GPE_PORT => vxlan_gpe(layer),
        GENEVE_PORT => geneve(layer),
        GRE_PORT => gre(layer.skip(UDP_LENGTH)),
        MPLS_PORT => Ok(Layer { ether_type: ether_type::MPLS, ..layer.skip(UDP_LENGTH) }),
        port => Err(NotRoce::udp(port)),
    }
}

/// True for the ethertype of a VLAN tag: a customer's, or one of those that providers have used.
fn is_vlan(number: u16) -> bool {
    matches!(number, ether_type::VLAN | ether_type::VLAN_PROVIDER | 0x9100 | 0x9200 | 0x9300)
}

/// Walks over any number of VLAN tags.
fn vlan(mut layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    while is_vlan(layer.ether_type) {
        let Ok(tag) = SingleVlanHeaderSlice::from_slice(layer.bytes) else {
            return Err(too_short("vlan", 4, layer.offset, layer.bytes.len()));
        };
        layer = Layer { ether_type: tag.ether_type().0, ..layer.skip(4) };
    }
    Ok(layer)
}

/// Walks over another kind of tag, whose last two bytes are the next ethertype.
fn tag(layer: Layer<'_>, length: usize) -> Result<Layer<'_>, NotRoce> {
    layer.check("tag", length)?;
    Ok(Layer { ether_type: be_u16(layer.bytes, length - 2..length), ..layer.skip(length) })
}

/// VXLAN, RFC 7348: eight bytes behind the UDP header, then an Ethernet frame.
pub(super) fn vxlan(layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    layer.check("vxlan", UDP_LENGTH + 8)?;
    Ok(layer.inside(Encapsulation::Vxlan, ether_type::ETHERNET, UDP_LENGTH + 8))
}

/// VXLAN-GPE, draft-ietf-nvo3-vxlan-gpe: the same with the number of what is inside.
fn vxlan_gpe(layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    let inner = vxlan(layer)?;
    let has_protocol = be_u8(layer.bytes, UDP_LENGTH) & 0x04 != 0;
    let ether_type = match be_u8(layer.bytes, UDP_LENGTH + 3) {
        _ if !has_protocol => ether_type::ETHERNET,
        1 => ether_type::IPV4,
        2 => ether_type::IPV6,
        3 => ether_type::ETHERNET,
        4 => ether_type::NSH,
        5 => ether_type::MPLS,
        other => return Err(NotRoce::EtherType(0x0600 | u16::from(other))),
    };
    Ok(Layer { ether_type, ..inner })
}

/// Network service header, RFC 8300: its length in words of four bytes, and the number of what is inside.
fn nsh(layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    layer.check("nsh", 8)?;
    let length = usize::from(be_u8(layer.bytes, 1) & 0x3f) * 4;
    layer.check("nsh", length.max(8))?;
    let ether_type = match be_u8(layer.bytes, 3) {
        1 => ether_type::IPV4,
        2 => ether_type::IPV6,
        3 => ether_type::ETHERNET,
        5 => ether_type::MPLS,
        _ => return Err(NotRoce::EtherType(ether_type::NSH)),
    };
    Ok(Layer { ether_type, ..layer.skip(length.max(8)) })
}

/// Geneve, RFC 8926: eight bytes and options behind the UDP header, then what an ethertype names.
pub(super) fn geneve(layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    layer.check("geneve", UDP_LENGTH + 8)?;
    let length = UDP_LENGTH + 8 + usize::from(be_u8(layer.bytes, UDP_LENGTH) & 0x3f) * 4;
    layer.check("geneve", length)?;
    let ether_type = be_u16(layer.bytes, UDP_LENGTH + 2..UDP_LENGTH + 4);
    Ok(layer.inside(Encapsulation::Geneve, ether_type, length))
}

/// GRE, RFC 2784 and 2890; version 1 of RFC 2637; NVGRE, RFC 7637; the ERSPAN types.
fn gre(layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    layer.check("gre", 4)?;
    let flags = be_u16(layer.bytes, 0..2);
    let (has_checksum, has_routing) = (flags & 0x8000 != 0, flags & 0x4000 != 0);
    let (has_key, has_sequence, version) = (flags & 0x2000 != 0, flags & 0x1000 != 0, flags & 7);
    let has_acknowledgement = version == 1 && flags & 0x0080 != 0;
    if has_routing || version > 1 {
        return Err(NotRoce::Gre { flags });
    }
    let fields = [has_checksum, has_key, has_sequence, has_acknowledgement];
    let length = 4 + 4 * fields.into_iter().filter(|has| *has).count();
    layer.check("gre", length)?;
    let protocol = be_u16(layer.bytes, 2..4);
    match protocol {
        ether_type::ERSPAN if has_sequence => erspan(layer.skip(length), Encapsulation::ErspanII, 8),
        ether_type::ERSPAN => Ok(layer.inside(Encapsulation::ErspanI, ether_type::ETHERNET, length)),
        ether_type::ERSPAN_III => erspan_iii(layer.skip(length)),
        ether_type::ETHERNET if has_key => Ok(layer.inside(Encapsulation::Nvgre, protocol, length)),
        _ => Ok(layer.inside(Encapsulation::Gre, protocol, length)),
    }
}

/// ERSPAN, draft-foschiano-erspan: a header of `length` bytes, then the mirrored frame.
fn erspan(layer: Layer<'_>, around: Encapsulation, length: usize) -> Result<Layer<'_>, NotRoce> {
    layer.check("erspan", length)?;
    Ok(layer.inside(around, ether_type::ETHERNET, length))
}

/// ERSPAN type III: twelve bytes, eight more when the last bit says so, then a frame or an IP packet.
fn erspan_iii(layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    layer.check("erspan", 12)?;
    let last = be_u16(layer.bytes, 10..12);
    let length = if last & 1 != 0 { 20 } else { 12 };
    let is_ip = (last >> 10) & 0x1f == 2;
    let inner = erspan(layer, Encapsulation::ErspanIII, length)?;
    if is_ip { link::by_version(inner) } else { Ok(inner) }
}

/// PPPoE session, RFC 2516: six bytes, of which the last two are the length of what follows.
fn pppoe(layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    layer.check("pppoe", 6)?;
    let end = 6 + usize::from(be_u16(layer.bytes, 4..6));
    let bytes = layer.bytes.get(..end).unwrap_or(layer.bytes);
    Ok(Layer { ether_type: ether_type::PPP, bytes, ..layer }.skip(6))
}

/// PPP, RFC 1661: a protocol of two bytes, or of one when that is odd.
fn ppp(layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    // An address and a control byte may stand before it.
    let layer = if layer.bytes.starts_with(&[0xff, 0x03]) { layer.skip(2) } else { layer };
    let first = be_u8(layer.bytes, 0);
    let length = if first & 1 == 1 { 1 } else { 2 };
    layer.check("ppp", length)?;
    let protocol = if length == 1 { u16::from(first) } else { be_u16(layer.bytes, 0..2) };
    let ether_type = match protocol {
        0x0021 => ether_type::IPV4,
        0x0057 => ether_type::IPV6,
        0x0281 => ether_type::MPLS,
        other => return Err(NotRoce::Ppp(other)),
    };
    Ok(layer.inside(Encapsulation::Ppp, ether_type, length))
}

/// Label of MPLS in front of its own messages, RFC 5586.
const CONTROL_LABEL: u32 = 13;

/// MPLS, RFC 3032, then what the first bits look like: no label says what is behind it.
fn mpls(layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    let mut layer = layer;
    loop {
        layer.check("mpls", 4)?;
        let (label, is_last) = (be_u16(layer.bytes, 0..2), be_u8(layer.bytes, 2) & 1 == 1);
        let label = u32::from(label) << 4 | u32::from(be_u8(layer.bytes, 2) >> 4);
        layer = layer.skip(4);
        if is_last && label == CONTROL_LABEL {
            return Err(NotRoce::MplsControl);
        }
        if is_last {
            break;
        }
    }
    layer.check("mpls payload", 1)?;
    let inside = |ether_type, length| Ok(layer.inside(Encapsulation::Mpls, ether_type, length));
    let version = be_u8(layer.bytes, 0) >> 4;
    // A frame without a control word (RFC 4448) begins with any address, so its ethertype is asked first.
    let (frame, behind_word) = (is_ethernet(layer.bytes), is_ethernet(layer.skip(4).bytes));
    match version {
        4 if is_ipv4(layer.bytes) || !frame => inside(ether_type::IPV4, 0),
        6 if !frame => inside(ether_type::IPV6, 0),
        0 if behind_word || !frame => inside(ether_type::ETHERNET, 4),
        1 if !frame => Err(NotRoce::MplsControl),
        _ => inside(ether_type::ETHERNET, 0),
    }
}

/// True if the bytes read as an Ethernet frame of a kind that this library walks.
fn is_ethernet(bytes: &[u8]) -> bool {
    let Some(behind) = bytes.get(14..) else { return false };
    match be_u16(bytes, 12..14) {
        ether_type::IPV4 => is_ipv4(behind),
        ether_type::IPV6 => is_ipv6(behind),
        other if is_vlan(other) => true,
        ether_type::MPLS | ether_type::MPLS_MULTICAST | ether_type::PPPOE_SESSION | ether_type::GRH => true,
        ether_type::BACKBONE | ether_type::VN_TAG | ether_type::E_TAG => true,
        // ARP and LLDP.
        0x0806 | 0x88cc => true,
        _ => false,
    }
}

/// True if the bytes read as an IPv4 packet: version, header length, total length, and a checksum that is right or left out.
pub(super) fn is_ipv4(bytes: &[u8]) -> bool {
    let words = usize::from(be_u8(bytes, 0) & 0xf);
    let Some(header) = bytes.get(..words * 4).filter(|_| words >= 5) else {
        return false;
    };
    let sum: u32 = header.chunks_exact(2).map(|pair| u32::from(be_u16(pair, 0..2))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let is_summed = (folded & 0xffff) + (folded >> 16) == 0xffff || be_u16(header, 10..12) == 0;
    be_u8(header, 0) >> 4 == 4 && usize::from(be_u16(header, 2..4)) >= header.len() && is_summed
}

/// True if the bytes read as an IPv6 packet.
fn is_ipv6(bytes: &[u8]) -> bool {
    bytes.len() >= 40 && be_u8(bytes, 0) >> 4 == 6
}
