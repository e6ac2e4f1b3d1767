//! The walk from a frame's link header through whatever tunnels to the packet of RoCE.
//!
//! In: a frame, and the further UDP ports of VXLAN. Out: where the packet is, or what the frame is instead. Nothing is copied; a frame is walked at most
//! [`LAYERS_MAX`] headers deep. Only the UDP *destination* port decides: real senders use any source port.

use etherparse::{IpNumber, UdpHeaderSlice};

use super::datagram::UDP_PORT;
use super::ip::{self, Fragment, Ip, IpStop};
use super::layer::{Layer, ether_type, too_short};
use super::{link, tunnel};
use crate::wire::{Encapsulation, LinkType, NotRoce};

/// Most headers that are taken off, a run of VLAN tags or MPLS labels counted as one.
const LAYERS_MAX: usize = 16;

/// Place of a packet of RoCE in a frame.
pub(super) struct Carrier<'a> {
    /// Its IP header, or its GRH.
    pub(super) ip: Ip<'a>,
    /// From the UDP header on, in version 1 from the BTH on.
    pub(super) segment: Layer<'a>,
    /// The UDP header; `None` in version 1.
    pub(super) udp: Option<UdpHeaderSlice<'a>>,
}

impl Carrier<'_> {
    /// Offset of its IP header or GRH in the frame.
    pub(super) fn begins_at(&self) -> usize {
        self.segment.offset.saturating_sub(self.ip.header.len() + self.ip.extensions_length)
    }
}

/// Content of a frame.
pub(super) enum FoundFrame<'a> {
    Roce(Carrier<'a>),
    Fragment(Fragment<'a>),
    Other(NotRoce),
}

/// The packet in an Ethernet frame without a tag, a tunnel, options of IPv4 or fragments: what almost every one is.
#[inline]
pub(super) fn plain(link_type: LinkType, data: &[u8]) -> Option<Carrier<'_>> {
    let head = data.first_chunk::<42>().filter(|_| link_type == LinkType::ETHERNET)?;
    let is_plain = (head[12], head[13], head[14]) == (0x08, 0x00, 0x45)
        && (head[20] & 0x3f, head[21]) == (0, 0)
        && IpNumber(head[23]) == IpNumber::UDP
        && u16::from_be_bytes([head[36], head[37]]) == UDP_PORT;
    let payload_length = usize::from(u16::from_be_bytes([head[16], head[17]])).checked_sub(20)?;
    if !is_plain || payload_length < 8 {
        return None;
    }
    let bytes = data.get(34..)?;
    let bytes = bytes.get(..payload_length).unwrap_or(bytes);
    Some(Carrier {
        ip: Ip::plain(data.get(14..34)?, payload_length),
        segment: Layer { ether_type: ether_type::IPV4, bytes, offset: 34, around: Encapsulation::None },
        udp: Some(UdpHeaderSlice::from_slice(bytes).ok()?),
    })
}

/// Walks a frame.
pub(super) fn walk<'a>(vxlan_ports: &[u16], link_type: LinkType, data: &'a [u8]) -> FoundFrame<'a> {
    match link::first(link_type, data) {
        Ok(layer) => from(layer, vxlan_ports, true),
        Err(other) => FoundFrame::Other(other),
    }
}

/// Walks on from a layer; `may_guess` lets it look for VXLAN at ports that are not named.
pub(super) fn from<'a>(mut layer: Layer<'a>, vxlan_ports: &[u16], may_guess: bool) -> FoundFrame<'a> {
    for _ in 0..LAYERS_MAX {
        let ip = match layer.ether_type {
            ether_type::IPV4 => ip::ipv4(layer),
            ether_type::IPV6 => ip::ipv6(layer),
            ether_type::GRH => {
                return match ip::grh(layer) {
                    Ok(ip) => FoundFrame::Roce(Carrier { ip, segment: ip.payload(layer), udp: None }),
                    Err(stop) => of_stop(stop),
                };
            }
            _ => match tunnel::of_ether_type(layer) {
                Ok(next) => {
                    layer = next;
                    continue;
                }
                Err(other) => return FoundFrame::Other(other),
            },
        };
        let ip = match ip {
            Ok(ip) => ip,
            Err(stop) => return of_stop(stop),
        };
        let payload = ip.payload(layer);
        let next = if ip.protocol == IpNumber::UDP {
            let Ok(udp) = UdpHeaderSlice::from_slice(payload.bytes) else {
                return FoundFrame::Other(too_short("udp", 8, payload.offset, payload.bytes.len()));
            };
            match udp.destination_port() {
                UDP_PORT => return FoundFrame::Roce(Carrier { ip, segment: payload, udp: Some(udp) }),
                port => tunnel::of_udp(port, payload, vxlan_ports).map_err(|other| match other {
                    NotRoce::Udp if may_guess => guess(port, payload, vxlan_ports).unwrap_or(other),
                    other => other,
                }),
            }
        } else {
            tunnel::of_protocol(ip.protocol, payload)
        };
        match next {
            Ok(next) => layer = next,
            Err(other) => return FoundFrame::Other(other),
        }
    }
    FoundFrame::Other(NotRoce::TooDeep)
}

/// Names what is behind an IP header; a fragment is one unless its protocol says that its packet is no RoCE.
#[cold]
fn of_stop(stop: IpStop<'_>) -> FoundFrame<'_> {
    let fragment = match stop {
        IpStop::Fragment(fragment) => fragment,
        IpStop::Other(other) => return FoundFrame::Other(other),
    };
    let protocol = NotRoce::IpProtocol(fragment.protocol.0);
    if fragment.protocol == IpNumber::UDP || protocol.may_hold_roce() {
        FoundFrame::Fragment(fragment)
    } else {
        FoundFrame::Other(protocol)
    }
}

/// Names a datagram to any port that reads as VXLAN, as Geneve, or as an IP packet, around a packet of RoCE.
#[cold]
fn guess(port: u16, datagram: Layer<'_>, vxlan_ports: &[u16]) -> Option<NotRoce> {
    let is_roce = |inner| matches!(from(inner, vxlan_ports, false), FoundFrame::Roce(_));
    let head = datagram.bytes.get(8..16)?;
    // Beside the flag of a network id there are those of extensions, and their fields.
    if head[0] & 0x08 != 0 && head[7] == 0 && tunnel::vxlan(datagram).is_ok_and(is_roce) {
        return Some(NotRoce::PerhapsVxlan { port });
    }
    let is_version_0 = head[0] >> 6 == 0;
    if is_version_0 && head[7] == 0 && tunnel::geneve(datagram).is_ok_and(is_roce) {
        return Some(NotRoce::PerhapsGeneve { port });
    }
    let behind = |ether_type| datagram.inside(Encapsulation::IpInIp, ether_type, 8);
    let is_ip = match head[0] >> 4 {
        4 => tunnel::is_ipv4(behind(ether_type::IPV4).bytes) && is_roce(behind(ether_type::IPV4)),
        6 => is_roce(behind(ether_type::IPV6)),
        _ => false,
    };
    is_ip.then_some(NotRoce::PerhapsIp { port })
}
