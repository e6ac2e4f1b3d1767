//! `roce synth`: the synthetic captures of the benchmark, and of very many queue pairs.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::Error;
use roce::synth::{Crowd, Tunnel, Workload, Written};

/// The arguments of `synth`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// File to write; `-` is standard output.
    file: PathBuf,
    /// Data packets; an acknowledgement to each 64 comes on top.
    #[arg(long, default_value_t = 300_000)]
    data_packets: u64,
    /// Put VXLAN around every packet.
    #[arg(long)]
    vxlan: bool,
    /// Instead, this many connections that each send four messages, all at a time.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX), conflicts_with_all = ["data_packets", "vxlan"])]
    connections: Option<u32>,
    /// Leave a packet of each connection out, and what would have answered it.
    #[arg(long, requires = "connections")]
    lose_one: bool,
}

/// Most connections: queue pair numbers have 24 bits.
const CONNECTIONS_MAX: i64 = 0x7f_ffff;

/// Messages of each of many connections.
const ROUNDS: u32 = 4;

impl Args {
    /// Writes the capture, and tells its size on standard error.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn run(&self) -> Result<ExitCode, Error> {
        let written = if self.file == Path::new("-") {
            self.write(BufWriter::with_capacity(1 << 20, io::stdout().lock()))
        } else {
            File::create(&self.file).and_then(|file| self.write(BufWriter::with_capacity(1 << 20, file)))
        };
        let written = written
            .map_err(|error| Error::new(format!("failed to write {}: {error}", self.file.display())))?;
        let _ = writeln!(
            io::stderr(),
            "{} packets, {} messages, {} bytes",
            written.packets,
            written.messages,
            written.bytes
        );
        Ok(ExitCode::SUCCESS)
    }

    fn write(&self, sink: impl Write) -> io::Result<Written> {
        if let Some(connections) = self.connections {
            return Crowd { connections, rounds: ROUNDS, loses_one: self.lose_one }.write_pcap(sink);
        }
        let tunnel = self.vxlan.then_some(Tunnel::Vxlan(4789));
        Workload { data_packets: self.data_packets, tunnel }.write_pcap(sink)
    }
}
