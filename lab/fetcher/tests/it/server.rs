//! An HTTP or HTTPS server on 127.0.0.1 that serves a few files, whole or broken; a proxy as well.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Answer to a path.
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
    /// Of an HTTPS server.
    tls: Option<Arc<ServerConfig>>,
}

impl Server {
    /// A server that answers `otherwise` to what it was not told of.
    pub(crate) fn start(otherwise: Reply) -> Server {
        Server::listen(otherwise, None)
    }

    /// The same with HTTPS; the text is its certificate, which vouches for itself.
    pub(crate) fn start_tls(otherwise: Reply) -> (Server, String) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = made.signing_key.serialize_der().try_into().unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        (Server::listen(otherwise, Some(Arc::new(config))), made.cert.pem())
    }

    fn listen(otherwise: Reply, tls: Option<Arc<ServerConfig>>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            replies: Arc::default(),
            asked: Arc::default(),
            otherwise,
            tls,
        };
        let this = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let this = this.clone();
                thread::spawn(move || match &this.tls {
                    Some(tls) => {
                        let mut connection = ServerConnection::new(tls.clone()).unwrap();
                        connection.set_buffer_limit(None);
                        this.answer(&mut StreamOwned::new(connection, stream));
                    }
                    None => this.answer(&mut &stream),
                });
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub(crate) fn set(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// The targets of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn answer(&self, stream: &mut (impl Read + Write)) {
        let mut lines = BufReader::new(&mut *stream).lines();
        let Some(Ok(request)) = lines.next() else { return };
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        drop(lines);
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
