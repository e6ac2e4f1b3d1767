//! Arbitrary bytes as a frame of every link type, and as the payload of a UDP datagram.
//!
//! Of what decodes, every field has to be where it says that it is, and to read as the same value after it was written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roce::fields::{placed_fields, tshark_fields};
use roce::wire::{Datagram, Decoder, Frame, LinkType, Packet, UDP_PORT};

const LINK_TYPES: [LinkType; 11] = [
    LinkType::ETHERNET,
    LinkType::RAW,
    LinkType::LINUX_SLL,
    LinkType::LINUX_SLL2,
    LinkType::NULL,
    LinkType::PPP,
    LinkType::PPP_ETHER,
    LinkType::MPLS,
    LinkType::ERF,
    LinkType::INFINIBAND,
    LinkType(-1),
];

fn hold(packet: &Packet<'_>, frame: &[u8]) {
    assert!(tshark_fields(packet).count() >= 5);
    assert!(packet.payload.len() <= frame.len());
    if packet.frames > 1 {
        return;
    }
    for placed in placed_fields(packet) {
        assert_eq!(
            frame.get(placed.offset()..).and_then(|rest| rest.get(..placed.bytes().len())),
            Some(placed.bytes())
        );
        let mut header = placed.header.bytes.to_vec();
        placed.field.set(&mut header, placed.number());
        assert_eq!(header, placed.header.bytes);
    }
    if let (Some(offset), Some(value)) = (packet.icrc_offset(), packet.icrc_value) {
        assert_eq!(frame.get(offset..offset + 4), Some(&value.to_le_bytes()[..]));
    }
}

fuzz_target!(|bytes: &[u8]| {
    for link_type in LINK_TYPES {
        match Frame::decode(link_type, bytes) {
            Frame::Roce(packet) => hold(&packet, bytes),
            Frame::NotRoce(what) => assert!(!what.to_string().is_empty()),
        }
    }
    let mut decoder = Decoder::new().vxlan_ports(&[50_000]);
    for piece in bytes.chunks(96) {
        if let Frame::Roce(packet) = decoder.decode(LinkType::ETHERNET, piece) {
            hold(&packet, piece);
        }
    }
    let any = ([198, 51, 100, 1], UDP_PORT).into();
    hold(&Packet::from_udp(&Datagram::new(any, any, bytes).ipv4(0, true)), bytes);
});
