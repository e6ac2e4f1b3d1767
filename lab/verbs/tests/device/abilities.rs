//! What a device offers, and what is said of what it does not.

use verbs::Error;
use verbs::batch::BatchRequest;
use verbs::completion::{WcOpcode, WcStatus, WrOpcode};
use verbs::device::Device;
use verbs::extended::SendOperations;
use verbs::mr::Access;
use verbs::pd::ProtectionDomain;
use verbs::work_request::{FlushPart, FlushPlacement, SendRequest};

use crate::lists::{attached, completions, post};
use crate::pair::{BOTH, By, Pair, own_address, soon, status};

/// Operations of FLUSH and what goes with it.
fn flushing() -> SendOperations {
    SendOperations::RELIABLE.with(&[WrOpcode::Flush])
}

/// True if the device has an ability; says that it has not where a test then has nothing to do.
fn offers(ability: impl FnOnce(&verbs::abilities::DeviceAbilities) -> bool, name: &str) -> bool {
    let (device, _) = Device::with_address(own_address()).unwrap();
    let has = ability(&device.abilities().unwrap());
    if !has {
        println!("this device does not offer {name}");
    }
    has
}

#[test]
#[ignore = "needs an RDMA device"]
fn windows_and_invalidation_are_told() {
    let (device, _) = Device::with_address(own_address()).unwrap();
    let has = device.abilities().unwrap();
    println!("{has:?}");
    assert!(has.windows_type_1 && has.windows_type_2 && has.invalidation);
    assert_eq!(has, device.abilities().unwrap());
}

#[test]
#[ignore = "needs an RDMA device"]
fn operation_that_the_device_lacks_is_named() {
    let (device, _) = Device::with_address(own_address()).unwrap();
    let has = device.abilities().unwrap();
    let pd = ProtectionDomain::alloc(&device).unwrap();
    if !has.on_demand_paging {
        let error = pd.register(4096, Access { on_demand: true, ..Access::REMOTE }).unwrap_err();
        assert!(matches!(&error, Error::NotOffered { ability: "on-demand paging", .. }), "{error}");
        assert!(error.to_string().contains("rdma_rxe has it from Linux"), "{error}");
    }
    if !has.flush_global {
        let error = pd.register(4096, Access { flush_global: true, ..Access::REMOTE }).unwrap_err();
        assert!(matches!(error, Error::NotOffered { .. }), "{error}");
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn flush_to_persistence_needs_persistent_memory() {
    let (device, _) = Device::with_address(own_address()).unwrap();
    let pd = ProtectionDomain::alloc(&device).unwrap();
    if device.abilities().unwrap().flush_persistent {
        println!("kernel log: rxe_reg_user_mr: returned err = -22 | cannot set IB_ACCESS_FLUSH_PERSISTENT");
    }
    let error = pd.register(4096, Access { flush_persistent: true, ..Access::REMOTE }).unwrap_err();
    // Guests have plain memory: the device says no, or has not got it at all.
    assert!(matches!(error, Error::Verb { call: "ibv_reg_mr", .. } | Error::NotOffered { .. }), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn on_demand_memory_is_written_and_read_like_other() {
    if !offers(|has| has.on_demand_paging, "on-demand paging") {
        return;
    }
    let mut pair = Pair::new();
    let (region, remote) = pair.region(1 << 20, Access { on_demand: true, ..Access::REMOTE });
    let source = pair.source(b"paged");
    pair.client.execute(SendRequest::write(source, &remote.at(500_000)), &soon()).unwrap();
    assert_eq!(region.copy_out(500_000, 5).unwrap(), b"paged");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn flush_completes_behind_the_write() {
    if !offers(|has| has.flush_global, "FLUSH") {
        return;
    }
    for by in BOTH {
        let mut pair = Pair::extended(by, flushing());
        let (region, remote) = pair.region(4096, Access { flush_global: true, ..Access::REMOTE });
        for part in [FlushPart::Range(64), FlushPart::Region] {
            let source = pair.source(b"flushed");
            pair.client.post_send(SendRequest::write(source, &remote)).unwrap();
            let flush = SendRequest::flush(&remote, FlushPlacement::Global, part);
            let done = pair.client.execute(flush, &soon()).unwrap();
            assert_eq!((done.opcode, done.posted), (WcOpcode::Flush, Some(WrOpcode::Flush)));
            assert_eq!(region.copy_out(0, 7).unwrap(), b"flushed");
        }
        pair.disconnect();
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn list_writes_and_flushes() {
    if !offers(|has| has.flush_global, "FLUSH") {
        return;
    }
    let mut pair = Pair::extended(By::Cm, flushing());
    let (region, remote) = pair.region(4096, Access { flush_global: true, ..Access::REMOTE });
    let range = [attached(&mut pair.client, b"in a list")];
    let requests = [
        BatchRequest::write(&range, &remote).unsignalled(),
        BatchRequest::flush(&remote, FlushPlacement::Global, FlushPart::Range(9)),
    ];
    post(&mut pair.client, &requests).unwrap();
    assert_eq!(completions(&mut pair.client, 1)[0].opcode(), WcOpcode::Flush);
    assert_eq!(region.copy_out(0, 9).unwrap(), b"in a list");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn region_without_the_right_refuses_a_flush() {
    if !offers(|has| has.flush_global, "FLUSH") {
        return;
    }
    let mut pair = Pair::extended(By::Cm, flushing());
    let (_region, remote) = pair.region(4096, Access::REMOTE);
    let flush = SendRequest::flush(&remote, FlushPlacement::Global, FlushPart::Range(8));
    let refused = status(pair.client.execute(flush, &soon()));
    assert!(matches!(refused, WcStatus::RemAccessErr | WcStatus::RemInvReqErr), "{refused}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn flush_beyond_the_region_is_refused() {
    if !offers(|has| has.flush_global, "FLUSH") {
        return;
    }
    let mut pair = Pair::extended(By::Cm, flushing());
    let (_region, remote) = pair.region(4096, Access { flush_global: true, ..Access::REMOTE });
    let flush = SendRequest::flush(&remote.at(4000), FlushPlacement::Global, FlushPart::Range(97));
    assert_eq!(status(pair.client.execute(flush, &soon())), WcStatus::RemAccessErr);
}

#[test]
#[ignore = "needs an RDMA device"]
fn atomic_write_replaces_eight_bytes() {
    if !offers(|has| has.atomic_write, "ATOMIC WRITE") {
        return;
    }
    for by in BOTH {
        let mut pair = Pair::extended(by, SendOperations::RELIABLE.with(&[WrOpcode::AtomicWrite]));
        let (region, remote) = pair.region(16, Access::REMOTE);
        let done =
            pair.client.execute(SendRequest::atomic_write(&remote.at(8), 0x0102_0304_0506_0708), &soon());
        let done = done.unwrap();
        assert_eq!((done.opcode, done.posted), (WcOpcode::AtomicWrite, Some(WrOpcode::AtomicWrite)));
        assert_eq!((done.length_bytes, region.number(8).unwrap()), (8, 0x0102_0304_0506_0708));
        assert_eq!(region.number(0).unwrap(), 0);
        post(&mut pair.client, &[BatchRequest::atomic_write(b"of a lst", &remote)]).unwrap();
        assert_eq!(completions(&mut pair.client, 1)[0].status(), WcStatus::Success);
        assert_eq!(region.copy_out(0, 8).unwrap(), b"of a lst");
        pair.disconnect();
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn atomic_write_that_is_not_aligned_is_refused() {
    if !offers(|has| has.atomic_write, "ATOMIC WRITE") {
        return;
    }
    let mut pair = Pair::extended(By::Cm, SendOperations::RELIABLE.with(&[WrOpcode::AtomicWrite]));
    let (region, remote) = pair.region(16, Access::REMOTE);
    let refused = status(pair.client.execute(SendRequest::atomic_write(&remote.at(4), 1), &soon()));
    assert!(matches!(refused, WcStatus::RemInvReqErr | WcStatus::RemAccessErr), "{refused}");
    assert_eq!(region.copy_out(0, 16).unwrap(), [0; 16]);
}

#[test]
#[ignore = "needs an RDMA device"]
fn classic_queue_pair_has_neither_flush_nor_atomic_write() {
    let mut pair = Pair::new();
    let (_region, remote) = pair.region(64, Access::REMOTE);
    let flush = SendRequest::flush(&remote, FlushPlacement::Global, FlushPart::Region);
    for request in [flush, SendRequest::atomic_write(&remote, 1)] {
        let error = pair.client.post_send(request).unwrap_err();
        assert!(matches!(error, Error::Verb { errno: libc::EOPNOTSUPP, .. }), "{error}");
        assert!(error.to_string().contains("which the queue pair was not created for"), "{error}");
    }
    let batch = BatchRequest::atomic_write(b"12345678", &remote);
    let error = post(&mut pair.client, &[batch]).unwrap_err();
    assert!(matches!(error, Error::Verb { errno: libc::EOPNOTSUPP, .. }), "{error}");
    assert_eq!((pair.client.work().in_flight(), pair.client.work().sends_in_flight()), (0, 0));
    pair.disconnect();
}
