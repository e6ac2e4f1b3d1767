//! Connecting, with CM and without it.

use std::net::SocketAddr;
use std::thread;

use verbs::Error;
use verbs::cm_event::RejectReason;
use verbs::endpoint::EndpointBuilder;
use verbs::transport::Cm;
use verbs::transport::ConnectParams;
use verbs::transport::Transport as _;

use crate::pair::BOTH;
use crate::pair::By;
use crate::pair::own_address;
use crate::pair::soon;

#[test]
#[ignore = "needs an RDMA device"]
fn port_without_a_listener_rejects() {
    for by in BOTH {
        // Bound and dropped: the port was free a moment ago.
        let port = by.listen().address().port();
        let error = by.connect(port, &ConnectParams::default()).unwrap_err();
        assert!(matches!(error, Error::Rejected { reason: RejectReason::InvalidServiceId, .. }), "{error}");
        assert!(error.to_string().contains("no server listens on"), "{error}");
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn rejection_carries_its_reason() {
    for by in BOTH {
        let listener = by.listen();
        let port = listener.address().port();
        thread::scope(|scope| {
            let client = scope.spawn(move || by.connect(port, &ConnectParams::default()));
            listener.next_request(&soon()).unwrap().reject("not today").unwrap();
            let error = client.join().unwrap().unwrap_err();
            assert!(
                matches!(error, Error::Rejected { reason: RejectReason::ConsumerDefined, .. }),
                "{error}"
            );
            assert!(error.to_string().ends_with(": not today"), "{error}");
        });
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn request_that_is_dropped_ends_the_client_s_wait() {
    for by in BOTH {
        let listener = by.listen();
        let port = listener.address().port();
        thread::scope(|scope| {
            let client = scope.spawn(move || by.connect(port, &ConnectParams::default()));
            drop(listener.next_request(&soon()).unwrap());
            let error = client.join().unwrap().unwrap_err();
            assert!(
                matches!(error, Error::Disconnected { .. } | Error::Rejected { .. } | Error::CmEvent { .. }),
                "{error}"
            );
        });
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn private_data_reaches_both_sides() {
    for by in BOTH {
        let listener = by.listen();
        let port = listener.address().port();
        thread::scope(|scope| {
            let asks = ConnectParams::with_private_data(b"asks".to_vec());
            let client = scope.spawn(move || by.connect(port, &asks));
            let request = listener.next_request(&soon()).unwrap();
            assert!(request.private_data().starts_with(b"asks"));
            assert_eq!(request.reads_at_once(), 1);
            let mut server = request.into_endpoint(&EndpointBuilder::new()).unwrap();
            server.accept(&ConnectParams::with_private_data(b"tells".to_vec()), &soon()).unwrap();
            let (client, told) = client.join().unwrap().unwrap();
            assert!(told.starts_with(b"tells"));
            assert_eq!(client.peer_qp_num(), Some(server.qp_num()));
            assert_eq!(server.peer_qp_num(), Some(client.qp_num()));
        });
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn taken_port_is_named() {
    let taken = By::Cm.listen().address().port();
    let listener = Cm.listen(SocketAddr::new(own_address(), taken)).unwrap();
    let error = Cm.listen(listener.address()).unwrap_err();
    assert!(error.to_string().contains("another program listens on that port"), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn address_of_another_host_cannot_be_listened_on() {
    let error = Cm.listen("192.0.2.1:7471".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("does not have that address"), "{error}");
}
