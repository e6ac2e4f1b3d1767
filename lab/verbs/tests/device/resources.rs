//! Ends of the resources of a device, a queue or a process, and the order of drops.

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::thread::CapabilitySet;
use rustix::thread::CapabilitySets;
use verbs::Error;
use verbs::device;
use verbs::mr::Access;
use verbs::work_request::RegionRange;
use verbs::work_request::SendRequest;

use crate::pair::{Pair, pace};

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
