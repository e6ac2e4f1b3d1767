//! Memory windows that are refused: to be bound, to be used, to be invalidated.

use std::sync::Arc;
use std::thread;

use verbs::Error;
use verbs::completion::WcStatus;
use verbs::mr::{Access, MemoryRegion};
use verbs::mw::{MemoryWindow, WindowType};
use verbs::qp::ServiceType;
use verbs::work_queue::WorkQueue;
use verbs::work_request::{RegionRange, SendRequest};

use crate::pair::{Pair, is_later_rxe, soon, status};
use crate::services::Workshop;
use crate::windows::{RIGHTS, bound, write};

/// True of the status of a bind or an invalidation that the device itself refuses. Observed: rxe 6.12 flushes it.
fn is_local_refusal(status: WcStatus) -> bool {
    matches!(status, WcStatus::MwBindErr | WcStatus::LocQpOpErr | WcStatus::LocProtErr | WcStatus::WrFlushErr)
}

/// Announces what rxe of Linux 6.1 logs when a key is nobody's.
fn say_that_no_region_has_the_key() {
    if !is_later_rxe() {
        println!("kernel log: rxe_invalidate_mr: No MR for key");
    }
}

/// Binds a new window of the server's to a new region that has `access`.
fn bind(pair: &mut Pair, kind: WindowType, access: Access, rights: Access) -> (WcStatus, Arc<MemoryWindow>) {
    let pd = pair.server.qp().pd();
    let window = MemoryWindow::alloc(pd, kind).unwrap();
    let region = pd.register(64, access).unwrap();
    let request = SendRequest::bind(&window, RegionRange::whole(&region).unwrap(), rights);
    (status(pair.server.execute(request, &soon())), window)
}

#[test]
#[ignore = "needs an RDMA device"]
fn outside_of_its_region_a_window_is_refused() {
    // Before the region, behind it, and across its end.
    for (offset, length) in [(-17, 1), (48, 1), (44, 8)] {
        let mut pair = Pair::new();
        let (window, region) = bound(&mut pair, WindowType::Two);
        let offset = u64::from_ne_bytes(i64::to_ne_bytes(offset));
        let refused = write(&mut pair, &window, offset, &vec![7; length]);
        assert_eq!(status(refused), WcStatus::RemAccessErr, "{offset}");
        assert_eq!(region.copy_out(0, 64).unwrap(), [0; 64]);
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn outside_of_its_window_a_peer_is_refused_or_the_device_is_known_not_to_look() {
    for offset in [u64::MAX, 32] {
        let mut pair = Pair::new();
        let (window, region) = bound(&mut pair, WindowType::Two);
        match write(&mut pair, &window, offset, &[7]) {
            Err(refused) => {
                assert_eq!(status(Err(refused)), WcStatus::RemAccessErr);
                assert_eq!(region.copy_out(0, 64).unwrap(), [0; 64]);
            }
            // FIXME: rxe 6.12 compares with the bounds of the region, not with those of the window.
            Ok(_) => assert!(pair.server.qp().pd().device().name().starts_with("rxe")),
        }
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn window_without_the_right_to_write_refuses_it() {
    let mut pair = Pair::new();
    let pd = pair.server.qp().pd();
    let window = MemoryWindow::alloc(pd, WindowType::Two).unwrap();
    let region = pd.register(64, Access::WINDOWS).unwrap();
    let rights = Access { remote_read: true, ..Access::SOURCE };
    let request = SendRequest::bind(&window, RegionRange::whole(&region).unwrap(), rights);
    pair.server.execute(request, &soon()).unwrap();
    assert_eq!(status(write(&mut pair, &window, 0, b"no")), WcStatus::RemAccessErr);
}

#[test]
#[ignore = "needs an RDMA device"]
fn unbound_window_is_refused() {
    let mut pair = Pair::new();
    let window = MemoryWindow::alloc(pair.server.qp().pd(), WindowType::Two).unwrap();
    assert_eq!(window.announce().length_bytes, Some(0));
    assert_eq!(status(write(&mut pair, &window, 0, b"nowhere")), WcStatus::RemAccessErr);
}

#[test]
#[ignore = "needs an RDMA device"]
fn region_that_takes_no_windows_refuses_a_bind_and_the_key_stays() {
    for kind in [WindowType::One, WindowType::Two] {
        let mut pair = Pair::new();
        let (status, window) = bind(&mut pair, kind, Access::REMOTE, RIGHTS);
        assert!(is_local_refusal(status), "{status}");
        assert_eq!(window.announce().length_bytes, Some(0));
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn window_that_may_be_written_needs_a_region_that_the_device_may_write() {
    let mut pair = Pair::new();
    let access = Access { bind_windows: true, ..Access::SOURCE };
    let (status, _window) = bind(&mut pair, WindowType::Two, access, RIGHTS);
    assert!(is_local_refusal(status), "{status}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn bound_window_of_type_2_is_not_bound_again_and_leads_where_it_led() {
    let mut pair = Pair::new();
    let (window, region) = bound(&mut pair, WindowType::Two);
    let before = window.announce();
    let range = RegionRange::new(&region, 0, 8).unwrap();
    let refused = status(pair.server.execute(SendRequest::bind(&window, range, RIGHTS), &soon()));
    assert!(is_local_refusal(refused), "{refused}");
    assert_eq!(window.announce(), before);
}

#[test]
#[ignore = "needs an RDMA device"]
fn window_or_region_of_another_domain_is_refused_before_the_device_sees_it() {
    let (mut one, other) = (Pair::new(), Pair::new());
    let here = one.server.qp().pd().clone();
    let there = other.server.qp().pd().clone();
    for (of_window, of_region) in [(&here, &there), (&there, &here)] {
        let window = MemoryWindow::alloc(of_window, WindowType::Two).unwrap();
        let region = of_region.register(64, Access::WINDOWS).unwrap();
        let request = SendRequest::bind(&window, RegionRange::whole(&region).unwrap(), RIGHTS);
        let error = one.server.post_send(request).unwrap_err();
        assert!(matches!(error, Error::Verb { errno: libc::EINVAL, .. }), "{error}");
    }
    assert_eq!(one.server.work().in_flight(), 0);
}

/// Polls for the completion of `wr_id`.
fn done(work: &mut WorkQueue, wr_id: u64) -> WcStatus {
    let deadline = soon();
    loop {
        work.poll().unwrap();
        if let Some(completion) = work.take(wr_id) {
            return completion.status;
        }
        assert!(!deadline.passed(), "a completion");
        thread::yield_now();
    }
}

/// A window of type 2 that was bound through `work`, and its region.
fn bound_through(shop: &Workshop, work: &mut WorkQueue) -> (Arc<MemoryWindow>, Arc<MemoryRegion>) {
    let window = MemoryWindow::alloc(&shop.pd, WindowType::Two).unwrap();
    let region = shop.pd.register(64, Access::WINDOWS).unwrap();
    let request = SendRequest::bind(&window, RegionRange::whole(&region).unwrap(), RIGHTS);
    let bind = work.post_send(request).unwrap();
    assert_eq!(done(work, bind), WcStatus::Success);
    (window, region)
}

#[test]
#[ignore = "needs an RDMA device"]
fn window_of_type_2_is_of_the_queue_pair_that_bound_it() {
    let shop = Workshop::new();
    // Of one domain, so that a region's key would do for both.
    let (mut own, mut owner) = shop.pair(ServiceType::Rc);
    let (mut other, others) = shop.pair(ServiceType::Rc);
    shop.connect(&own, &owner);
    shop.connect(&other, &others);
    let (window, region) = bound_through(&shop, &mut owner);
    let source = shop.pd.register(8, Access::SOURCE).unwrap();
    source.copy_in(0, b"mine").unwrap();
    let write = || SendRequest::write(RegionRange::new(&source, 0, 4).unwrap(), &window.announce());
    let wr_id = own.post_send(write()).unwrap();
    assert_eq!(done(&mut own, wr_id), WcStatus::Success);
    source.copy_in(0, b"your").unwrap();
    let wr_id = other.post_send(write()).unwrap();
    assert_eq!(done(&mut other, wr_id), WcStatus::RemAccessErr);
    assert_eq!(region.copy_out(0, 4).unwrap(), b"mine");
}

#[test]
#[ignore = "needs an RDMA device"]
fn window_is_gone_with_its_queue_pair() {
    let shop = Workshop::new();
    let (one, mut owner) = shop.pair(ServiceType::Rc);
    let (mut next, peer) = shop.pair(ServiceType::Rc);
    shop.connect(&one, &owner);
    shop.connect(&next, &peer);
    let (window, region) = bound_through(&shop, &mut owner);
    drop(owner);
    let request = SendRequest::bind(&window, RegionRange::whole(&region).unwrap(), RIGHTS);
    let error = next.post_send(request).unwrap_err();
    assert!(matches!(error, Error::WindowGone), "{error}");
    assert_eq!(next.in_flight(), 0);
}

#[test]
#[ignore = "needs an RDMA device"]
fn window_of_type_1_cannot_be_invalidated() {
    let mut pair = Pair::new();
    let (window, _region) = bound(&mut pair, WindowType::One);
    let refused = status(pair.server.execute(SendRequest::local_invalidate(window.rkey()), &soon()));
    assert!(is_local_refusal(refused), "{refused}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn key_that_is_nobody_s_cannot_be_invalidated() {
    say_that_no_region_has_the_key();
    let mut pair = Pair::new();
    let refused = status(pair.server.execute(SendRequest::local_invalidate(0x00ff_ff01), &soon()));
    assert!(is_local_refusal(refused), "{refused}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn peer_cannot_invalidate_a_key_that_is_not_a_window_s() {
    say_that_no_region_has_the_key();
    let mut pair = Pair::new();
    let recv = pair
        .server
        .post_recv(Some(RegionRange::whole(&pair.server.register(16, Access::SINK).unwrap()).unwrap()));
    let source = pair.source(b"no key");
    let request = SendRequest::send_with_invalidate(source, 0x00ff_ff01);
    let sent = pair.client.execute(request, &soon());
    let received = pair.server.wait(recv.unwrap(), &soon());
    assert!(received.is_err(), "{sent:?}, {received:?}");
}
