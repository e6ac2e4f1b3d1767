//! Headers of Ethernet, IP and UDP, by `etherparse`.
//!
//! In: addresses and lengths. Out: headers. A length that does not fit its field is cut, as everywhere in [`synth`](crate::synth).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6Header, UdpHeader};

pub(super) use etherparse::ether_type;

/// Hops of a packet.
const HOPS: u8 = 64;

/// Makes an Ethernet header, destination first as on the wire.
pub(super) fn ethernet(
    destination: [u8; 6],
    source: [u8; 6],
    ether_type: EtherType,
) -> [u8; Ethernet2Header::LEN] {
    Ethernet2Header { source, destination, ether_type }.to_bytes()
}

/// Ethertype of an IP address's version.
pub(super) fn ether_type_of(address: IpAddr) -> EtherType {
    if address.is_ipv4() { ether_type::IPV4 } else { ether_type::IPV6 }
}

/// Makes an IPv4 header without options.
pub(super) fn ipv4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: IpNumber,
    payload_length: usize,
) -> Vec<u8> {
    summed(Ipv4Header {
        total_len: (Ipv4Header::MIN_LEN + payload_length) as u16,
        dont_fragment: true,
        time_to_live: HOPS,
        protocol,
        source: source.octets(),
        destination: destination.octets(),
        ..Ipv4Header::default()
    })
}

/// Writes an IPv4 header with its checksum.
pub(super) fn summed(mut header: Ipv4Header) -> Vec<u8> {
    header.header_checksum = header.calc_header_checksum();
    header.to_bytes().to_vec()
}

/// Makes an IPv6 header.
pub(super) fn ipv6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next_header: IpNumber,
    payload_length: usize,
) -> Vec<u8> {
    let header = Ipv6Header {
        payload_length: payload_length as u16,
        next_header,
        hop_limit: HOPS,
        source: source.octets(),
        destination: destination.octets(),
        ..Ipv6Header::default()
    };
    header.to_bytes().to_vec()
}

/// Makes an IP header of the source's version, with a zero destination where that is of another.
pub(super) fn ip(source: IpAddr, destination: IpAddr, protocol: IpNumber, payload_length: usize) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => ipv4(source, destination, protocol, payload_length),
        (IpAddr::V4(source), _) => ipv4(source, Ipv4Addr::UNSPECIFIED, protocol, payload_length),
        (IpAddr::V6(source), IpAddr::V6(destination)) => ipv6(source, destination, protocol, payload_length),
        (IpAddr::V6(source), _) => ipv6(source, Ipv6Addr::UNSPECIFIED, protocol, payload_length),
    }
}

/// Makes a UDP header without a checksum.
pub(super) fn udp(source_port: u16, destination_port: u16, payload_length: usize) -> [u8; UdpHeader::LEN] {
    let length = (UdpHeader::LEN + payload_length) as u16;
    UdpHeader { source_port, destination_port, length, checksum: 0 }.to_bytes()
}
