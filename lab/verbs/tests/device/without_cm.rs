//! Choices and refusals of connecting over TCP.

use std::io::Write as _;
use std::net::Shutdown;
use std::net::TcpStream;

use verbs::Error;
use verbs::batch::BatchRequest;
use verbs::endpoint::EndpointBuilder;
use verbs::mr::Access;
use verbs::qp::ServiceType;
use verbs::transport::ConnectParams;
use verbs::transport::ConnectTarget;
use verbs::transport::Tcp;
use verbs::transport::Transport as _;
use verbs::work_request::RegionRange;
use verbs::work_request::SendRequest;

use crate::pair::By;
use crate::pair::Pair;
use crate::pair::soon;

#[test]
#[ignore = "needs an RDMA device"]
fn without_cm_the_psn_and_the_path_mtu_are_chosen() {
    let params =
        ConnectParams { psn: Some(0xff_fffe), path_mtu_bytes: Some(256), ..ConnectParams::default() };
    let mut pair = Pair::with(By::Tcp, &params, |_| Ok(()));
    let (region, remote) = pair.region(4096, Access::REMOTE);
    let bytes: Vec<u8> = (0..4096_u32).map(|at| (at / 16) as u8).collect();
    // Sixteen packets: the PSN wraps.
    let source = pair.source(&bytes);
    pair.client.execute(SendRequest::write(source, &remote), &soon()).unwrap();
    let sink = pair.client.register(4096, Access::SINK).unwrap();
    pair.client.execute(SendRequest::read(RegionRange::whole(&sink).unwrap(), &remote), &soon()).unwrap();
    assert_eq!(sink.copy_out(0, 4096).unwrap(), bytes);
    assert_eq!(region.copy_out(0, 4096).unwrap(), bytes);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn without_cm_a_path_mtu_beyond_the_port_s_is_refused() {
    let listener = By::Tcp.listen();
    let params = ConnectParams { path_mtu_bytes: Some(8192), ..ConnectParams::default() };
    let error = By::Tcp.connect(listener.address().port(), &params).unwrap_err();
    assert!(error.to_string().contains("a path MTU of 8192 bytes was asked for"), "{error}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn without_cm_a_peer_that_speaks_otherwise_is_named() {
    let listener = By::Tcp.listen();
    for (line, named) in [
        ("GET / HTTP/1.1\n", "queue pair parameters over TCP"),
        ("{\"version\":2}\n", "missing field"),
        ("", "disconnected while this side waited for"),
    ] {
        let mut stream = TcpStream::connect(listener.address()).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let error = listener.next_request(&soon()).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn without_cm_an_address_without_a_device_is_named() {
    let listener = Tcp.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let target = ConnectTarget { server: listener.address(), source: None };
    let params = ConnectParams::default();
    let result = Tcp.connect(&target, &params, &EndpointBuilder::new(), &mut |_| Ok(()), &soon());
    assert!(matches!(result, Err(Error::NoDeviceAt { .. })), "{result:?}");
}

#[test]
#[ignore = "needs an RDMA device"]
fn unreliable_connection_is_made_and_ended_without_cm() {
    let mut pair = Pair::of_service(ServiceType::Uc, |_| Ok(()));
    assert_eq!(pair.client.qp().service(), ServiceType::Uc);
    let (region, remote) = pair.region(64, Access::REMOTE);
    let recv = pair.server.post_recv(None).unwrap();
    let source = pair.source(b"unreliable");
    pair.client.execute(SendRequest::write_with_imm(source, &remote, 4), &soon()).unwrap();
    assert_eq!(pair.server.wait(recv, &soon()).unwrap().imm, Some(4));
    assert_eq!(region.copy_out(0, 10).unwrap(), b"unreliable");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn datagrams_go_to_the_peer_that_tcp_named() {
    const GRH_BYTES: usize = 40;
    let (mut memory, mut recv) = (None, None);
    let mut pair = Pair::of_service(ServiceType::Ud, |server| {
        let region = server.register(GRH_BYTES + 16, Access::SINK)?;
        recv = Some(server.post_recv(Some(RegionRange::whole(&region)?))?);
        memory = Some(region);
        Ok(())
    });
    let path = pair.client.work().datagram_path().unwrap();
    assert_eq!(Some(path.target.qp_num), pair.client.peer_qp_num());
    assert!(path.mtu_bytes >= 256, "{path:?}");
    let mut list = pair.client.work().request_list();
    list.push(BatchRequest::send_inline(b"datagram").to(path.target)).unwrap();
    pair.client.work_mut().post_send_list(&mut list).unwrap();
    let completion = pair.server.wait(recv.unwrap(), &soon()).unwrap();
    assert_eq!(completion.length_bytes as usize, GRH_BYTES + 8);
    assert_eq!(memory.unwrap().copy_out(GRH_BYTES, 8).unwrap(), b"datagram");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn connected_queue_pair_has_no_way_of_datagrams() {
    for service in [ServiceType::Rc, ServiceType::Uc] {
        let pair = Pair::of_service(service, |_| Ok(()));
        assert!(pair.client.work().datagram_path().is_none() && pair.server.work().datagram_path().is_none());
        pair.disconnect();
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn service_that_a_transport_does_not_make_is_named() {
    let params = ConnectParams::default();
    for (by, service) in [(By::Cm, ServiceType::Uc), (By::Cm, ServiceType::Ud)] {
        let listener = by.listen();
        let builder = EndpointBuilder::new().service(service);
        let error = by.connect_as(listener.address().port(), &params, &builder).unwrap_err();
        assert!(matches!(error, Error::Verb { errno: libc::EINVAL, .. }), "{error}");
        assert!(error.to_string().contains(&format!("of the service {}", service.name())), "{error}");
    }
}
