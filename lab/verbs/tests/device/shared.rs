//! Queue pairs that share a completion queue: each finds its own, asleep or awake, and none of another that has gone.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use verbs::Error;
use verbs::batch::{BatchCompletion, BatchRequest};
use verbs::completion::WcStatus;
use verbs::deadline::Deadline;
use verbs::mr::Access;
use verbs::qp::{Capacity, QueuePair, ServiceType};
use verbs::shared_cq::SharedCompletionQueue;
use verbs::work_queue::WorkQueue;
use verbs::work_request::{RegionRange, SendRequest};

use crate::pair::{is_later_rxe, soon};
use crate::services::{Q_KEY, Workshop, completion, post, receive_into};

/// A queue pair in INIT whose completions come to `shared`.
fn member(shop: &Workshop, shared: &Arc<SharedCompletionQueue>) -> WorkQueue {
    let mut capacity = Capacity::default();
    (capacity.max_send_wr, capacity.max_recv_wr, capacity.max_inline_bytes) = (8, 8, 64);
    let shared = Arc::clone(shared);
    let qp = QueuePair::create_as(ServiceType::Rc, &shop.pd, shared, &capacity, None).unwrap();
    qp.to_init(&shop.port, Q_KEY).unwrap();
    WorkQueue::new(qp, Arc::new(|_| {}))
}

/// Connected pairs, of which the second of each is a member.
fn pairs(shop: &Workshop, shared: &Arc<SharedCompletionQueue>, count: usize) -> Vec<(WorkQueue, WorkQueue)> {
    let pair = |_| {
        let pair = (shop.queue_pair(ServiceType::Rc, None), member(shop, shared));
        shop.connect(&pair.0, &pair.1);
        pair
    };
    (0..count).map(pair).collect()
}

#[test]
#[ignore = "needs an RDMA device"]
fn each_queue_pair_finds_its_own_completions() {
    let shop = Workshop::new();
    let shared = SharedCompletionQueue::create(shop.pd.device(), 64).unwrap();
    let mut pairs = pairs(&shop, &shared, 3);
    let sink = shop.sink();
    for (_, server) in &mut pairs {
        receive_into(server, &sink);
    }
    for (number, (client, _)) in pairs.iter_mut().enumerate() {
        let bytes = vec![7; number + 1];
        post(client, BatchRequest::send_inline(&bytes)).unwrap();
        assert_eq!(completion(client).status(), WcStatus::Success);
    }
    // In another order than they came.
    for (number, (_, server)) in pairs.iter_mut().enumerate().rev() {
        let done = completion(server);
        assert_eq!((done.length_bytes() as usize, done.qp_num()), (number + 1, server.qp().number()));
        assert_eq!(server.poll_batch(&mut BatchCompletion::places(4)).unwrap(), 0);
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn one_wait_serves_all_queue_pairs() {
    let shop = Workshop::new();
    let shared = SharedCompletionQueue::create(shop.pd.device(), 64).unwrap();
    let mut pairs = pairs(&shop, &shared, 3);
    let sink = shop.sink();
    for (_, server) in &mut pairs {
        receive_into(server, &sink);
    }
    assert!(shared.ready().unwrap().is_empty());
    let error = shared.wait(&Deadline::after(Duration::from_millis(20))).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    for chosen in [1, 0, 2] {
        let (client, server) = &mut pairs[chosen];
        post(client, BatchRequest::send_inline(b"x")).unwrap();
        assert_eq!(shared.wait(&soon()).unwrap(), [server.qp().number()]);
        assert!(completion(server).is_recv());
        assert!(shared.ready().unwrap().is_empty());
        completion(client);
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn single_requests_and_lists_keep_apart_on_a_shared_queue() {
    let shop = Workshop::new();
    let shared = SharedCompletionQueue::create(shop.pd.device(), 64).unwrap();
    let (mut one, mut other) = (member(&shop, &shared), member(&shop, &shared));
    shop.connect(&one, &other);
    let target = shop.sink();
    let source = shop.pd.register(8, Access::SOURCE).unwrap();
    let whole = || RegionRange::whole(&source).unwrap();
    let first = one.post_send(SendRequest::write(whole(), &target.announce(true))).unwrap();
    let second = other.post_send(SendRequest::write(whole(), &target.announce(true))).unwrap();
    // Numbers of both begin with 1.
    assert_eq!((first, second), (1, 1));
    let deadline = soon();
    let mut taken = (None, None);
    while taken.0.is_none() || taken.1.is_none() {
        assert!(!deadline.passed(), "two completions");
        one.poll().unwrap();
        other.poll().unwrap();
        taken = (taken.0.or_else(|| one.take(first)), taken.1.or_else(|| other.take(second)));
    }
    assert_eq!(taken.0.unwrap().qp_num, one.qp().number());
    assert_eq!(taken.1.unwrap().qp_num, other.qp().number());
    assert_eq!((one.in_flight(), other.in_flight()), (0, 0));
}

#[test]
#[ignore = "needs an RDMA device"]
fn sleeper_is_woken_though_another_takes_its_completion() {
    let shop = Workshop::new();
    let shared = SharedCompletionQueue::create(shop.pd.device(), 64).unwrap();
    let mut pairs = pairs(&shop, &shared, 2);
    let sink = shop.sink();
    for (_, server) in &mut pairs {
        receive_into(server, &sink);
    }
    let [(client, sleeper), (_, looker)] = pairs.as_mut_slice() else { unreachable!("two") };
    let number = sleeper.qp().number();
    thread::scope(|scope| {
        let woken = scope.spawn(|| {
            // Its own queue pair's number comes out of the wait, whoever has taken the completion.
            while !shared.wait(&soon()).unwrap().contains(&number) {}
            completion(sleeper).length_bytes()
        });
        let looking = scope.spawn(|| {
            let mut places = BatchCompletion::places(4);
            for _ in 0..2000 {
                assert_eq!(looker.poll_batch(&mut places).unwrap(), 0);
                thread::yield_now();
            }
        });
        post(client, BatchRequest::send_inline(b"wake")).unwrap();
        assert_eq!(woken.join().unwrap(), 4);
        looking.join().unwrap();
    });
}

#[test]
#[ignore = "needs an RDMA device"]
fn queue_pair_that_needs_more_room_than_is_left_is_refused_and_room_comes_back() {
    let shop = Workshop::new();
    let shared = SharedCompletionQueue::create(shop.pd.device(), 40).unwrap();
    // 16 each.
    let members = (member(&shop, &shared), member(&shop, &shared));
    let mut capacity = Capacity::default();
    (capacity.max_send_wr, capacity.max_recv_wr) = (8, 8);
    let create = || QueuePair::create_as(ServiceType::Rc, &shop.pd, Arc::clone(&shared), &capacity, None);
    let error = create().unwrap_err();
    assert!(matches!(error, Error::Verb { errno: libc::ENOMEM, .. }), "{error}");
    assert!(error.to_string().contains("a completion queue of 40 entries, of which 8 are left"), "{error}");
    drop(members.0);
    create().unwrap();
}

#[test]
#[ignore = "needs an RDMA device"]
fn completions_of_a_queue_pair_that_has_gone_are_nobody_s() {
    let shop = Workshop::new();
    let shared = SharedCompletionQueue::create(shop.pd.device(), 64).unwrap();
    let mut pairs = pairs(&shop, &shared, 2);
    let sink = shop.sink();
    for (_, server) in &mut pairs {
        receive_into(server, &sink);
    }
    let (mut client, gone) = pairs.remove(0);
    post(&mut client, BatchRequest::send_inline(b"for one that goes")).unwrap();
    completion(&mut client);
    drop(gone);
    assert!(shared.ready().unwrap().is_empty());
    let (client, server) = &mut pairs[0];
    post(client, BatchRequest::send_inline(b"stays")).unwrap();
    assert_eq!(completion(server).length_bytes(), 5);
}

#[test]
#[ignore = "needs an RDMA device"]
fn shared_queue_of_another_device_context_is_refused() {
    let (shop, other) = (Workshop::new(), Workshop::new());
    let shared = SharedCompletionQueue::create(other.pd.device(), 64).unwrap();
    let capacity = Capacity::default();
    let error = QueuePair::create_as(ServiceType::Rc, &shop.pd, shared, &capacity, None).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_create_qp", errno: libc::EINVAL, .. }), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn shared_queue_longer_than_the_device_has_is_refused() {
    let shop = Workshop::new();
    if is_later_rxe() {
        println!("kernel log: rxe_create_cq: returned err = -22");
    }
    let error = SharedCompletionQueue::create(shop.pd.device(), i32::MAX as u32).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_create_cq", .. }), "{error}");
}
