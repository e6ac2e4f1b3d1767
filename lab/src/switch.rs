//! The wire between the nodes: an Ethernet switch in user space that records every frame.
//!
//! Each port is a unix socket that one QEMU's `-netdev stream` connects to: four bytes of length, big
//! endian, then the frame. A frame is recorded once, as it enters, on its ingress port's interface, with
//! its fate in the packet's comment; what a fault makes of it is recorded as it leaves (see [`roce::Fate`]).
//! One lock orders all frames, so the capture has one clock and one order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use roce::Fate;
use roce::capture::Writer;
use roce::wire::{Frame, Icrc, LinkType};

use crate::error::{Error, IoContext as _, Result};
use crate::fault::held::{Held, Shelf, Until};
use crate::fault::{Engine, Fault, Met, Treatment};
use crate::node::{Captured, Role};

/// Longest frame taken from a port, in bytes; QEMU sends none above its 64 KiB offload buffers.
const FRAME_LIMIT: usize = 1 << 17;

/// A switch with one port a node. Its threads end with the process or with their sockets.
#[derive(Debug, Clone)]
pub struct Switch {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// A frame was put on the shelf.
    held: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ports: BTreeMap<Role, UnixStream>,
    recording: Option<Recording>,
    faults: Engine,
    shelf: Shelf,
}

struct Recording {
    /// Unbuffered: a reader that follows the file sees each frame at once.
    writer: Writer<File>,
    path: PathBuf,
    records: u64,
    captured: BTreeMap<Role, Captured>,
    failure: Option<String>,
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording").field("path", &self.path).finish_non_exhaustive()
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

    /// Whether a node's QEMU has connected its port.
    pub fn has_joined(&self, role: Role) -> bool {
        self.state().ports.contains_key(&role)
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
        state.recording =
            Some(Recording { writer, path: file.to_owned(), records: 0, captured, failure: None });
        Ok(())
    }

    /// The file that is being recorded into, if one is.
    pub fn recording(&self) -> Option<PathBuf> {
        self.state().recording.as_ref().map(|recording| recording.path.clone())
    }

    /// How many RoCEv2 packets were recorded so far, by node; all are in the file.
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

    /// What the faults have met so far.
    pub fn met(&self) -> Met {
        self.state().faults.met()
    }

    fn serve(&self, role: Role, stream: UnixStream) -> io::Result<()> {
        self.state().ports.insert(role, stream.try_clone()?);
        let mut stream = BufReader::with_capacity(FRAME_LIMIT, stream);
        let mut frame = Vec::new();
        let ended = loop {
            match read_frame(&mut stream, &mut frame) {
                Ok(true) => self.shared.forward(role, &frame),
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.state().ports.remove(&role);
        ended
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    /// Takes a frame from a port and does with it what the faults say.
    fn forward(&self, from: Role, frame: &[u8]) {
        let mut state = self.state();
        let now = Instant::now();
        match state.faults.treat(from, frame, now) {
            Treatment::Forward => state.deliver(from, frame, &Fate::Forwarded),
            Treatment::Drop => drop(state.record(from, frame, &Fate::Dropped)),
            Treatment::Cut => drop(state.record(from, frame, &Fate::LinkCut)),
            Treatment::Duplicate => {
                let number = state.record(from, frame, &Fate::Forwarded);
                state.send(from, frame);
                state.deliver(from, frame, &Fate::DuplicateOf { number });
            }
            Treatment::Replace(altered, fate) => {
                let number = state.record(from, frame, &fate);
                state.deliver(from, &altered, &Fate::AlteredOf { number });
            }
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
                state.release(&held);
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Records a frame and gives it on, and behind it what it has overtaken.
    fn deliver(&mut self, from: Role, frame: &[u8], fate: &Fate) {
        self.record(from, frame, fate);
        self.send(from, frame);
        if !self.shelf.is_empty() && is_roce(frame) {
            for held in self.shelf.take_overtaken(from) {
                self.release(&held);
            }
        }
    }

    /// Gives on what was held back. What a rate held back was recorded as delivered when it came.
    fn release(&mut self, held: &Held) {
        if let Some(number) = held.number {
            self.record(held.from, &held.frame, &Fate::ReleaseOf { number });
        }
        self.send(held.from, &held.frame);
    }

    fn hold(&mut self, from: Role, frame: &[u8], number: Option<u64>, until: Until) {
        self.shelf.put(Held { from, frame: frame.to_owned(), number, until });
    }

    /// Writes a frame to the other node's port.
    fn send(&mut self, from: Role, frame: &[u8]) {
        if let Some(port) = self.ports.get_mut(&from.peer()) {
            let _ = write_frame(port, frame);
        }
    }

    /// Records a frame; gives its number, 0 where nothing is recorded.
    fn record(&mut self, from: Role, frame: &[u8], fate: &Fate) -> u64 {
        self.recording.as_mut().map_or(0, |recording| recording.record(from, frame, fate))
    }
}

fn is_roce(frame: &[u8]) -> bool {
    Frame::decode(LinkType::ETHERNET, frame).packet().is_some()
}

impl Recording {
    fn record(&mut self, from: Role, frame: &[u8], fate: &Fate) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let interface = if from == Role::Server { 0 } else { 1 };
        if let Err(source) = self.writer.write(interface, now_ns, frame, &fate.to_string()) {
            self.failure.get_or_insert(capture_error(&self.path, source).to_string());
        }
        self.records += 1;
        if let Some(packet) = Frame::decode(LinkType::ETHERNET, frame).packet() {
            // rxe counts what it receives behind its check of the ICRC.
            let is_taken = packet.icrc == Icrc::Good;
            self.captured.entry(from).or_default().sent += u64::from(fate.is_sent());
            self.captured.entry(from.peer()).or_default().delivered +=
                u64::from(fate.is_delivered() && is_taken);
        }
        self.records
    }
}

fn capture_error(file: &Path, source: roce::capture::WriteError) -> Error {
    Error::capture(format!("failed to write the capture {}", file.display())).source(source)
}

/// Reads one frame into `frame`; `false` at the end of the stream.
fn read_frame(stream: &mut impl Read, frame: &mut Vec<u8>) -> io::Result<bool> {
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

fn write_frame(stream: &mut UnixStream, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(4 + frame.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(frame);
    stream.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

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
        assert_eq!(captured[&Role::Server], Captured { sent: 7, delivered: 0 });
        assert_eq!(captured[&Role::Client], Captured { sent: 0, delivered: 6 });
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
