//! Endpoints that are awaited, in tokio's runtime of one thread: what waits for another task would stand still if it
//! blocked.

use std::future::Future;
use std::time::Duration;

use verbs::Error;
use verbs::asynchronous::AsyncEndpoint;
use verbs::batch::{BatchCompletion, BatchRequest};
use verbs::completion::{WcOpcode, WcStatus};
use verbs::deadline::Deadline;
use verbs::mr::Access;
use verbs::work_request::{RegionRange, SendRequest};

use crate::lists::post;
use crate::pair::{Pair, soon, status};

fn run<T>(task: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap();
    runtime.block_on(task)
}

/// Both ends of a connection, awaited; the server has a RECV of 64 bytes.
fn ends(pair: Pair) -> (AsyncEndpoint, AsyncEndpoint) {
    (AsyncEndpoint::new(pair.server).unwrap(), AsyncEndpoint::new(pair.client).unwrap())
}

/// Runs both to their ends, side by side.
async fn both<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    let (mut one, mut other) = (std::pin::pin!(one), std::pin::pin!(other));
    let (mut of_one, mut of_other) = (None, None);
    std::future::poll_fn(|context| {
        use std::task::Poll;
        if of_one.is_none()
            && let Poll::Ready(value) = one.as_mut().poll(context)
        {
            of_one = Some(value);
        }
        if of_other.is_none()
            && let Poll::Ready(value) = other.as_mut().poll(context)
        {
            of_other = Some(value);
        }
        match (of_one.take(), of_other.take()) {
            (Some(one), Some(other)) => Poll::Ready((one, other)),
            (one, other) => {
                (of_one, of_other) = (one, other);
                Poll::Pending
            }
        }
    })
    .await
}

#[test]
#[ignore = "needs an RDMA device"]
fn write_is_awaited() {
    let pair = Pair::new();
    let (region, remote) = pair.region(64, Access::REMOTE);
    let source = pair.source(b"awaited");
    run(async {
        let (_server, mut client) = ends(pair);
        let done = client.execute(SendRequest::write(source, &remote), &soon()).await.unwrap();
        assert_eq!(done.opcode, WcOpcode::RdmaWrite);
    });
    assert_eq!(region.copy_out(0, 7).unwrap(), b"awaited");
}

#[test]
#[ignore = "needs an RDMA device"]
fn receiver_and_sender_take_turns_on_one_thread() {
    let pair = Pair::new();
    let sink = pair.server.register(64, Access::SINK).unwrap();
    let source = pair.source(b"x");
    run(async {
        let (mut server, mut client) = ends(pair);
        for _ in 0..10 {
            let recv = server.post_recv(Some(RegionRange::whole(&sink).unwrap())).unwrap();
            let limit = soon();
            // The receiver waits first: the sender gets its turn only if that does not block.
            let received = server.wait(recv, &limit);
            let sent = client.execute(SendRequest::send(source.clone()), &limit);
            let (received, sent) = both(received, sent).await;
            assert_eq!((received.unwrap().length_bytes, sent.unwrap().length_bytes), (1, 1));
        }
    });
}

#[test]
#[ignore = "needs an RDMA device"]
fn wait_that_was_dropped_loses_nothing() {
    let pair = Pair::new();
    let sink = pair.server.register(64, Access::SINK).unwrap();
    let source = pair.source(b"late");
    run(async {
        let (mut server, mut client) = ends(pair);
        let recv = server.post_recv(Some(RegionRange::whole(&sink).unwrap())).unwrap();
        let soon_over = Duration::from_millis(20);
        let limit = soon();
        assert!(tokio::time::timeout(soon_over, server.wait(recv, &limit)).await.is_err());
        client.execute(SendRequest::send(source), &soon()).await.unwrap();
        assert_eq!(server.wait(recv, &soon()).await.unwrap().length_bytes, 4);
    });
}

#[test]
#[ignore = "needs an RDMA device"]
fn deadline_ends_a_wait_and_the_completion_can_be_awaited_again() {
    let pair = Pair::new();
    let sink = pair.server.register(64, Access::SINK).unwrap();
    let source = pair.source(b"late");
    run(async {
        let (mut server, mut client) = ends(pair);
        let recv = server.post_recv(Some(RegionRange::whole(&sink).unwrap())).unwrap();
        let error = server.wait(recv, &Deadline::after(Duration::from_millis(20))).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        client.execute(SendRequest::send(source), &soon()).await.unwrap();
        assert_eq!(server.wait(recv, &soon()).await.unwrap().length_bytes, 4);
    });
}

#[test]
#[ignore = "needs an RDMA device"]
fn refusal_is_awaited_like_a_success() {
    let pair = Pair::new();
    let (_region, remote) = pair.region(64, Access { remote_write: false, ..Access::REMOTE });
    let source = pair.source(b"no");
    run(async {
        let (_server, mut client) = ends(pair);
        let result = client.execute(SendRequest::write(source, &remote), &soon()).await;
        assert_eq!(status(result), WcStatus::RemAccessErr);
        assert_eq!(client.endpoint().work().in_flight(), 0);
    });
}

#[test]
#[ignore = "needs an RDMA device"]
fn peer_that_leaves_ends_a_wait() {
    let pair = Pair::new();
    run(async {
        let (mut server, client) = ends(pair);
        let recv = server.post_recv(None).unwrap();
        drop(client);
        let error = server.wait(recv, &soon()).await.unwrap_err();
        // By the RECV that is flushed, or by the event.
        assert!(matches!(error, Error::Disconnected { .. } | Error::Completion(_)), "{error}");
    });
}

#[test]
#[ignore = "needs an RDMA device"]
fn peer_that_disconnects_is_awaited_and_answered() {
    let pair = Pair::new();
    let Pair { server, mut client } = pair;
    let leaving = std::thread::spawn(move || client.disconnect(&soon()).unwrap());
    run(async {
        let mut server = AsyncEndpoint::new(server).unwrap();
        server.disconnected(&soon()).await.unwrap();
    });
    leaving.join().unwrap();
}

#[test]
#[ignore = "needs an RDMA device"]
fn batches_are_awaited() {
    let mut pair = Pair::new();
    let (region, remote) = pair.region(64, Access::REMOTE);
    post(&mut pair.client, &[BatchRequest::write_inline(b"x", &remote); 8]).unwrap();
    run(async {
        let (_server, mut client) = ends(pair);
        let mut count = 0;
        while count < 8 {
            let mut places = BatchCompletion::places(3);
            count += client.wait_batch(&mut places, &soon()).await.unwrap();
        }
        let error =
            client.wait_batch(&mut BatchCompletion::places(1), &Deadline::after(Duration::ZERO)).await;
        assert!(matches!(error, Err(Error::Timeout { .. })), "{error:?}");
        assert_eq!(client.into_inner().work().sends_in_flight(), 0);
    });
    assert_eq!(region.byte(0).unwrap(), b'x');
}
