//! The link header of a frame: from a capture's link type to the first header that an ethertype names.

use etherparse::Ethernet2HeaderSlice;

use super::layer::{Layer, ether_type, too_short};
use crate::wire::{DecodeStop, Encapsulation, LinkType, Lrh, NotRoce, be_u8, be_u16};

/// Length of an ERF header without its extensions.
const ERF_LENGTH: usize = 16;
/// Length of an extension of an ERF header.
const ERF_EXTENSION_LENGTH: usize = 8;

/// Reads the link header: the layer behind it.
#[inline]
pub(super) fn first(link_type: LinkType, data: &[u8]) -> Result<Layer<'_>, NotRoce> {
    match link_type {
        LinkType::ETHERNET => ethernet(whole(0, data)),
        other => rare(other, data),
    }
}

/// A frame that begins with what the ethertype names.
fn whole(ether_type: u16, bytes: &[u8]) -> Layer<'_> {
    Layer { ether_type, bytes, offset: 0, around: Encapsulation::None }
}

fn rare(link_type: LinkType, data: &[u8]) -> Result<Layer<'_>, NotRoce> {
    let whole = |ether_type| whole(ether_type, data);
    match link_type {
        LinkType::LINUX_SLL if data.len() >= 16 => Ok(whole(be_u16(data, 14..16)).skip(16)),
        LinkType::LINUX_SLL => Err(too_short("sll", 16, 0, data.len())),
        LinkType::LINUX_SLL2 if data.len() >= 20 => Ok(whole(be_u16(data, 0..2)).skip(20)),
        LinkType::LINUX_SLL2 => Err(too_short("sll2", 20, 0, data.len())),
        LinkType::RAW | LinkType(12 | 14) => by_version(whole(0)),
        LinkType::NULL | LinkType::LOOP => by_version(whole(0).skip(4)),
        LinkType::IPV4 => Ok(whole(ether_type::IPV4)),
        LinkType::IPV6 => Ok(whole(ether_type::IPV6)),
        LinkType::MPLS => Ok(whole(ether_type::MPLS)),
        // An address and a control byte, which may be left out.
        LinkType::PPP | LinkType::PPP_HDLC if data.starts_with(&[0xff, 0x03]) => {
            Ok(whole(ether_type::PPP).skip(2))
        }
        LinkType::PPP | LinkType::PPP_HDLC => Ok(whole(ether_type::PPP)),
        LinkType::C_HDLC => hdlc(whole(0)),
        LinkType::PPP_WITH_DIR | LinkType::C_HDLC_WITH_DIR => hdlc(whole(0).skip(1)),
        LinkType::PPP_ETHER => Ok(whole(ether_type::PPPOE_SESSION)),
        LinkType::INFINIBAND => infiniband(whole(0)),
        LinkType::ERF => erf(whole(0)),
        other => Err(NotRoce::LinkType(other)),
    }
}

/// Reads an Ethernet header.
#[inline]
pub(super) fn ethernet(layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    match Ethernet2HeaderSlice::from_slice(layer.bytes) {
        Ok(header) => Ok(Layer { ether_type: header.ether_type().0, ..layer.skip(14) }),
        Err(_) => Err(too_short("ethernet", 14, layer.offset, layer.bytes.len())),
    }
}

/// Tells IPv4 from IPv6 by the first four bits.
pub(super) fn by_version(layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    match layer.bytes.first().map(|byte| byte >> 4) {
        Some(4) => Ok(Layer { ether_type: ether_type::IPV4, ..layer }),
        Some(6) => Ok(Layer { ether_type: ether_type::IPV6, ..layer }),
        Some(version) => Err(NotRoce::Stop(DecodeStop::Value {
            layer: "ip",
            field: "version",
            value: usize::from(version),
            offset: layer.offset,
            limit: "expected 4 or 6",
        })),
        None => Err(too_short("ip", 20, layer.offset, 0)),
    }
}

/// Reads the four bytes in front of what a serial line carries: of PPP, or of Cisco's protocol with its ethertype.
fn hdlc(layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    layer.check("hdlc", 4)?;
    Ok(match be_u16(layer.bytes, 0..2) {
        0xff03 => Layer { ether_type: ether_type::PPP, ..layer.skip(2) },
        _ => Layer { ether_type: be_u16(layer.bytes, 2..4), ..layer.skip(4) },
    })
}

/// Reads an LRH; only a packet with a GRH has addresses.
fn infiniband(layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    let lrh = Lrh::new(layer.bytes, layer.offset).map_err(NotRoce::Stop)?;
    match lrh.lnh() {
        Lrh::LNH_GRH => {
            // The variant CRC behind the packet's end is the link's.
            let bytes = layer.bytes.get(..lrh.length_bytes()).unwrap_or(layer.bytes);
            let packet = Layer { bytes, ..layer };
            Ok(packet.inside(Encapsulation::Infiniband, ether_type::GRH, Lrh::LENGTH))
        }
        Lrh::LNH_BTH => Err(NotRoce::InfinibandLocal),
        _ => Err(NotRoce::InfinibandRaw),
    }
}

/// Reads the header of an ERF record, whose eighth byte is its type.
fn erf(layer: Layer<'_>) -> Result<Layer<'_>, NotRoce> {
    if layer.bytes.len() < ERF_LENGTH {
        return Err(too_short("erf", ERF_LENGTH, layer.offset, layer.bytes.len()));
    }
    let record = be_u8(layer.bytes, 8);
    let mut has_more = record & 0x80 != 0;
    let mut rest = layer.skip(ERF_LENGTH);
    while has_more {
        if rest.bytes.len() < ERF_EXTENSION_LENGTH {
            return Err(too_short("erf", ERF_EXTENSION_LENGTH, rest.offset, rest.bytes.len()));
        }
        has_more = be_u8(rest.bytes, 0) & 0x80 != 0;
        rest = rest.skip(ERF_EXTENSION_LENGTH);
    }
    match record & 0x7f {
        1 | 10 => hdlc(rest),
        // Two bytes of padding stand before the Ethernet header.
        2 | 11 | 16 | 20 => ethernet(rest.skip(2)),
        21 => infiniband(rest),
        22 => Ok(Layer { ether_type: ether_type::IPV4, ..rest }),
        23 => Ok(Layer { ether_type: ether_type::IPV6, ..rest }),
        other => Err(NotRoce::Erf(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ether_type(link_type: LinkType, bytes: &[u8]) -> Result<(u16, usize), NotRoce> {
        first(link_type, bytes).map(|layer| (layer.ether_type, layer.offset))
    }

    #[test]
    fn every_link_type_finds_what_is_behind_its_header() {
        let mut sll = [0; 21];
        sll[14..16].copy_from_slice(&[0x86, 0xdd]);
        let mut sll2 = [0; 21];
        sll2[..2].copy_from_slice(&[0x08, 0]);
        for (link_type, bytes, expected) in [
            (LinkType::LINUX_SLL, &sll[..], (0x86dd, 16)),
            (LinkType::LINUX_SLL2, &sll2, (0x0800, 20)),
            (LinkType::RAW, &[0x45], (0x0800, 0)),
            (LinkType::NULL, &[2, 0, 0, 0, 0x60], (0x86dd, 4)),
            (LinkType::PPP, &[0xff, 3, 0, 0x21], (0x880b, 2)),
            (LinkType::PPP, &[0, 0x21], (0x880b, 0)),
            (LinkType::C_HDLC, &[0x0f, 0, 0x08, 0], (0x0800, 4)),
            (LinkType::PPP_WITH_DIR, &[1, 0xff, 3, 0, 0x21], (0x880b, 3)),
            (LinkType::MPLS, &[0; 4], (0x8847, 0)),
            (LinkType::PPP_ETHER, &[0x11], (0x8864, 0)),
        ] {
            assert_eq!(ether_type(link_type, bytes), Ok(expected), "{link_type}");
        }
        assert_eq!(ether_type(LinkType(250), &[0; 99]), Err(NotRoce::LinkType(LinkType(250))));
    }

    #[test]
    fn an_erf_record_is_read_behind_its_extensions() {
        let record = |kind: u8, extensions: &[u8]| {
            let mut bytes = vec![0; ERF_LENGTH];
            bytes[8] = kind;
            bytes.extend(extensions);
            bytes
        };
        let mut ethernet = record(0x82, &[0x80, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        ethernet.extend([[0; 6], [1; 6]].concat());
        ethernet.extend([0x89, 0x15]);
        assert_eq!(ether_type(LinkType::ERF, &ethernet), Ok((0x8915, 48)));
        let local = record(21, &[0, 2, 0, 1, 0, 8, 0, 2]);
        assert_eq!(ether_type(LinkType::ERF, &local), Err(NotRoce::InfinibandLocal));
        let raw = record(21, &[0, 0, 0, 1, 0, 8, 0, 2]);
        assert_eq!(ether_type(LinkType::ERF, &raw), Err(NotRoce::InfinibandRaw));
        assert_eq!(ether_type(LinkType::ERF, &record(25, &[])), Err(NotRoce::Erf(25)));
        for length in 0..ethernet.len() {
            assert!(ether_type(LinkType::ERF, &ethernet[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn infiniband_ends_where_its_header_says() {
        let mut packet = vec![0, 3, 0, 1, 0, 15, 0, 2];
        packet.resize(60 + 2, 7);
        let layer = first(LinkType::INFINIBAND, &packet).unwrap();
        assert_eq!((layer.bytes.len(), layer.around), (52, Encapsulation::Infiniband));
    }
}
