//! The options of every subcommand that reads a capture, and what follows from them alone.

use std::net::IpAddr;
use std::num::NonZero;
use std::thread;

use crate::filter::Terms;
use roce::wire::Decoder;
use roce::{Analysis, Names};

/// Options of every subcommand that reads a capture.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Common {
    /// Show only what matches all terms: `opcode=WORDS|NUMBER`, `qp=NUMBER|NAME`, `psn=A..B`, `direction=FROM>TO`, `time=A..B` in seconds from the first
    /// packet, `findings`. Names are the trace's, as in `qp=client.qp1 psn=client+1..4`. Everything is analysed all the same.
    #[arg(long, value_name = "TERMS")]
    pub(super) filter: Option<Terms>,
    /// Call an address by a name, as in `198.51.100.1=server`; may be repeated. Without, a file's name resolution blocks count, and in a recording of the lab
    /// the interface that the node is at.
    #[arg(long = "name", value_name = "ADDRESS=NAME", value_parser = parse_name)]
    pub(super) names: Vec<(IpAddr, String)>,
    /// Take UDP to this port for VXLAN too, besides 4789 and 8472; may be repeated.
    #[arg(long = "vxlan-port", value_name = "PORT")]
    vxlan_ports: Vec<u16>,
    /// Threads that work on a file; as many as there are processors, 4 at most, without. What is printed is the same.
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZero<usize>>,
    /// Keep every packet of a large capture, in memory that grows with it; without, trace, ladder and diff have the first 100,000.
    #[arg(long)]
    all: bool,
}

/// Most threads that work on a file without being asked for.
const THREADS_MAX: NonZero<usize> = NonZero::new(4).unwrap();

/// Packets that are kept of a capture.
pub(super) const PACKETS_MAX: usize = 100_000;

impl Common {
    /// An analysis for a trace.
    pub(super) fn analysis(&self, names: Names) -> Analysis {
        if self.all { Analysis::new(names) } else { Analysis::of_first(names, PACKETS_MAX) }
    }

    /// Threads that work on a file.
    pub(super) fn threads(&self) -> NonZero<usize> {
        self.threads.unwrap_or_else(|| {
            let processors = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
            // The checker takes the packets in order: more have nothing to do.
            processors.min(THREADS_MAX)
        })
    }

    /// The decoder of one capture's frames.
    pub(super) fn decoder(&self) -> Decoder {
        Decoder::new().vxlan_ports(&self.vxlan_ports)
    }
}

fn parse_name(text: &str) -> Result<(IpAddr, String), String> {
    let (address, name) = text.split_once('=').ok_or("expected ADDRESS=NAME")?;
    let address = address.parse().map_err(|error| format!("{address:?}: {error}"))?;
    if name.is_empty() { Err("the name is empty".to_owned()) } else { Ok((address, name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_an_address() {
        assert!(parse_name("198.51.100.1=server").is_ok());
        for bad in ["server", "x=server", "198.51.100.1="] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }
}
