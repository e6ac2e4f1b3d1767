//! The wire between the nodes: an Ethernet switch in user space that records every frame.
//!
//! Each port is a unix socket that one QEMU's `-netdev stream` connects to: four bytes of length, big
//! endian, then the frame. A frame is recorded once, as it enters, on its ingress port's interface, with
//! its fate in the packet's comment; what a fault makes of it is recorded as it leaves (see [`roce::Fate`]).
//! One lock orders all frames, so the capture has one clock and one order. Nothing waits for a machine under it: what a
//! machine does not take in time is dropped (see `port`). Between more than two nodes it learns who is where, as switches
//! do; a port may have a rate and a queue of its own (see [`crate::wire::limits`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use roce::Fate;
use roce::wire::{Frame, LinkType};

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::role::Role;
use crate::scenario::fault::{Action, Fault, Met};
use crate::scenario::port::LimitedPort;
use crate::wire::alter::alter;
use crate::wire::captured::Captured;
use crate::wire::engine::{Engine, Treatment};
use crate::wire::gate::{Gate, GateDecision, GatePacket, Passenger};
use crate::wire::held::{Held, Shelf, Until};
use crate::wire::limits::{LimitedPorts, Passage, PortCount};
use crate::wire::table::{MacTable, NodeSet};

pub(super) mod port;
mod recording;

use port::SwitchPort;
use recording::{Ingress, SwitchRecording};

/// Pause after which a frame that was held back is offered again to a port that is full.
const AGAIN: Duration = Duration::from_millis(5);

/// Longest frame taken from a port, in bytes; QEMU sends none above its 64 KiB offload buffers.
const FRAME_LIMIT: usize = 1 << 17;

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
    /// A frame was put on the shelf, or the gate was closed.
    held: Condvar,
}

#[derive(Debug, Default)]
struct SwitchState {
    ports: BTreeMap<Role, SwitchPort>,
    recording: Option<SwitchRecording>,
    faults: Engine,
    shelf: Shelf,
    gate: Gate,
    table: MacTable,
    limits: LimitedPorts,
    /// A frame was put on the shelf, of which the thread that releases it has not been told.
    has_put: bool,
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
        ports.iter().try_for_each(|(role, path)| switch.open(*role, path))?;
        Ok(switch)
    }

    /// Adds a node's port at the socket `path`; one that there is already stays as it is.
    ///
    /// # Errors
    ///
    /// The socket cannot be made.
    pub fn open(&self, role: Role, path: &Path) -> Result<()> {
        let mut state = self.state();
        if state.table.ports().contains(role) {
            return Ok(());
        }
        let listener = UnixListener::bind(path).at("failed to listen on", path)?;
        state.table.open(role);
        let switch = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A port that fails is a machine that has gone; who waits for the machine says so, and
                // another may take its place.
                let _ = switch.serve(role, stream);
            }
        });
        Ok(())
    }

    /// Nodes that have a port.
    pub fn nodes(&self) -> NodeSet {
        self.state().table.ports()
    }

    /// Limits ports for what comes from now on, in place of any limits before.
    pub fn limit(&self, ports: Vec<LimitedPort>) {
        self.state().limits = LimitedPorts::new(ports);
    }

    /// Counts of the limited ports so far.
    pub fn port_counts(&self) -> Vec<PortCount> {
        self.state().limits.counts()
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
        state.recording = Some(SwitchRecording::begin(file, state.table.ports())?);
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

    /// Closes the gate for `keeper`: RoCE packets wait at it, until it is heard of no more for `patience`.
    ///
    /// # Errors
    ///
    /// Another keeps it.
    pub fn close_gate(&self, keeper: &str, patience: Duration) -> Result<()> {
        if !self.state().gate.close(keeper, patience, Instant::now()) {
            return Err(Error::usage("somebody else holds the packets of this lab already")
                .next("end that `step` first"));
        }
        self.shared.held.notify_one();
        Ok(())
    }

    /// The packet that waits for longest, if one does; the keeper is heard of.
    ///
    /// # Errors
    ///
    /// The keeper was silent for too long, and the gate has opened.
    pub fn at_gate(&self, keeper: &str) -> Result<Option<GatePacket>> {
        Ok(self.kept(keeper)?.gate.first())
    }

    /// Decides on the packet of that number, which waits for longest.
    ///
    /// # Errors
    ///
    /// As [`Switch::at_gate`]; another packet waits for longest, or it has not what is to be changed.
    pub fn decide(&self, keeper: &str, number: u64, decision: GateDecision) -> Result<()> {
        let mut state = self.kept(keeper)?;
        let first = state.gate.first().filter(|first| first.number == number);
        let first =
            first.ok_or_else(|| Error::usage(format!("packet {number} is not the first that waits")))?;
        let treatment = match treatment(decision, &first.frame) {
            Some(treatment) => treatment,
            None if decision == GateDecision::Forward => state.treat(first.from, &first.frame).1,
            None => return Err(Error::usage(format!("packet {number} has nothing that could be changed"))),
        };
        if let Some(passenger) = state.gate.take(number) {
            self.shared.pass_gate(&mut state, &passenger, treatment);
        }
        Ok(())
    }

    /// Opens the gate: what waits is forwarded.
    ///
    /// # Errors
    ///
    /// As [`Switch::at_gate`].
    pub fn open_gate(&self, keeper: &str) -> Result<()> {
        let mut state = self.kept(keeper)?;
        self.shared.open_gate(&mut state);
        Ok(())
    }

    /// The state, if the gate is this keeper's, who is heard of.
    fn kept(&self, keeper: &str) -> Result<MutexGuard<'_, SwitchState>> {
        let mut state = self.state();
        if state.gate.hear(keeper, Instant::now()) {
            return Ok(state);
        }
        Err(Error::usage("packets are held for you no more: nothing was heard of you for too long")
            .next("begin again; what waited was forwarded"))
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
    /// Takes a frame from a port: to the gate if that is closed, else does with it what the faults say.
    fn forward(&self, from: Role, frame: &[u8]) {
        let mut state = self.state();
        if state.gate.is_closed() && is_roce(frame) {
            if !state.gate.admit(from, frame, SystemTime::now()) {
                let to = state.table.look_up(from, frame);
                state.refuse(Ingress::now(from, to, frame));
            }
            return;
        }
        let (to, treatment) = state.treat(from, frame);
        self.carry_out(&mut state, Ingress::now(from, to, frame), treatment);
    }

    /// Does with a frame what was decided.
    fn carry_out(&self, state: &mut SwitchState, frame: Ingress<'_>, treatment: Treatment) {
        state.carry_out(frame, treatment);
        if std::mem::take(&mut state.has_put) {
            self.held.notify_one();
        }
    }

    /// Does with a packet that waited at the gate what was decided.
    fn pass_gate(&self, state: &mut SwitchState, passenger: &Passenger, treatment: Treatment) {
        let Passenger { from, frame, came, .. } = passenger;
        let to = state.table.look_up(*from, frame);
        self.carry_out(state, Ingress { from: *from, to, bytes: frame, came: Some(*came) }, treatment);
    }

    /// Opens the gate and forwards what waited.
    fn open_gate(&self, state: &mut SwitchState) {
        for passenger in state.gate.open() {
            let (_, treatment) = state.treat(passenger.from, &passenger.frame);
            self.pass_gate(state, &passenger, treatment);
        }
    }

    /// Releases frames that are held back for a time, and opens a gate whose keeper has gone, for as long as the process lives.
    fn release_in_time(&self) {
        let mut state = self.state();
        loop {
            if state.gate.until().is_some_and(|until| until <= Instant::now()) {
                self.open_gate(&mut state);
            }
            while let Some(held) = state.shelf.take_due(Instant::now()) {
                state.release(held);
            }
            state = match state.shelf.next().into_iter().chain(state.gate.until()).min() {
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
    /// Receivers of a frame, and what the faults say of it.
    fn treat(&mut self, from: Role, frame: &[u8]) -> (NodeSet, Treatment) {
        let to = self.table.look_up(from, frame);
        let receiver = Ingress::now(from, to, frame).receiver();
        (to, self.faults.treat(from, receiver, frame, Instant::now()))
    }

    /// Does with a frame what was decided.
    fn carry_out(&mut self, frame: Ingress<'_>, treatment: Treatment) {
        let now = Instant::now();
        match treatment {
            Treatment::Forward => {
                self.deliver(frame, &frame.forwarded());
                self.pass(frame);
            }
            Treatment::Drop => drop(self.record(frame, &Fate::Dropped)),
            Treatment::Cut => drop(self.record(frame, &Fate::LinkCut)),
            Treatment::Duplicate => {
                let number = self.deliver(frame, &frame.forwarded());
                self.deliver(frame.replaced(frame.bytes), &Fate::DuplicateOf { number });
                self.pass(frame);
            }
            Treatment::Replace(altered, fate) => {
                let number = self.record(frame, &fate);
                let altered = frame.replaced(&altered);
                self.deliver(altered, &Fate::AlteredOf { number });
                self.pass(altered);
            }
            Treatment::Queue(_) if self.is_full(frame) => drop(self.refuse(frame)),
            Treatment::Queue(by) => {
                let delay_us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
                self.record(frame, &Fate::Queued { delay_us });
                self.hold(frame, None, Until::Time(now + by));
            }
            Treatment::Delay(delay_ms) => {
                let number = self.record(frame, &Fate::Delayed { delay_ms });
                let due = now + Duration::from_millis(delay_ms);
                self.hold(frame, Some(number), Until::Time(due));
            }
            Treatment::Reorder(by) => {
                let number = self.record(frame, &Fate::Reordered);
                self.hold(frame, Some(number), Until::Passed(by));
            }
        }
    }

    /// Gives a frame to its port and records what became of it; gives the record's number. A copy of the switch's own
    /// for which there is no room is no record: the record that it is a copy of says that it was not delivered.
    fn deliver(&mut self, frame: Ingress<'_>, fate: &Fate) -> u64 {
        let now = Instant::now();
        let passage = frame
            .to
            .single()
            .map_or(Passage::Free, |to| self.limits.pass(frame.from, to, frame.bytes.len(), now));
        match passage {
            Passage::Waits { by, is_above, port } => {
                let marked = if is_above { alter(Action::MarkEcn, frame.bytes) } else { None };
                return self.wait(frame, fate, (now, by), marked.map(|marked| (port, marked)));
            }
            Passage::Full if fate.is_sent() => return self.refuse(frame),
            Passage::Full => return self.refused(frame.to),
            Passage::Free => {}
        }
        let taken = self.offer(frame.to, frame.bytes);
        let refused = frame.to.minus(taken);
        match taken.is_empty() {
            false => {
                self.refused(refused);
                self.record(Ingress { to: taken, ..frame }, fate)
            }
            true if fate.is_sent() => self.refuse(frame),
            true => self.refused(refused),
        }
    }

    /// Records a frame that leaves a limited port later, and holds it back until then, or the marked copy of it for that port.
    fn wait(
        &mut self,
        frame: Ingress<'_>,
        fate: &Fate,
        (now, by): (Instant, Duration),
        marked: Option<(usize, Vec<u8>)>,
    ) -> u64 {
        let fate = match fate {
            Fate::Forwarded => Fate::Queued { delay_us: u64::try_from(by.as_micros()).unwrap_or(u64::MAX) },
            other => other.clone(),
        };
        let until = Until::Time(now + by);
        let Some((port, marked)) = marked else {
            let number = self.record(frame, &fate);
            self.hold(frame, None, until);
            return number;
        };
        self.limits.has_marked(port);
        let marked = frame.replaced(&marked);
        let number = match fate.is_sent() {
            true => {
                let number = self.record(frame, &Fate::QueueMarked);
                self.record(marked, &Fate::AlteredOf { number })
            }
            false => self.record(marked, &fate),
        };
        self.hold(marked, None, until);
        number
    }

    /// Releases what a frame has overtaken.
    fn pass(&mut self, frame: Ingress<'_>) {
        if !self.shelf.is_empty() && is_roce(frame.bytes) {
            for held in self.shelf.take_overtaken(frame.from, frame.to) {
                self.release(held);
            }
        }
    }

    /// Passes on a frame that was held back. One that a rate held back was recorded as delivered when it came, so that it waits for
    /// room; as long as there is none, none comes.
    fn release(&mut self, held: Held) {
        match held.number {
            Some(number) => {
                self.deliver(Ingress::now(held.from, held.to, &held.frame), &Fate::ReleaseOf { number });
            }
            None if self.offer(held.to, &held.frame) == held.to => {}
            None => self.shelf.put_back(Held { until: Until::Time(Instant::now() + AGAIN), ..held }),
        }
    }

    /// Records a frame that its port has no room for.
    fn refuse(&mut self, frame: Ingress<'_>) -> u64 {
        self.refused(frame.to);
        self.record(frame, &Fate::PortFull)
    }

    /// Counts a frame that was dropped for want of room on its way to these nodes.
    fn refused(&mut self, to: NodeSet) -> u64 {
        if let Some(recording) = &mut self.recording {
            to.iter().for_each(|role| recording.captured.entry(role).or_default().refused += 1);
        }
        0
    }

    fn hold(&mut self, frame: Ingress<'_>, number: Option<u64>, until: Until) {
        self.has_put = true;
        self.shelf.put(Held { from: frame.from, to: frame.to, frame: frame.bytes.to_owned(), number, until });
    }

    /// Offers a frame to nodes' ports; returns those that are not full. A machine that is not there yet takes all.
    fn offer(&self, to: NodeSet, frame: &[u8]) -> NodeSet {
        let takes = |role: &Role| self.ports.get(role).is_none_or(|port| port.offer(frame));
        to.iter().filter(takes).collect()
    }

    fn is_full(&self, frame: Ingress<'_>) -> bool {
        let is_full = |role: Role| self.ports.get(&role).is_some_and(|port| port.is_full(frame.bytes.len()));
        frame.to.iter().any(is_full)
    }

    /// Records a frame; gives its number, 0 where nothing is recorded.
    fn record(&mut self, frame: Ingress<'_>, fate: &Fate) -> u64 {
        self.recording.as_mut().map_or(0, |recording| recording.record(frame, fate))
    }
}

/// The treatment that a decision at the gate stands for; `None` where the faults are asked, or the frame has nothing to change.
fn treatment(decision: GateDecision, frame: &[u8]) -> Option<Treatment> {
    decision.actions().into_iter().find_map(|action| match action {
        Action::Drop => Some(Treatment::Drop),
        Action::Duplicate => Some(Treatment::Duplicate),
        Action::Delay { ms } => Some(Treatment::Delay(ms)),
        action => Some(Treatment::Replace(alter(action, frame)?, Fate::Corrupted)),
    })
}

fn is_roce(frame: &[u8]) -> bool {
    Frame::decode(LinkType::ETHERNET, frame).packet().is_some()
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
    use std::fs::File;
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
        let to = NodeSet::of(Role::Client);
        for number in 0..port::QUEUE_LIMIT / 60_000 + 50 {
            write_frame(&mut server, &large(number)).unwrap();
        }
        let started = Instant::now();
        while !switch.state().is_full(Ingress::now(Role::Server, to, &large(0))) {
            assert!(started.elapsed() < Duration::from_secs(5));
        }
        let mut state = switch.state();
        for number in [999_999, 1_000_000] {
            state.hold(Ingress::now(Role::Server, to, &large(number)), None, Until::Time(Instant::now()));
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
    fn closed_gate_keeps_packets_and_each_decision_is_a_fate() {
        let directory = tempfile::tempdir().unwrap();
        let (switch, mut server, mut client) = joined(directory.path());
        let pair = roce::synth::Pair::new(1);
        let frames: Vec<Vec<u8>> =
            (0..6).map(|n| pair.response(0x0e, n).payload(&[n as u8; 8]).build()).collect();
        let file = directory.path().join("x.pcapng");
        switch.start_capture(&file).unwrap();
        switch.close_gate("me", Duration::from_secs(60)).unwrap();
        assert!(switch.close_gate("another", Duration::from_secs(60)).is_err());
        for frame in &frames {
            write_frame(&mut server, frame).unwrap();
        }
        // No packet of RoCE waits for a person: ARP would be asked again and again.
        write_frame(&mut server, &[0xab; 60]).unwrap();
        let mut frame = Vec::new();
        assert!(read_frame(&mut client, &mut frame).unwrap());
        assert_eq!(frame, [0xab; 60]);
        let first = switch.at_gate("me").unwrap().unwrap();
        assert_eq!((first.number, first.from, first.behind), (1, Role::Server, 5));
        assert_eq!(first.frame, frames[0]);
        assert!(switch.decide("me", 2, GateDecision::Drop).is_err());
        let decisions = [
            GateDecision::Forward,
            GateDecision::Drop,
            GateDecision::Double,
            GateDecision::Corrupt,
            GateDecision::Delay { ms: 30 },
        ];
        for (decision, number) in decisions.into_iter().zip(1..) {
            switch.decide("me", number, decision).unwrap();
        }
        let mut received = Vec::new();
        for _ in 0..5 {
            assert!(read_frame(&mut client, &mut frame).unwrap());
            received.push(frames.iter().position(|sent| *sent == frame).unwrap_or(99));
        }
        assert_eq!(received, [0, 2, 2, 99, 4]);
        switch.open_gate("me").unwrap();
        assert!(read_frame(&mut client, &mut frame).unwrap());
        assert_eq!(frame, frames[5]);
        assert!(switch.at_gate("me").is_err());
        switch.stop_capture().unwrap();
        let fates: Vec<String> =
            fates(&file).iter().map(|fate| fate.split([' ']).next().unwrap().to_owned()).collect();
        let expected =
            "forwarded queued dropped queued duplicate-of corrupted altered-of delayed released queued";
        assert_eq!(fates.join(" "), expected);
    }

    #[test]
    fn gate_of_a_keeper_that_is_silent_opens_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let (switch, mut server, mut client) = joined(directory.path());
        let file = directory.path().join("x.pcapng");
        switch.start_capture(&file).unwrap();
        let patience = Duration::from_millis(300);
        switch.close_gate("me", patience).unwrap();
        let sent = roce::synth::Pair::new(1).response(0x0e, 0).payload(&[1; 8]).build();
        write_frame(&mut server, &sent).unwrap();
        let closed = Instant::now();
        while closed.elapsed() < 2 * patience {
            // Heard of, it keeps the gate for as long as it likes.
            switch.at_gate("me").unwrap();
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(switch.at_gate("me").unwrap().unwrap().frame, sent);
        let mut frame = Vec::new();
        assert!(read_frame(&mut client, &mut frame).unwrap());
        assert_eq!(frame, sent);
        let error = switch.decide("me", 1, GateDecision::Drop).unwrap_err().to_string();
        assert!(error.contains("held for you no more"), "{error}");
        // It was recorded when it came, and says how long it waited.
        switch.stop_capture().unwrap();
        let fates = fates(&file);
        let waited = fates[0].strip_prefix("queued ").and_then(|rest| rest.strip_suffix(" us"));
        assert!(waited.unwrap().parse::<u64>().unwrap() >= 600_000, "{fates:?}");
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

    /// The machines of a switch with so many ports.
    fn machines(directory: &Path, count: usize) -> (Switch, Vec<UnixStream>) {
        let ports: Vec<_> =
            Role::first(count).iter().map(|role| (*role, directory.join(role.name()))).collect();
        let switch = Switch::listen(&ports[..2]).unwrap();
        ports[2..].iter().for_each(|(role, path)| switch.open(*role, path).unwrap());
        let machines: Vec<_> = ports.iter().map(|(_, path)| UnixStream::connect(path).unwrap()).collect();
        let started = Instant::now();
        while !ports.iter().all(|(role, _)| switch.has_joined(*role)) {
            assert!(started.elapsed() < Duration::from_secs(5));
            thread::sleep(Duration::from_millis(1));
        }
        machines.iter().for_each(|one| one.set_read_timeout(Some(Duration::from_secs(5))).unwrap());
        (switch, machines)
    }

    /// The same frame between the MACs that end with these bytes.
    fn between(destination: u8, source: u8, mut frame: Vec<u8>) -> Vec<u8> {
        frame[..12].copy_from_slice(&[0x52, 0x54, 0, 0, 0, destination, 0x52, 0x54, 0, 0, 0, source]);
        frame
    }

    #[test]
    fn frame_of_a_further_node_reaches_its_receiver_alone_and_is_recorded_on_its_interface() {
        let directory = tempfile::tempdir().unwrap();
        let (switch, mut machines) = machines(directory.path(), 4);
        let file = directory.path().join("x.pcapng");
        switch.start_capture(&file).unwrap();
        let packet = roce::synth::Pair::new(1).response(0x0e, 0).payload(&[1; 8]).build();
        let mut frame = Vec::new();
        // Nobody knows where the server is: all get it.
        write_frame(&mut machines[3], &between(1, 4, packet.clone())).unwrap();
        for machine in &mut machines[..3] {
            assert!(read_frame(machine, &mut frame).unwrap());
        }
        write_frame(&mut machines[0], &between(4, 1, packet.clone())).unwrap();
        assert!(read_frame(&mut machines[3], &mut frame).unwrap());
        write_frame(&mut machines[2], &between(1, 3, packet.clone())).unwrap();
        assert!(read_frame(&mut machines[0], &mut frame).unwrap());
        assert_eq!(frame, between(1, 3, packet));
        let captured = switch.captured().unwrap();
        let counts = |role| (captured[&role].sent, captured[&role].delivered);
        assert_eq!(counts(Role::Server), (1, 2));
        assert_eq!(counts(Role::Client), (0, 1));
        assert_eq!(counts(Role::Client2), (1, 1));
        assert_eq!(counts(Role::Client3), (1, 1));
        switch.stop_capture().unwrap();
        let mut reader = roce::capture::Reader::new(File::open(&file).unwrap()).unwrap();
        let mut interfaces = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            interfaces.push(record.interface_name.unwrap_or_default().to_owned());
        }
        assert_eq!(interfaces, ["client3", "server", "client2"]);
        machines[1].set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(read_frame(&mut machines[1], &mut frame).is_err(), "not for it");
    }

    #[test]
    fn limited_port_delays_marks_and_loses_and_each_is_a_fate() {
        let directory = tempfile::tempdir().unwrap();
        let (switch, mut machines) = machines(directory.path(), 3);
        let pair = roce::synth::Pair::new(1);
        let request = |n| between(1, 2, pair.request(0x04, n).payload(&[n as u8; 948]).build());
        let length = request(0).len() as u64;
        let limits = LimitedPort {
            to: vec![Role::Server],
            queue_frames: Some(4),
            mark_above_bytes: Some(length),
            // A frame takes 100 ms.
            ..LimitedPort::of_rate(length * 8 / 100)
        };
        // Where the server is, is known then.
        write_frame(&mut machines[0], &between(2, 1, request(0))).unwrap();
        let mut frame = Vec::new();
        assert!(read_frame(&mut machines[1], &mut frame).unwrap());
        switch.limit(vec![limits]);
        let file = directory.path().join("x.pcapng");
        switch.start_capture(&file).unwrap();
        let sent: Vec<Vec<u8>> = (0..5).map(request).collect();
        let started = Instant::now();
        for frame in &sent {
            machines[1].write_all(&port::framed(frame)).unwrap();
        }
        let mut received = Vec::new();
        for _ in 0..4 {
            assert!(read_frame(&mut machines[0], &mut frame).unwrap());
            received.push(frame.clone());
        }
        assert!(started.elapsed() >= Duration::from_millis(390), "{:?}", started.elapsed());
        assert_eq!(received[..2], sent[..2]);
        for (came, went) in received[2..].iter().zip(&sent[2..]) {
            let decode = |bytes: &[u8]| Frame::decode(LinkType::ETHERNET, bytes).packet().unwrap().ecn;
            assert_eq!((decode(went), decode(came)), (0, 3));
            assert_eq!(Some(came.clone()), alter(Action::MarkEcn, went));
        }
        switch.stop_capture().unwrap();
        let fates: Vec<String> =
            fates(&file).iter().map(|fate| fate.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(
            fates.join(" "),
            "queued queued queue-marked altered-of queue-marked altered-of port-full"
        );
        let [count] = &switch.port_counts()[..] else { panic!() };
        assert_eq!((count.frames, count.marked, count.dropped, count.bytes), (4, 2, 1, 4 * length));
        assert_eq!((count.to.as_str(), count.queue_frames_max), ("server", 4));
    }

    #[test]
    fn length_that_lies_closes_the_port() {
        let mut bytes: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0];
        let error = read_frame(&mut bytes, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
