//! Queue pairs made and connected by hand: unreliable connections and datagrams, RECVs that queue pairs share.

use std::sync::Arc;
use std::thread;

use verbs::Error;
use verbs::address::AddressHandle;
use verbs::batch::{BatchCompletion, BatchRequest, DatagramTarget};
use verbs::completion::{WcOpcode, WcStatus};
use verbs::cq::CompletionQueue;
use verbs::device::{Device, Port};
use verbs::mr::Access;
use verbs::mr::MemoryRegion;
use verbs::pd::ProtectionDomain;
use verbs::qp::{Capacity, QueuePair, ServiceType};
use verbs::srq::SharedReceiveQueue;
use verbs::states::ConnectedPeer;
use verbs::work_queue::WorkQueue;
use verbs::work_request::{RegionRange, SendRequest};

use crate::pair::{own_address, soon};

/// Bytes before the payload of a datagram, for a global route header.
const GRH_BYTES: usize = 40;

pub(crate) const Q_KEY: u32 = 0x1111_1111;

/// A device with a domain, to make queue pairs of.
pub(crate) struct Workshop {
    pub(crate) port: Port,
    pub(crate) pd: Arc<ProtectionDomain>,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let (device, port) = Device::with_address(own_address()).unwrap();
        Self { port, pd: ProtectionDomain::alloc(&device).unwrap() }
    }

    /// A queue pair in INIT, which takes RECVs from `srq` if there is one.
    pub(crate) fn queue_pair(
        &self,
        service: ServiceType,
        srq: Option<&Arc<SharedReceiveQueue>>,
    ) -> WorkQueue {
        let mut capacity = Capacity::default();
        (capacity.max_send_wr, capacity.max_recv_wr, capacity.max_inline_bytes) = (16, 16, 64);
        let cq = CompletionQueue::create(self.pd.device(), 64).unwrap();
        let qp = QueuePair::create_as(service, &self.pd, cq, &capacity, srq).unwrap();
        assert_eq!(qp.service(), service);
        qp.to_init(&self.port, Q_KEY).unwrap();
        WorkQueue::new(qp, Arc::new(|_| {}))
    }

    pub(crate) fn pair(&self, service: ServiceType) -> (WorkQueue, WorkQueue) {
        (self.queue_pair(service, None), self.queue_pair(service, None))
    }

    /// Connects two queue pairs with each other.
    pub(crate) fn connect(&self, one: &WorkQueue, other: &WorkQueue) {
        let peer = |of: &WorkQueue, psn| ConnectedPeer {
            gid: self.port.gid,
            qp_num: of.qp().number(),
            psn,
            reads_at_once: 1,
        };
        one.qp().connect_to(&self.port, &peer(other, 200), 100).unwrap();
        other.qp().connect_to(&self.port, &peer(one, 100), 200).unwrap();
    }

    /// Two queue pairs of datagrams: a RECV of the second's takes all of the region, and the target is the second as the first names it.
    fn datagrams(&self) -> (WorkQueue, WorkQueue, Arc<MemoryRegion>, DatagramTarget) {
        let (mut one, mut other) = self.pair(ServiceType::Ud);
        let sink = self.sink();
        receive_into(&mut other, &sink);
        one.qp().to_datagrams(5).unwrap();
        other.qp().to_datagrams(7).unwrap();
        let target = self.target(&mut one, &other);
        (one, other, sink, target)
    }

    pub(crate) fn sink(&self) -> Arc<MemoryRegion> {
        self.pd.register(4096, Access::REMOTE).unwrap()
    }

    /// Names `of` as the receiver of datagrams of `by`.
    fn target(&self, by: &mut WorkQueue, of: &WorkQueue) -> DatagramTarget {
        let address = AddressHandle::create(&self.pd, &self.port, self.port.gid).unwrap();
        DatagramTarget { address: by.attach_address(&address), qp_num: of.qp().number(), q_key: Q_KEY }
    }
}

pub(crate) fn post(work: &mut WorkQueue, request: BatchRequest<'_>) -> verbs::Result<u64> {
    let mut list = work.request_list();
    list.push(request).unwrap();
    work.post_send_list(&mut list)
}

/// Posts a RECV of all of `sink`.
pub(crate) fn receive_into(work: &mut WorkQueue, sink: &Arc<MemoryRegion>) {
    let range = work.attach(sink).whole().unwrap();
    let mut list = work.recv_list();
    list.push(&[range]).unwrap();
    work.post_recv_list(&mut list, 1).unwrap();
}

/// Polls until a completion comes.
pub(crate) fn completion(work: &mut WorkQueue) -> BatchCompletion {
    let deadline = soon();
    let mut places = BatchCompletion::places(1);
    while work.poll_batch(&mut places).unwrap() == 0 {
        assert!(!deadline.passed(), "a completion");
        thread::yield_now();
    }
    places.remove(0)
}

#[test]
#[ignore = "needs an RDMA device"]
fn unreliable_connection_sends_and_writes() {
    let shop = Workshop::new();
    let (mut one, mut other) = shop.pair(ServiceType::Uc);
    let sink = shop.sink();
    receive_into(&mut other, &sink);
    shop.connect(&one, &other);
    post(&mut one, BatchRequest::send_inline(b"unacknowledged").with_imm(9)).unwrap();
    assert_eq!(completion(&mut one).status(), WcStatus::Success);
    let arrived = completion(&mut other);
    assert_eq!((arrived.length_bytes(), arrived.imm()), (14, Some(9)));
    assert_eq!(sink.copy_out(0, 14).unwrap(), b"unacknowledged");
    // A WRITE with immediate proves that it has come.
    receive_into(&mut other, &sink);
    let target = shop.sink();
    post(&mut one, BatchRequest::write_inline(b"written", &target.announce(true)).with_imm(1)).unwrap();
    assert_eq!(completion(&mut other).opcode(), WcOpcode::RecvRdmaWithImm);
    assert_eq!(target.copy_out(0, 7).unwrap(), b"written");
}

#[test]
#[ignore = "needs an RDMA device"]
fn unreliable_connection_without_a_recv_loses_the_message_and_goes_on() {
    let shop = Workshop::new();
    let (mut one, mut other) = shop.pair(ServiceType::Uc);
    shop.connect(&one, &other);
    post(&mut one, BatchRequest::send_inline(b"lost")).unwrap();
    assert_eq!(completion(&mut one).status(), WcStatus::Success);
    // The WRITE behind it, which takes no RECV, has arrived when memory says so: the SEND was looked at before.
    let target = shop.sink();
    post(&mut one, BatchRequest::write_inline(b"x", &target.announce(true))).unwrap();
    let deadline = soon();
    while target.byte(0).unwrap() != b'x' {
        assert!(!deadline.passed(), "a WRITE");
        thread::yield_now();
    }
    let sink = shop.sink();
    receive_into(&mut other, &sink);
    post(&mut one, BatchRequest::send_inline(b"found")).unwrap();
    completion(&mut other);
    assert_eq!(sink.copy_out(0, 5).unwrap(), b"found");
}

#[test]
#[ignore = "needs an RDMA device"]
fn unreliable_connection_has_no_read() {
    let shop = Workshop::new();
    let (mut one, other) = shop.pair(ServiceType::Uc);
    shop.connect(&one, &other);
    let sink = shop.sink();
    let range = [one.attach(&sink).range(0, 8).unwrap()];
    let target = shop.sink();
    // By the call, or by the completion.
    match post(&mut one, BatchRequest::read(&range, &target.announce(true))) {
        Err(Error::Verb { call: "ibv_post_send", .. }) => {}
        // Observed: rxe of Linux 6.12 flushes it.
        Ok(_) => {
            let status = completion(&mut one).status();
            assert!(matches!(status, WcStatus::LocQpOpErr | WcStatus::WrFlushErr), "{status}");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn datagram_arrives_behind_its_header() {
    let shop = Workshop::new();
    let (mut one, mut other, sink, target) = shop.datagrams();
    post(&mut one, BatchRequest::send_inline(b"datagram").with_imm(3).to(target)).unwrap();
    assert_eq!(completion(&mut one).status(), WcStatus::Success);
    let arrived = completion(&mut other);
    assert_eq!((arrived.length_bytes() as usize, arrived.imm()), (GRH_BYTES + 8, Some(3)));
    assert_eq!(sink.copy_out(GRH_BYTES, 8).unwrap(), b"datagram");
}

#[test]
#[ignore = "needs an RDMA device"]
fn datagram_with_another_q_key_is_not_taken() {
    let shop = Workshop::new();
    let (mut one, mut other, sink, target) = shop.datagrams();
    let wrong = DatagramTarget { q_key: Q_KEY ^ 1, ..target };
    post(&mut one, BatchRequest::send_inline(b"wrong").to(wrong)).unwrap();
    post(&mut one, BatchRequest::send_inline(b"right").to(target)).unwrap();
    assert_eq!(completion(&mut other).status(), WcStatus::Success);
    assert_eq!(sink.copy_out(GRH_BYTES, 5).unwrap(), b"right");
}

#[test]
#[ignore = "needs an RDMA device"]
fn datagram_without_a_receiver_is_refused_before_the_provider_sees_it() {
    let shop = Workshop::new();
    let mut one = shop.queue_pair(ServiceType::Ud, None);
    one.qp().to_datagrams(5).unwrap();
    let remote = shop.sink().announce(true);
    for request in [BatchRequest::send_inline(b"x"), BatchRequest::write_inline(b"x", &remote)] {
        let error = post(&mut one, request).unwrap_err();
        assert!(matches!(error, Error::Verb { call: "ibv_post_send", errno: libc::EINVAL, .. }), "{error}");
    }
    let source = shop.sink();
    let error = one.post_send(SendRequest::send(RegionRange::whole(&source).unwrap())).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_post_send", errno: libc::EINVAL, .. }), "{error}");
    assert_eq!((one.sends_in_flight(), one.in_flight()), (0, 0));
}

#[test]
#[ignore = "needs an RDMA device"]
fn address_attached_to_another_queue_pair_is_refused() {
    let shop = Workshop::new();
    let (mut one, mut other) = shop.pair(ServiceType::Ud);
    let target = shop.target(&mut one, &other);
    let mut list = other.request_list();
    let error = list.push(BatchRequest::send_inline(b"x").to(target)).unwrap_err();
    assert!(matches!(error, Error::NotAttached), "{error}");
    other.post_send_list(&mut list).unwrap();
}

#[test]
#[ignore = "needs an RDMA device"]
fn address_of_a_port_that_is_not_there_is_refused() {
    let shop = Workshop::new();
    let port = Port { number: 200, ..shop.port.clone() };
    let error = AddressHandle::create(&shop.pd, &port, shop.port.gid).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_create_ah", .. }), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn queue_pairs_take_the_recvs_that_they_share_in_their_order() {
    let shop = Workshop::new();
    let srq = SharedReceiveQueue::create(&shop.pd, 8, 1).unwrap();
    let sink = shop.sink();
    let attached = srq.attach(&sink);
    let mut list = srq.recv_list();
    for number in 0..4 {
        list.push(&[attached.range(16 * number, 16).unwrap()]).unwrap();
    }
    assert_eq!(srq.post_recv_list(&mut list, 4).unwrap(), 0);
    let mut pairs: Vec<_> = (0..2)
        .map(|_| {
            let pair = (shop.queue_pair(ServiceType::Rc, None), shop.queue_pair(ServiceType::Rc, Some(&srq)));
            shop.connect(&pair.0, &pair.1);
            pair
        })
        .collect();
    for round in 0..4 {
        let (one, other) = &mut pairs[round % 2];
        post(one, BatchRequest::send_inline(&[round as u8 + 1; 3])).unwrap();
        let arrived = completion(other);
        assert_eq!((arrived.number(), arrived.length_bytes()), (round as u64, 3));
        assert_eq!(sink.copy_out(16 * round, 4).unwrap(), [&[round as u8 + 1; 3][..], &[0]].concat());
    }
    // Dropped first by its owner, it lives as long as the queue pairs.
    drop((srq, list));
    drop(pairs);
}

#[test]
#[ignore = "needs an RDMA device"]
fn full_shared_queue_refuses_another_recv() {
    let shop = Workshop::new();
    let srq = SharedReceiveQueue::create(&shop.pd, 8, 1).unwrap();
    let mut list = srq.recv_list();
    for _ in 0..10_000 {
        list.push(&[]).unwrap();
    }
    let error = srq.post_recv_list(&mut list, usize::MAX).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_post_srq_recv", .. }), "{error}");
    // Numbers go on behind those that were posted.
    assert!((8..10_000).contains(&srq.post_recv_list(&mut list, 0).unwrap()));
}

#[test]
#[ignore = "needs an RDMA device"]
fn shared_queue_longer_than_the_device_has_is_refused() {
    let shop = Workshop::new();
    // One kernel's words | another's.
    println!("kernel log: rxe_create_srq: returned err = -22 | max_srq_wr");
    let error = SharedReceiveQueue::create(&shop.pd, u32::MAX, 1).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_create_srq", .. }), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn shared_queue_of_another_domain_is_refused() {
    let (shop, other) = (Workshop::new(), Workshop::new());
    let srq = SharedReceiveQueue::create(&other.pd, 8, 1).unwrap();
    let cq = CompletionQueue::create(shop.pd.device(), 8).unwrap();
    let capacity = Capacity::default();
    let error = QueuePair::create_as(ServiceType::Rc, &shop.pd, cq, &capacity, Some(&srq)).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_create_qp", errno: libc::EINVAL, .. }), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn memory_attached_to_another_queue_is_refused_by_a_shared_one() {
    let shop = Workshop::new();
    let srq = SharedReceiveQueue::create(&shop.pd, 8, 1).unwrap();
    let mut one = shop.queue_pair(ServiceType::Rc, None);
    let range = one.attach(&shop.sink()).whole().unwrap();
    assert!(matches!(srq.recv_list().push(&[range]), Err(Error::NotAttached)));
    let mut list = one.recv_list();
    list.push(&[range]).unwrap();
    assert!(matches!(srq.post_recv_list(&mut list, 1), Err(Error::NotAttached)));
}

#[test]
#[ignore = "needs an RDMA device"]
fn states_are_entered_in_their_order_alone() {
    let shop = Workshop::new();
    let capacity = Capacity::default();
    let cq = CompletionQueue::create(shop.pd.device(), 8).unwrap();
    let qp = QueuePair::create(&shop.pd, cq, &capacity).unwrap();
    let peer = ConnectedPeer { gid: shop.port.gid, qp_num: qp.number(), psn: 1, reads_at_once: 1 };
    println!("kernel log: rxe_modify_qp: returned err = -22 | invalid mask or state for qp");
    // From RESET it does not get to RTR.
    let error = qp.connect_to(&shop.port, &peer, 1).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_modify_qp", .. }), "{error}");
    qp.to_init(&shop.port, 0).unwrap();
    // A connected one is not made ready for datagrams.
    let error = qp.to_datagrams(1).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_modify_qp", .. }), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn limits_of_the_device_are_told_and_hold() {
    let shop = Workshop::new();
    let limits = shop.pd.device().limits().unwrap();
    assert!(limits.max_qp_wr >= 16 && limits.max_sge >= 1 && limits.max_cqe >= 16);
    assert!(limits.max_reads_at_once >= 1 && limits.max_message_bytes >= 1 << 20);
    let mut capacity = Capacity::default();
    capacity.max_send_wr = limits.max_qp_wr + 1;
    println!("kernel log: rxe_create_qp: returned err = -22 | invalid send wr");
    let cq = CompletionQueue::create(shop.pd.device(), 8).unwrap();
    let error = QueuePair::create(&shop.pd, cq, &capacity).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_create_qp", .. }), "{error}");
}
