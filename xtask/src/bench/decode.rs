//! `cargo xtask bench decode`: `roce check` beside tcpdump, capinfos and tshark, on one synthetic capture.
//!
//! 1. builds `roce` for release and writes the capture: RC WRITEs of 1,024-byte packets on four queue pairs, valid ICRCs
//! 2. checks the counts, one flipped byte, one removed packet, and memory on ten times as much
//! 3. measures what is there of those, and prints the table; exit code 1 when a bar is not met
//!
//! With `--smoke` all of it is small, unoptimised and held to no bar: that it runs and counts right is what is asked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use lab::base::cache::Cache;
use lab::host::toolbox::Toolbox;
use lab::host::toolbox::set::Set;
use lab::{Error, Result};
use rdma_lab_cli::output;

use crate::workspace;

/// Data packets of the capture.
const DATA_PACKETS: u64 = 300_000;
/// The same of a smoke run.
const DATA_PACKETS_SMOKE: u64 = 10_000;
/// Messages that one acknowledgement covers; some more are behind the last ones.
const MESSAGES_AN_ACK: u64 = 4;
/// At most this part of tcpdump's time.
const TCPDUMP_BAR: f64 = 0.42;
/// At least this many times as fast as tshark.
const TSHARK_BAR: f64 = 100.0;
/// In VXLAN at most this many times its time without.
const VXLAN_BAR: f64 = 1.3;
/// At most this much memory in KiB.
const MEMORY_BAR: u64 = 20 * 1024;
/// At most this long for a capture of 12 packets.
const COLD_BAR: Duration = Duration::from_millis(10);

/// The arguments of `bench decode`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Runs of each quick command; the median counts.
    #[arg(long, default_value_t = 9)]
    runs: usize,
    /// Chooses the packet that is changed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Once, on a small capture, without a bar: only to see that it runs.
    #[arg(long)]
    smoke: bool,
}

/// The capture, and what reads it.
struct BenchSubject {
    roce: PathBuf,
    capture: PathBuf,
    /// The same with VXLAN around every packet.
    in_vxlan: PathBuf,
    data_packets: u64,
    /// With the acknowledgements.
    packets: u64,
}

/// One command's measure.
struct Measure {
    name: String,
    packets: u64,
    median: Duration,
    peak_kib: u64,
}

/// Measures, and prints the table.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let subject = prepare(args.smoke)?;
    let mut failed = Vec::new();
    correctness(&subject, args.seed, &mut failed)?;
    let large_kib = large(&subject)?;
    let runs = if args.smoke { 1 } else { args.runs };
    let file = subject.capture.display().to_string();
    let in_vxlan = subject.in_vxlan.display().to_string();
    let roce_name = subject.roce.display().to_string();
    let fixture = workspace::root().join("fixtures/write_read.pcapng").display().to_string();
    let fields = ["frame.number", "ip.src", "ip.dst", "infiniband.bth.opcode", "infiniband.bth.destqp"]
        .into_iter()
        .chain(["infiniband.bth.psn", "infiniband.bth.a", "infiniband.aeth.msn", "infiniband.reth.va"]);
    let mut tshark: Vec<&str> = vec!["tshark", "-r", &file, "-T", "fields"];
    tshark.extend(fields.flat_map(|field| ["-e", field]));
    let mut tcpdump = vec!["tcpdump", "-r", &file, "-w", "/dev/null"];
    if rustix::process::getuid().is_root() {
        // As root it would become the user tcpdump, whom not every machine has.
        tcpdump.extend(["-Z", "root"]);
    }
    let commands: [(&str, Vec<&str>, usize); 6] = [
        (OURS, vec![&roce_name, "check", &file], runs),
        (TCPDUMP, tcpdump, runs),
        ("capinfos", vec!["capinfos", &file], 2),
        (TSHARK, tshark, 1),
        (IN_VXLAN, vec![&roce_name, "check", &in_vxlan], runs),
        (COLD, vec![&roce_name, "check", &fixture], runs),
    ];
    // In turn, so that a busy moment of the machine hits all alike.
    let mut times: Vec<Vec<(Duration, u64)>> = vec![Vec::new(); commands.len()];
    let mut absent = BTreeMap::new();
    for round in 0..runs {
        for ((name, argv, runs), times) in commands.iter().zip(&mut times) {
            if round >= *runs || absent.contains_key(name) {
                continue;
            }
            match measure(name, argv) {
                Ok(measured) => times.push(measured),
                Err(error) if argv[0] == roce_name => return Err(error),
                // One of the others, which is not here or does not work: the rest is measured.
                Err(error) => drop(absent.insert(*name, error)),
            }
        }
    }
    let mut measures = Vec::new();
    for ((name, ..), mut times) in commands.iter().zip(times) {
        times.sort_unstable();
        if let Some((median, _)) = times.get(times.len() / 2) {
            measures.push(Measure {
                name: (*name).to_owned(),
                packets: if *name == COLD { 12 } else { subject.packets },
                median: *median,
                peak_kib: times.iter().map(|(_, peak)| *peak).max().unwrap_or(0),
            });
        }
    }
    for error in absent.values() {
        output::note(&format!("not measured: {error}"));
    }
    let mut bars = report(&measures, large_kib)?;
    if args.smoke {
        bars.clear();
    }
    failed.extend(bars);
    for line in &failed {
        output::note(&format!("not met: {line}"));
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const OURS: &str = "roce check";
const TCPDUMP: &str = "tcpdump -r X -w /dev/null";
const TSHARK: &str = "tshark -T fields, 9 fields";
const IN_VXLAN: &str = "roce check, in VXLAN";
const COLD: &str = "roce check, 12 packets";

/// Prints the table; gives the bars that are not met, of those whose programs are here.
fn report(measures: &[Measure], large_kib: u64) -> Result<Vec<String>> {
    let mut failed = Vec::new();
    let find = |name: &str| measures.iter().find(|measure| measure.name == name);
    let (Some(ours), Some(cold)) = (find(OURS), find(COLD)) else {
        return Err(Error::setup("failed to measure `roce check`"));
    };
    let seconds = |measure: &Measure| measure.median.as_secs_f64();
    let of_tcpdump = |measure: &Measure| Some(seconds(measure) / seconds(find(TCPDUMP)?));
    output::line(format_args!(
        "\n{:<28} {:>10} {:>14} {:>12} {:>10}",
        "command", "median", "packets/s", "of tcpdump", "peak KiB"
    ))?;
    for measure in measures {
        output::line(format_args!(
            "{:<28} {:>8.3} s {:>14.0} {:>12} {:>10}",
            measure.name,
            seconds(measure),
            measure.packets as f64 / seconds(measure),
            of_tcpdump(measure).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            measure.peak_kib
        ))?;
    }
    output::line(format_args!("roce check, ten times larger: peak {large_kib} KiB"))?;
    if let Some(ratio) = of_tcpdump(ours).filter(|ratio| *ratio > TCPDUMP_BAR) {
        failed.push(format!("{ratio:.2} of tcpdump's time, at most {TCPDUMP_BAR}"));
    }
    if let Some(tshark) = find(TSHARK) {
        let faster = seconds(tshark) / seconds(ours);
        output::line(format_args!("roce check is {faster:.0} times as fast as tshark"))?;
        if faster < TSHARK_BAR {
            failed.push(format!("{faster:.0} times as fast as tshark, at least {TSHARK_BAR}"));
        }
    }
    if ours.peak_kib.max(large_kib) > MEMORY_BAR {
        failed.push(format!("{} KiB of memory, at most {MEMORY_BAR}", ours.peak_kib.max(large_kib)));
    }
    if let Some(in_vxlan) = find(IN_VXLAN) {
        let slower = seconds(in_vxlan) / seconds(ours);
        output::line(format_args!("in VXLAN roce check takes {slower:.2} of its time without"))?;
        if slower > VXLAN_BAR {
            failed.push(format!("{slower:.2} of its time in VXLAN, at most {VXLAN_BAR}"));
        }
    }
    if cold.median > COLD_BAR {
        failed.push(format!("{:?} for 12 packets, at most {COLD_BAR:?}", cold.median));
    }
    Ok(failed)
}

/// Builds the command and writes the capture, without and with VXLAN.
fn prepare(smoke: bool) -> Result<BenchSubject> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "roce-cli", "--bin", "roce"])
        .args((!smoke).then_some("--release"))
        .current_dir(workspace::root())
        .status()
        .map_err(|source| Error::setup("failed to run cargo").source(source))?;
    if !status.success() {
        return Err(Error::setup("failed to build roce"));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace::root().join("target"), |dir| workspace::root().join(dir));
    let roce = target.join(if smoke { "debug/roce" } else { "release/roce" });
    let directory = target.join("bench");
    fs::create_dir_all(&directory)
        .map_err(|source| Error::setup(format!("failed to create {}", directory.display())).source(source))?;
    let (name, data_packets) =
        if smoke { ("decode-smoke", DATA_PACKETS_SMOKE) } else { ("decode", DATA_PACKETS) };
    let capture = directory.join(format!("{name}.pcap"));
    let packets = write(&capture, data_packets, None)?;
    let in_vxlan = directory.join(format!("{name}-vxlan.pcap"));
    write(&in_vxlan, data_packets, Some(roce::synth::Tunnel::Vxlan(4789)))?;
    Ok(BenchSubject { roce, capture, in_vxlan, data_packets, packets })
}

/// Writes a capture and says how large it is; gives how many packets it has.
fn write(capture: &Path, data_packets: u64, tunnel: Option<roce::synth::Tunnel>) -> Result<u64> {
    let failed = |source| Error::setup(format!("failed to write {}", capture.display())).source(source);
    let file = File::create(capture).map_err(failed)?;
    let written = roce::synth::Workload { data_packets, tunnel }
        .write_pcap(BufWriter::with_capacity(1 << 20, file))
        .map_err(failed)?;
    output::line(format_args!(
        "{}: {} packets, {} messages, {} bytes",
        capture.display(),
        written.packets,
        written.messages,
        written.bytes
    ))?;
    Ok(written.packets)
}

fn spawn(argv: &[&str], stdin: Stdio) -> Result<Child> {
    let (program, args) = argv.split_first().ok_or_else(|| Error::setup("no command"))?;
    Command::new(program)
        .args(args)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| Error::setup(format!("failed to start {program}")).source(source))
}

fn ended(child: Child) -> Result<(Option<i32>, String)> {
    let output = child
        .wait_with_output()
        .map_err(|source| Error::setup("failed to wait for a command").source(source))?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Peak of a process's resident memory in KiB, as long as it runs.
fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}

/// Runs a command to its end; gives its time and peak memory.
fn measure(name: &str, argv: &[&str]) -> Result<(Duration, u64)> {
    let failed = |source| Error::setup(format!("failed to run {name}")).source(source);
    let program = match Set::of(argv[0]) {
        Some(_) => Toolbox::of(&Cache::open()?).program(argv[0])?,
        None => argv[0].into(),
    };
    let begin = Instant::now();
    let mut child = Command::new(program)
        .args(&argv[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut peak = 0;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            let took = begin.elapsed();
            if !status.success() {
                return Err(Error::setup(format!("{name} failed: {status}")));
            }
            return Ok((took, peak));
        }
        peak = peak_kib(child.id()).unwrap_or(0).max(peak);
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// A change to one packet of the capture.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Flip,
    Remove,
}

/// Feeds the capture to `roce check -` with packet `number` changed; gives exit code, output and the packet's PSN.
fn fed(roce: &Path, capture: &Path, change: Change, number: u64) -> Result<(Option<i32>, String, u32)> {
    let roce = roce.display().to_string();
    let mut child = spawn(&[&roce, "check", "-"], Stdio::piped())?;
    let stdin = child.stdin.take().ok_or_else(|| Error::setup("no pipe"))?;
    let failed = |source| Error::setup("failed to feed the capture").source(source);
    let mut source = BufReader::with_capacity(1 << 20, File::open(capture).map_err(failed)?);
    let mut sink = BufWriter::with_capacity(1 << 18, stdin);
    let mut psn = 0;
    let mut copy = || -> std::io::Result<()> {
        let mut header = [0; 24];
        source.read_exact(&mut header)?;
        sink.write_all(&header)?;
        let mut at = 0;
        let mut record = Vec::new();
        loop {
            let mut header = [0; 16];
            match source.read_exact(&mut header) {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                result => result?,
            }
            let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
            record.resize(length, 0);
            source.read_exact(&mut record)?;
            at += 1;
            if at == number {
                psn = u32::from_be_bytes([0, record[51], record[52], record[53]]);
                match change {
                    Change::None => {}
                    Change::Flip => record[length / 2] ^= 1 << (number % 8),
                    Change::Remove => continue,
                }
            }
            sink.write_all(&header)?;
            sink.write_all(&record)?;
        }
        sink.flush()
    };
    copy().map_err(failed)?;
    drop(sink);
    let (code, text) = ended(child)?;
    Ok((code, text, psn))
}

/// The right counts, and one finding for each change, at the right packet.
fn correctness(subject: &BenchSubject, seed: u64, failed: &mut Vec<String>) -> Result<()> {
    let BenchSubject { roce, capture, data_packets, packets, .. } = subject;
    let acknowledged = (packets - data_packets) * MESSAGES_AN_ACK;
    let name = roce.display().to_string();
    let file = capture.display().to_string();
    let (_, stats) = ended(spawn(&[&name, "stats", "--json", &file], Stdio::null())?)?;
    for expected in [format!("\"roce.packets\":{packets},"), format!("\"roce.ended\":{acknowledged},")] {
        if !stats.contains(&expected) {
            failed.push(format!("counts: no {expected} in `roce stats --json`"));
        }
    }
    let (code, text, _) = fed(roce, capture, Change::None, 0)?;
    if code != Some(0) || !text.contains(&format!("{packets} packets, 0 errors, 0 warnings")) {
        failed.push(format!("the whole capture: {text}"));
    }
    // A data packet in the middle: no acknowledgement, whose loss the next one makes good.
    let mut number = 1_000 + seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (packets - 2_000);
    if number % 65 > 60 {
        number -= 10;
    }
    let (code, text, _) = fed(roce, capture, Change::Flip, number)?;
    let is_named = text.starts_with(&format!("packet {number}: error: IcrcMismatch"));
    if code != Some(1) || !is_named || text.lines().count() != 2 {
        failed.push(format!("packet {number} with a flipped byte: exit code {code:?}: {text}"));
    }
    output::line(format_args!("one flipped byte:   {}", text.lines().next().unwrap_or_default()))?;
    let (code, text, psn) = fed(roce, capture, Change::Remove, number)?;
    // What follows is answered: the capture lost it.
    let is_named = text.contains("warning: CaptureLostPackets: 1 request packet (");
    if code != Some(1) || !is_named || text.lines().count() != 2 {
        failed.push(format!("packet {number}, PSN {psn}, removed: exit code {code:?}: {text}"));
    }
    output::line(format_args!("one removed packet: {}", text.lines().next().unwrap_or_default()))
}

/// Checks ten times as many packets through a pipe; gives the peak of the memory in KiB.
fn large(subject: &BenchSubject) -> Result<u64> {
    let (name, data_packets) = (subject.roce.display().to_string(), 10 * subject.data_packets);
    let mut child = spawn(&[&name, "check", "-"], Stdio::piped())?;
    let stdin = child.stdin.take().ok_or_else(|| Error::setup("no pipe"))?;
    let pid = child.id();
    let writer = std::thread::spawn(move || {
        roce::synth::Workload { data_packets, tunnel: None }
            .write_pcap(BufWriter::with_capacity(1 << 18, stdin))
    });
    let mut peak = 0;
    while !writer.is_finished() {
        peak = peak_kib(pid).unwrap_or(0).max(peak);
        std::thread::sleep(Duration::from_millis(5));
    }
    let (code, text) = ended(child)?;
    match code {
        Some(0) => Ok(peak),
        _ => Err(Error::setup(format!("ten times as many packets: exit code {code:?}")).detail(text)),
    }
}
