//! Frames that arrive other than they were sent: a copy of the frame with the change.
//!
//! The checksum of an IPv4 header is kept right, so that a change is met by RDMA and not by IP before it; the ICRC
//! only where that is asked for.

use roce::wire::{Frame, LinkType, Packet, icrc};

use crate::scenario::fault::Action;
use crate::scenario::fault::action::Field;

/// The frame as it arrives after `action`; `None` where it has not what the action changes.
pub fn alter(action: Action, frame: &[u8]) -> Option<Vec<u8>> {
    let Frame::Roce(packet) = Frame::decode(LinkType::ETHERNET, frame) else { return None };
    if packet.stop.is_some() {
        return None;
    }
    let mut altered = frame.to_vec();
    match action {
        Action::Corrupt { field, value, is_resealed } => {
            let (at, length) = place(field, frame, &packet)?;
            let bytes = altered.get_mut(at..at + length)?;
            match value {
                None => *bytes.last_mut()? ^= 1,
                Some(value) => bytes.copy_from_slice(value.to_be_bytes().get(8 - length..)?),
            }
            if is_resealed {
                reseal(&mut altered, frame, &packet)?;
            }
        }
        Action::Truncate { bytes } if bytes < frame.len() => altered.truncate(bytes),
        Action::MarkEcn => mark(&mut altered, frame, &packet)?,
        _ => return None,
    }
    (altered != frame).then_some(altered)
}

/// Where a field is in the frame, and how long it is, in bytes.
fn place(field: Field, frame: &[u8], packet: &Packet<'_>) -> Option<(usize, usize)> {
    let bth = offset(frame, packet.bth?.bytes());
    let reth = packet.reth.map(|reth| offset(frame, reth.bytes()));
    let atomic = packet.atomic_eth.map(|atomic| offset(frame, atomic.bytes()));
    let aeth = packet.aeth.map(|aeth| offset(frame, aeth.bytes()));
    Some(match field {
        Field::Payload if packet.payload.is_empty() => return None,
        Field::Payload => (packet.payload_offset, 1),
        Field::Icrc => (end(packet) - 4, 4),
        Field::Opcode => (bth, 1),
        Field::PKey => (bth + 2, 2),
        Field::DestinationQpn => (bth + 5, 3),
        Field::Psn => (bth + 9, 3),
        Field::Va => (reth.or(atomic)?, 8),
        Field::Rkey => (reth.or(atomic)? + 8, 4),
        Field::DmaLength => (reth? + 12, 4),
        Field::Syndrome => (aeth?, 1),
        Field::Msn => (aeth? + 1, 3),
        Field::Immediate => (offset(frame, packet.immdt?.bytes()), 4),
    })
}

/// Where `part`, which is a part of the frame, begins in it.
fn offset(frame: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - frame.as_ptr() as usize
}

/// Where the packet ends in the frame, its ICRC included.
fn end(packet: &Packet<'_>) -> usize {
    packet.payload_offset + packet.payload_length_bytes + packet.pad.len() + 4
}

/// Where the IP header and what follows it begin.
fn ip(frame: &[u8], packet: &Packet<'_>) -> Option<(usize, usize)> {
    let udp = offset(frame, packet.bth?.bytes()).checked_sub(8)?;
    let length = if packet.source.is_ipv6() {
        40
    } else {
        // The header's own length field has to lead back to where the header begins.
        (5..=15).map(|words| words * 4).find(|length| {
            udp.checked_sub(*length).and_then(|at| frame.get(at)) == Some(&(0x40 | (*length / 4) as u8))
        })?
    };
    Some((udp.checked_sub(length)?, udp))
}

/// Makes the ICRC fit the altered bytes.
fn reseal(altered: &mut [u8], frame: &[u8], packet: &Packet<'_>) -> Option<()> {
    let (ip, udp) = ip(frame, packet)?;
    let end = end(packet);
    let sum = icrc(altered.get(ip..udp)?, altered.get(udp..end - 4)?)?;
    altered.get_mut(end - 4..end)?.copy_from_slice(&sum.to_le_bytes());
    Some(())
}

/// Marks the IP header "congestion experienced"; the ICRC does not cover it.
fn mark(altered: &mut [u8], frame: &[u8], packet: &Packet<'_>) -> Option<()> {
    let (ip, udp) = ip(frame, packet)?;
    let header = altered.get_mut(ip..udp)?;
    if packet.source.is_ipv6() {
        // The traffic class is the low half of the first byte and the high half of the second.
        *header.get_mut(1)? |= 0x30;
        return Some(());
    }
    *header.get_mut(1)? |= 0x03;
    header.get_mut(10..12)?.fill(0);
    let mut sum: u32 = header.chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    header.get_mut(10..12)?.copy_from_slice(&(!(sum as u16)).to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use roce::synth::{FrameBuilder, Pair};
    use roce::wire::{Icrc, Opcode};

    use super::*;

    fn write() -> Vec<u8> {
        Pair::new(1).request(0x0b, 3).reth(0x1000, 7, 5).header(&[0, 0, 0, 9]).payload(b"abcde").build()
    }

    fn packet(frame: &[u8]) -> Packet<'_> {
        *Frame::decode(LinkType::ETHERNET, frame).packet().expect("RoCE")
    }

    fn corrupt(frame: &[u8], field: Field, value: Option<u64>, is_resealed: bool) -> Option<Vec<u8>> {
        alter(Action::Corrupt { field, value, is_resealed }, frame)
    }

    #[test]
    fn flipped_bit_is_seen_by_the_icrc_unless_resealed() {
        let frame = write();
        for field in Field::ALL {
            let Some(altered) = corrupt(&frame, field, None, false) else {
                assert!(matches!(field, Field::Syndrome | Field::Msn), "{field:?}");
                continue;
            };
            assert!(matches!(packet(&altered).icrc, Icrc::Bad { .. }), "{field:?}");
            assert_eq!(altered.len(), frame.len());
            if field != Field::Icrc {
                let altered = corrupt(&frame, field, None, true).unwrap();
                assert_eq!(packet(&altered).icrc, Icrc::Good, "{field:?}");
            }
        }
    }

    #[test]
    fn field_takes_a_value() {
        let frame = write();
        let altered = |field, value| corrupt(&frame, field, Some(value), true).unwrap();
        assert_eq!(packet(&altered(Field::Opcode, 0x0a)).opcode(), Some(Opcode(0x0a)));
        assert_eq!(packet(&altered(Field::Psn, 0xabcdef)).bth.unwrap().psn().value(), 0xabcdef);
        assert_eq!(packet(&altered(Field::DestinationQpn, 0x11)).bth.unwrap().destination_qpn(), 0x11);
        assert_eq!(packet(&altered(Field::PKey, 0x7fff)).bth.unwrap().p_key(), 0x7fff);
        let reth = |frame: &[u8]| packet(frame).reth.map(|reth| (reth.va(), reth.rkey(), reth.dma_length()));
        assert_eq!(reth(&altered(Field::Va, 1)), Some((1, 7, 5)));
        assert_eq!(reth(&altered(Field::Rkey, 1)), Some((0x1000, 1, 5)));
        assert_eq!(reth(&altered(Field::DmaLength, 1)), Some((0x1000, 7, 1)));
        assert_eq!(packet(&altered(Field::Immediate, 1)).immdt.unwrap().value(), 1);
        assert_eq!(packet(&altered(Field::Payload, 0x7a)).payload, b"zbcde");
    }

    #[test]
    fn value_that_is_there_already_changes_nothing() {
        assert_eq!(corrupt(&write(), Field::Rkey, Some(7), false), None);
        let empty = Pair::new(1).response(0x11, 0).aeth(0x1f, 1).build();
        assert_eq!(corrupt(&empty, Field::Payload, None, false), None);
        assert!(corrupt(&empty, Field::Syndrome, Some(0x60), true).is_some());
    }

    #[test]
    fn mark_keeps_both_checksums_right() {
        let v6 =
            FrameBuilder::new("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap(), Opcode(0x04))
                .payload(b"abcd")
                .build();
        for frame in [write(), v6] {
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
