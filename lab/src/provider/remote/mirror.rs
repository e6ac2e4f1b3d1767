//! The capture of a mirror port: a file on this computer that something else writes, of which a run takes its packets.
//!
//! The file may be there already and grow, or come while the run lasts or after it, or be a directory of such files,
//! as a rotating tcpdump leaves them. A run takes what was written since it began, captured since it began, between
//! both machines. It waits until that holds all that it speaks of itself, or nothing comes any more.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use roce::capture::{ReadError, Reader, Writer};
use roce::wire::LinkType;
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::progress::Step;
use crate::base::role::Role;
use crate::wire::whole;

/// Longest time that the packets of a run may take to be in the file.
const LIMIT: Duration = Duration::from_secs(30);

/// Silence after which the packets so far are taken for all.
const QUIET: Duration = Duration::from_secs(5);

/// Largest distance of the recorder's clock from ours.
const CLOCKS_NS: u64 = 1_000_000_000;

/// Among how many packets before it a copy of a packet is looked for.
const COPIES_WITHIN: usize = 8;

/// Instructions for writing such a file, for people.
const RECORD: &str = "let what sees the mirror port write it while the run lasts, each packet at once, as in\n\
    ssh MIRROR sudo tcpdump -i INTERFACE -s 0 -U -w - udp port 4791 >FILE";

/// A run's share of what a mirror port shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mirror {
    /// A recording that something else writes: a file, or a directory of files.
    path: PathBuf,
    /// File into which the share is put.
    file: PathBuf,
    /// Time at which it began, in nanoseconds since the epoch, by this computer's clock.
    begun_ns: u64,
    /// Files that were there before: inode and length of each file.
    before: BTreeMap<PathBuf, (u64, u64)>,
}

/// A packet of the run.
struct Taken {
    timestamp_ns: u64,
    sender: Role,
    frame: Vec<u8>,
}

/// The run's share of the file.
#[derive(Default)]
struct Share {
    packets: Vec<Taken>,
    /// Bytes that are there, of all files.
    bytes: u64,
    /// Frames since the run began that are not between both machines.
    others: u64,
    /// Packets between both machines that were written since the run began, and by their clock not captured then:
    /// from and to, in nanoseconds since the epoch, and how many.
    other_times: Option<(u64, u64, u64)>,
}

impl Mirror {
    /// Begins a share of what is written to `path`; `file` is where [`Mirror::stop`] puts it.
    ///
    /// # Errors
    ///
    /// The files that are there cannot be looked at.
    pub fn start(path: &Path, file: &Path) -> Result<Mirror> {
        let mut before = BTreeMap::new();
        for file in files(path)? {
            let there = fs::metadata(&file).at("failed to look at", &file)?;
            before.insert(file, (there.ino(), there.len()));
        }
        Ok(Mirror { path: path.to_owned(), file: file.to_owned(), begun_ns: now_ns(), before })
    }

    /// File into which the share is put.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Number of RoCEv2 packets that it holds so far, by the node that sent them.
    ///
    /// # Errors
    ///
    /// What was written is no capture of Ethernet.
    pub fn captured(&self, addresses: &BTreeMap<Role, IpAddr>) -> Result<BTreeMap<Role, u64>> {
        let mut counts: BTreeMap<Role, u64> = addresses.keys().map(|role| (*role, 0)).collect();
        for packet in self.share(addresses)?.packets {
            *counts.entry(packet.sender).or_default() += 1;
        }
        Ok(counts)
    }

    /// Waits for the whole share, and puts it into a pcapng whose packets name the node that sent them.
    ///
    /// # Errors
    ///
    /// No packet of the run came: with what came instead. Every packet is there twice. It is no capture of Ethernet.
    pub fn stop(self, addresses: &BTreeMap<Role, IpAddr>) -> Result<PathBuf> {
        self.stop_within(LIMIT, QUIET, addresses)
    }

    fn stop_within(
        self,
        limit: Duration,
        quiet: Duration,
        addresses: &BTreeMap<Role, IpAddr>,
    ) -> Result<PathBuf> {
        let step = Step::begin(format!("wait for the mirror's packets in {}", self.path.display()));
        let started = Instant::now();
        let mut grown = Instant::now();
        let mut share = Share { bytes: u64::MAX, ..Share::default() };
        let ending = loop {
            if self.bytes()? != share.bytes {
                grown = Instant::now();
                share = self.share(addresses)?;
                if !share.packets.is_empty() {
                    share.write(&self.file)?;
                    if whole::is_whole_by_itself(&self.file, addresses)? {
                        break "";
                    }
                }
            }
            let is_quiet = !share.packets.is_empty() && grown.elapsed() > quiet;
            if is_quiet || started.elapsed() > limit {
                break ", and nothing more came";
            }
            thread::sleep(Duration::from_millis(100));
        };
        if share.packets.is_empty() {
            return Err(self.explain(limit, &share, addresses));
        }
        if share.is_doubled() {
            return Err(Error::capture(format!(
                "{} holds the packets of this run twice",
                self.path.display()
            ))
            .next("mirror one of both hosts' ports, in both directions, not both ports"));
        }
        step.done(&format!("{} packets{ending}", share.packets.len()));
        Ok(self.file)
    }

    fn bytes(&self) -> Result<u64> {
        let lengths =
            files(&self.path)?.into_iter().map(|file| fs::metadata(file).map_or(0, |there| there.len()));
        Ok(lengths.sum())
    }

    fn share(&self, addresses: &BTreeMap<Role, IpAddr>) -> Result<Share> {
        let mut share = Share::default();
        let files = files(&self.path)?;
        for path in &files {
            self.take(path, addresses, &mut share)?;
        }
        if files.len() > 1 {
            share.packets.sort_by_key(|packet| packet.timestamp_ns);
        }
        Ok(share)
    }

    /// Takes what a file holds of the run.
    fn take(&self, path: &Path, addresses: &BTreeMap<Role, IpAddr>, share: &mut Share) -> Result<()> {
        let failed = |source: ReadError| {
            Error::capture(format!("failed to read {}", path.display())).source(source).next(RECORD)
        };
        let file = File::open(path).at("failed to open", path)?;
        let there = file.metadata().at("failed to look at", path)?;
        share.bytes += there.len();
        // One that was written anew has nothing from before.
        let before =
            self.before.get(path).filter(|(inode, length)| *inode == there.ino() && *length <= there.len());
        let begin = before.map_or(0, |(_, length)| *length);
        let mut reader = match Reader::new(file) {
            Ok(reader) => reader,
            // Its head is still to come.
            Err(ReadError::Empty | ReadError::Cut { .. }) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let times = self.begun_ns.saturating_sub(CLOCKS_NS)..=now_ns() + CLOCKS_NS;
        loop {
            let offset = reader.offset();
            let record = match reader.next() {
                Ok(Some(record)) => record,
                // What is cut is still being written.
                Ok(None) | Err(ReadError::Cut { .. }) => return Ok(()),
                Err(error) => return Err(failed(error)),
            };
            if offset < begin {
                continue;
            }
            if record.link_type != LinkType::ETHERNET {
                return Err(Error::capture(format!("{} is no capture of Ethernet", path.display()))
                    .next("record on the interface that the mirror port is connected to, not on `any`"));
            }
            let sender = record.frame().packet().and_then(|packet| {
                owner(addresses, packet.destination)?;
                owner(addresses, packet.source)
            });
            let Some(sender) = sender else {
                share.others += 1;
                continue;
            };
            let timestamp_ns = record.timestamp_ns;
            if times.contains(&timestamp_ns) {
                share.packets.push(Taken { timestamp_ns, sender, frame: record.data.to_vec() });
            } else {
                let (from, to, count) = share.other_times.unwrap_or((timestamp_ns, timestamp_ns, 0));
                share.other_times = Some((from.min(timestamp_ns), to.max(timestamp_ns), count + 1));
            }
        }
    }

    /// Error of a run without a packet.
    fn explain(&self, limit: Duration, share: &Share, addresses: &BTreeMap<Role, IpAddr>) -> Error {
        let path = self.path.display();
        let both: Vec<String> = addresses.values().map(ToString::to_string).collect();
        let both = both.join(" and ");
        let has_none = "and the run needs what its mirror port shows";
        if share.bytes == 0 {
            return Error::capture(format!(
                "{path} is not there or empty after {} s, {has_none}",
                limit.as_secs()
            ))
            .next(RECORD);
        }
        let time =
            |ns: u64| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(ns)).to_string();
        if let Some((from, to, count)) = share.other_times {
            return Error::capture(format!(
                "{path} holds {count} packets between {both}, of other times than the run"
            ))
            .detail(format!(
                "captured from {} to {}, the run began at {}",
                time(from),
                time(to),
                time(self.begun_ns)
            ))
            .next("set the clock of what records it: chronyc tracking there and here");
        }
        if share.others > 0 {
            return Error::capture(format!(
                "{path} holds {} frames since the run began, and no RoCEv2 packet between {both}",
                share.others
            ))
            .next("mirror a port that both directions pass, and look for a filter on what records it");
        }
        Error::capture(format!("{path} has not grown within {} s, {has_none}", limit.as_secs())).next(RECORD)
    }
}

impl Share {
    fn write(&self, file: &Path) -> Result<()> {
        let unwritten = |source| Error::capture(format!("failed to write {}", file.display())).source(source);
        let sink = std::io::BufWriter::new(File::create(file).at("failed to create", file)?);
        let mut writer = Writer::new(sink, &Role::BOTH.map(Role::name)).map_err(unwritten)?;
        for packet in &self.packets {
            let interface = u32::from(packet.sender == Role::Client);
            writer.write(interface, packet.timestamp_ns, &packet.frame, "").map_err(unwritten)?;
        }
        writer.finish().map(drop).map_err(unwritten)
    }

    /// True if half of it are copies: two mirrored ports show each packet twice.
    fn is_doubled(&self) -> bool {
        let mut recent: VecDeque<&[u8]> = VecDeque::new();
        let mut copies = 0;
        for packet in &self.packets {
            if let Some(at) = recent.iter().position(|frame| *frame == packet.frame) {
                recent.remove(at);
                copies += 1;
                continue;
            }
            recent.push_back(&packet.frame);
            if recent.len() > COPIES_WITHIN {
                recent.pop_front();
            }
        }
        copies > 0 && copies * 2 >= self.packets.len()
    }
}

/// The file, or those in the directory; none if it is not there yet.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(if path.exists() { vec![path.to_owned()] } else { Vec::new() });
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).at("failed to list", path)? {
        files.push(entry.at("failed to list", path)?.path());
    }
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// The node that has this address.
pub(super) fn owner(addresses: &BTreeMap<Role, IpAddr>, address: IpAddr) -> Option<Role> {
    addresses.iter().find(|(_, own)| **own == address).map(|(role, _)| *role)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use roce::synth::Pair;

    use super::*;
    use crate::wire::capture::decode_file;

    fn addresses() -> BTreeMap<Role, IpAddr> {
        let pair = Pair::new(1);
        [(Role::Server, pair.passive.address), (Role::Client, pair.active.address)].into()
    }

    /// A capture as tcpdump writes it: the head, then each frame as captured at that time.
    fn pcap(frames: &[Vec<u8>], at_ns: u64) -> Vec<Vec<u8>> {
        let mut parts = vec![Vec::new()];
        for word in [0xa1b2_3c4d_u32, 2 | 4 << 16, 0, 0, 262_144, 1] {
            parts[0].extend(word.to_le_bytes());
        }
        for (number, frame) in frames.iter().enumerate() {
            let at_ns = at_ns + number as u64;
            let length = frame.len() as u32;
            let mut part = Vec::new();
            for word in [(at_ns / 1_000_000_000) as u32, (at_ns % 1_000_000_000) as u32, length, length] {
                part.extend(word.to_le_bytes());
            }
            part.extend(frame);
            parts.push(part);
        }
        parts
    }

    const SHORT: Duration = Duration::from_millis(700);
    const QUIET: Duration = Duration::from_millis(300);

    /// Packets that a run takes of a file that has `before` in it when the run begins, and `during` when it ends.
    fn taken(before: &[Vec<u8>], during: &[Vec<u8>]) -> Result<u64> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mirror.pcap");
        if !before.is_empty() {
            fs::write(&path, before.concat()).unwrap();
        }
        let mirror = Mirror::start(&path, &directory.path().join("capture.pcapng"))?;
        if !during.is_empty() {
            let mut file = File::options().create(true).append(true).open(&path).unwrap();
            file.write_all(&during.concat()).unwrap();
        }
        let file = mirror.stop_within(SHORT, QUIET, &addresses())?;
        Ok(decode_file(&file, &addresses())?.packets)
    }

    /// The text of the error that [`taken`] ends with.
    #[track_caller]
    fn refused(before: &[Vec<u8>], during: &[Vec<u8>], named: &str) {
        let text = taken(before, during).unwrap_err().to_string();
        assert!(text.contains(named) && text.contains("next: "), "{text}");
    }

    #[test]
    fn run_takes_what_was_written_and_captured_since_it_began() {
        let (run, earlier) = (Pair::new(1).write_then_read(), Pair::new(1).write_with_immediate());
        let now = pcap(&run, now_ns());
        assert_eq!(taken(&[], &now).unwrap(), 12);
        assert_eq!(
            taken(&pcap(&earlier, now_ns()), &now[1..]).unwrap(),
            12,
            "what was there before is not its"
        );
        let old = pcap(&earlier, now_ns() - 10_000_000_000);
        assert_eq!(taken(&[], &[&old[..], &now[1..]].concat()).unwrap(), 12, "nor what was captured before");
        let mut strangers = Pair::new(1);
        strangers.active.address = IpAddr::from([192, 0, 2, 9]);
        let mixed = [strangers.write_then_read(), run.clone()].concat();
        assert_eq!(taken(&[], &pcap(&mixed, now_ns())).unwrap(), 12, "nor what is of others");
    }

    #[test]
    fn run_waits_for_what_is_still_being_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mirror.pcap");
        let mirror = Mirror::start(&path, &directory.path().join("capture.pcapng")).unwrap();
        let bytes = pcap(&Pair::new(1).write_then_read(), now_ns()).concat();
        let writer = thread::spawn(move || {
            // Not at once, and never at the end of a packet.
            for piece in bytes.chunks(999) {
                thread::sleep(Duration::from_millis(60));
                File::options().create(true).append(true).open(&path).unwrap().write_all(piece).unwrap();
            }
        });
        let file =
            mirror.stop_within(Duration::from_secs(20), Duration::from_secs(10), &addresses()).unwrap();
        writer.join().unwrap();
        assert_eq!(decode_file(&file, &addresses()).unwrap().packets, 12);
    }

    #[test]
    fn files_of_a_directory_are_one_capture() {
        let directory = tempfile::tempdir().unwrap();
        let rotated = directory.path().join("rotated");
        fs::create_dir(&rotated).unwrap();
        let mirror = Mirror::start(&rotated, &directory.path().join("capture.pcapng")).unwrap();
        let parts = pcap(&Pair::new(1).write_then_read(), now_ns());
        // The second by name has the first packets.
        fs::write(rotated.join("b.pcap"), parts[..6].concat()).unwrap();
        fs::write(rotated.join("a.pcap"), [&parts[..1], &parts[6..]].concat().concat()).unwrap();
        let file = mirror.stop_within(SHORT, QUIET, &addresses()).unwrap();
        let report = decode_file(&file, &addresses()).unwrap();
        assert_eq!((report.packets, report.findings.len()), (12, 0));
    }

    #[test]
    fn part_of_a_run_is_kept_for_the_verdict() {
        let parts = pcap(&Pair::new(1).write_then_read(), now_ns());
        assert_eq!(taken(&[], &parts[..9]).unwrap(), 8);
    }

    #[test]
    fn file_that_holds_nothing_of_the_run_is_an_error_that_says_what_it_holds() {
        let run = Pair::new(1).write_then_read();
        let now = pcap(&run, now_ns());
        refused(&[], &[], "is not there or empty");
        refused(&now, &[], "has not grown");
        refused(&now[..1], &[], "has not grown");
        let hour = 3_600_000_000_000;
        for other in [now_ns() - hour, now_ns() + hour] {
            refused(
                &[],
                &pcap(&run, other),
                "holds 12 packets between 198.51.100.1 and 198.51.100.2, of other times",
            );
        }
        let mut strangers = Pair::new(1);
        strangers.active.address = IpAddr::from([192, 0, 2, 9]);
        refused(
            &[],
            &pcap(&strangers.write_then_read(), now_ns()),
            "holds 12 frames since the run began, and no",
        );
        refused(&[], &[b"what is this? no capture at all".to_vec()], "failed to read");
        let mut cooked = now.clone();
        cooked[0][20] = 113;
        refused(&[], &cooked, "is no capture of Ethernet");
    }

    #[test]
    fn two_mirrored_ports_are_one_too_many() {
        let run = Pair::new(1).write_then_read();
        let twice: Vec<_> = run.iter().flat_map(|frame| [frame.clone(), frame.clone()]).collect();
        refused(&[], &pcap(&twice, now_ns()), "holds the packets of this run twice");
        // The network may copy one.
        let once: Vec<_> = run.iter().chain(&run[11..]).cloned().collect();
        assert_eq!(taken(&[], &pcap(&once, now_ns())).unwrap(), 13);
    }
}
