//! The wire between the nodes: an Ethernet switch in user space that records every frame.
//!
//! Each port is a unix socket that one QEMU's `-netdev stream` connects to: four bytes of length, big
//! endian, then the frame. A frame is recorded once, as it enters, on its ingress port's interface, with
//! its fate in the packet's comment. One lock orders all frames, so the capture has one clock and one order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use roce::Fate;
use roce::capture::Writer;
use roce::wire::{Frame, LinkType};

use crate::error::{Error, IoContext as _, Result};
use crate::node::Role;

/// Longest frame taken from a port, in bytes; QEMU sends none above its 64 KiB offload buffers.
const FRAME_LIMIT: usize = 1 << 17;

/// A switch with one port a node. Its threads end with the process or with their sockets.
#[derive(Debug, Clone)]
pub struct Switch {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    ports: BTreeMap<Role, UnixStream>,
    recording: Option<Recording>,
}

struct Recording {
    /// Unbuffered: a reader that follows the file sees each frame at once.
    writer: Writer<File>,
    path: PathBuf,
    captured: BTreeMap<Role, u64>,
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
        let switch = Switch { state: Arc::default() };
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
        let captured = Role::BOTH.map(|role| (role, 0)).into();
        state.recording = Some(Recording { writer, path: file.to_owned(), captured, failure: None });
        Ok(())
    }

    /// The file that is being recorded into, if one is.
    pub fn recording(&self) -> Option<PathBuf> {
        self.state().recording.as_ref().map(|recording| recording.path.clone())
    }

    /// How many RoCEv2 packets were recorded so far, by the node that sent them; all are in the file.
    ///
    /// # Errors
    ///
    /// Nothing is being recorded, or the file could not be written.
    pub fn captured(&self) -> Result<BTreeMap<Role, u64>> {
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

    fn serve(&self, role: Role, stream: UnixStream) -> io::Result<()> {
        self.state().ports.insert(role, stream.try_clone()?);
        let mut stream = BufReader::with_capacity(FRAME_LIMIT, stream);
        let mut frame = Vec::new();
        let ended = loop {
            match read_frame(&mut stream, &mut frame) {
                Ok(true) => self.forward(role, &frame),
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.state().ports.remove(&role);
        ended
    }

    fn forward(&self, from: Role, frame: &[u8]) {
        let mut state = self.state();
        if let Some(recording) = &mut state.recording {
            recording.record(from, frame, &Fate::Forwarded);
        }
        if let Some(port) = state.ports.get_mut(&from.peer()) {
            let _ = write_frame(port, frame);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recording {
    fn record(&mut self, from: Role, frame: &[u8], fate: &Fate) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let interface = if from == Role::Server { 0 } else { 1 };
        if let Err(source) = self.writer.write(interface, now_ns, frame, &fate.to_string()) {
            self.failure.get_or_insert(capture_error(&self.path, source).to_string());
        }
        if Frame::decode(LinkType::ETHERNET, frame).packet().is_some() {
            *self.captured.entry(from).or_default() += 1;
        }
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
