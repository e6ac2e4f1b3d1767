//! The verbs library on a real device: both ends of a connection in one process, over the device's own loopback.
//!
//! What an operation does, and above all how each one fails. `cargo xtask test-guest` builds this and runs every test
//! in a guest of its own; on a computer with an RDMA device it is
//! `cargo test --package rdma-lab --features verbs --test verbs -- --ignored`.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdma_lab::builders::{QueuePairBuilder, RegionRange, SendRequest};
use rdma_lab::cm::Listener;
use rdma_lab::completion::{Completion, WcOpcode, WcStatus};
use rdma_lab::connection::{self, ConnectParams, Target};
use rdma_lab::deadline::Deadline;
use rdma_lab::error::{Error, RejectReason, Result};
use rdma_lab::mem::{Access, MemoryRegion};
use rdma_lab::ops::Endpoint;
use rdma_lab::private_data::RemoteRegion;

/// Far above what anything here takes, RNR retries of 655 ms included.
const LIMIT: Duration = Duration::from_secs(20);

fn soon() -> Deadline {
    Deadline::after(LIMIT)
}

/// The address that an RDMA device of this host answers: the first IPv4 one in its table of GIDs.
fn own_address() -> IpAddr {
    let directory = |path: &str| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    for device in directory("/sys/class/infiniband") {
        for gid in directory(&format!("{}/ports/1/gids", device.display())) {
            let text = fs::read_to_string(gid).unwrap_or_default();
            let gid = text.trim().parse::<Ipv6Addr>().unwrap_or(Ipv6Addr::UNSPECIFIED);
            if let Some(address) = gid.to_ipv4_mapped() {
                return address.into();
            }
        }
    }
    panic!("no RDMA device of this host has an IPv4 address: see `rdma link`");
}

fn target(port: u16) -> Target {
    Target { server: SocketAddr::new(own_address(), port), source: None, server_program: "nobody".into() }
}

/// Both ends of one connection; each has its own protection domain.
struct Pair {
    server: Endpoint,
    client: Endpoint,
}

impl Pair {
    fn new() -> Self {
        Self::with(&ConnectParams::default(), |_| Ok(()))
    }

    /// Connects; `prepare` is called on the server's end before it accepts, the place to post RECVs.
    fn with(params: &ConnectParams, prepare: impl FnOnce(&mut Endpoint) -> Result<()> + Send) -> Self {
        let builder = QueuePairBuilder::new().max_send_wr(16).max_recv_wr(16);
        let listener = Listener::bind(SocketAddr::new(own_address(), 0)).unwrap();
        let target = target(listener.address().port());
        thread::scope(|scope| {
            let client = scope.spawn(|| connection::connect(&target, params, &builder, |_| Ok(()), &soon()));
            let mut server = listener.next_request(&soon()).unwrap().into_endpoint(&builder).unwrap();
            prepare(&mut server).unwrap();
            server.accept(params, &soon()).unwrap();
            let (client, _) = client.join().unwrap().unwrap();
            Self { server, client }
        })
    }

    /// Memory of the server's end, as the client is told of it.
    fn region(&self, length_bytes: usize, access: Access) -> (Arc<MemoryRegion>, RemoteRegion) {
        let region = self.server.register(length_bytes, access).unwrap();
        let remote = region.announce(true);
        (region, remote)
    }

    /// A range of new memory of the client's end that holds `bytes`.
    fn source(&self, bytes: &[u8]) -> RegionRange {
        let region = self.client.register(bytes.len(), Access::SOURCE).unwrap();
        region.copy_in(0, bytes).unwrap();
        RegionRange::whole(&region).unwrap()
    }

    fn disconnect(mut self) {
        thread::scope(|scope| {
            scope.spawn(|| self.server.wait_disconnected(&soon()).unwrap());
            self.client.disconnect(&soon()).unwrap();
        });
    }
}

fn status(result: Result<Completion>) -> WcStatus {
    match result {
        Err(Error::Completion(completion)) => completion.status,
        other => panic!("expected an error completion, got {other:?}"),
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn write_arrives_and_read_brings_it_back() {
    let mut pair = Pair::new();
    let (region, remote) = pair.region(8192, Access::REMOTE);
    let source = pair.source(b"what was written");
    let completion = pair.client.execute(SendRequest::write(source, &remote), &soon()).unwrap();
    assert_eq!((completion.opcode, completion.length_bytes), (WcOpcode::RdmaWrite, 16));

    let sink = pair.client.register(8192, Access::SINK).unwrap();
    pair.client.execute(SendRequest::read(RegionRange::whole(&sink).unwrap(), &remote), &soon()).unwrap();
    assert_eq!(sink.copy_out(0, 17).unwrap(), b"what was written\0");
    // The READ's completion has proved that the WRITE was done.
    assert_eq!(region.copy_out(0, 17).unwrap(), b"what was written\0");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn write_with_immediate_completes_a_recv() {
    let mut recv = 0;
    let mut pair = Pair::with(&ConnectParams::default(), |server| {
        recv = server.post_recv(None)?;
        Ok(())
    });
    let (_region, remote) = pair.region(4096, Access::REMOTE);
    let source = pair.source(b"abc");
    pair.client.execute(SendRequest::write_with_imm(source, &remote, 0x1122_3344), &soon()).unwrap();
    let completion = pair.server.wait(recv, &soon()).unwrap();
    assert_eq!(completion.opcode, WcOpcode::RecvRdmaWithImm);
    assert_eq!((completion.length_bytes, completion.imm), (3, Some(0x1122_3344)));
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn wrong_rkey_is_refused() {
    let mut pair = Pair::new();
    let (_region, remote) = pair.region(4096, Access::REMOTE);
    let wrong = RemoteRegion { rkey: remote.rkey ^ 1, ..remote };
    let source = pair.source(b"abc");
    assert_eq!(
        status(pair.client.execute(SendRequest::write(source, &wrong), &soon())),
        WcStatus::RemAccessErr
    );
}

#[test]
#[ignore = "needs an RDMA device"]
fn one_byte_out_of_bounds_is_refused_and_the_last_byte_is_not() {
    let mut pair = Pair::new();
    let (region, remote) = pair.region(4096, Access::REMOTE);
    let last = RemoteRegion { address: remote.address + 4095, ..remote };
    let source = pair.source(b"z");
    pair.client.execute(SendRequest::write(source, &last), &soon()).unwrap();
    let beyond = RemoteRegion { address: remote.address + 4096, ..remote };
    let source = pair.source(b"z");
    assert_eq!(
        status(pair.client.execute(SendRequest::write(source, &beyond), &soon())),
        WcStatus::RemAccessErr
    );
    assert_eq!(region.copy_out(4095, 1).unwrap(), b"z");
}

#[test]
#[ignore = "needs an RDMA device"]
fn region_without_remote_write_refuses_a_write_and_keeps_its_bytes() {
    let mut pair = Pair::new();
    let (region, remote) = pair.region(4096, Access { remote_write: false, ..Access::REMOTE });
    region.copy_in(0, b"as it was").unwrap();
    let source = pair.source(b"abc");
    assert_eq!(
        status(pair.client.execute(SendRequest::write(source, &remote), &soon())),
        WcStatus::RemAccessErr
    );
    assert_eq!(region.copy_out(0, 9).unwrap(), b"as it was");
}

#[test]
#[ignore = "needs an RDMA device"]
fn region_without_remote_read_refuses_a_read() {
    let mut pair = Pair::new();
    let (_region, remote) = pair.region(4096, Access { remote_read: false, ..Access::REMOTE });
    let sink = pair.client.register(64, Access::SINK).unwrap();
    let result = pair.client.execute(SendRequest::read(RegionRange::whole(&sink).unwrap(), &remote), &soon());
    assert_eq!(status(result), WcStatus::RemAccessErr);
}

#[test]
#[ignore = "needs an RDMA device"]
fn read_into_memory_that_the_device_may_not_write_fails_locally() {
    let mut pair = Pair::new();
    let (_region, remote) = pair.region(4096, Access::REMOTE);
    let sink = pair.client.register(64, Access::SOURCE).unwrap();
    let result = pair.client.execute(SendRequest::read(RegionRange::whole(&sink).unwrap(), &remote), &soon());
    assert_eq!(status(result), WcStatus::LocProtErr);
}

#[test]
#[ignore = "needs an RDMA device"]
fn region_of_another_protection_domain_is_refused() {
    let mut one = Pair::new();
    let other = Pair::new();
    let (_region, remote) = other.region(4096, Access::REMOTE);
    let source = one.source(b"abc");
    assert_eq!(
        status(one.client.execute(SendRequest::write(source, &remote), &soon())),
        WcStatus::RemAccessErr
    );
}

#[test]
#[ignore = "needs an RDMA device"]
fn local_memory_of_another_protection_domain_is_refused() {
    let mut one = Pair::new();
    let other = Pair::new();
    let (_region, remote) = one.region(4096, Access::REMOTE);
    let source = other.source(b"abc");
    assert!(one.client.execute(SendRequest::write(source, &remote), &soon()).is_err());
}

#[test]
#[ignore = "needs an RDMA device"]
fn deregistered_region_is_refused() {
    let mut pair = Pair::new();
    let (region, remote) = pair.region(4096, Access::REMOTE);
    drop(region);
    let source = pair.source(b"abc");
    assert_eq!(
        status(pair.client.execute(SendRequest::write(source, &remote), &soon())),
        WcStatus::RemAccessErr
    );
}

#[test]
#[ignore = "needs an RDMA device"]
fn after_an_error_the_queue_pair_flushes_what_is_posted() {
    let mut pair = Pair::new();
    let (_region, remote) = pair.region(4096, Access { remote_write: false, ..Access::REMOTE });
    let source = pair.source(b"abc");
    assert_eq!(
        status(pair.client.execute(SendRequest::write(source.clone(), &remote), &soon())),
        WcStatus::RemAccessErr
    );
    assert_eq!(
        status(pair.client.execute(SendRequest::write(source, &remote), &soon())),
        WcStatus::WrFlushErr
    );
}

#[test]
#[ignore = "needs an RDMA device"]
fn peer_that_disconnects_ends_a_wait() {
    let mut recv = 0;
    let mut pair = Pair::with(&ConnectParams::default(), |server| {
        recv = server.post_recv(None)?;
        Ok(())
    });
    thread::scope(|scope| {
        scope.spawn(|| pair.client.disconnect(&soon()).unwrap());
        let error = pair.server.wait(recv, &soon()).unwrap_err();
        assert!(matches!(error, Error::Disconnected { .. }), "{error}");
        pair.server.wait_disconnected(&soon()).unwrap();
    });
}

#[test]
#[ignore = "needs an RDMA device"]
fn peer_that_is_dropped_ends_a_wait() {
    let mut recv = 0;
    let Pair { mut server, client } = Pair::with(&ConnectParams::default(), |server| {
        recv = server.post_recv(None)?;
        Ok(())
    });
    drop(client);
    let error = server.wait(recv, &soon()).unwrap_err();
    assert!(matches!(error, Error::Disconnected { .. }), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn wait_ends_at_its_limit() {
    let mut recv = 0;
    let mut pair = Pair::with(&ConnectParams::default(), |server| {
        recv = server.post_recv(None)?;
        Ok(())
    });
    let started = Instant::now();
    let error = pair.server.wait(recv, &Deadline::after(Duration::from_millis(200))).unwrap_err();
    assert!(
        error.to_string().contains("timed out after 0.2 s waiting for the completion of RECV"),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
#[ignore = "needs an RDMA device"]
fn full_receive_queue_refuses_another_recv() {
    let pair = Pair::new();
    let Pair { mut server, client: _client } = pair;
    let error = loop {
        // A provider may round the queue up; it is finite all the same.
        if let Err(error) = server.post_recv(None) {
            break error;
        }
    };
    assert!(matches!(error, Error::Verb { call: "ibv_post_recv", .. }), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn port_without_a_listener_rejects() {
    // Bound and dropped: the port was free a moment ago.
    let port = Listener::bind(SocketAddr::new(own_address(), 0)).unwrap().address().port();
    let builder = QueuePairBuilder::new();
    let result = connection::connect(&target(port), &ConnectParams::default(), &builder, |_| Ok(()), &soon());
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Rejected { reason: RejectReason::InvalidServiceId, .. }), "{error}");
    assert!(error.to_string().contains("start nobody there"), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn rejection_carries_its_reason() {
    let listener = Listener::bind(SocketAddr::new(own_address(), 0)).unwrap();
    let target = target(listener.address().port());
    let builder = QueuePairBuilder::new();
    let params = ConnectParams::default();
    thread::scope(|scope| {
        let client = scope.spawn(|| connection::connect(&target, &params, &builder, |_| Ok(()), &soon()));
        listener.next_request(&soon()).unwrap().reject("not today").unwrap();
        let error = client.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Rejected { reason: RejectReason::ConsumerDefined, .. }), "{error}");
        assert!(error.to_string().ends_with(": not today"), "{error}");
    });
}

#[test]
#[ignore = "needs an RDMA device"]
fn taken_port_is_named() {
    let listener = Listener::bind(SocketAddr::new(own_address(), 0)).unwrap();
    let error = Listener::bind(listener.address()).unwrap_err();
    assert!(error.to_string().contains("another program listens on that port"), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn address_of_another_host_cannot_be_listened_on() {
    let error = Listener::bind("192.0.2.1:7471".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("does not have that address"), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn nothing_that_is_dropped_in_any_order_blocks_or_crashes() {
    for order in 0..4 {
        let Pair { mut server, client } = Pair::new();
        let region = server.register(4096, Access::REMOTE).unwrap();
        let _ = server.post_recv(Some(RegionRange::whole(&region).unwrap())).unwrap();
        // A RECV is in flight in each of them.
        match order {
            0 => drop((region, server, client)),
            1 => drop((server, region, client)),
            2 => drop((client, server, region)),
            _ => drop((client, region, server)),
        }
    }
}
