//! Lists of work requests that are refused, in part or as a whole, and waits for their completions that fail.

use std::thread;
use std::time::Duration;

use verbs::Error;
use verbs::batch::{BatchCompletion, BatchRequest};
use verbs::completion::WcStatus;
use verbs::deadline::Deadline;
use verbs::mr::Access;
use verbs::remote_region::RemoteRegion;

use crate::lists::{attached, completions, post};
use crate::pair::{ENTRIES, INLINE_BYTES, Pair, soon};

/// The call that refused.
fn refused_by(error: &Error) -> &'static str {
    match error {
        Error::Verb { call, .. } => call,
        other => panic!("{other}"),
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn request_of_more_ranges_than_asked_for_is_refused_alone() {
    let mut pair = Pair::new();
    let (_region, remote) = pair.region(4096, Access::REMOTE);
    let range = attached(&mut pair.client, b"x");
    // A provider may round up, to no more than this.
    let many = vec![range; 64 * ENTRIES];
    let requests = [BatchRequest::write_inline(b"before", &remote), BatchRequest::write(&many, &remote)];
    let error = post(&mut pair.client, &requests).unwrap_err();
    assert_eq!(refused_by(&error), "ibv_post_send");
    // The one before it is posted, and completes.
    assert_eq!(pair.client.work().sends_in_flight(), 1);
    assert_eq!(completions(&mut pair.client, 1)[0].status(), WcStatus::Success);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn more_inline_bytes_than_asked_for_are_refused() {
    let mut pair = Pair::new();
    let (_region, remote) = pair.region(4096, Access::REMOTE);
    let fits = [1; INLINE_BYTES];
    post(&mut pair.client, &[BatchRequest::write_inline(&fits, &remote)]).unwrap();
    completions(&mut pair.client, 1);
    let bytes = vec![1; 4096];
    let error = post(&mut pair.client, &[BatchRequest::write_inline(&bytes, &remote)]).unwrap_err();
    assert_eq!(refused_by(&error), "ibv_post_send");
    assert_eq!(pair.client.work().sends_in_flight(), 0);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn list_longer_than_the_queue_is_posted_as_far_as_it_fits() {
    let mut pair = Pair::new();
    let (_region, remote) = pair.region(64, Access::REMOTE);
    pair.silence_server();
    let error = post(&mut pair.client, &[BatchRequest::write_inline(b"x", &remote); 10_000]).unwrap_err();
    assert_eq!(refused_by(&error), "ibv_post_send");
    let posted = pair.client.work().sends_in_flight();
    assert!((16..10_000).contains(&posted), "{posted}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn recv_list_longer_than_the_queue_is_posted_as_far_as_it_fits() {
    let mut pair = Pair::new();
    let mut list = pair.server.work().recv_list();
    for _ in 0..10_000 {
        list.push(&[]).unwrap();
    }
    let error = pair.server.work_mut().post_recv_list(&mut list, usize::MAX).unwrap_err();
    assert_eq!(refused_by(&error), "ibv_post_recv");
    let posted = pair.server.work().recvs_in_flight();
    assert!((16..10_000).contains(&posted), "{posted}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn recv_of_more_ranges_than_asked_for_is_refused() {
    let mut pair = Pair::new();
    let range = attached(&mut pair.server, b"x");
    let mut list = pair.server.work().recv_list();
    list.push(&vec![range; 64 * ENTRIES]).unwrap();
    let error = pair.server.work_mut().post_recv_list(&mut list, 1).unwrap_err();
    assert_eq!(refused_by(&error), "ibv_post_recv");
    assert_eq!(pair.server.work().recvs_in_flight(), 0);
}

#[test]
#[ignore = "needs an RDMA device"]
fn memory_attached_to_another_queue_pair_is_refused() {
    let mut one = Pair::new();
    let mut other = Pair::new();
    let range = [attached(&mut other.client, b"x")];
    let mut list = one.client.work().request_list();
    assert!(matches!(list.push(BatchRequest::send(&range)), Err(Error::NotAttached)));
    assert!(matches!(one.client.work().recv_list().push(&range), Err(Error::NotAttached)));
    // Nor does a list go where it was not made for.
    let mut list = other.client.work().request_list();
    list.push(BatchRequest::send(&range)).unwrap();
    assert!(matches!(one.client.work_mut().post_send_list(&mut list), Err(Error::NotAttached)));
}

#[test]
#[ignore = "needs an RDMA device"]
fn unsignalled_request_that_fails_completes_all_the_same() {
    let mut pair = Pair::new();
    let (_region, remote) = pair.region(64, Access::REMOTE);
    let wrong = RemoteRegion { rkey: remote.rkey ^ 1, ..remote };
    let requests = [
        BatchRequest::write_inline(b"good", &remote).unsignalled(),
        BatchRequest::write_inline(b"bad", &wrong).unsignalled(),
        BatchRequest::write_inline(b"behind", &remote),
    ];
    post(&mut pair.client, &requests).unwrap();
    let ended = completions(&mut pair.client, 2);
    let told: Vec<_> = ended.iter().map(|done| (done.number(), done.status())).collect();
    assert_eq!(told, [(1, WcStatus::RemAccessErr), (2, WcStatus::WrFlushErr)]);
}

#[test]
#[ignore = "needs an RDMA device"]
fn gathered_memory_that_the_device_may_not_write_fails_locally() {
    let mut pair = Pair::new();
    let (_region, remote) = pair.region(64, Access::REMOTE);
    let source = pair.client.register_source(b"read only").unwrap();
    let range = [pair.client.work_mut().attach(&source).whole().unwrap()];
    post(&mut pair.client, &[BatchRequest::read(&range, &remote)]).unwrap();
    assert_eq!(completions(&mut pair.client, 1)[0].status(), WcStatus::LocProtErr);
}

#[test]
#[ignore = "needs an RDMA device"]
fn wait_for_completions_ends_at_its_deadline() {
    let mut pair = Pair::new();
    let mut places = BatchCompletion::places(1);
    let error = pair.client.wait_batch(&mut places, &Deadline::after(Duration::from_millis(50))).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn wait_for_completions_sees_the_peer_leave() {
    let mut pair = Pair::new();
    let Pair { server, client } = &mut pair;
    thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let error = server.wait_batch(&mut BatchCompletion::places(1), &soon()).unwrap_err();
            assert!(matches!(error, Error::Disconnected { .. }), "{error}");
            server.wait_disconnected(&soon()).unwrap();
        });
        client.disconnect(&soon()).unwrap();
        waits.join().unwrap();
    });
}
