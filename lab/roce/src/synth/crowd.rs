//! A synthetic capture of very many queue pairs, to see what bounds cost.
//!
//! In: how many queue pairs, and whether each loses a packet. Out: a pcap file into `impl Write`, the same bytes for the same numbers, in constant memory.

use std::io::{self, Write};
use std::net::IpAddr;

use crate::synth::FrameBuilder;
use crate::synth::pcap::{Pcap, Written};
use crate::wire::{Opcode, Psn};

/// Queue pair number of the first requester, and of the first responder.
const REQUESTER_QPN: u32 = 0x1000;
const RESPONDER_QPN: u32 = 0x80_0000;
/// Round in which each queue pair loses its packet.
const LOST_ROUND: u32 = 2;

/// Rounds of one SEND and its acknowledgement on every queue pair in turn, so that all are open at a time; every ICRC is valid.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Connections, 8,388,607 at most.
    pub connections: u32,
    /// SENDs of each connection.
    pub rounds: u32,
    /// True if of each connection the third SEND is missing, with its acknowledgement and those behind it.
    pub loses_one: bool,
}

impl Crowd {
    /// Writes it as a little-endian pcap file with nanoseconds.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn write_pcap(&self, sink: impl Write) -> io::Result<Written> {
        let mut pcap = Pcap::begin(sink)?;
        let (requester, responder) = (IpAddr::from([198, 51, 100, 2]), IpAddr::from([198, 51, 100, 1]));
        for round in 0..self.rounds {
            for connection in 0..self.connections {
                let psn = Psn::new(connection).plus(round);
                if !(self.loses_one && round == LOST_ROUND) {
                    let send = FrameBuilder::new(requester, responder, Opcode(0x04))
                        .destination_qpn(RESPONDER_QPN + connection)
                        .psn(psn)
                        .ack_request()
                        .payload(b"crowd");
                    pcap.put(&send.build())?;
                }
                if !self.loses_one || round < LOST_ROUND {
                    let ack = FrameBuilder::new(responder, requester, Opcode(0x11))
                        .destination_qpn(REQUESTER_QPN + connection)
                        .psn(psn)
                        .aeth(0x1f, round + 1);
                    pcap.put(&ack.build())?;
                }
            }
        }
        pcap.written.messages =
            u64::from(self.connections) * u64::from(self.rounds - u32::from(self.loses_one));
        pcap.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Analysis, Names, Report, Rule};

    fn report(connections: u32, loses_one: bool) -> Report {
        let mut bytes = Vec::new();
        Crowd { connections, rounds: 4, loses_one }.write_pcap(&mut bytes).unwrap();
        Analysis::new(Names::new()).of_capture(&bytes)
    }

    #[test]
    fn every_connection_is_clean_or_lacks_one_packet() {
        let clean = report(50, false);
        assert_eq!((clean.packets, clean.connections.len(), clean.findings.len()), (400, 50, 0));
        let lossy = report(50, true);
        let gaps = lossy.findings.iter().filter(|finding| finding.rule == Rule::RequestPsnGap).count();
        assert_eq!((lossy.packets, lossy.connections.len(), gaps), (50 * 5, 50, 50));
    }
}
