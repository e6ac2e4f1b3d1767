//! The wire between the nodes: an Ethernet switch in user space that records every frame.
//!
//! Each port is a unix socket that one QEMU's `-netdev stream` connects to: four bytes of length, big
//! endian, then the frame. A frame is recorded once, as it enters, on its ingress port's interface, with
//! its fate in the packet's comment; what a fault makes of it is recorded as it leaves (see [`roce::Fate`]).
//! One lock orders all frames, so the capture has one clock and one order. Nothing waits for a machine under it: what a
//! machine does not take in time is dropped (see `port`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::net::IpAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use roce::Fate;
use roce::capture::Writer;
use roce::wire::{Frame, Icrc, LinkType};

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::role::Role;
use crate::scenario::fault::{Fault, Met};
use crate::wire::captured::Captured;
use crate::wire::engine::{Engine, Treatment};
use crate::wire::held::{Held, Shelf, Until};

pub(super) mod port;

use port::SwitchPort;

/// Pause after which a frame that was held back is offered again to a port that is full.
const AGAIN: Duration = Duration::from_millis(5);

/// Longest frame taken from a port, in bytes; QEMU sends none above its 64 KiB offload buffers.
const FRAME_LIMIT: usize = 1 << 17;

/// Most addresses of nodes whose names a capture says.
const NAMED_MAX: usize = 64;

/// A switch with one port a node. Its threads end with the process or with their sockets.
#[derive(Debug, Clone)]
pub struct Switch {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<SwitchState>,
    /// Nodes whose QEMU has connected its port: asked for without waiting for the wire.
    joined: Mutex<BTreeSet<Role>>,
    /// A frame was put on the shelf.
    held: Condvar,
}

#[derive(Debug, Default)]
struct SwitchState {
    ports: BTreeMap<Role, SwitchPort>,
    recording: Option<SwitchRecording>,
    faults: Engine,
    shelf: Shelf,
}

struct SwitchRecording {
    /// Unbuffered: a reader that follows the file sees each frame at once.
    writer: Writer<File>,
    path: PathBuf,
    records: u64,
    captured: BTreeMap<Role, Captured>,
    /// Addresses of the nodes, whose names are in the file.
    named: BTreeSet<(Role, IpAddr)>,
    failure: Option<String>,
}

impl std::fmt::Debug for SwitchRecording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SwitchRecording").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Switch {
    /// Listens on one socket a node; each serves one connection at a time.
    ///
    /// # Errors
    ///
    /// A socket cannot be made.
    pub fn listen(ports: &[(Role, PathBuf)]) -> Result<Switch> {
        let switch = Switch { shared: Arc::default() };
        let shared = Arc::clone(&switch.shared);
        thread::spawn(move || shared.release_in_time());
        for (role, path) in ports {
            let listener = UnixListener::bind(path).at("failed to listen on", path)?;
            let (switch, role) = (switch.clone(), *role);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    // A port that fails is a machine that has gone; who waits for the machine says so, and
                    // another may take its place.
                    let _ = switch.serve(role, stream);
                }
            });
        }
        Ok(switch)
    }

    /// True if a node's QEMU has connected its port.
    pub fn has_joined(&self, role: Role) -> bool {
        self.shared.joined().contains(&role)
    }

    /// Begins to record into `file`.
    ///
    /// # Errors
    ///
    /// A recording is under way already, or the file cannot be written.
    pub fn start_capture(&self, file: &Path) -> Result<()> {
        let mut state = self.state();
        if let Some(recording) = &state.recording {
            return Err(Error::capture(format!("already recording into {}", recording.path.display())));
        }
        let sink = File::create(file).at("failed to create", file)?;
        let names = Role::BOTH.map(Role::name);
        let writer = Writer::new(sink, &names).map_err(|source| capture_error(file, source))?;
        let captured = Role::BOTH.map(|role| (role, Captured::default())).into();
        state.recording = Some(SwitchRecording {
            writer,
            path: file.to_owned(),
            records: 0,
            captured,
            named: BTreeSet::new(),
            failure: None,
        });
        Ok(())
    }

    /// The file that is being recorded into, if one is.
    pub fn recording(&self) -> Option<PathBuf> {
        self.state().recording.as_ref().map(|recording| recording.path.clone())
    }

    /// Number of RoCEv2 packets that were recorded so far, by node; all are in the file.
    ///
    /// # Errors
    ///
    /// Nothing is being recorded, or the file could not be written.
    pub fn captured(&self) -> Result<BTreeMap<Role, Captured>> {
        let state = self.state();
        let recording =
            state.recording.as_ref().ok_or_else(|| Error::capture("nothing is being recorded"))?;
        match &recording.failure {
            Some(failure) => Err(Error::capture(failure.clone())),
            None => Ok(recording.captured.clone()),
        }
    }

    /// Ends the recording and gives its file, which is whole when this returns.
    ///
    /// # Errors
    ///
    /// As [`Switch::captured`].
    pub fn stop_capture(&self) -> Result<PathBuf> {
        self.captured()?;
        let recording = self.state().recording.take();
        recording.map(|recording| recording.path).ok_or_else(|| Error::capture("nothing is being recorded"))
    }

    /// Lets these faults act on what comes from now on, in place of any before.
    pub fn arm(&self, faults: Vec<Fault>) {
        self.state().faults = Engine::new(faults);
    }

    /// Packets that the faults have met so far.
    pub fn met(&self) -> Met {
        self.state().faults.met()
    }

    fn serve(&self, role: Role, stream: UnixStream) -> io::Result<()> {
        self.state().ports.insert(role, SwitchPort::new(stream.try_clone()?)?);
        self.shared.joined().insert(role);
        let mut stream = BufReader::with_capacity(FRAME_LIMIT, stream);
        let mut frame = Vec::new();
        let ended = loop {
            match read_frame(&mut stream, &mut frame) {
                Ok(true) => self.shared.forward(role, &frame),
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.shared.joined().remove(&role);
        self.state().ports.remove(&role);
        ended
    }

    fn state(&self) -> MutexGuard<'_, SwitchState> {
        self.shared.state()
    }
}

impl Shared {
    /// Takes a frame from a port and does with it what the faults say.
    fn forward(&self, from: Role, frame: &[u8]) {
        let mut state = self.state();
        let now = Instant::now();
        match state.faults.treat(from, frame, now) {
            Treatment::Forward => {
                state.deliver(from, frame, &Fate::Forwarded);
                state.pass(from, frame);
            }
            Treatment::Drop => drop(state.record(from, frame, &Fate::Dropped)),
            Treatment::Cut => drop(state.record(from, frame, &Fate::LinkCut)),
            Treatment::Duplicate => {
                let number = state.deliver(from, frame, &Fate::Forwarded);
                state.deliver(from, frame, &Fate::DuplicateOf { number });
                state.pass(from, frame);
            }
            Treatment::Replace(altered, fate) => {
                let number = state.record(from, frame, &fate);
                state.deliver(from, &altered, &Fate::AlteredOf { number });
                state.pass(from, &altered);
            }
            Treatment::Queue(_) if state.is_full(from, frame) => drop(state.refuse(from, frame)),
            Treatment::Queue(by) => {
                let delay_us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
                state.record(from, frame, &Fate::Queued { delay_us });
                state.hold(from, frame, None, Until::Time(now + by));
                self.held.notify_one();
            }
            Treatment::Delay(delay_ms) => {
                let number = state.record(from, frame, &Fate::Delayed { delay_ms });
                let due = now + Duration::from_millis(delay_ms);
                state.hold(from, frame, Some(number), Until::Time(due));
                self.held.notify_one();
            }
            Treatment::Reorder(by) => {
                let number = state.record(from, frame, &Fate::Reordered);
                state.hold(from, frame, Some(number), Until::Passed(by));
            }
        }
    }

    /// Releases frames that are held back for a time, for as long as the process lives.
    fn release_in_time(&self) {
        let mut state = self.state();
        loop {
            while let Some(held) = state.shelf.take_due(Instant::now()) {
                state.release(held);
            }
            state = match state.shelf.next() {
                None => self.held.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(next) => {
                    let left = next.saturating_duration_since(Instant::now());
                    self.held.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn state(&self) -> MutexGuard<'_, SwitchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn joined(&self) -> MutexGuard<'_, BTreeSet<Role>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SwitchState {
    /// Offers a frame to its port and records what became of it; gives the record's number. A copy of the switch's own
    /// for which there is no room is no record: the record that it is a copy of says that it was not delivered.
    fn deliver(&mut self, from: Role, frame: &[u8], fate: &Fate) -> u64 {
        match self.offer(from, frame) {
            true => self.record(from, frame, fate),
            false if fate.is_sent() => self.refuse(from, frame),
            false => self.refused(from),
        }
    }

    /// Releases what a frame has overtaken.
    fn pass(&mut self, from: Role, frame: &[u8]) {
        if !self.shelf.is_empty() && is_roce(frame) {
            for held in self.shelf.take_overtaken(from) {
                self.release(held);
            }
        }
    }

    /// Passes on a frame that was held back. One that a rate held back was recorded as delivered when it came, so that it waits for
    /// room; as long as there is none, none comes.
    fn release(&mut self, held: Held) {
        match held.number {
            Some(number) => drop(self.deliver(held.from, &held.frame, &Fate::ReleaseOf { number })),
            None if self.offer(held.from, &held.frame) => {}
            None => self.shelf.put_back(Held { until: Until::Time(Instant::now() + AGAIN), ..held }),
        }
    }

    /// Records a frame that its port has no room for.
    fn refuse(&mut self, from: Role, frame: &[u8]) -> u64 {
        self.refused(from);
        self.record(from, frame, &Fate::PortFull)
    }

    /// Counts a frame that was dropped for want of room.
    fn refused(&mut self, from: Role) -> u64 {
        if let Some(recording) = &mut self.recording {
            recording.captured.entry(from.peer()).or_default().refused += 1;
        }
        0
    }

    fn hold(&mut self, from: Role, frame: &[u8], number: Option<u64>, until: Until) {
        self.shelf.put(Held { from, frame: frame.to_owned(), number, until });
    }

    /// Offers a frame to the other node's port; false where that is full. A machine that is not there yet takes all.
    fn offer(&self, from: Role, frame: &[u8]) -> bool {
        self.ports.get(&from.peer()).is_none_or(|port| port.offer(frame))
    }

    fn is_full(&self, from: Role, frame: &[u8]) -> bool {
        self.ports.get(&from.peer()).is_some_and(|port| port.is_full(frame.len()))
    }

    /// Records a frame; gives its number, 0 where nothing is recorded.
    fn record(&mut self, from: Role, frame: &[u8], fate: &Fate) -> u64 {
        self.recording.as_mut().map_or(0, |recording| recording.record(from, frame, fate))
    }
}

fn is_roce(frame: &[u8]) -> bool {
    Frame::decode(LinkType::ETHERNET, frame).packet().is_some()
}

impl SwitchRecording {
    fn record(&mut self, from: Role, frame: &[u8], fate: &Fate) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let interface = if from == Role::Server { 0 } else { 1 };
        let decoded = Frame::decode(LinkType::ETHERNET, frame);
        let mut written = Ok(());
        if let Some(packet) = decoded.packet() {
            // rxe counts what it receives behind its check of the ICRC.
            let is_taken = packet.icrc == Icrc::Good;
            self.captured.entry(from).or_default().sent += u64::from(fate.is_sent());
            self.captured.entry(from.peer()).or_default().delivered +=
                u64::from(fate.is_delivered() && is_taken);
            if fate.is_sent()
                && is_taken
                && self.named.len() < NAMED_MAX
                && self.named.insert((from, packet.source))
            {
                written = self.writer.name(packet.source, from.name());
            }
        }
        let written = written.and_then(|()| self.writer.write(interface, now_ns, frame, &fate.to_string()));
        if let Err(source) = written {
            self.failure.get_or_insert(capture_error(&self.path, source).to_string());
        }
        self.records += 1;
        self.records
    }
}

fn capture_error(file: &Path, source: roce::capture::WriteError) -> Error {
    Error::capture(format!("failed to write the capture {}", file.display())).source(source)
}

/// Reads one frame into `frame`; `false` at the end of the stream.
pub(super) fn read_frame(stream: &mut impl Read, frame: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        result => result?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("frame of {length} bytes")));
    }
    frame.resize(length, 0);
    stream.read_exact(frame)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::{Duration, Instant};

    use super::*;

    fn write_frame(stream: &mut UnixStream, frame: &[u8]) -> io::Result<()> {
        stream.write_all(&port::framed(frame))
    }

    fn joined(directory: &Path) -> (Switch, UnixStream, UnixStream) {
        let ports: Vec<_> = Role::BOTH.map(|role| (role, directory.join(role.name()))).into();
        let switch = Switch::listen(&ports).unwrap();
        let [server, client] = [0, 1].map(|port| UnixStream::connect(&ports[port].1).unwrap());
        let started = Instant::now();
        while !Role::BOTH.iter().all(|&role| switch.has_joined(role)) {
            assert!(started.elapsed() < Duration::from_secs(5));
            thread::sleep(Duration::from_millis(1));
        }
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (switch, server, client)
    }

    #[test]
    fn frame_is_recorded_on_its_ingress_port_and_delivered() {
        let directory = tempfile::tempdir().unwrap();
        let (switch, mut server, mut client) = joined(directory.path());
        let file = directory.path().join("x.pcapng");
        switch.start_capture(&file).unwrap();
        let sent = [0xab; 60];
        write_frame(&mut server, &sent).unwrap();
        let mut received = Vec::new();
        assert!(read_frame(&mut client, &mut received).unwrap());
        assert_eq!(received, sent);
        switch.stop_capture().unwrap();

        let mut reader = roce::capture::Reader::new(File::open(&file).unwrap()).unwrap();
        let record = reader.next().unwrap().unwrap();
        assert_eq!(record.interface_name, Some("server"));
        assert_eq!((record.data, record.comment), (&sent[..], Some("fate=forwarded")));
        assert!(reader.next().unwrap().is_none());
    }

    /// The comments of a capture.
    fn fates(file: &Path) -> Vec<String> {
        let mut reader = roce::capture::Reader::new(File::open(file).unwrap()).unwrap();
        let mut fates = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            fates.push(record.comment.unwrap_or_default().trim_start_matches("fate=").to_owned());
        }
        fates
    }

    #[test]
    fn each_fault_is_a_fate_and_the_receiver_gets_what_the_capture_says() {
        let directory = tempfile::tempdir().unwrap();
        let (switch, mut server, mut client) = joined(directory.path());
        let pair = roce::synth::Pair::new(1);
        let frames: Vec<Vec<u8>> =
            (0..7).map(|n| pair.response(0x0e, n).payload(&[n as u8; 8]).build()).collect();
        let faults = [
            "action = \"drop\"\nnth = 1",
            "action = \"duplicate\"\nnth = 2",
            "action = \"corrupt\"\nfield = \"payload\"\nnth = 3",
            "action = \"reorder\"\nnth = 4",
            "action = \"delay\"\nms = 30\nnth = 6",
        ];
        switch.arm(faults.map(|text| toml::from_str(text).unwrap()).into());
        let file = directory.path().join("x.pcapng");
        switch.start_capture(&file).unwrap();
        for frame in &frames {
            write_frame(&mut server, frame).unwrap();
        }
        let mut received = Vec::new();
        let mut frame = Vec::new();
        for _ in 0..7 {
            assert!(read_frame(&mut client, &mut frame).unwrap());
            received.push(frame.clone());
        }
        let order: Vec<usize> =
            received.iter().map(|frame| frames.iter().position(|sent| sent == frame).unwrap_or(99)).collect();
        assert_eq!(order, [1, 1, 99, 4, 3, 6, 5]);
        assert_eq!(switch.met().hits, [1, 1, 1, 1, 1]);
        // rxe would not take the one whose ICRC does not fit.
        let captured = switch.captured().unwrap();
        assert_eq!(captured[&Role::Server], Captured { sent: 7, ..Captured::default() });
        assert_eq!(captured[&Role::Client], Captured { delivered: 6, ..Captured::default() });
        switch.stop_capture().unwrap();
        assert_eq!(
            fates(&file),
            [
                "dropped",
                "forwarded",
                "duplicate-of #2",
                "corrupted",
                "altered-of #4",
                "reordered",
                "forwarded",
                "released #6",
                "delayed 30 ms",
                "forwarded",
                "released #9",
            ]
        );
    }

    /// A frame of 60 KB that holds a number.
    fn large(number: usize) -> Vec<u8> {
        [number.to_be_bytes().to_vec(), vec![0xab; 60_000]].concat()
    }

    #[test]
    fn machine_that_does_not_read_stops_nobody_and_what_it_misses_has_a_fate() {
        let directory = tempfile::tempdir().unwrap();
        let (switch, mut server, client) = joined(directory.path());
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let file = directory.path().join("x.pcapng");
        switch.start_capture(&file).unwrap();
        let sent = port::QUEUE_LIMIT / 60_000 + 50;
        for number in 0..sent {
            write_frame(&mut server, &large(number)).unwrap();
        }
        // The other direction, and whoever asks, need not wait for the client to read.
        let mut from_client = client.try_clone().unwrap();
        write_frame(&mut from_client, &[0xcd; 60]).unwrap();
        let mut frame = Vec::new();
        assert!(read_frame(&mut server, &mut frame).unwrap());
        assert_eq!(frame, [0xcd; 60]);
        assert!(switch.has_joined(Role::Client));
        let started = Instant::now();
        while switch.state().recording.as_ref().unwrap().records < sent as u64 + 1 {
            assert!(started.elapsed() < Duration::from_secs(5));
        }
        let refused = switch.captured().unwrap()[&Role::Client].refused as usize;
        assert!((1..sent).contains(&refused), "{refused} of {sent}");
        // What was not refused arrives, in order, once the client reads.
        let mut client = BufReader::new(client);
        for number in 0..sent - refused {
            assert!(read_frame(&mut client, &mut frame).unwrap());
            assert_eq!(frame, large(number));
        }
        switch.stop_capture().unwrap();
        let fates = fates(&file);
        let to_client = fates.iter().filter(|fate| *fate == "port-full").count();
        assert_eq!((fates.len(), to_client), (sent + 1, refused));
    }

    #[test]
    fn what_a_rate_held_back_waits_for_a_port_that_is_full() {
        let directory = tempfile::tempdir().unwrap();
        let (switch, mut server, client) = joined(directory.path());
        for number in 0..port::QUEUE_LIMIT / 60_000 + 50 {
            write_frame(&mut server, &large(number)).unwrap();
        }
        let started = Instant::now();
        while !switch.state().is_full(Role::Server, &large(0)) {
            assert!(started.elapsed() < Duration::from_secs(5));
        }
        let mut state = switch.state();
        for number in [999_999, 1_000_000] {
            state.hold(Role::Server, &large(number), None, Until::Time(Instant::now()));
        }
        drop(state);
        switch.shared.held.notify_one();
        let mut client = BufReader::new(client);
        let mut frame = Vec::new();
        while frame != large(999_999) {
            assert!(read_frame(&mut client, &mut frame).unwrap());
        }
        assert!(read_frame(&mut client, &mut frame).unwrap());
        assert!(frame == large(1_000_000));
    }

    #[test]
    fn frames_before_and_after_the_recording_are_not_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let (switch, mut server, mut client) = joined(directory.path());
        let mut deliver = || {
            write_frame(&mut server, &[1; 60]).unwrap();
            assert!(read_frame(&mut client, &mut Vec::new()).unwrap());
        };
        deliver();
        let file = directory.path().join("x.pcapng");
        switch.start_capture(&file).unwrap();
        assert!(switch.start_capture(&file).is_err());
        switch.stop_capture().unwrap();
        deliver();
        let mut reader = roce::capture::Reader::new(File::open(&file).unwrap()).unwrap();
        assert!(reader.next().unwrap().is_none());
        assert!(switch.captured().is_err());
    }

    #[test]
    fn length_that_lies_closes_the_port() {
        let mut bytes: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0];
        let error = read_frame(&mut bytes, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
