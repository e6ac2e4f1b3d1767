//! Frames between a peer in a machine's place at the switch and the machine that is left.

use std::net::IpAddr;

use roce::wire::{Frame, LinkType, Packet};

use crate::base::error::Error;
use crate::base::role::Role;
use crate::provider::qemu::argv;

/// Puts the machines' MACs into a frame to the node `to`.
pub fn addressed(frame: &[u8], to: Role) -> Vec<u8> {
    let mac = |role| argv::mac(role).split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap_or_default());
    let mut frame = frame.to_vec();
    let macs = mac(to).chain(mac(to.peer()));
    frame.iter_mut().zip(macs).for_each(|(byte, mac)| *byte = mac);
    frame
}

/// Looks into a packet to the node `to`; `None` of any other frame.
pub fn with_packet<T>(frame: &[u8], to: Role, find: impl FnOnce(&Packet<'_>) -> Option<T>) -> Option<T> {
    let address: IpAddr = argv::address(to).into();
    let frame = Frame::decode(LinkType::ETHERNET, frame);
    frame.packet().filter(|packet| packet.destination == address).and_then(find)
}

/// The error of a port that is no more.
pub fn gone(source: std::io::Error) -> Error {
    Error::boot("the switch of the machines has gone").source(source)
}

#[cfg(test)]
mod tests {
    use roce::synth::Pair;

    use super::*;

    #[test]
    fn frame_goes_to_the_machine_that_is_left() {
        let pair = Pair::new(1);
        let frame = addressed(&pair.rtu(), Role::Server);
        assert_eq!(frame[..12], [0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2]);
        assert_eq!(frame[12..], pair.rtu()[12..]);
        assert_eq!(
            addressed(&pair.rep(&[]), Role::Client)[..12],
            [0x52, 0x54, 0, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 1]
        );
    }

    #[test]
    fn only_packets_to_the_peer_are_looked_into() {
        let pair = Pair::new(1);
        let opcode = |packet: &Packet<'_>| packet.opcode();
        assert!(with_packet(&pair.rep(&[]), Role::Client, opcode).is_some());
        assert!(with_packet(&pair.rep(&[]), Role::Server, opcode).is_none());
        assert!(with_packet(&[0; 60], Role::Client, opcode).is_none());
    }
}
