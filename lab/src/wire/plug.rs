//! A machine's end of one port of the switch, for who takes a machine's place there.
//!
//! Frames out, frames in; the switch records them as it does a machine's.

use std::io::{self, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::wire::switch::{port, read_frame};

/// One end of the wire. Dropped, the port is free for another.
#[derive(Debug)]
pub struct Plug {
    stream: UnixStream,
    arrived: Receiver<Vec<u8>>,
}

impl Plug {
    /// Connects to the port at `socket`, which no machine may hold.
    ///
    /// # Errors
    ///
    /// The errors of the socket.
    pub fn connect(socket: &Path) -> io::Result<Plug> {
        let stream = UnixStream::connect(socket)?;
        let (sender, arrived) = channel();
        let mut reader = BufReader::new(stream.try_clone()?);
        thread::spawn(move || {
            let mut frame = Vec::new();
            while matches!(read_frame(&mut reader, &mut frame), Ok(true)) {
                if sender.send(frame.clone()).is_err() {
                    return;
                }
            }
        });
        Ok(Plug { stream, arrived })
    }

    /// Sends a frame.
    ///
    /// # Errors
    ///
    /// The switch has gone.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.stream.write_all(&port::framed(frame))
    }

    /// Waits for the next frame; `None` when there is none within `limit`.
    ///
    /// # Errors
    ///
    /// The switch has gone.
    pub fn receive(&mut self, limit: Duration) -> io::Result<Option<Vec<u8>>> {
        match self.arrived.recv_timeout(limit) {
            Ok(frame) => Ok(Some(frame)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        // Ends the thread that reads.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::role::Role;
    use crate::wire::switch::Switch;

    #[test]
    fn plug_takes_a_port_that_another_gave_up() {
        let directory = tempfile::tempdir().unwrap();
        let ports: Vec<_> = Role::BOTH.map(|role| (role, directory.path().join(role.name()))).into();
        let _switch = Switch::listen(&ports).unwrap();
        let limit = Duration::from_secs(5);
        let mut server = Plug::connect(&ports[0].1).unwrap();
        for number in [1, 2] {
            let mut client = Plug::connect(&ports[1].1).unwrap();
            // The switch takes a port in its own time.
            let mut came = None;
            while came.is_none() {
                client.send(&[number; 60]).unwrap();
                came = server.receive(Duration::from_millis(50)).unwrap();
            }
            while let Some(frame) = came {
                assert_eq!(frame, [number; 60]);
                came = server.receive(Duration::from_millis(50)).unwrap();
            }
            server.send(&[number + 7; 60]).unwrap();
            assert_eq!(client.receive(limit).unwrap().unwrap(), [number + 7; 60]);
        }
    }
}
