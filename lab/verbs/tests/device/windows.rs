//! Memory windows that are bound, used by a peer, and taken away by either side.

use std::sync::Arc;

use verbs::batch::BatchRequest;
use verbs::completion::{WcOpcode, WcStatus, WrOpcode};
use verbs::mr::{Access, MemoryRegion};
use verbs::mw::{MemoryWindow, WindowType};
use verbs::work_request::{RegionRange, SendRequest};

use crate::lists::{completions, post};
use crate::pair::{Pair, soon, status};

/// Rights of a window here.
pub(crate) const RIGHTS: Access = Access { local_write: false, ..Access::REMOTE };

/// A window of the server's, bound to the bytes from 16 to 48 of a region of 64.
pub(crate) fn bound(pair: &mut Pair, kind: WindowType) -> (Arc<MemoryWindow>, Arc<MemoryRegion>) {
    let pd = pair.server.qp().pd();
    let window = MemoryWindow::alloc(pd, kind).unwrap();
    let region = pd.register(64, Access::WINDOWS).unwrap();
    let before = window.rkey();
    let range = RegionRange::new(&region, 16, 32).unwrap();
    let done = pair.server.execute(SendRequest::bind(&window, range, RIGHTS), &soon()).unwrap();
    assert_eq!((done.opcode, done.posted), (WcOpcode::BindMw, Some(WrOpcode::BindMw)));
    assert_ne!(window.rkey(), before);
    (window, region)
}

/// WRITEs into what the server has announced.
pub(crate) fn write(
    pair: &mut Pair,
    window: &MemoryWindow,
    offset: u64,
    bytes: &[u8],
) -> verbs::Result<verbs::completion::Completion> {
    let source = pair.source(bytes);
    pair.client.execute(SendRequest::write(source, &window.announce().at(offset)), &soon())
}

#[test]
#[ignore = "needs an RDMA device"]
fn peer_writes_and_reads_through_a_window_of_each_type() {
    for kind in [WindowType::One, WindowType::Two] {
        let mut pair = Pair::new();
        let (window, region) = bound(&mut pair, kind);
        assert_eq!(window.kind(), kind);
        let told = window.announce();
        assert_eq!((told.address, told.length_bytes), (region.address() + 16, Some(32)));
        assert_ne!(told.rkey, region.rkey());
        write(&mut pair, &window, 0, b"through a window").unwrap();
        assert_eq!(region.copy_out(15, 18).unwrap(), b"\0through a window\0");
        let sink = pair.client.register(16, Access::SINK).unwrap();
        let range = RegionRange::whole(&sink).unwrap();
        pair.client.execute(SendRequest::read(range, &told), &soon()).unwrap();
        assert_eq!(sink.copy_out(0, 16).unwrap(), b"through a window");
        pair.disconnect();
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn atomic_works_through_a_window_that_allows_it() {
    let mut pair = Pair::new();
    let window = MemoryWindow::alloc(pair.server.qp().pd(), WindowType::Two).unwrap();
    let region = pair.server.register(8, Access { remote_atomic: true, ..Access::WINDOWS }).unwrap();
    let rights = Access { local_write: false, ..Access::ATOMIC };
    let bind = SendRequest::bind(&window, RegionRange::whole(&region).unwrap(), rights);
    pair.server.execute(bind, &soon()).unwrap();
    let found = RegionRange::whole(&pair.client.register(8, Access::SINK).unwrap()).unwrap();
    let request = SendRequest::fetch_add(found, &window.announce(), 7);
    pair.client.execute(request, &soon()).unwrap();
    assert_eq!(region.number(0).unwrap(), 7);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn window_of_type_1_is_bound_elsewhere_by_another_bind() {
    let mut pair = Pair::new();
    let (window, region) = bound(&mut pair, WindowType::One);
    let range = RegionRange::new(&region, 0, 8).unwrap();
    pair.server.execute(SendRequest::bind(&window, range, RIGHTS), &soon()).unwrap();
    assert_eq!(window.announce().address, region.address());
    write(&mut pair, &window, 0, b"at zero!").unwrap();
    assert_eq!(region.copy_out(0, 9).unwrap(), b"at zero!\0");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn key_of_an_earlier_binding_is_refused() {
    let mut pair = Pair::new();
    let (window, region) = bound(&mut pair, WindowType::One);
    let earlier = window.announce();
    let range = RegionRange::new(&region, 16, 32).unwrap();
    pair.server.execute(SendRequest::bind(&window, range, RIGHTS), &soon()).unwrap();
    let source = pair.source(b"late");
    let result = pair.client.execute(SendRequest::write(source, &earlier), &soon());
    assert_eq!(status(result), WcStatus::RemAccessErr);
    assert_eq!(region.copy_out(16, 4).unwrap(), [0; 4]);
}

#[test]
#[ignore = "needs an RDMA device"]
fn window_is_bound_again_after_a_local_invalidation() {
    let mut pair = Pair::new();
    let (window, region) = bound(&mut pair, WindowType::Two);
    let done = pair.server.execute(SendRequest::local_invalidate(window.rkey()), &soon()).unwrap();
    assert_eq!((done.opcode, done.posted), (WcOpcode::LocalInv, Some(WrOpcode::LocalInv)));
    let range = RegionRange::new(&region, 0, 8).unwrap();
    pair.server.execute(SendRequest::bind(&window, range, RIGHTS), &soon()).unwrap();
    write(&mut pair, &window, 0, b"anew").unwrap();
    assert_eq!(region.copy_out(0, 4).unwrap(), b"anew");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn send_with_invalidate_tells_the_key_and_takes_the_window_away() {
    let mut pair = Pair::new();
    let (window, region) = bound(&mut pair, WindowType::Two);
    let told = window.announce();
    write(&mut pair, &window, 0, b"used").unwrap();
    let sink = pair.server.register(64, Access::SINK).unwrap();
    let recv = pair.server.post_recv(Some(RegionRange::whole(&sink).unwrap())).unwrap();
    let source = pair.source(b"done with it");
    let request = SendRequest::send_with_invalidate(source, told.rkey);
    let sent = pair.client.execute(request, &soon()).unwrap();
    assert_eq!((sent.opcode, sent.posted), (WcOpcode::Send, Some(WrOpcode::SendWithInv)));
    let received = pair.server.wait(recv, &soon()).unwrap();
    assert_eq!((received.length_bytes, received.invalidated_rkey), (12, Some(told.rkey)));
    assert_eq!((received.imm, sink.copy_out(0, 12).unwrap()), (None, b"done with it".to_vec()));
    assert_eq!(status(write(&mut pair, &window, 0, b"late")), WcStatus::RemAccessErr);
    assert_eq!(region.copy_out(16, 4).unwrap(), b"used");
}

#[test]
#[ignore = "needs an RDMA device"]
fn list_sends_and_invalidates() {
    let mut pair = Pair::new();
    let (window, _region) = bound(&mut pair, WindowType::Two);
    let sink = pair.server.register(64, Access::SINK).unwrap();
    let range = pair.server.work_mut().attach(&sink).whole().unwrap();
    let mut recvs = pair.server.work().recv_list();
    recvs.push(&[range]).unwrap();
    pair.server.work_mut().post_recv_list(&mut recvs, 1).unwrap();
    post(&mut pair.client, &[BatchRequest::send_inline(b"list").invalidating(window.rkey())]).unwrap();
    let arrived = &completions(&mut pair.server, 1)[0];
    assert_eq!((arrived.opcode(), arrived.invalidated_rkey()), (WcOpcode::Recv, Some(window.rkey())));
    assert_eq!(arrived.imm(), None);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn list_invalidates_a_window_of_this_side() {
    let mut pair = Pair::new();
    let (window, _region) = bound(&mut pair, WindowType::Two);
    post(&mut pair.server, &[BatchRequest::local_invalidate(window.rkey())]).unwrap();
    assert_eq!(completions(&mut pair.server, 1)[0].opcode(), WcOpcode::LocalInv);
    assert_eq!(status(write(&mut pair, &window, 0, b"late")), WcStatus::RemAccessErr);
}

#[test]
#[ignore = "needs an RDMA device"]
fn region_lives_as_long_as_a_window_is_bound_to_it() {
    let mut pair = Pair::new();
    let (window, region) = bound(&mut pair, WindowType::Two);
    let weak = Arc::downgrade(&region);
    drop(region);
    write(&mut pair, &window, 0, b"kept").unwrap();
    assert_eq!(weak.upgrade().unwrap().copy_out(16, 4).unwrap(), b"kept");
    drop(window);
    // The queue pair has kept the window.
    assert!(weak.upgrade().is_some());
    pair.disconnect();
    assert!(weak.upgrade().is_none());
}

#[test]
#[ignore = "needs an RDMA device"]
fn plain_recv_tells_no_invalidated_key() {
    let (mut pair, recvs, _memory) = Pair::with_recvs(1, 16);
    let source = pair.source(b"plain");
    pair.client.execute(SendRequest::send(source), &soon()).unwrap();
    assert_eq!(pair.server.wait(recvs[0], &soon()).unwrap().invalidated_rkey, None);
    pair.disconnect();
}
