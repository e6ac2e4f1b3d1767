//! How machines of others are reached, and what their owner lets the lab do there.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::provider::remote::host::RemoteHost;

/// How a machine is reached, and what its owner lets the lab do there.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The carrier of commands and files.
    pub host: Arc<dyn RemoteHost>,
    /// Its address on the RDMA network.
    pub address: IpAddr,
    /// Its RDMA device, if it was named.
    pub device: Option<String>,
    /// The recorder of the wire.
    pub capture: Recorder,
    /// Whether to load `rdma_rxe`, and to make and remake a device of it on the interface that reaches the peer.
    pub setup_rxe: bool,
    /// Whether to install packages that are missing, and to give the nodes' names in `/etc/hosts`.
    pub install: bool,
}

/// A recorder of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorder {
    /// tcpdump on the server, on this interface, or on the RDMA device's.
    Tcpdump(Option<String>),
    /// Something else, which writes what a mirror port shows to this file, or into this directory, on this computer.
    Mirror(PathBuf),
}
