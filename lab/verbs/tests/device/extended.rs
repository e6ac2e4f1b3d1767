//! Queue pairs that post by `ibv_wr_*`: each operation, lists, and what they refuse.

use verbs::Error;
use verbs::batch::BatchRequest;
use verbs::completion::{WcOpcode, WcStatus, WrOpcode};
use verbs::cq::CompletionQueue;
use verbs::device::Device;
use verbs::extended::SendOperations;
use verbs::mr::Access;
use verbs::mw::WindowType;
use verbs::pd::ProtectionDomain;
use verbs::qp::{Capacity, QueuePair, ServiceType};
use verbs::work_request::{RegionRange, SendRequest};

use crate::lists::{attached, completions, post};
use crate::pair::{BOTH, By, ENTRIES, INLINE_BYTES, Pair, own_address, soon};
use crate::windows::{bound, write};

fn pair() -> Pair {
    Pair::extended(By::Cm, SendOperations::RELIABLE)
}

#[test]
#[ignore = "needs an RDMA device"]
fn each_operation_alone() {
    for by in BOTH {
        let mut pair = Pair::extended(by, SendOperations::RELIABLE);
        assert_eq!(pair.client.qp().operations(), SendOperations::RELIABLE);
        let (region, remote) = pair.region(64, Access { remote_atomic: true, ..Access::REMOTE });
        let source = pair.source(b"extended");
        pair.client.execute(SendRequest::write(source, &remote.at(8)), &soon()).unwrap();
        assert_eq!(region.copy_out(8, 8).unwrap(), b"extended");
        let sink = pair.client.register(8, Access::SINK).unwrap();
        let range = RegionRange::whole(&sink).unwrap();
        pair.client.execute(SendRequest::read(range.clone(), &remote.at(8)), &soon()).unwrap();
        assert_eq!(sink.copy_out(0, 8).unwrap(), b"extended");
        pair.client.execute(SendRequest::fetch_add(range.clone(), &remote, 5), &soon()).unwrap();
        pair.client.execute(SendRequest::cmp_swap(range, &remote, 5, 9), &soon()).unwrap();
        assert_eq!((sink.number(0).unwrap(), region.number(0).unwrap()), (5, 9));
        pair.disconnect();
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn sends_and_immediates_arrive() {
    let mut pair = pair();
    let (region, remote) = pair.region(64, Access::REMOTE);
    let place = || RegionRange::new(&region, 0, 16).unwrap();
    let recvs = [(); 3].map(|()| pair.server.post_recv(Some(place())).unwrap());
    let source = pair.source(b"one");
    pair.client.execute(SendRequest::send(source.clone()), &soon()).unwrap();
    pair.client.execute(SendRequest::send_with_imm(source.clone(), 2), &soon()).unwrap();
    pair.client.execute(SendRequest::write_with_imm(source, &remote.at(32), 3), &soon()).unwrap();
    let told = recvs.map(|recv| {
        let done = pair.server.wait(recv, &soon()).unwrap();
        (done.opcode, done.length_bytes, done.imm)
    });
    let recv = WcOpcode::Recv;
    assert_eq!(told, [(recv, 3, None), (recv, 3, Some(2)), (WcOpcode::RecvRdmaWithImm, 3, Some(3))]);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn list_is_posted_whole_with_inline_and_unsignalled_ones() {
    let mut pair = pair();
    let (region, remote) = pair.region(64, Access::REMOTE);
    let range = [attached(&mut pair.client, b"gathered")];
    let requests = [
        BatchRequest::write_inline(b"inline", &remote).unsignalled(),
        BatchRequest::write(&range, &remote.at(16)).unsignalled(),
        BatchRequest::write_inline(&[], &remote).unsignalled(),
        BatchRequest::write_inline(b"last", &remote.at(32)).fenced(),
    ];
    assert_eq!(post(&mut pair.client, &requests).unwrap(), 0);
    assert_eq!(pair.client.work().sends_in_flight(), 4);
    assert_eq!(completions(&mut pair.client, 1)[0].number(), 3);
    assert_eq!(pair.client.work().sends_in_flight(), 0);
    let read = |at, length| region.copy_out(at, length).unwrap();
    assert_eq!(
        (read(0, 7), read(16, 9), read(32, 4)),
        (b"inline\0".into(), b"gathered\0".into(), b"last".into())
    );
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn window_is_bound_and_invalidated() {
    let mut pair = pair();
    let (window, region) = bound(&mut pair, WindowType::Two);
    write(&mut pair, &window, 0, b"by ibv_wr_bind_mw").unwrap();
    assert_eq!(region.copy_out(16, 17).unwrap(), b"by ibv_wr_bind_mw");
    let done = pair.server.execute(SendRequest::local_invalidate(window.rkey()), &soon()).unwrap();
    assert_eq!(done.opcode, WcOpcode::LocalInv);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn send_invalidates_the_peer_s_window() {
    let mut pair = pair();
    let (window, region) = bound(&mut pair, WindowType::Two);
    let recv = pair.server.post_recv(Some(RegionRange::new(&region, 0, 8).unwrap())).unwrap();
    let source = pair.source(b"gone");
    pair.client.execute(SendRequest::send_with_invalidate(source, window.rkey()), &soon()).unwrap();
    assert_eq!(pair.server.wait(recv, &soon()).unwrap().invalidated_rkey, Some(window.rkey()));
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn operation_that_it_was_not_created_for_is_refused_and_nothing_posted() {
    let mut pair = Pair::extended(By::Cm, SendOperations::of(&[WrOpcode::RdmaWrite]));
    let (region, remote) = pair.region(64, Access::REMOTE);
    let source = pair.source(b"x");
    let error = pair.client.post_send(SendRequest::send(source)).unwrap_err();
    assert!(matches!(error, Error::Verb { errno: libc::EOPNOTSUPP, .. }), "{error}");
    assert!(error.to_string().contains("post SEND, which the queue pair was not created for"), "{error}");
    let requests = [BatchRequest::write_inline(b"first", &remote), BatchRequest::send_inline(b"second")];
    let error = post(&mut pair.client, &requests).unwrap_err();
    assert!(matches!(error, Error::Verb { errno: libc::EOPNOTSUPP, .. }), "{error}");
    assert_eq!((pair.client.work().in_flight(), pair.client.work().sends_in_flight()), (0, 0));
    // Neither the first of them was: what is posted afterwards is the first to complete.
    post(&mut pair.client, &requests[..1]).unwrap();
    assert_eq!(completions(&mut pair.client, 1)[0].number(), 0);
    assert_eq!(region.copy_out(0, 5).unwrap(), b"first");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn list_longer_than_the_queue_is_refused_whole() {
    let mut pair = pair();
    let (region, remote) = pair.region(64, Access::REMOTE);
    let error = post(&mut pair.client, &[BatchRequest::write_inline(b"x", &remote); 10_000]).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_wr_complete", .. }), "{error}");
    assert_eq!(pair.client.work().sends_in_flight(), 0);
    assert_eq!(region.copy_out(0, 1).unwrap(), [0]);
    post(&mut pair.client, &[BatchRequest::write_inline(b"y", &remote)]).unwrap();
    assert_eq!(completions(&mut pair.client, 1)[0].status(), WcStatus::Success);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn too_much_inline_data_or_too_many_ranges_are_refused() {
    let mut pair = pair();
    let (_region, remote) = pair.region(1 << 16, Access::REMOTE);
    let bytes = vec![1; 4096];
    assert!(bytes.len() > INLINE_BYTES);
    let error = post(&mut pair.client, &[BatchRequest::write_inline(&bytes, &remote)]).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_wr_complete", .. }), "{error}");
    let ranges = vec![attached(&mut pair.client, b"x"); 64 * ENTRIES];
    let error = post(&mut pair.client, &[BatchRequest::write(&ranges, &remote)]).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_wr_complete", .. }), "{error}");
    assert_eq!(pair.client.work().sends_in_flight(), 0);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn operations_of_another_service_are_refused_at_creation() {
    let (device, _) = Device::with_address(own_address()).unwrap();
    let pd = ProtectionDomain::alloc(&device).unwrap();
    let cq = CompletionQueue::create(&device, 8).unwrap();
    let mut capacity = Capacity::default();
    capacity.operations = SendOperations::RELIABLE;
    let error = QueuePair::create_as(ServiceType::Ud, &pd, cq, &capacity, None).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_create_qp_ex", .. }), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn refused_write_is_told_like_a_classic_one() {
    let mut pair = pair();
    let (_region, remote) = pair.region(64, Access { remote_write: false, ..Access::REMOTE });
    post(&mut pair.client, &[BatchRequest::write_inline(b"no", &remote)]).unwrap();
    let done = &completions(&mut pair.client, 1)[0];
    assert_eq!(done.status(), WcStatus::RemAccessErr);
    let error = done.failure(WrOpcode::RdmaWrite).unwrap();
    assert!(error.to_string().contains("REM_ACCESS_ERR"), "{error}");
}
