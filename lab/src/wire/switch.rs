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
#[cfg(test)]
mod tests;

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
