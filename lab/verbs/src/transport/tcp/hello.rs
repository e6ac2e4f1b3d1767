//! The lines of the exchange: a side's parameters or a refusal, written and read.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv6Addr, TcpStream};
use std::os::fd::AsFd as _;

use serde::{Deserialize, Serialize};

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::sys;

/// The only version of the exchange.
pub(super) const VERSION: u32 = 1;
/// The longest line that is read, in bytes.
const LONGEST_LINE: usize = 4096;

/// A side's parameters, as it sends them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) qpn: u32,
    pub(super) psn: u32,
    pub(super) gid: Ipv6Addr,
    pub(super) mtu: u32,
    pub(super) reads: u8,
    pub(super) rnr_retry: u8,
    pub(super) private_data: String,
}

/// A refusal, sent in the place of parameters.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RefusalLine {
    pub(super) version: u32,
    pub(super) reject: String,
}

pub(super) fn refuse(stream: &TcpStream, reason: &str) -> Result<()> {
    send(stream, &RefusalLine { version: VERSION, reject: reason.to_owned() })
}

pub(super) fn send(mut stream: &TcpStream, message: &impl Serialize) -> Result<()> {
    let failed = |error| refused("send the parameters", "the peer to take the parameters", error);
    let mut line = serde_json::to_string(message).map_err(|error| failed(error.into()))?;
    tracing::debug!("send: {line}");
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(failed)
}

/// Waits for one line of a non-blocking stream, without its newline; what follows it stays where it is.
pub(super) fn receive(stream: &TcpStream, awaited: &str, deadline: &Deadline) -> Result<String> {
    let mut line = Vec::new();
    loop {
        if let Some(line) = read_line(stream, &mut line, awaited)? {
            return Ok(line);
        }
        if !sys::wait_readable(&[stream.as_fd()], deadline)? {
            return Err(Error::timeout(awaited, deadline));
        }
    }
}

/// Reads on in `line` what a non-blocking stream has of it; the line, without its newline, once it is whole.
pub(super) fn read_line(mut stream: &TcpStream, line: &mut Vec<u8>, awaited: &str) -> Result<Option<String>> {
    let mut byte = [0];
    while line.len() < LONGEST_LINE {
        match stream.read(&mut byte) {
            Ok(0) => return Err(Error::Disconnected { awaited: awaited.to_owned() }),
            Ok(_) if byte == *b"\n" => {
                let line = String::from_utf8_lossy(line).into_owned();
                tracing::debug!("received: {line}");
                return Ok(Some(line));
            }
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(refused("receive the parameters", awaited, error)),
        }
    }
    Err(Error::Parameters(format!("a line of more than {LONGEST_LINE} bytes")))
}

/// A refused read or write as what it is: the peer's leave, or trouble of this host.
pub(super) fn refused(action: &str, awaited: &str, error: io::Error) -> Error {
    if is_the_peer_s(&error) {
        Error::Disconnected { awaited: awaited.to_owned() }
    } else {
        Error::tcp(action, error)
    }
}

/// True if the peer, or the way to it, ended the connection.
pub(super) fn is_the_peer_s(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    )
}

/// Reads a side's parameters and checks that a queue pair can have them.
pub(super) fn parse(line: &str) -> Result<Hello> {
    let hello: Hello = serde_json::from_str(line).map_err(|error| Error::Parameters(error.to_string()))?;
    let wrong = if hello.version != VERSION {
        format!("version {} is unknown, this program knows version {VERSION}", hello.version)
    } else if hello.qpn > 0xff_ffff || hello.psn > 0xff_ffff {
        "a queue pair number and a PSN have 24 bits".to_owned()
    } else if !matches!(hello.mtu, 256 | 512 | 1024 | 2048 | 4096) {
        format!("a path MTU is 256, 512, 1024, 2048 or 4096 bytes, not {}", hello.mtu)
    } else {
        return Ok(hello);
    };
    Err(Error::Parameters(wrong))
}

/// Decodes private data.
pub(super) fn from_hex(text: &str) -> Result<Vec<u8>> {
    hex::decode(text).map_err(|_| Error::Parameters("private data is not hexadecimal".into()))
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::device::gid_of;

    pub(in super::super) const LINE: &str = r#"{"version":1,"qpn":17,"psn":16777214,"gid":"::ffff:198.51.100.2","mtu":1024,"reads":1,"rnr_retry":7,"private_data":"00ff"}"#;

    #[test]
    fn parameters_are_one_line_of_json() {
        let hello = parse(LINE).unwrap();
        assert_eq!((hello.qpn, hello.psn, hello.mtu), (17, 0xff_fffe, 1024));
        assert_eq!(hello.gid, gid_of("198.51.100.2".parse().unwrap()));
        assert_eq!(from_hex(&hello.private_data).unwrap(), [0, 0xff]);
        assert_eq!(serde_json::to_string(&hello).unwrap(), LINE);
    }

    #[test]
    fn parameters_that_no_queue_pair_can_have_are_refused() {
        for (from, to, named) in [
            ("\"version\":1", "\"version\":2", "version 2 is unknown"),
            ("16777214", "16777216", "24 bits"),
            ("\"mtu\":1024", "\"mtu\":1000", "path MTU"),
            ("\"mtu\":1024,", "", "missing field `mtu`"),
            ("{", "GET / HTTP/1.1", "expected value"),
        ] {
            let error = parse(&LINE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        for text in ["0", "0g", "é"] {
            assert!(from_hex(text).is_err(), "{text}");
        }
    }

    #[test]
    fn line_is_read_up_to_its_end_and_no_further() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        theirs.set_nonblocking(true).unwrap();
        ours.write_all(b"abc\nrest").unwrap();
        let soon = || Deadline::after(Duration::from_secs(5));
        assert_eq!(receive(&theirs, "a line", &soon()).unwrap(), "abc");
        let error = receive(&theirs, "a line", &Deadline::after(Duration::from_millis(50))).unwrap_err();
        assert!(error.to_string().contains("waiting for a line"), "{error}");
        drop(ours);
        assert!(matches!(receive(&theirs, "a line", &soon()), Err(Error::Disconnected { .. })));
    }
}
