//! A long synthetic capture: RC WRITEs on four queue pairs, for benchmarks.
//!
//! In: how many data packets. Out: a pcap file into `impl Write`, the same bytes for the same number, in constant memory.

use std::io::{self, Write};
use std::net::IpAddr;

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
/// Time between two packets in nanoseconds.
const STEP_NS: u64 = 1_000;

/// RC WRITEs of 16 packets of 1,024 bytes each on four queue pairs in turn, an acknowledgement after 64 packets; every ICRC is valid.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Data packets; acknowledgements come on top.
    pub data_packets: u64,
    /// Tunnel around every packet.
    pub tunnel: Option<Tunnel>,
}

/// Extent of a written capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Packets, acknowledgements included.
    pub packets: u64,
    /// Messages whose last packet is there.
    pub messages: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Workload {
    /// Writes it as a little-endian pcap file with nanoseconds.
    ///
    /// # Errors
    /// The errors of the sink.
    pub fn write_pcap(&self, mut sink: impl Write) -> io::Result<Written> {
        let mut written = Written { bytes: 24, ..Written::default() };
        for word in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, 1] {
            sink.write_all(&u32::to_le_bytes(word))?;
        }
        let (requester, responder) = (IpAddr::from([198, 51, 100, 2]), IpAddr::from([198, 51, 100, 1]));
        let mut payload = [0; PAYLOAD_BYTES];
        let mut put = |frame: &[u8], written: &mut Written| -> io::Result<()> {
            let wrapped = self.tunnel.map(|tunnel| tunnel.wrap(frame));
            let frame = wrapped.as_deref().unwrap_or(frame);
            let ns = 1_700_000_000_000_000_000 + written.packets * STEP_NS;
            for word in [ns / 1_000_000_000, ns % 1_000_000_000, frame.len() as u64, frame.len() as u64] {
                sink.write_all(&(word as u32).to_le_bytes())?;
            }
            sink.write_all(frame)?;
            written.packets += 1;
            written.bytes += 16 + frame.len() as u64;
            Ok(())
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
            put(&builder.build(), &mut written)?;
            written.messages += u64::from(place == MESSAGE_PACKETS - 1);
            if is_answered {
                let ack = FrameBuilder::new(responder, requester, Opcode(0x11))
                    .destination_qpn(0x10 + queue_pair)
                    .psn(psn)
                    .aeth(0x1f, (n + 1) / MESSAGE_PACKETS);
                put(&ack.build(), &mut written)?;
            }
        }
        sink.flush()?;
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Reader;
    use crate::{Analysis, Names};

    #[test]
    fn every_packet_is_read_back_and_breaks_no_rule() {
        let mut bytes = Vec::new();
        let written = Workload { data_packets: 4 * 128, tunnel: None }.write_pcap(&mut bytes).unwrap();
        assert_eq!(written, Written { packets: 520, messages: 32, bytes: bytes.len() as u64 });
        let mut reader = Reader::new(&bytes[..]).unwrap();
        let mut analysis = Analysis::streaming(Names::new());
        while let Some(record) = reader.next().unwrap() {
            analysis.push(&record);
        }
        let report = analysis.finish();
        assert_eq!((report.packets, report.findings.len(), report.messages.len()), (520, 0, 32));
        assert_eq!(report.connections.len(), 4);
        assert_eq!(report.stats.kinds().next().map(|(_, stats)| stats.ended), Some(32));
    }
}
