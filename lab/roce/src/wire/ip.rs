//! IPv4 and IPv6 headers, IPv6 extension headers, and the GRH that has their place in RoCE version 1.
//!
//! In: a layer that begins with one. Out: what it carries, or the fragment that it is. Extension headers are walked; of a segment routing header the last
//! segment is the destination, wherever the packet was captured.

use std::net::IpAddr;

use etherparse::{
    IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice,
};

use super::layer::{Layer, too_short};
use crate::wire::{DecodeStop, Encapsulation, Grh, NotRoce, be_u8, be_u16};

/// Type of a segment routing header among the routing headers.
const SEGMENT_ROUTING: u8 = 4;

/// Values of the IP header.
#[derive(Clone, Copy)]
pub(super) struct Ip<'a> {
    /// An IPv4 header with its options, the 40 bytes of an IPv6 header, or a GRH.
    pub(super) header: &'a [u8],
    /// Length of the extension headers in bytes.
    pub(super) extensions_length: usize,
    /// Length of what follows all headers, as the header has it.
    pub(super) payload_length: usize,
    pub(super) protocol: IpNumber,
    /// The last segment of a route that is not there yet.
    last_segment: Option<&'a [u8; 16]>,
}

/// A part of an IP packet.
#[derive(Clone, Copy)]
pub(super) struct Fragment<'a> {
    /// The IPv4 header with its options, or the 40 bytes of an IPv6 header.
    pub(super) header: &'a [u8],
    pub(super) identification: u32,
    pub(super) protocol: IpNumber,
    pub(super) offset: etherparse::IpFragOffset,
    pub(super) has_more: bool,
    /// Its part of the payload; `None` when the capture has not all of it.
    pub(super) payload: Option<&'a [u8]>,
    /// The innermost tunnel around it.
    pub(super) around: Encapsulation,
}

/// Reason to read no packet behind an IP header or GRH.
pub(super) enum IpStop<'a> {
    /// It is in front of a part of one.
    Fragment(Fragment<'a>),
    /// It is none, or in front of something else.
    Other(NotRoce),
}

impl Fragment<'_> {
    pub(super) fn is_version_4(&self) -> bool {
        self.header.first().is_some_and(|byte| byte >> 4 == 4)
    }
}

impl<'a> Ip<'a> {
    /// An IPv4 header without options, in front of UDP.
    #[inline]
    pub(super) fn plain(header: &'a [u8], payload_length: usize) -> Self {
        Self { header, extensions_length: 0, payload_length, protocol: IpNumber::UDP, last_segment: None }
    }

    /// The addresses, source first.
    #[inline]
    pub(super) fn addresses(&self) -> (IpAddr, IpAddr) {
        if let Some(bytes) = self.header.get(12..20)
            && self.is_version_4()
            && let Some((source, destination)) = bytes.split_first_chunk::<4>()
            && let Some(destination) = destination.first_chunk::<4>()
        {
            return ((*source).into(), (*destination).into());
        }
        let at = |at: usize| self.header.get(at..).and_then(|bytes| bytes.first_chunk::<16>()).copied();
        let destination = self.last_segment.copied().or_else(|| at(24));
        (at(8).unwrap_or_default().into(), destination.unwrap_or_default().into())
    }

    pub(super) fn ecn(&self) -> u8 {
        let first = be_u16(self.header, 0..2);
        (if self.is_version_4() { first } else { first >> 4 }) as u8 & 3
    }

    #[inline]
    pub(super) fn is_version_4(&self) -> bool {
        self.header.first().is_some_and(|byte| byte >> 4 == 4)
    }

    /// Payload of the header, up to the end that it tells; the capture may have less.
    #[inline]
    pub(super) fn payload(&self, layer: Layer<'a>) -> Layer<'a> {
        let layer = layer.skip(self.header.len() + self.extensions_length);
        Layer { bytes: layer.bytes.get(..self.payload_length).unwrap_or(layer.bytes), ..layer }
    }

    /// The header without extension headers, as its sender had it before a router put a route into the packet.
    pub(super) fn without_extensions(&self) -> Option<[u8; 40]> {
        let mut header = *self.header.first_chunk::<40>()?;
        let length = (self.payload_length as u16).to_be_bytes();
        (header[4], header[5], header[6]) = (length[0], length[1], self.protocol.0);
        if let Some(segment) = self.last_segment {
            header.split_at_mut_checked(24)?.1.copy_from_slice(segment);
        }
        Some(header)
    }
}

#[inline]
pub(super) fn ipv4(layer: Layer<'_>) -> Result<Ip<'_>, IpStop<'_>> {
    let Layer { bytes, offset, .. } = layer;
    let Ok(header) = Ipv4HeaderSlice::from_slice(bytes) else {
        return Err(IpStop::Other(no_ipv4(bytes, offset)));
    };
    let total = usize::from(header.total_len());
    let Some(payload_length) = total.checked_sub(header.slice().len()) else {
        return Err(IpStop::Other(NotRoce::Stop(DecodeStop::Value {
            layer: "ipv4",
            field: "total length",
            value: total,
            offset,
            limit: "shorter than its header",
        })));
    };
    if header.is_fragmenting_payload() {
        return Err(IpStop::Fragment(Fragment {
            header: header.slice(),
            identification: u32::from(header.identification()),
            protocol: header.protocol(),
            offset: header.fragments_offset(),
            has_more: header.more_fragments(),
            payload: bytes.get(header.slice().len()..total),
            around: layer.around,
        }));
    }
    let protocol = header.protocol();
    let ip =
        Ip { header: header.slice(), extensions_length: 0, payload_length, protocol, last_segment: None };
    if protocol == IpNumber::AUTHENTICATION_HEADER { extensions(ip, layer) } else { Ok(ip) }
}

fn no_ipv4(bytes: &[u8], offset: usize) -> NotRoce {
    let header_length = bytes.first().map_or(20, |first| usize::from(first & 0xf) * 4).max(20);
    match bytes.first() {
        Some(first) if first >> 4 != 4 || first & 0xf < 5 => NotRoce::Stop(DecodeStop::Value {
            layer: "ipv4",
            field: "version and header length",
            value: usize::from(*first),
            offset,
            limit: "expected version 4 and at least 5 words",
        }),
        _ => too_short("ipv4", header_length, offset, bytes.len()),
    }
}

#[inline]
pub(super) fn ipv6(layer: Layer<'_>) -> Result<Ip<'_>, IpStop<'_>> {
    let Layer { bytes, offset, .. } = layer;
    let Ok(header) = Ipv6HeaderSlice::from_slice(bytes) else {
        return Err(IpStop::Other(match bytes.first() {
            Some(first) if first >> 4 != 6 => NotRoce::Stop(DecodeStop::Value {
                layer: "ipv6",
                field: "version",
                value: usize::from(first >> 4),
                offset,
                limit: "expected 6",
            }),
            _ => too_short("ipv6", 40, offset, bytes.len()),
        }));
    };
    let ip = Ip {
        header: header.slice(),
        extensions_length: 0,
        payload_length: usize::from(header.payload_length()),
        protocol: header.next_header(),
        last_segment: None,
    };
    if ip.protocol == IpNumber::UDP { Ok(ip) } else { extensions(ip, layer) }
}

/// Walks over the extension headers; each takes at least eight bytes.
#[cold]
fn extensions<'a>(mut ip: Ip<'a>, layer: Layer<'a>) -> Result<Ip<'a>, IpStop<'a>> {
    loop {
        let rest = ip.payload(layer);
        let short =
            |need: usize| IpStop::Other(too_short("ip extension", need, rest.offset, rest.bytes.len()));
        let (next, length) = match ip.protocol {
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                let header = Ipv6FragmentHeaderSlice::from_slice(rest.bytes).map_err(|_| short(8))?;
                if header.is_fragmenting_payload() {
                    return Err(IpStop::Fragment(Fragment {
                        header: ip.header,
                        identification: header.identification(),
                        protocol: header.next_header(),
                        offset: header.fragment_offset(),
                        has_more: header.more_fragments(),
                        payload: rest.bytes.get(8..).filter(|_| rest.bytes.len() == ip.payload_length),
                        around: layer.around,
                    }));
                }
                (header.next_header(), header.slice().len())
            }
            IpNumber::AUTHENTICATION_HEADER => {
                let header = IpAuthHeaderSlice::from_slice(rest.bytes).map_err(|_| short(12))?;
                (header.next_header(), header.slice().len())
            }
            other if !ip.is_version_4() && Ipv6RawExtHeaderSlice::header_type_supported(other) => {
                let header = Ipv6RawExtHeaderSlice::from_slice(rest.bytes).map_err(|_| short(8))?;
                if other == IpNumber::IPV6_ROUTE_HEADER {
                    ip.last_segment = ip.last_segment.or_else(|| last_segment(header.slice()));
                }
                (header.next_header(), header.slice().len())
            }
            _ => return Ok(ip),
        };
        let Some(left) = ip.payload_length.checked_sub(length) else { return Err(short(length)) };
        (ip.protocol, ip.payload_length, ip.extensions_length) = (next, left, ip.extensions_length + length);
    }
}

/// The last segment of a segment routing header that the packet has not reached; segments stand there from the last to the first.
fn last_segment(header: &[u8]) -> Option<&[u8; 16]> {
    let is_on_its_way = be_u8(header, 2) == SEGMENT_ROUTING && be_u8(header, 3) > 0;
    header.get(8..).filter(|_| is_on_its_way)?.first_chunk()
}

/// Reads a GRH in the place of an IP header.
pub(super) fn grh(layer: Layer<'_>) -> Result<Ip<'_>, IpStop<'_>> {
    let grh = Grh::new(layer.bytes, layer.offset).map_err(|stop| IpStop::Other(NotRoce::Stop(stop)))?;
    if grh.version() != 6 {
        return Err(IpStop::Other(NotRoce::Stop(DecodeStop::Value {
            layer: Grh::LAYER,
            field: "version",
            value: usize::from(grh.version()),
            offset: layer.offset,
            limit: "expected 6",
        })));
    }
    if grh.next_header() != Grh::NEXT_HEADER_BTH {
        return Err(IpStop::Other(NotRoce::GrhNextHeader(grh.next_header())));
    }
    Ok(Ip {
        header: grh.bytes(),
        extensions_length: 0,
        payload_length: usize::from(grh.payload_length()),
        protocol: IpNumber(grh.next_header()),
        last_segment: None,
    })
}
