//! Ethernet header of a frame: its VLAN tag, and what is behind it.

/// VLAN of an Ethernet frame, if it is tagged with one, and its bytes from the type of its content on.
pub fn untagged(frame: &[u8]) -> Option<(Option<u16>, &[u8])> {
    Some(match frame.get(12..)? {
        [0x81, 0x00, high, low, rest @ ..] => (Some(u16::from_be_bytes([*high, *low]) & 0x0fff), rest),
        rest => (None, rest),
    })
}

/// Length of a frame's Ethernet header in bytes, which no MTU counts: with a VLAN tag where there is one.
pub fn header_bytes(frame: &[u8]) -> usize {
    untagged(frame).map_or(frame.len(), |(_, content)| frame.len() - content.len() + 2)
}
