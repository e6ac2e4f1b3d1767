//! Files of a mirror, over HTTP, HTTPS or from a directory, with retries and with a limit to every wait.
//!
//! Proxies are those of `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use attohttpc::{ErrorKind, ProxySettings};
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

use crate::error::{CERTIFICATES, Error, NETWORK, OTHER_MIRROR, Result};

/// The longest wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// The longest silence in a transfer.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// The longest transfer of one file.
const TRANSFER_LIMIT: Duration = Duration::from_secs(900);

/// Number of times that a transfer is tried.
const TRIES: u32 = 3;

/// The pause before a second try; twice that before a third.
const PAUSE: Duration = Duration::from_millis(500);

/// Bytes that are taken at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// A mirror's address.
#[derive(Debug, Clone)]
pub(crate) struct MirrorAddress {
    base: String,
    proxies: ProxySettings,
    /// Root certificates that HTTPS is believed by; empty for other schemes.
    roots: Vec<CertificateDer<'static>>,
}

/// A file as the signed lists describe it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExpectedFile<'a> {
    pub(crate) size_bytes: u64,
    /// Lower-case hexadecimal.
    pub(crate) sha256: &'a str,
}

/// Reason that one try did not bring a file.
#[derive(Debug)]
pub(crate) enum TransferFault {
    /// The mirror answers, and does not have it.
    Missing(String),
    /// The mirror is not who it says it is, or this host knows nobody who vouches for it.
    Untrusted(String),
    /// Something on the way answers, and says no.
    Refused(String),
    /// Nothing answers, or it stops before the end.
    Network(String),
    /// The bytes are not those of the signed lists.
    Changed(String),
    /// Writing here fails.
    Here(Error),
}

impl MirrorAddress {
    /// # Errors
    ///
    /// The address is of no scheme that is known.
    pub(crate) fn new(address: &str) -> Result<MirrorAddress> {
        let base = address.trim_end_matches('/').to_owned();
        if !["http://", "https://", "file://"].iter().any(|scheme| base.starts_with(scheme)) {
            return Err(Error::new(
                format!("the mirror's address is neither http, https nor file: {address}"),
                "name one as in RDMA_LAB_DEBIAN_MIRROR=http://mirror.example.org/debian",
            ));
        }
        let roots = if base.starts_with("https://") { roots() } else { Vec::new() };
        Ok(MirrorAddress { base, proxies: ProxySettings::from_env(), roots })
    }

    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// Reads a file of at most `limit_bytes`.
    pub(crate) fn read(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>, TransferFault> {
        self.tried(|| {
            let (content, length) = self.open(path)?;
            let mut bytes = Vec::new();
            content.take(limit_bytes).read_to_end(&mut bytes).map_err(|error| network(&error))?;
            match length {
                Some(length) if length > bytes.len() as u64 && length <= limit_bytes => {
                    Err(cut(bytes.len() as u64, length))
                }
                _ => Ok(bytes),
            }
        })
    }

    /// Brings a file to `into`, which it is renamed to once it is what is expected.
    pub(crate) fn save(
        &self,
        path: &str,
        expected: ExpectedFile<'_>,
        into: &Path,
    ) -> Result<(), TransferFault> {
        self.tried(|| {
            let (content, _) = self.open(path)?;
            save(content, expected, into)
        })
    }

    /// An error about a file of this mirror.
    pub(crate) fn error(&self, path: &str, fault: TransferFault) -> Error {
        let what = format!("failed to fetch {}{}: {fault}", self.address(path), self.through());
        match fault {
            TransferFault::Missing(_) | TransferFault::Changed(_) => Error::new(what, OTHER_MIRROR),
            TransferFault::Untrusted(_) => Error::new(what, CERTIFICATES),
            TransferFault::Refused(_) | TransferFault::Network(_) => Error::new(what, NETWORK),
            TransferFault::Here(error) => error,
        }
    }

    fn tried<T>(&self, attempt: impl Fn() -> Result<T, TransferFault>) -> Result<T, TransferFault> {
        let mut tries = 1;
        loop {
            match attempt() {
                Err(TransferFault::Network(_) | TransferFault::Changed(_)) if tries < TRIES => {
                    thread::sleep(PAUSE * tries);
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    /// The bytes of a file, and how many it says there are.
    fn open(&self, path: &str) -> Result<(Box<dyn Read>, Option<u64>), TransferFault> {
        if let Some(directory) = self.base.strip_prefix("file://") {
            let path = PathBuf::from(directory).join(path);
            let file = File::open(&path).map_err(|error| TransferFault::Missing(error.to_string()))?;
            return Ok((Box::new(file), None));
        }
        let request = attohttpc::get(self.address(path))
            .proxy_settings(self.proxies.clone())
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(SILENCE_LIMIT)
            .timeout(TRANSFER_LIMIT);
        let response = self
            .roots
            .iter()
            .fold(request, |request, root| request.add_root_certificate(root.clone()))
            .send()
            .map_err(|error| refusal(&error))?;
        let status = response.status();
        let length = response.headers().get("content-length");
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        match status.as_u16() {
            200 => Ok((Box::new(response.split().2), length)),
            404 | 410 => Err(TransferFault::Missing(format!("the answer is {status}"))),
            407 => Err(TransferFault::Refused(format!("the proxy refuses: {status}"))),
            429 | 500..=599 => Err(TransferFault::Network(format!("the answer is {status}"))),
            _ => Err(TransferFault::Refused(format!("the answer is {status}"))),
        }
    }

    /// Names the proxy, without the password that its address may hold.
    fn through(&self) -> String {
        let url = self.base.parse().ok();
        match url.as_ref().and_then(|url| self.proxies.for_url(url)) {
            Some(proxy) => {
                let port = proxy.port().map(|port| format!(":{port}")).unwrap_or_default();
                let host = proxy.host_str().unwrap_or_default();
                format!(" through the proxy {}://{host}{port}", proxy.scheme())
            }
            None => String::new(),
        }
    }
}

/// The host's certificates that can be used.
fn roots() -> Vec<CertificateDer<'static>> {
    let mut store = rustls::RootCertStore::empty();
    let mut certificates = rustls_native_certs::load_native_certs().certs;
    certificates.retain(|certificate| store.add(certificate.clone()).is_ok());
    certificates
}

/// True if the file at `path` is what is expected.
pub(crate) fn is(path: &Path, expected: ExpectedFile<'_>) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let mut digest = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return hex::encode(digest.finalize()) == expected.sha256,
            Ok(length) => digest.update(&buffer[..length]),
            Err(_) => return false,
        }
    }
}

fn save(mut content: impl Read, expected: ExpectedFile<'_>, into: &Path) -> Result<(), TransferFault> {
    let directory = into.parent().unwrap_or(Path::new("."));
    let here = |error: &io::Error| TransferFault::Here(Error::file("failed to write", into, error));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(|error| here(&error))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut length = 0;
    // One byte more than expected tells a longer file, and no more of it is taken.
    while length <= expected.size_bytes {
        let taken = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(network(&error)),
        };
        digest.update(&buffer[..taken]);
        file.write_all(&buffer[..taken]).map_err(|error| here(&error))?;
        length += taken as u64;
    }
    if length < expected.size_bytes {
        return Err(cut(length, expected.size_bytes));
    }
    let found = hex::encode(digest.finalize());
    if found != expected.sha256 {
        return Err(TransferFault::Changed(format!(
            "has SHA-256 {found}, and the signed lists have {}",
            expected.sha256
        )));
    }
    let file = file.persist(into).map_err(|error| here(&error.error))?;
    drop(file);
    // As apt's archives are: readable by all.
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644);
    fs::set_permissions(into, mode).map_err(|error| here(&error))
}

fn cut(length: u64, expected: u64) -> TransferFault {
    TransferFault::Network(format!("the transfer was cut after {length} of {expected} bytes"))
}

fn network(error: &io::Error) -> TransferFault {
    TransferFault::Network(match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("nothing came for {} s", SILENCE_LIMIT.as_secs())
        }
        _ => error.to_string(),
    })
}

/// True if TLS did not accept the certificate.
fn is_untrusted(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

fn refusal(error: &attohttpc::Error) -> TransferFault {
    match error.kind() {
        ErrorKind::ConnectError { status_code, .. } => {
            TransferFault::Refused(format!("the proxy refuses: {status_code}"))
        }
        ErrorKind::Io(error) if is_untrusted(error) => TransferFault::Untrusted(error.to_string()),
        ErrorKind::Tls(error @ rustls::Error::InvalidCertificate(_)) => {
            TransferFault::Untrusted(error.to_string())
        }
        ErrorKind::Io(error) => network(error),
        _ => TransferFault::Refused(error.to_string()),
    }
}

impl fmt::Display for TransferFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferFault::Missing(text)
            | TransferFault::Untrusted(text)
            | TransferFault::Refused(text)
            | TransferFault::Network(text)
            | TransferFault::Changed(text) => f.write_str(text),
            TransferFault::Here(error) => error.fmt(f),
        }
    }
}
