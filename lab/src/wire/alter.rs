//! Frames that arrive other than they were sent: a copy of the frame with the change.
//!
//! The checksum of an IPv4 header is kept right, so that a change is met by RDMA and not by IP before it; the ICRC
//! only where that is asked for.

use etherparse::{IpEcn, Ipv4Header, Ipv6Header};
use roce::wire::{Frame, Grh, Icrc, LinkType, Packet};

use crate::scenario::fault::Action;
use crate::scenario::fault::action::PacketField;

/// The frame as it arrives after `action`; `None` where it has not what the action changes.
pub fn alter(action: Action, frame: &[u8]) -> Option<Vec<u8>> {
    let Frame::Roce(packet) = Frame::decode(LinkType::ETHERNET, frame) else { return None };
    if packet.stop.is_some() {
        return None;
    }
    let mut altered = frame.to_vec();
    match action {
        Action::Corrupt { field, value, is_resealed } => {
            change(field, value, &mut altered, &packet)?;
            if is_resealed {
                reseal(&mut altered, packet.icrc_offset()?)?;
            }
        }
        Action::Truncate { bytes } if bytes < frame.len() => altered.truncate(bytes),
        Action::MarkEcn => mark(&mut altered, &packet)?,
        _ => return None,
    }
    (altered != frame).then_some(altered)
}

/// Gives a field its value, or flips its lowest bit.
fn change(field: PacketField, value: Option<u64>, altered: &mut [u8], packet: &Packet<'_>) -> Option<()> {
    let (layers, name) = match field {
        PacketField::Payload if packet.payload.is_empty() => return None,
        PacketField::Payload => return write(altered.get_mut(packet.payload_offset..)?.get_mut(..1)?, value),
        PacketField::Icrc => return write(altered.get_mut(packet.icrc_offset()?..)?.get_mut(..4)?, value),
        other => other.place()?,
    };
    let placed = packet.headers().find(|header| layers.contains(&header.layer))?.field(name)?;
    let header = altered.get_mut(placed.header.offset..)?;
    placed.field.set(header, value.unwrap_or(placed.number() ^ 1));
    Some(())
}

/// Writes the low bytes of a value, or flips the lowest bit.
fn write(bytes: &mut [u8], value: Option<u64>) -> Option<()> {
    match value {
        None => *bytes.last_mut()? ^= 1,
        Some(value) => bytes.iter_mut().rev().zip(value.to_le_bytes()).for_each(|(to, from)| *to = from),
    }
    Some(())
}

/// Makes the ICRC, which is at `offset`, fit the altered bytes; `None` where nobody can say which fits.
fn reseal(altered: &mut [u8], offset: usize) -> Option<()> {
    let Frame::Roce(packet) = Frame::decode(LinkType::ETHERNET, altered) else { return None };
    match packet.icrc {
        Icrc::Good => Some(()),
        Icrc::Bad { expected, .. } => {
            *altered.get_mut(offset..)?.first_chunk_mut()? = expected.to_le_bytes();
            Some(())
        }
        Icrc::Unverifiable => None,
    }
}

/// Marks the IP header, or the GRH, "congestion experienced"; the ICRC does not cover it.
fn mark(altered: &mut [u8], packet: &Packet<'_>) -> Option<()> {
    let network = altered.get_mut(packet.network_offset?..)?;
    let marked = if packet.grh.is_some() {
        let mut grh = Grh::new(network, 0).ok()?.values();
        grh.traffic_class |= IpEcn::CongestionExperienced as u8;
        let mut header = *network.first_chunk()?;
        grh.write(&mut header);
        header.to_vec()
    } else if let Ok((mut header, _)) = Ipv4Header::from_slice(network) {
        header.ecn = IpEcn::CongestionExperienced;
        header.header_checksum = header.calc_header_checksum();
        header.to_bytes().to_vec()
    } else {
        let (mut header, _) = Ipv6Header::from_slice(network).ok()?;
        header.set_ecn(IpEcn::CongestionExperienced);
        header.to_bytes().to_vec()
    };
    network.get_mut(..marked.len())?.copy_from_slice(&marked);
    Some(())
}

#[cfg(test)]
mod tests {
    use roce::synth::{FrameBuilder, Pair, Tunnel};
    use roce::wire::Opcode;

    use super::*;

    fn builder() -> FrameBuilder {
        Pair::new(1).request(0x0b, 3).reth(0x1000, 7, 5).header(&[0, 0, 0, 9]).payload(b"abcde")
    }

    fn write() -> Vec<u8> {
        builder().build()
    }

    fn version_6() -> Vec<u8> {
        FrameBuilder::new("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap(), Opcode(0x04))
            .payload(b"abcd")
            .build()
    }

    fn packet(frame: &[u8]) -> Packet<'_> {
        *Frame::decode(LinkType::ETHERNET, frame).packet().expect("RoCE")
    }

    fn corrupt(frame: &[u8], field: PacketField, value: Option<u64>, is_resealed: bool) -> Option<Vec<u8>> {
        alter(Action::Corrupt { field, value, is_resealed }, frame)
    }

    #[test]
    fn flipped_bit_is_seen_by_the_icrc_unless_resealed() {
        let frame = write();
        for field in PacketField::ALL {
            let Some(altered) = corrupt(&frame, field, None, false) else {
                assert!(matches!(field, PacketField::Syndrome | PacketField::Msn), "{field:?}");
                continue;
            };
            assert!(matches!(packet(&altered).icrc, Icrc::Bad { .. }), "{field:?}");
            assert_eq!(altered.len(), frame.len());
            if field != PacketField::Icrc {
                let altered = corrupt(&frame, field, None, true).unwrap();
                assert_eq!(packet(&altered).icrc, Icrc::Good, "{field:?}");
            }
        }
    }

    #[test]
    fn field_takes_a_value() {
        let frame = write();
        let altered = |field, value| corrupt(&frame, field, Some(value), true).unwrap();
        assert_eq!(packet(&altered(PacketField::Opcode, 0x0a)).opcode(), Some(Opcode(0x0a)));
        assert_eq!(packet(&altered(PacketField::Psn, 0xabcdef)).bth.unwrap().psn().value(), 0xabcdef);
        assert_eq!(packet(&altered(PacketField::DestinationQpn, 0x11)).bth.unwrap().destination_qpn(), 0x11);
        assert_eq!(packet(&altered(PacketField::PKey, 0x7fff)).bth.unwrap().p_key(), 0x7fff);
        let reth = |frame: &[u8]| packet(frame).reth.map(|reth| (reth.va(), reth.rkey(), reth.dma_length()));
        assert_eq!(reth(&altered(PacketField::Va, 1)), Some((1, 7, 5)));
        assert_eq!(reth(&altered(PacketField::Rkey, 1)), Some((0x1000, 1, 5)));
        assert_eq!(reth(&altered(PacketField::DmaLength, 1)), Some((0x1000, 7, 1)));
        assert_eq!(packet(&altered(PacketField::Immediate, 1)).immdt.unwrap().value(), 1);
        assert_eq!(packet(&altered(PacketField::Payload, 0x7a)).payload, b"zbcde");
    }

    #[test]
    fn every_field_is_a_row_of_its_headers_table() {
        use roce::wire::{Aeth, AtomicEth, Bth, ImmDt, Reth};
        let tables = [
            (Bth::LAYER, Bth::FIELDS),
            (Reth::LAYER, Reth::FIELDS),
            (AtomicEth::LAYER, AtomicEth::FIELDS),
            (Aeth::LAYER, Aeth::FIELDS),
            (ImmDt::LAYER, ImmDt::FIELDS),
        ];
        for (field, (layers, name)) in
            PacketField::ALL.iter().filter_map(|field| Some((field, field.place()?)))
        {
            for layer in layers {
                let rows = tables.iter().find(|(table, _)| table == layer).map(|(_, rows)| *rows);
                assert!(rows.unwrap().iter().any(|row| row.name() == name), "{field:?} in {layer}");
            }
        }
    }

    #[test]
    fn frame_of_any_shape_is_changed_and_resealed() {
        let tunnelled = Tunnel::Vxlan(4789).wrap(&write());
        let shapes = [version_6(), builder().vlan(7).build(), builder().build_version_1(), tunnelled];
        for frame in &shapes {
            let altered = corrupt(frame, PacketField::Psn, Some(0xabcdef), true).unwrap();
            assert_eq!(packet(&altered).bth.unwrap().psn().value(), 0xabcdef);
            assert_eq!(packet(&altered).icrc, Icrc::Good);
            let differing: Vec<_> = (0..frame.len()).filter(|at| frame[*at] != altered[*at]).collect();
            let psn = packet(frame).bth_offset + 9;
            assert!(differing.iter().all(|at| (psn..psn + 3).contains(at) || *at >= frame.len() - 4));
        }
    }

    #[test]
    fn value_that_is_there_already_changes_nothing() {
        assert_eq!(corrupt(&write(), PacketField::Rkey, Some(7), false), None);
        let empty = Pair::new(1).response(0x11, 0).aeth(0x1f, 1).build();
        assert_eq!(corrupt(&empty, PacketField::Payload, None, false), None);
        assert!(corrupt(&empty, PacketField::Syndrome, Some(0x60), true).is_some());
    }

    #[test]
    fn mark_keeps_both_checksums_right() {
        let tunnelled = Tunnel::Vxlan(4789).wrap(&write());
        for frame in [write(), version_6(), builder().vlan(7).build(), builder().build_version_1(), tunnelled]
        {
            let marked = alter(Action::MarkEcn, &frame).unwrap();
            assert_eq!((packet(&frame).ecn, packet(&marked).ecn), (0, 3));
            assert_eq!(packet(&marked).icrc, Icrc::Good);
            assert_eq!(alter(Action::MarkEcn, &marked), None);
        }
        let marked = alter(Action::MarkEcn, &write()).unwrap();
        let words = marked[14..34].chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
        let sum: u32 = words.sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn truncated_frame_is_its_beginning() {
        let frame = write();
        assert_eq!(alter(Action::Truncate { bytes: 50 }, &frame).unwrap(), &frame[..50]);
        assert_eq!(alter(Action::Truncate { bytes: frame.len() }, &frame), None);
    }
}
