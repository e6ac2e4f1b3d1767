//! A long synthetic capture: RC WRITEs on four queue pairs, for benchmarks.
//!
//! In: how many data packets. Out: a pcap file into `impl Write`, the same bytes for the same number, in constant memory.

use std::io::{self, Write};
use std::net::IpAddr;

use crate::synth::pcap::{Pcap, Written};
use crate::synth::{FrameBuilder, Tunnel};
use crate::wire::{Opcode, Psn};

/// Queue pairs that send in turn.
const QUEUE_PAIRS: u32 = 4;
/// Data packets of one message.
const MESSAGE_PACKETS: u32 = 16;
/// Data packets to each acknowledgement.
const ACK_EVERY: u32 = 64;
/// Payload of a data packet in bytes: the path MTU.
const PAYLOAD_BYTES: usize = 1024;

/// RC WRITEs of 16 packets of 1,024 bytes each on four queue pairs in turn, an acknowledgement after 64 packets; every ICRC is valid.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Data packets; acknowledgements come on top.
    pub data_packets: u64,
    /// Tunnel around every packet.
    pub tunnel: Option<Tunnel>,
}

impl Workload {
    /// Writes it as a little-endian pcap file with nanoseconds.
    ///
    /// # Errors
    /// The errors of the sink.
    pub fn write_pcap(&self, sink: impl Write) -> io::Result<Written> {
        let mut pcap = Pcap::begin(sink)?;
        let (requester, responder) = (IpAddr::from([198, 51, 100, 2]), IpAddr::from([198, 51, 100, 1]));
        let mut payload = [0; PAYLOAD_BYTES];
        let put = |frame: &[u8], pcap: &mut Pcap<_>| match self.tunnel {
            Some(tunnel) => pcap.put(&tunnel.wrap(frame)),
            None => pcap.put(frame),
        };
        for at in 0..self.data_packets {
            let queue_pair = at as u32 % QUEUE_PAIRS;
            let n = (at / u64::from(QUEUE_PAIRS)) as u32;
            let psn = Psn::new(0x10_0000 * (queue_pair + 1)).plus(n);
            let place = n % MESSAGE_PACKETS;
            let opcode = match place {
                0 => 0x06,
                place if place == MESSAGE_PACKETS - 1 => 0x08,
                _ => 0x07,
            };
            for (index, byte) in payload.iter_mut().enumerate() {
                *byte = (at as usize).wrapping_mul(31).wrapping_add(index.wrapping_mul(7)) as u8;
            }
            let is_answered = n % ACK_EVERY == ACK_EVERY - 1;
            let mut builder = FrameBuilder::new(requester, responder, Opcode(opcode))
                .destination_qpn(0x20 + queue_pair)
                .psn(psn)
                .payload(&payload);
            if place == 0 {
                let length = MESSAGE_PACKETS * PAYLOAD_BYTES as u32;
                builder = builder.reth(0x5500_0000_0000, 0x1234 + queue_pair, length);
            }
            if is_answered {
                builder = builder.ack_request();
            }
            put(&builder.build(), &mut pcap)?;
            pcap.written.messages += u64::from(place == MESSAGE_PACKETS - 1);
            if is_answered {
                let ack = FrameBuilder::new(responder, requester, Opcode(0x11))
                    .destination_qpn(0x10 + queue_pair)
                    .psn(psn)
                    .aeth(0x1f, (n + 1) / MESSAGE_PACKETS);
                put(&ack.build(), &mut pcap)?;
            }
        }
        pcap.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Analysis, Names};

    #[test]
    fn every_packet_is_read_back_and_breaks_no_rule() {
        let mut bytes = Vec::new();
        let written = Workload { data_packets: 4 * 128, tunnel: None }.write_pcap(&mut bytes).unwrap();
        assert_eq!(written, Written { packets: 520, messages: 32, bytes: bytes.len() as u64 });
        let report = Analysis::streaming(Names::new()).of_capture(&bytes);
        assert_eq!((report.packets, report.findings.len(), report.messages.len()), (520, 0, 32));
        assert_eq!(report.connections.len(), 4);
        assert_eq!(report.stats.kinds().next().map(|(_, stats)| stats.ended), Some(32));
    }
}
