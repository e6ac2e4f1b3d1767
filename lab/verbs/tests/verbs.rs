//! The verbs library on a real device: both ends of a connection in one process, over the device's own loopback.
//!
//! What an operation does, and above all how each one fails. `cargo xtask test-guest` builds this and runs every test
//! in a guest, where it also holds it to a clean kernel log; on a computer with an RDMA device it is
//! `cargo test --package rdma-lab-verbs --features rdma-core --test verbs -- --ignored`.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use verbs::builders::{QueuePairBuilder, RegionRange, SendRequest};
use verbs::completion::{Completion, WcOpcode, WcStatus};
use verbs::connection::{self, ConnectParams, Listener, Target};
use verbs::deadline::Deadline;
use verbs::error::{Error, RejectReason, Result};
use verbs::mem::{Access, MemoryRegion};
use verbs::ops::{Endpoint, Pace};
use verbs::private_data::RemoteRegion;
use verbs::{cm, device, plain};

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

/// With CM, or without.
#[derive(Clone, Copy)]
enum By {
    Cm,
    Tcp,
}

impl By {
    fn listen(self) -> Listener {
        let address = SocketAddr::new(own_address(), 0);
        match self {
            Self::Cm => Listener::Cm(cm::Listener::bind(address).unwrap()),
            Self::Tcp => Listener::Plain(plain::Listener::bind(address).unwrap()),
        }
    }

    fn connect(self, port: u16, params: &ConnectParams) -> Result<(Endpoint, Vec<u8>)> {
        let builder = QueuePairBuilder::new().max_send_wr(16).max_recv_wr(16);
        match self {
            Self::Cm => connection::connect(&target(port), params, &builder, |_| Ok(()), &soon()),
            Self::Tcp => plain::connect(&target(port), params, &builder, |_| Ok(()), &soon()),
        }
    }
}

/// Both ends of one connection; each has its own protection domain.
struct Pair {
    server: Endpoint,
    client: Endpoint,
}

impl Pair {
    fn new() -> Self {
        Self::with(By::Cm, &ConnectParams::default(), |_| Ok(()))
    }

    /// Connects; `prepare` is called on the server's end before it accepts, the place to post RECVs.
    fn with(
        by: By,
        params: &ConnectParams,
        prepare: impl FnOnce(&mut Endpoint) -> Result<()> + Send,
    ) -> Self {
        let listener = by.listen();
        let port = listener.address().port();
        thread::scope(|scope| {
            let client = scope.spawn(|| by.connect(port, params));
            let builder = QueuePairBuilder::new().max_send_wr(16).max_recv_wr(16);
            let mut server = listener.next_request(&soon()).unwrap().into_endpoint(&builder).unwrap();
            prepare(&mut server).unwrap();
            server.accept(params, &soon()).unwrap();
            let (client, _) = client.join().unwrap().unwrap();
            Self { server, client }
        })
    }

    /// Connects with RECVs of `length_bytes` each posted on the server's end, in one region; their identifiers.
    fn with_recvs(count: usize, length_bytes: usize) -> (Self, Vec<u64>, Arc<MemoryRegion>) {
        let (mut recvs, mut region) = (Vec::new(), None);
        let pair = Self::with(By::Cm, &ConnectParams::default(), |server| {
            let memory = server.register((count * length_bytes).max(1), Access::SINK)?;
            for number in 0..count {
                let place = RegionRange::new(&memory, number * length_bytes, length_bytes)?;
                recvs.push(server.post_recv(Some(place))?);
            }
            region = Some(memory);
            Ok(())
        });
        (pair, recvs, region.unwrap())
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

    /// From now on the server's end answers nothing, and the connection stands.
    fn silence_server(&mut self) {
        // A wait that fails leaves its queue pair in the error state.
        let recv = self.server.post_recv(None).unwrap();
        self.server.wait(recv, &Deadline::after(Duration::ZERO)).unwrap_err();
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
    let (mut pair, recvs, _memory) = Pair::with_recvs(1, 0);
    let (_region, remote) = pair.region(4096, Access::REMOTE);
    let source = pair.source(b"abc");
    pair.client.execute(SendRequest::write_with_imm(source, &remote, 0x1122_3344), &soon()).unwrap();
    let completion = pair.server.wait(recvs[0], &soon()).unwrap();
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
    let (mut pair, recvs, _memory) = Pair::with_recvs(1, 0);
    thread::scope(|scope| {
        scope.spawn(|| pair.client.disconnect(&soon()).unwrap());
        let error = pair.server.wait(recvs[0], &soon()).unwrap_err();
        assert!(matches!(error, Error::Disconnected { .. }), "{error}");
        pair.server.wait_disconnected(&soon()).unwrap();
    });
}

#[test]
#[ignore = "needs an RDMA device"]
fn peer_that_is_dropped_ends_a_wait() {
    let (Pair { mut server, client }, recvs, _memory) = Pair::with_recvs(1, 0);
    drop(client);
    let error = server.wait(recvs[0], &soon()).unwrap_err();
    assert!(matches!(error, Error::Disconnected { .. }), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn wait_ends_at_its_limit() {
    let (mut pair, recvs, _memory) = Pair::with_recvs(1, 0);
    let started = Instant::now();
    let error = pair.server.wait(recvs[0], &Deadline::after(Duration::from_millis(200))).unwrap_err();
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
    for by in [By::Cm, By::Tcp] {
        // Bound and dropped: the port was free a moment ago.
        let port = by.listen().address().port();
        let error = by.connect(port, &ConnectParams::default()).unwrap_err();
        assert!(matches!(error, Error::Rejected { reason: RejectReason::InvalidServiceId, .. }), "{error}");
        assert!(error.to_string().contains("start nobody there"), "{error}");
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn rejection_carries_its_reason() {
    for by in [By::Cm, By::Tcp] {
        let listener = by.listen();
        let port = listener.address().port();
        thread::scope(|scope| {
            let client = scope.spawn(move || by.connect(port, &ConnectParams::default()));
            listener.next_request(&soon()).unwrap().reject("not today").unwrap();
            let error = client.join().unwrap().unwrap_err();
            assert!(
                matches!(error, Error::Rejected { reason: RejectReason::ConsumerDefined, .. }),
                "{error}"
            );
            assert!(error.to_string().ends_with(": not today"), "{error}");
        });
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn request_that_is_dropped_ends_the_client_s_wait() {
    for by in [By::Cm, By::Tcp] {
        let listener = by.listen();
        let port = listener.address().port();
        thread::scope(|scope| {
            let client = scope.spawn(move || by.connect(port, &ConnectParams::default()));
            drop(listener.next_request(&soon()).unwrap());
            let error = client.join().unwrap().unwrap_err();
            assert!(matches!(error.exit_code(), 4 | 5), "{error}");
        });
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn private_data_reaches_both_sides() {
    for by in [By::Cm, By::Tcp] {
        let listener = by.listen();
        let port = listener.address().port();
        thread::scope(|scope| {
            let asks = ConnectParams::with_private_data(b"asks".to_vec());
            let client = scope.spawn(move || by.connect(port, &asks));
            let request = listener.next_request(&soon()).unwrap();
            assert!(request.private_data().starts_with(b"asks"));
            assert_eq!(request.reads_at_once(), 1);
            let mut server = request.into_endpoint(&QueuePairBuilder::new()).unwrap();
            server.accept(&ConnectParams::with_private_data(b"tells".to_vec()), &soon()).unwrap();
            let (client, told) = client.join().unwrap().unwrap();
            assert!(told.starts_with(b"tells"));
            assert_eq!(client.peer_qp_num(), Some(server.qp_num()));
            assert_eq!(server.peer_qp_num(), Some(client.qp_num()));
        });
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn taken_port_is_named() {
    let taken = By::Cm.listen().address().port();
    let listener = cm::Listener::bind(SocketAddr::new(own_address(), taken)).unwrap();
    let error = cm::Listener::bind(listener.address()).unwrap_err();
    assert!(error.to_string().contains("another program listens on that port"), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn address_of_another_host_cannot_be_listened_on() {
    let error = cm::Listener::bind("192.0.2.1:7471".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("does not have that address"), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn send_arrives_with_immediate_and_without() {
    let (mut pair, recvs, memory) = Pair::with_recvs(2, 64);
    let (plain, with_imm) = (pair.source(b"plain"), pair.source(b"immediate"));
    pair.client.execute(SendRequest::send(plain), &soon()).unwrap();
    pair.client.execute(SendRequest::send_with_imm(with_imm, 0x1122_3344), &soon()).unwrap();
    let first = pair.server.wait(recvs[0], &soon()).unwrap();
    assert_eq!((first.opcode, first.length_bytes, first.imm), (WcOpcode::Recv, 5, None));
    let second = pair.server.wait(recvs[1], &soon()).unwrap();
    assert_eq!((second.opcode, second.length_bytes, second.imm), (WcOpcode::Recv, 9, Some(0x1122_3344)));
    assert_eq!(memory.copy_out(0, 6).unwrap(), b"plain\0");
    assert_eq!(memory.copy_out(64, 9).unwrap(), b"immediate");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn messages_of_zero_bytes_complete() {
    let (mut pair, recvs, _memory) = Pair::with_recvs(1, 0);
    let (_region, remote) = pair.region(64, Access::REMOTE);
    let source = pair.client.register(1, Access::SINK).unwrap();
    let nothing = RegionRange::new(&source, 1, 0).unwrap();
    for request in [
        SendRequest::send(nothing.clone()),
        SendRequest::write(nothing.clone(), &remote),
        SendRequest::read(nothing, &remote),
    ] {
        assert_eq!(pair.client.execute(request, &soon()).unwrap().length_bytes, 0);
    }
    assert_eq!(pair.server.wait(recvs[0], &soon()).unwrap().length_bytes, 0);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn send_that_does_not_fit_its_recv_fails_on_both_sides() {
    let (mut pair, recvs, _memory) = Pair::with_recvs(1, 4);
    let source = pair.source(b"too long");
    // The specification has an invalid request; observed on rxe 6.1: an operation that failed.
    let at_the_client = status(pair.client.execute(SendRequest::send(source), &soon()));
    assert!(matches!(at_the_client, WcStatus::RemInvReqErr | WcStatus::RemOpErr), "{at_the_client}");
    let at_the_server = status(pair.server.wait(recvs[0], &soon()));
    assert!(matches!(at_the_server, WcStatus::LocLenErr | WcStatus::LocQpOpErr), "{at_the_server}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn atomics_return_what_was_there() {
    let mut pair = Pair::new();
    let (region, remote) = pair.region(16, Access::ATOMIC);
    region.copy_in(8, &u64::MAX.to_ne_bytes()).unwrap();
    let remote = remote.at(8);
    let found = pair.client.register(8, Access::SINK).unwrap();
    let place = RegionRange::whole(&found).unwrap();
    for (request, was, is) in [
        (SendRequest::fetch_add(place.clone(), &remote, 3), u64::MAX, 2),
        (SendRequest::cmp_swap(place.clone(), &remote, 2, 1 << 40), 2, 1 << 40),
        (SendRequest::cmp_swap(place, &remote, 2, 5), 1 << 40, 1 << 40),
    ] {
        let completion = pair.client.execute(request, &soon()).unwrap();
        assert_eq!(completion.length_bytes, 8);
        assert_eq!((found.number(0).unwrap(), region.number(8).unwrap()), (was, is));
    }
    assert_eq!(region.number(0).unwrap(), 0);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn atomic_that_is_not_aligned_is_refused() {
    let mut pair = Pair::new();
    let (_region, remote) = pair.region(16, Access::ATOMIC);
    let place = RegionRange::whole(&pair.client.register(8, Access::SINK).unwrap()).unwrap();
    let request = SendRequest::fetch_add(place, &remote.at(4), 1);
    // By the responder, or as on rxe 6.1 before anything is sent.
    match pair.client.execute(request, &soon()) {
        Err(Error::Verb { call: "ibv_post_send", .. }) => {}
        result => assert_eq!(status(result), WcStatus::RemInvReqErr),
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn region_without_remote_atomic_refuses_it() {
    let mut pair = Pair::new();
    let (region, remote) = pair.region(8, Access::REMOTE);
    let place = RegionRange::whole(&pair.client.register(8, Access::SINK).unwrap()).unwrap();
    let request = SendRequest::fetch_add(place, &remote, 1);
    assert_eq!(status(pair.client.execute(request, &soon())), WcStatus::RemAccessErr);
    assert_eq!(region.number(0).unwrap(), 0);
}

fn pace(depth: usize) -> Pace {
    Pace { depth, pause: Duration::ZERO, limit: LIMIT }
}

#[test]
#[ignore = "needs an RDMA device"]
fn many_in_flight_complete_in_their_order() {
    let params = ConnectParams { initiator_depth: 16, responder_resources: 16, ..ConnectParams::default() };
    let mut pair = Pair::with(By::Cm, &params, |_| Ok(()));
    let (region, remote) = pair.region(64, Access::REMOTE);
    let bytes: Vec<u8> = (0..64).collect();
    let source = pair.client.register_source(&bytes).unwrap();
    let sink = pair.client.register(64, Access::SINK).unwrap();
    for depth in [1, 3, 16] {
        let places = |memory: &Arc<MemoryRegion>| {
            let memory = Arc::clone(memory);
            (0..64).map(move |at| RegionRange::new(&memory, at, 1))
        };
        let writes =
            places(&source).zip(0..).map(|(local, at)| Ok(SendRequest::write(local?, &remote.at(at))));
        let completions = pair.client.execute_all(writes, &pace(depth)).unwrap();
        assert_eq!(completions.len(), 64);
        assert!(completions.is_sorted_by_key(|completion| completion.wr_id));
        let reads = places(&sink).zip(0..).map(|(local, at)| Ok(SendRequest::read(local?, &remote.at(at))));
        pair.client.execute_all(reads, &pace(depth)).unwrap();
        assert_eq!(sink.copy_out(0, 64).unwrap(), bytes);
    }
    assert_eq!(region.copy_out(0, 64).unwrap(), bytes);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn first_of_many_that_is_refused_is_told_and_the_rest_flushed() {
    let mut pair = Pair::new();
    let (region, remote) = pair.region(64, Access::REMOTE);
    let source = pair.client.register_source(&[7; 8]).unwrap();
    // The fourth lies beyond the region.
    let writes =
        [0, 8, 16, 64, 24, 32].map(|at| Ok(SendRequest::write(RegionRange::whole(&source)?, &remote.at(at))));
    let error = pair.client.execute_all(writes, &pace(6)).unwrap_err();
    assert!(matches!(&error, Error::Completion(completion) if completion.wr_id == 4), "{error}");
    assert_eq!(
        region.copy_out(0, 25).unwrap(),
        [[7; 8], [7; 8], [7; 8]].concat().into_iter().chain([0]).collect::<Vec<_>>()
    );
}

#[test]
#[ignore = "needs an RDMA device"]
fn full_send_queue_refuses_another_request() {
    let mut pair = Pair::new();
    let (_region, remote) = pair.region(64, Access::REMOTE);
    pair.silence_server();
    let source = pair.client.register(64, Access::SOURCE).unwrap();
    let writes = (0..10_000).map(|_| Ok(SendRequest::write(RegionRange::whole(&source)?, &remote)));
    let error = pair.client.execute_all(writes, &pace(10_000)).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_post_send", .. }), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn peer_that_leaves_ends_a_pause() {
    for by in [By::Cm, By::Tcp] {
        let Pair { server, mut client } = Pair::with(by, &ConnectParams::default(), |_| Ok(()));
        drop(server);
        let error = client.linger(LIMIT).unwrap_err();
        assert!(matches!(error, Error::Disconnected { .. }), "{error}");
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn send_without_a_recv_is_retried_until_there_is_one() {
    let mut pair = Pair::new();
    let source = pair.source(b"early");
    let memory = pair.server.register(64, Access::SINK).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| pair.client.execute(SendRequest::send(source), &soon()).unwrap());
        thread::sleep(Duration::from_millis(200));
        let recv = pair.server.post_recv(Some(RegionRange::whole(&memory).unwrap())).unwrap();
        assert_eq!(pair.server.wait(recv, &soon()).unwrap().length_bytes, 5);
    });
}

#[test]
#[ignore = "needs an RDMA device"]
fn send_that_never_finds_a_recv_gives_up() {
    for by in [By::Cm, By::Tcp] {
        let params = ConnectParams { rnr_retry_count: 1, ..ConnectParams::default() };
        let mut pair = Pair::with(by, &params, |_| Ok(()));
        let source = pair.source(b"in vain");
        let result = pair.client.execute(SendRequest::send(source), &soon());
        assert_eq!(status(result), WcStatus::RnrRetryExcErr);
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn peer_that_is_silent_is_given_up_within_the_ack_timeout() {
    for by in [By::Cm, By::Tcp] {
        // 4.096 us times two to the 14th are 67 ms.
        let params = ConnectParams { ack_timeout: Some(14), retry_count: 2, ..ConnectParams::default() };
        let mut pair = Pair::with(by, &params, |_| Ok(()));
        let (_region, remote) = pair.region(64, Access::REMOTE);
        pair.silence_server();
        let started = Instant::now();
        let source = pair.source(b"abc");
        let result = pair.client.execute(SendRequest::write(source, &remote), &soon());
        assert_eq!(status(result), WcStatus::RetryExcErr);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn without_cm_the_psn_and_the_path_mtu_are_chosen() {
    let params =
        ConnectParams { psn: Some(0xff_fffe), path_mtu_bytes: Some(256), ..ConnectParams::default() };
    let mut pair = Pair::with(By::Tcp, &params, |_| Ok(()));
    let (region, remote) = pair.region(4096, Access::REMOTE);
    let bytes: Vec<u8> = (0..4096_u32).map(|at| (at / 16) as u8).collect();
    // Sixteen packets: the PSN wraps.
    let source = pair.source(&bytes);
    pair.client.execute(SendRequest::write(source, &remote), &soon()).unwrap();
    let sink = pair.client.register(4096, Access::SINK).unwrap();
    pair.client.execute(SendRequest::read(RegionRange::whole(&sink).unwrap(), &remote), &soon()).unwrap();
    assert_eq!(sink.copy_out(0, 4096).unwrap(), bytes);
    assert_eq!(region.copy_out(0, 4096).unwrap(), bytes);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn without_cm_a_path_mtu_beyond_the_port_s_is_refused() {
    let listener = By::Tcp.listen();
    let params = ConnectParams { path_mtu_bytes: Some(8192), ..ConnectParams::default() };
    let error = By::Tcp.connect(listener.address().port(), &params).unwrap_err();
    assert!(error.to_string().contains("a path MTU of 8192 bytes was asked for"), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn without_cm_a_peer_that_speaks_otherwise_is_named() {
    let listener = By::Tcp.listen();
    for (line, named) in [
        ("GET / HTTP/1.1\n", "queue pair parameters over TCP"),
        ("{\"version\":2}\n", "missing field"),
        ("", "disconnected while this side waited for"),
    ] {
        let mut stream = TcpStream::connect(listener.address()).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let error = listener.next_request(&soon()).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn without_cm_an_address_without_a_device_is_named() {
    let listener = plain::Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let target = Target { server: listener.address(), source: None, server_program: "nobody".into() };
    let params = ConnectParams::default();
    let result = plain::connect(&target, &params, &QueuePairBuilder::new(), |_| Ok(()), &soon());
    assert!(matches!(result, Err(Error::NoDeviceAt { .. })), "{result:?}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn several_clients_have_memory_of_their_own() {
    let mut pairs: Vec<Pair> = (0..4).map(|_| Pair::new()).collect();
    let regions: Vec<_> = pairs.iter().map(|pair| pair.region(64, Access::REMOTE)).collect();
    thread::scope(|scope| {
        for (number, (pair, (_, remote))) in pairs.iter_mut().zip(&regions).enumerate() {
            scope.spawn(move || {
                let source = pair.source(&[number as u8 + 1; 64]);
                pair.client.execute(SendRequest::write(source, remote), &soon()).unwrap();
            });
        }
    });
    for (number, (region, _)) in regions.iter().enumerate() {
        // After the completion, which is this process's own.
        assert_eq!(region.copy_out(0, 64).unwrap(), [number as u8 + 1; 64]);
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn memory_beyond_the_limit_of_locked_memory_is_explained() {
    let pair = Pair::new();
    // Root may lock what it likes: this thread gives that up. The limit falls for all of the process.
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).unwrap();
    let limit = Rlimit { current: Some(64 << 10), maximum: Some(64 << 10) };
    rustix::process::setrlimit(Resource::Memlock, limit).unwrap();
    // For `cargo xtask test-guest`, which holds a test to a clean kernel log.
    // One kernel's words | a later one's.
    println!(
        "kernel log: rxe_mr_init_user: Unable to pin memory region | rxe_reg_user_mr: returned err = -12"
    );
    println!("kernel log: changed security contexts after opening file descriptor");
    let error = pair.server.register(8 << 20, Access::REMOTE).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_reg_mr", .. }), "{error}");
    assert!(error.to_string().contains("`ulimit -l`"), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn device_is_listed() {
    assert!(!device::names().unwrap().is_empty());
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
