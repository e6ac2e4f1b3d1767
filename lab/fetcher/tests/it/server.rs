//! An HTTP server on 127.0.0.1 that serves a few files, whole or broken; a proxy as well.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// How a path is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// The bytes.
    Whole(Vec<u8>),
    /// This many of the bytes, where all are announced.
    Cut(Vec<u8>, usize),
    /// Nothing but a status line.
    Status(&'static str),
    /// The same path on another server.
    Elsewhere(String),
}

/// A server, for as long as the test runs.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    address: SocketAddr,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    asked: Arc<Mutex<Vec<String>>>,
    otherwise: Reply,
}

impl Server {
    /// A server that answers `otherwise` to what it was not told of.
    pub(crate) fn start(otherwise: Reply) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            replies: Arc::default(),
            asked: Arc::default(),
            otherwise,
        };
        let this = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let this = this.clone();
                thread::spawn(move || this.answer(&stream));
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// The targets of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn answer(&self, mut stream: &TcpStream) {
        let mut lines = BufReader::new(stream).lines();
        let Some(Ok(request)) = lines.next() else { return };
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
        // A proxy is asked for a whole address.
        let path = match target.strip_prefix("http://") {
            Some(rest) => rest.split_once('/').map_or(String::new(), |(_, path)| format!("/{path}")),
            None => target.clone(),
        };
        self.asked.lock().unwrap().push(target);
        let reply = self.replies.lock().unwrap().get(&path).cloned().unwrap_or(self.otherwise.clone());
        let (head, body) = match &reply {
            Reply::Whole(bytes) => (format!("200 OK\r\nContent-Length: {}", bytes.len()), &bytes[..]),
            Reply::Cut(bytes, length) => {
                (format!("200 OK\r\nContent-Length: {}", bytes.len()), &bytes[..*length])
            }
            Reply::Status(status) => (format!("{status}\r\nContent-Length: 0"), &b""[..]),
            Reply::Elsewhere(url) => {
                (format!("302 Found\r\nLocation: {url}{path}\r\nContent-Length: 0"), &b""[..])
            }
        };
        // A client that went away is its own affair.
        let _ = stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes());
        let _ = stream.write_all(body);
    }
}
