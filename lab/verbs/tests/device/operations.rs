//! Operations that succeed: what arrives, where, and what their completions say.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use verbs::completion::WcOpcode;
use verbs::mr::Access;
use verbs::mr::MemoryRegion;
use verbs::transport::ConnectParams;
use verbs::work_request::RegionRange;
use verbs::work_request::SendRequest;

use crate::pair::By;
use crate::pair::Pair;
use crate::pair::{pace, soon};

#[test]
#[ignore = "needs an RDMA device"]
fn write_arrives_and_read_brings_it_back() {
    let mut pair = Pair::new();
    let (region, remote) = pair.region(8192, Access::REMOTE);
    let source = pair.source(b"what was written");
    let completion = pair.client.execute(SendRequest::write(source, &remote), &soon()).unwrap();
    assert_eq!((completion.opcode, completion.length_bytes), (WcOpcode::RdmaWrite, 16));

    let sink = pair.client.register(8192, Access::SINK).unwrap();
    pair.client.execute(SendRequest::read(RegionRange::whole(&sink).unwrap(), &remote), &soon()).unwrap();
    assert_eq!(sink.copy_out(0, 17).unwrap(), b"what was written\0");
    // The READ's completion has proved that the WRITE was done.
    assert_eq!(region.copy_out(0, 17).unwrap(), b"what was written\0");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn write_with_immediate_completes_a_recv() {
    let (mut pair, recvs, _memory) = Pair::with_recvs(1, 0);
    let (_region, remote) = pair.region(4096, Access::REMOTE);
    let source = pair.source(b"abc");
    pair.client.execute(SendRequest::write_with_imm(source, &remote, 0x1122_3344), &soon()).unwrap();
    let completion = pair.server.wait(recvs[0], &soon()).unwrap();
    assert_eq!(completion.opcode, WcOpcode::RecvRdmaWithImm);
    assert_eq!((completion.length_bytes, completion.imm), (3, Some(0x1122_3344)));
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn send_arrives_with_immediate_and_without() {
    let (mut pair, recvs, memory) = Pair::with_recvs(2, 64);
    let (plain, with_imm) = (pair.source(b"plain"), pair.source(b"immediate"));
    pair.client.execute(SendRequest::send(plain), &soon()).unwrap();
    pair.client.execute(SendRequest::send_with_imm(with_imm, 0x1122_3344), &soon()).unwrap();
    let first = pair.server.wait(recvs[0], &soon()).unwrap();
    assert_eq!((first.opcode, first.length_bytes, first.imm), (WcOpcode::Recv, 5, None));
    let second = pair.server.wait(recvs[1], &soon()).unwrap();
    assert_eq!((second.opcode, second.length_bytes, second.imm), (WcOpcode::Recv, 9, Some(0x1122_3344)));
    assert_eq!(memory.copy_out(0, 6).unwrap(), b"plain\0");
    assert_eq!(memory.copy_out(64, 9).unwrap(), b"immediate");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn messages_of_zero_bytes_complete() {
    let (mut pair, recvs, _memory) = Pair::with_recvs(1, 0);
    let (_region, remote) = pair.region(64, Access::REMOTE);
    let source = pair.client.register(1, Access::SINK).unwrap();
    let nothing = RegionRange::new(&source, 1, 0).unwrap();
    for request in [
        SendRequest::send(nothing.clone()),
        SendRequest::write(nothing.clone(), &remote),
        SendRequest::read(nothing, &remote),
    ] {
        assert_eq!(pair.client.execute(request, &soon()).unwrap().length_bytes, 0);
    }
    assert_eq!(pair.server.wait(recvs[0], &soon()).unwrap().length_bytes, 0);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn atomics_return_what_was_there() {
    let mut pair = Pair::new();
    let (region, remote) = pair.region(16, Access::ATOMIC);
    region.copy_in(8, &u64::MAX.to_ne_bytes()).unwrap();
    let remote = remote.at(8);
    let found = pair.client.register(8, Access::SINK).unwrap();
    let place = RegionRange::whole(&found).unwrap();
    for (request, was, is) in [
        (SendRequest::fetch_add(place.clone(), &remote, 3), u64::MAX, 2),
        (SendRequest::cmp_swap(place.clone(), &remote, 2, 1 << 40), 2, 1 << 40),
        (SendRequest::cmp_swap(place, &remote, 2, 5), 1 << 40, 1 << 40),
    ] {
        let completion = pair.client.execute(request, &soon()).unwrap();
        assert_eq!(completion.length_bytes, 8);
        assert_eq!((found.number(0).unwrap(), region.number(8).unwrap()), (was, is));
    }
    assert_eq!(region.number(0).unwrap(), 0);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn many_in_flight_complete_in_their_order() {
    let params = ConnectParams { initiator_depth: 16, responder_resources: 16, ..ConnectParams::default() };
    let mut pair = Pair::with(By::Cm, &params, |_| Ok(()));
    let (region, remote) = pair.region(64, Access::REMOTE);
    let bytes: Vec<u8> = (0..64).collect();
    let source = pair.client.register_source(&bytes).unwrap();
    let sink = pair.client.register(64, Access::SINK).unwrap();
    for depth in [1, 3, 16] {
        let places = |memory: &Arc<MemoryRegion>| {
            let memory = Arc::clone(memory);
            (0..64).map(move |at| RegionRange::new(&memory, at, 1))
        };
        let writes =
            places(&source).zip(0..).map(|(local, at)| Ok(SendRequest::write(local?, &remote.at(at))));
        let completions = pair.client.execute_all(writes, &pace(depth)).unwrap();
        assert_eq!(completions.len(), 64);
        assert!(completions.is_sorted_by_key(|completion| completion.wr_id));
        let reads = places(&sink).zip(0..).map(|(local, at)| Ok(SendRequest::read(local?, &remote.at(at))));
        pair.client.execute_all(reads, &pace(depth)).unwrap();
        assert_eq!(sink.copy_out(0, 64).unwrap(), bytes);
    }
    assert_eq!(region.copy_out(0, 64).unwrap(), bytes);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn several_clients_have_memory_of_their_own() {
    let mut pairs: Vec<Pair> = (0..4).map(|_| Pair::new()).collect();
    let regions: Vec<_> = pairs.iter().map(|pair| pair.region(64, Access::REMOTE)).collect();
    thread::scope(|scope| {
        for (number, (pair, (_, remote))) in pairs.iter_mut().zip(&regions).enumerate() {
            scope.spawn(move || {
                let source = pair.source(&[number as u8 + 1; 64]);
                pair.client.execute(SendRequest::write(source, remote), &soon()).unwrap();
            });
        }
    });
    for (number, (region, _)) in regions.iter().enumerate() {
        // After the completion, which is this process's own.
        assert_eq!(region.copy_out(0, 64).unwrap(), [number as u8 + 1; 64]);
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn send_without_a_recv_is_retried_until_there_is_one() {
    let mut pair = Pair::new();
    let source = pair.source(b"early");
    let memory = pair.server.register(64, Access::SINK).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| pair.client.execute(SendRequest::send(source), &soon()).unwrap());
        thread::sleep(Duration::from_millis(200));
        let recv = pair.server.post_recv(Some(RegionRange::whole(&memory).unwrap())).unwrap();
        assert_eq!(pair.server.wait(recv, &soon()).unwrap().length_bytes, 5);
    });
}
