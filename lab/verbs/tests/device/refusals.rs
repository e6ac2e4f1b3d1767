//! Operations that are refused: by rkey, bounds, access, domain, room or alignment.

use verbs::Error;
use verbs::completion::WcStatus;
use verbs::mr::Access;
use verbs::remote_region::RemoteRegion;
use verbs::transport::ConnectParams;
use verbs::work_request::RegionRange;
use verbs::work_request::SendRequest;

use crate::pair::BOTH;
use crate::pair::Pair;
use crate::pair::status;
use crate::pair::{pace, soon};

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
fn send_that_never_finds_a_recv_gives_up() {
    for by in BOTH {
        let params = ConnectParams { rnr_retry_count: 1, ..ConnectParams::default() };
        let mut pair = Pair::with(by, &params, |_| Ok(()));
        let source = pair.source(b"in vain");
        let result = pair.client.execute(SendRequest::send(source), &soon());
        assert_eq!(status(result), WcStatus::RnrRetryExcErr);
    }
}
