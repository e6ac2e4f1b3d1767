//! The capture on machines of others: tcpdump on the server, ready before anything is sent and complete by its own
//! word, or what a mirror port shows.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roce::capture::Writer;
use roce::wire::LinkType;
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::role::Role;
use crate::provider::remote::job::{self, unit_command, wait_for};
use crate::provider::remote::machine::{DIRECTORY, Machine, SHORT};
use crate::provider::remote::mirror::Mirror;
use crate::provider::remote::mirror::owner;
use crate::provider::remote::setting::Recorder;
use crate::wire::capture::each_record;

const UNIT: &str = "rdma-lab-capture";

/// Longest time that tcpdump may take to listen, and to end.
const LIMIT: Duration = Duration::from_secs(15);

/// tcpdump's buffer in KiB: a burst of messages of 8 MiB fits.
const BUFFER_KIB: u32 = 32_768;

/// A recording under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Recording {
    /// tcpdump writes it; here is where it is put.
    Tcpdump(PathBuf),
    /// Taken of what a mirror port shows.
    Mirror(Mirror),
}

fn directory() -> String {
    format!("{DIRECTORY}/{UNIT}")
}

/// AppArmor lets Ubuntu's tcpdump write into files of this ending only.
fn there() -> String {
    format!("{}/roce.pcap", directory())
}

impl Recording {
    /// Begins to record on `machine`; `file` is where [`Recording::stop`] puts it.
    ///
    /// # Errors
    ///
    /// tcpdump does not begin to listen; the mirror's files cannot be looked at.
    pub fn start(machine: &Machine, file: &Path) -> Result<Recording> {
        let interface = match &machine.setting.capture {
            Recorder::Mirror(path) => return Mirror::start(path, file).map(Recording::Mirror),
            Recorder::Tcpdump(interface) => interface.as_ref().unwrap_or(&machine.interface),
        };
        let directory = directory();
        let tcpdump = format!(
            "tcpdump -i {interface} -n -U -s 0 -B {BUFFER_KIB} -Z root --immediate-mode -w {} 'udp port 4791'",
            there()
        );
        let script = format!(
            "export PATH=$PATH:/usr/sbin\nsystemctl kill --signal=KILL {UNIT} 2>/dev/null\n\
             rm -rf {directory}; mkdir -p {directory}\n{}\n{}\n\
             [ ! -e {directory}/ended ] || {{ cat {directory}/err >&2; exit 1; }}",
            unit_command(UNIT, &["KillSignal=SIGINT"], &tcpdump),
            wait_for(&format!("grep -q 'listening on' {directory}/err || [ -e {directory}/ended ]"), LIMIT),
        );
        machine
            .demand("tcpdump listens", &script, LIMIT + SHORT)
            .map_err(|error| error.kind_is(crate::base::error::Kind::Capture))?;
        Ok(Recording::Tcpdump(file.to_owned()))
    }

    /// File into which [`Recording::stop`] puts it.
    pub fn file(&self) -> &Path {
        match self {
            Recording::Tcpdump(file) => file,
            Recording::Mirror(mirror) => mirror.file(),
        }
    }

    /// Number of RoCEv2 packets that it holds so far, by the node that sent them.
    ///
    /// # Errors
    ///
    /// tcpdump has ended, or the machine does not answer; what a mirror port shows is no capture of Ethernet.
    pub fn captured(
        &self,
        machine: &Machine,
        addresses: &BTreeMap<Role, IpAddr>,
    ) -> Result<BTreeMap<Role, u64>> {
        if let Recording::Mirror(mirror) = self {
            return mirror.captured(addresses);
        }
        let count = |address: &IpAddr| {
            format!(
                "tcpdump -n -Z root -r {} 'src host {address} and udp dst port 4791' 2>/dev/null | wc -l",
                there()
            )
        };
        let counts: Vec<String> = addresses.values().map(count).collect();
        let script = format!(
            "export PATH=$PATH:/usr/sbin\n[ ! -e {0}/ended ] || {{ cat {0}/err >&2; exit 1; }}\n{1}",
            directory(),
            counts.join("\n")
        );
        let text = machine
            .demand("tcpdump runs", &script, SHORT)
            .map_err(|error| error.kind_is(crate::base::error::Kind::Capture))?;
        let mut numbers = text.split_whitespace().map(str::parse);
        let mut next = || match numbers.next() {
            Some(Ok(number)) => Ok(number),
            _ => {
                Err(Error::capture("the packets in the recording could not be counted").detail(text.clone()))
            }
        };
        addresses.keys().map(|role| Ok((*role, next()?))).collect()
    }

    /// Ends it, and brings its file here, verified, as a pcapng whose packets name the node that sent them.
    ///
    /// # Errors
    ///
    /// tcpdump does not end well or lost packets; the file did not arrive whole or is no capture. Or as
    /// [`Mirror::stop`].
    pub fn stop(self, machine: &Machine, addresses: &BTreeMap<Role, IpAddr>) -> Result<PathBuf> {
        let file = match self {
            Recording::Mirror(mirror) => return mirror.stop(addresses),
            Recording::Tcpdump(file) => file,
        };
        let directory = directory();
        let script = format!(
            "{}\n{}\ncat {directory}/err\ngrep -q '^success ' {directory}/ended",
            job::kill(UNIT, "INT"),
            wait_for(&format!("[ -e {directory}/ended ]"), LIMIT),
        );
        let said = machine
            .demand("tcpdump ends well", &script, LIMIT + SHORT)
            .map_err(|error| error.kind_is(crate::base::error::Kind::Capture))?;
        let pcap = file.with_extension("pcap");
        machine.pull(&there(), &pcap)?;
        name_senders(&pcap, &file, addresses)?;
        fs::remove_file(&pcap).at("failed to remove", &pcap)?;
        // Kept all the same: what is there may explain what is not.
        check_drops(&said)?;
        Ok(file)
    }
}

/// Demands that tcpdump told its numbers, and that the kernel dropped nothing.
fn check_drops(said: &str) -> Result<()> {
    let count =
        |what: &str| said.lines().find_map(|line| line.trim().strip_suffix(what)?.trim().parse::<u64>().ok());
    match count("packets dropped by kernel").or_else(|| count("packet dropped by kernel")) {
        Some(0) => Ok(()),
        Some(dropped) => {
            Err(Error::capture(format!("tcpdump lost {dropped} packets: the kernel dropped them"))
                .detail(said)
                .next("give the machine another processor, or send less at once"))
        }
        None => Err(Error::capture("tcpdump did not tell how many packets it lost").detail(said)),
    }
}

/// Writes a capture anew, each packet on the interface of the node that sent it.
///
/// # Errors
///
/// It is no capture of Ethernet, or is cut.
pub fn name_senders(pcap: &Path, file: &Path, addresses: &BTreeMap<Role, IpAddr>) -> Result<()> {
    let unwritten = |source: roce::capture::WriteError| {
        Error::capture(format!("failed to write {}", file.display())).source(source)
    };
    let sink = std::io::BufWriter::new(File::create(file).at("failed to create", file)?);
    let mut writer = Writer::new(sink, &["server", "client", "other"]).map_err(unwritten)?;
    each_record(pcap, |record| {
        if record.link_type != LinkType::ETHERNET {
            return Err(Error::capture(format!("{} is no capture of Ethernet", pcap.display()))
                .next("record on an Ethernet interface or a mirror port"));
        }
        let interface = match record.frame().packet().and_then(|packet| owner(addresses, packet.source)) {
            Some(Role::Server) => 0,
            Some(_) => 1,
            None => 2,
        };
        writer.write(interface, record.timestamp_ns, record.data, "").map_err(unwritten)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "tcpdump: listening on ens3, link-type EN10MB (Ethernet), snapshot length 262144 bytes\n\
        12 packets captured\n12 packets received by filter\n0 packets dropped by kernel\n";

    #[test]
    fn lost_packets_are_an_error_and_so_is_silence() {
        check_drops(SAID).unwrap();
        let text =
            check_drops(&SAID.replace("\n0 packets dropped", "\n7 packets dropped")).unwrap_err().to_string();
        assert!(text.contains("tcpdump lost 7 packets"), "{text}");
        check_drops("tcpdump: listening on ens3\n").unwrap_err();
        check_drops("").unwrap_err();
    }
}
