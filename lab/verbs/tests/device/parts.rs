//! Parts held by themselves: a device, a domain, queues and a queue pair, without an endpoint.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;

use verbs::Error;
use verbs::cq::CompletionQueue;
use verbs::device::{self, Device};
use verbs::mr::Access;
use verbs::pd::ProtectionDomain;
use verbs::qp::{Capacity, QueuePair};
use verbs::work_queue::WorkQueue;
use verbs::work_request::RegionRange;

use crate::pair::own_address;

#[test]
#[ignore = "needs an RDMA device"]
fn queue_pair_is_made_of_its_parts_and_keeps_what_is_posted() {
    let (device, port) = Device::with_address(own_address()).unwrap();
    assert!(device::names().unwrap().contains(&device.name()));
    assert!(port.number >= 1 && port.mtu_bytes >= 256);
    let pd = ProtectionDomain::alloc(&device).unwrap();
    let capacity = Capacity::default();
    let cq = CompletionQueue::create(&device, capacity.completions()).unwrap();
    assert!(cq.as_fd().as_raw_fd() >= 0);
    let region = pd.register(64, Access::SINK).unwrap();
    let qp = QueuePair::create(&pd, cq, &capacity).unwrap();
    for raw in [device.as_raw().cast::<u8>(), pd.as_raw().cast(), region.as_raw().cast(), qp.as_raw().cast()]
    {
        assert!(!raw.is_null());
    }
    // Everything below is kept by what is made of it.
    drop((device, pd));
    let mut work = WorkQueue::new(qp, Arc::new(|_| {}));
    // In the state RESET it is refused. rxe's call does not name the request as refused, so its memory is let go only with
    // the queue pair.
    let error = work.post_recv(Some(RegionRange::whole(&region).unwrap())).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_post_recv", .. }), "{error}");
    assert_eq!((work.in_flight(), Arc::strong_count(&region)), (1, 2));
    drop(work);
    assert_eq!(Arc::strong_count(&region), 1);
}

#[test]
#[ignore = "needs an RDMA device"]
fn queue_of_another_device_is_refused() {
    let name = &device::names().unwrap()[0];
    let (one, other) = (Device::open(name).unwrap(), Device::open(name).unwrap());
    let pd = ProtectionDomain::alloc(&one).unwrap();
    let cq = CompletionQueue::create(&other, 2).unwrap();
    let error = QueuePair::create(&pd, cq, &Capacity::default()).unwrap_err();
    assert!(matches!(error, Error::Verb { call: "ibv_create_qp", .. }), "{error}");
}
