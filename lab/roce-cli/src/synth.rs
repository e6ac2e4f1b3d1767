//! `roce synth`: the synthetic capture of the benchmark.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::Error;
use roce::synth::{Tunnel, Workload};

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
}

impl Args {
    /// Writes the capture, and tells its size on standard error.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn run(&self) -> Result<ExitCode, Error> {
        let tunnel = self.vxlan.then_some(Tunnel::Vxlan(4789));
        let workload = Workload { data_packets: self.data_packets, tunnel };
        let written = if self.file == Path::new("-") {
            workload.write_pcap(BufWriter::with_capacity(1 << 20, io::stdout().lock()))
        } else {
            File::create(&self.file)
                .and_then(|file| workload.write_pcap(BufWriter::with_capacity(1 << 20, file)))
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
}
