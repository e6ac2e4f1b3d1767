//! A host name to an address, under a deadline.
//!
//! The system's resolver has no limit of its own that a caller could set, so it runs on a thread that is left behind when
//! the deadline passes.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;

use crate::error::{Error, Result};
use verbs::deadline::Deadline;

/// Resolves `host` to its first address, of the family of `source` if that is given.
///
/// # Errors
///
/// [`Error::Lookup`] if the name has no (such) address, [`verbs::Error::Timeout`] if the resolver does not answer in time.
pub fn lookup(host: &str, port: u16, source: Option<IpAddr>, deadline: &Deadline) -> Result<SocketAddr> {
    let fits = |address: &SocketAddr| source.is_none_or(|source| source.is_ipv4() == address.is_ipv4());
    let missing = || Error::Lookup {
        host: host.to_owned(),
        reason: match source {
            None => "it has no address".into(),
            Some(source) => format!("it has no address of the family of `--bind {source}`"),
        },
    };
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, port)).filter(fits).ok_or_else(missing);
    }
    let addresses = resolve_on_thread(host.to_owned(), port, deadline)?;
    addresses.into_iter().find(fits).ok_or_else(missing)
}

fn resolve_on_thread(host: String, port: u16, deadline: &Deadline) -> Result<Vec<SocketAddr>> {
    let failed = |reason: std::io::Error| Error::Lookup { host: host.clone(), reason: reason.to_string() };
    let (sender, receiver) = mpsc::channel();
    let name = host.clone();
    thread::Builder::new()
        .name("lookup".into())
        .spawn(move || {
            let result = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            // Nobody listens any more if the deadline passed first.
            let _ = sender.send(result);
        })
        .map_err(failed)?;
    let result = match deadline.remaining() {
        Some(left) => receiver.recv_timeout(left).ok(),
        None => receiver.recv().ok(),
    };
    match result {
        Some(result) => result.map_err(failed),
        None => Err(verbs::Error::timeout(format!("the address of `{host}`"), deadline).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    #[test]
    fn addresses_need_no_resolver() {
        assert_eq!(lookup("198.51.100.2", 7471, None, &soon()).unwrap().to_string(), "198.51.100.2:7471");
        assert_eq!(lookup("2001:db8::2", 7471, None, &soon()).unwrap().to_string(), "[2001:db8::2]:7471");
    }

    #[test]
    fn family_must_fit_the_source_address() {
        let source = Some("2001:db8::1".parse().unwrap());
        let error = lookup("198.51.100.2", 7471, source, &soon()).unwrap_err().to_string();
        assert!(error.contains("`--bind 2001:db8::1`"), "{error}");
    }

    #[test]
    fn passed_deadline_names_the_host() {
        // A name that no resolver is asked for: the deadline has passed before the thread can answer, or it fails first.
        let error =
            lookup("host.invalid", 7471, None, &Deadline::after(Duration::ZERO)).unwrap_err().to_string();
        assert!(error.contains("`host.invalid`"), "{error}");
    }
}
