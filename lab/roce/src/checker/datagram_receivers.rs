//! Queue pairs that datagrams go to: under which Q_Key, and whether anything shows that they are there.
//!
//! In: datagrams, and the answers of the service that resolves their queue pairs. Out: a Q_Key that is not the receiver's; at the end, receivers and Q_Keys of
//! which nothing in the capture tells. A receiver drops a datagram without a word, so no answer ever shows that it was wrong.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::broken::Broken;
use crate::rule::Severity;
use crate::rules::{datagram_receiver_untold, q_key_differs, q_key_untold};
use crate::wire::{Bth, Deth, Packet, Psn};

/// The queue pair of general services, and its Q_Key.
const GSI: u32 = 1;
const GSI_Q_KEY: u32 = 0x8001_0000;

/// Every queue pair of a multicast group.
const MULTICAST: u32 = 0xff_ffff;

/// Receivers that are remembered.
const RECEIVERS_MAX: usize = 65_536;

/// Receivers, from the first on, that are held against all that nodes told: each is looked for in many payloads.
const LOOKED_FOR_MAX: usize = 1_024;

/// A node's address and a queue pair number.
type QueuePairKey = (IpAddr, u32);

/// The first datagram to a queue pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstDatagram {
    pub(crate) number: u64,
    pub(crate) source: IpAddr,
    pub(crate) psn: Psn,
    source_qpn: u32,
}

/// A queue pair that gets datagrams.
#[derive(Debug)]
struct DatagramReceiver {
    q_key: u32,
    /// True if its node told the Q_Key.
    is_told: bool,
    first: Option<FirstDatagram>,
}

/// Queue pairs that get datagrams.
#[derive(Debug, Default)]
pub(crate) struct DatagramReceivers(HashMap<QueuePairKey, DatagramReceiver>);

impl DatagramReceivers {
    /// Takes note of the queue pair and the Q_Key by which `node` answers who asks for a service.
    pub(crate) fn tell(&mut self, node: IpAddr, qpn: u32, q_key: u32) {
        if self.0.len() < RECEIVERS_MAX {
            self.0.insert((node, qpn), DatagramReceiver { q_key, is_told: true, first: None });
        }
    }

    /// Takes a datagram in, and holds its Q_Key against that of its receiver.
    pub(crate) fn see(
        &mut self,
        number: u64,
        packet: &Packet<'_>,
        bth: Bth<'_>,
        deth: Deth<'_>,
    ) -> Option<Broken> {
        let (key, q_key) = ((packet.destination, bth.destination_qpn()), deth.q_key());
        match key.1 {
            MULTICAST => return None,
            GSI => return q_key_differs::check(GSI_Q_KEY, q_key),
            _ if self.0.len() >= RECEIVERS_MAX && !self.0.contains_key(&key) => return None,
            _ => {}
        }
        let receiver = self.0.entry(key).or_insert(DatagramReceiver { q_key, is_told: false, first: None });
        receiver.first.get_or_insert(FirstDatagram {
            number,
            source: packet.source,
            psn: bth.psn(),
            source_qpn: deth.source_qpn(),
        });
        let broken = q_key_differs::check(receiver.q_key, q_key)?;
        // Of two datagrams nothing tells which one is right, and the number may have been used again.
        Some(if receiver.is_told { broken } else { broken.with(Severity::Note) })
    }

    /// The receivers of which nothing tells, though the queue pairs that send to them were told, and those that were told, under a Q_Key of which nothing tells:
    /// `has_told` says whether a node told a number, `is_seen` whether a queue pair sent something.
    pub(crate) fn untold(
        &self,
        has_told: impl Fn(QueuePairKey) -> bool,
        is_seen: impl Fn(QueuePairKey) -> bool,
    ) -> Vec<(Broken, FirstDatagram, IpAddr)> {
        let mut all: Vec<_> = self
            .0
            .iter()
            .filter(|(key, receiver)| !receiver.is_told && !is_seen(**key))
            .filter_map(|(key, receiver)| Some((receiver.first?, *key, receiver.q_key)))
            .collect();
        all.sort_by_key(|(first, ..)| first.number);
        all.truncate(LOOKED_FOR_MAX);
        all.into_iter()
            .filter_map(|(first, key, q_key)| {
                let broken = if has_told(key) {
                    let is_known = q_key_untold::is_usual(q_key)
                        || [key.0, first.source].into_iter().any(|node| has_told((node, q_key)));
                    (!is_known).then(|| q_key_untold::found(key.1, q_key))
                } else {
                    has_told((first.source, first.source_qpn)).then(|| datagram_receiver_untold::found(key.1))
                };
                Some((broken?, first, key.0))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Rule;
    use crate::synth::FrameBuilder;
    use crate::wire::{Frame, LinkType, Opcode};

    fn see(receivers: &mut DatagramReceivers, qpn: u32, q_key: u32) -> Option<(Rule, Severity)> {
        let address = |last| IpAddr::from([198, 51, 100, last]);
        let frame = FrameBuilder::new(address(2), address(1), Opcode::UD_SEND_ONLY)
            .destination_qpn(qpn)
            .deth(q_key, 0x1f1)
            .build();
        let Frame::Roce(packet) = Frame::decode(LinkType::ETHERNET, &frame) else { panic!("RoCE") };
        let broken = receivers.see(1, &packet, packet.bth.unwrap(), packet.deth.unwrap())?;
        Some((broken.rule, broken.severity))
    }

    #[test]
    fn q_key_is_held_against_what_was_told_or_came_first() {
        let mut receivers = DatagramReceivers::default();
        assert_eq!(see(&mut receivers, 0x1f2, 7), None);
        assert_eq!(see(&mut receivers, 0x1f3, 8), None, "another queue pair");
        assert_eq!(see(&mut receivers, 0x1f2, 9), Some((Rule::QKeyDiffers, Severity::Note)));
        receivers.tell([198, 51, 100, 1].into(), 0x1f2, 9);
        assert_eq!(see(&mut receivers, 0x1f2, 9), None);
        assert_eq!(see(&mut receivers, 0x1f2, 7), Some((Rule::QKeyDiffers, Severity::Warning)));
        assert_eq!(see(&mut receivers, GSI, GSI_Q_KEY), None);
        assert_eq!(see(&mut receivers, GSI, 7), Some((Rule::QKeyDiffers, Severity::Warning)));
        assert_eq!([see(&mut receivers, MULTICAST, 7), see(&mut receivers, MULTICAST, 8)], [None; 2]);
    }

    #[test]
    fn receiver_is_untold_only_when_its_sender_is_told_and_nothing_shows_it() {
        let mut receivers = DatagramReceivers::default();
        see(&mut receivers, 0x777, 7);
        let count = |told: &[u32], seen: &[u32]| {
            receivers.untold(|(_, qpn)| told.contains(&qpn), |(_, qpn)| seen.contains(&qpn)).len()
        };
        assert_eq!(count(&[0x1f1], &[]), 1);
        assert_eq!([count(&[], &[]), count(&[0x1f1, 0x777, 7], &[]), count(&[0x1f1], &[0x777])], [0; 3]);
    }

    #[test]
    fn q_key_is_untold_when_its_receiver_is_told_and_nothing_shows_it() {
        let rules = |q_key: u32, told: &[u32], seen: &[u32]| {
            let mut receivers = DatagramReceivers::default();
            see(&mut receivers, 0x777, q_key);
            let all = receivers.untold(|(_, number)| told.contains(&number), |(_, qpn)| seen.contains(&qpn));
            all.into_iter().map(|(broken, ..)| broken.rule).collect::<Vec<_>>()
        };
        assert_eq!(rules(7, &[0x1f1, 0x777], &[]), [Rule::QKeyUntold]);
        assert_eq!(rules(7, &[0x777], &[]), [Rule::QKeyUntold]);
        assert_eq!(rules(7, &[0x1f1], &[]), [Rule::DatagramReceiverUntold], "one cause, one finding");
        assert_eq!(rules(7, &[0x1f1, 0x777, 7], &[]), [], "the Q_Key was told");
        assert_eq!(rules(0x1111_1111, &[0x1f1, 0x777], &[]), [], "a usual one");
        assert_eq!(rules(7, &[0x1f1, 0x777], &[0x777]), [], "the receiver answers");
        assert_eq!(rules(7, &[], &[]), [], "nothing is told at all");
    }
}
