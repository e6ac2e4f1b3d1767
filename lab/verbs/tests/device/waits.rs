//! Waits that end otherwise than by success: the peer leaves, is silent, or the limit comes.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use verbs::Error;
use verbs::completion::WcStatus;
use verbs::deadline::Deadline;
use verbs::mr::Access;
use verbs::transport::ConnectParams;
use verbs::work_request::SendRequest;

use crate::pair::BOTH;
use crate::pair::LIMIT;
use crate::pair::Pair;
use crate::pair::soon;
use crate::pair::status;

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
fn peer_that_leaves_ends_a_pause() {
    for by in BOTH {
        let Pair { server, mut client } = Pair::with(by, &ConnectParams::default(), |_| Ok(()));
        drop(server);
        let error = client.linger(LIMIT).unwrap_err();
        assert!(matches!(error, Error::Disconnected { .. }), "{error}");
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn peer_that_is_silent_is_given_up_within_the_ack_timeout() {
    for by in BOTH {
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
