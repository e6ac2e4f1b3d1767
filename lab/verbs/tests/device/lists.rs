//! Lists of work requests that succeed: gathered, scattered, inline, unsignalled; completions in batches, by polling and by
//! events.

use std::thread;
use std::time::Duration;

use verbs::batch::{AttachedRange, BatchCompletion, BatchRequest};
use verbs::completion::{WcOpcode, WcStatus};
use verbs::endpoint::Endpoint;
use verbs::mr::Access;
use verbs::transport::ConnectParams;
use verbs::work_request::SendRequest;

use crate::pair::{By, Pair, soon};

/// Memory of an endpoint's that holds `bytes`, attached.
pub(crate) fn attached(endpoint: &mut Endpoint, bytes: &[u8]) -> AttachedRange {
    let region = endpoint.register(bytes.len(), Access::SINK).unwrap();
    region.copy_in(0, bytes).unwrap();
    // The queue pair keeps it from here on.
    endpoint.work_mut().attach(&region).whole().unwrap()
}

/// Posts each of these, one list.
pub(crate) fn post(endpoint: &mut Endpoint, requests: &[BatchRequest<'_>]) -> verbs::Result<u64> {
    let mut list = endpoint.work().request_list();
    for request in requests {
        list.push(*request).unwrap();
    }
    endpoint.work_mut().post_send_list(&mut list)
}

/// Waits for `count` completions.
pub(crate) fn completions(endpoint: &mut Endpoint, count: usize) -> Vec<BatchCompletion> {
    let mut all = Vec::new();
    while all.len() < count {
        let mut places = BatchCompletion::places(count - all.len());
        let taken = endpoint.wait_batch(&mut places, &soon()).unwrap();
        places.truncate(taken);
        all.extend(places);
    }
    all
}

/// Connects with RECVs of `lengths` posted on the server's end as one list, one range after the other of one region.
fn with_recvs(recvs: &'static [&'static [usize]]) -> (Pair, std::sync::Arc<verbs::mr::MemoryRegion>) {
    let mut region = None;
    let pair = Pair::with(By::Cm, &ConnectParams::default(), |server| {
        let memory = server.register(4096, Access::SINK)?;
        let attached = server.work_mut().attach(&memory);
        let mut list = server.work().recv_list();
        let mut offset = 0;
        for lengths in recvs {
            let ranges: Vec<_> = lengths
                .iter()
                .map(|&length| {
                    offset += length;
                    attached.range(offset - length, length).unwrap()
                })
                .collect();
            list.push(&ranges)?;
        }
        assert_eq!(server.work_mut().post_recv_list(&mut list, usize::MAX)?, 0);
        region = Some(memory);
        Ok(())
    });
    (pair, region.unwrap())
}

#[test]
#[ignore = "needs an RDMA device"]
fn write_gathers_its_ranges_in_their_order() {
    let mut pair = Pair::new();
    let (region, remote) = pair.region(4096, Access::REMOTE);
    let ranges = [b"one ".as_slice(), b"two ", b"three"].map(|bytes| attached(&mut pair.client, bytes));
    post(&mut pair.client, &[BatchRequest::write(&ranges, &remote)]).unwrap();
    let done = &completions(&mut pair.client, 1)[0];
    assert_eq!((done.status(), done.opcode(), done.number()), (WcStatus::Success, WcOpcode::RdmaWrite, 0));
    assert_eq!(region.copy_out(0, 14).unwrap(), b"one two three\0");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn read_scatters_into_its_ranges() {
    let mut pair = Pair::new();
    let (region, remote) = pair.region(4096, Access::REMOTE);
    region.copy_in(0, b"abcdefgh").unwrap();
    let sink = pair.client.register(64, Access::SINK).unwrap();
    let attached = pair.client.work_mut().attach(&sink);
    let ranges = [attached.range(32, 3).unwrap(), attached.range(0, 5).unwrap()];
    post(&mut pair.client, &[BatchRequest::read(&ranges, &remote)]).unwrap();
    let done = &completions(&mut pair.client, 1)[0];
    assert_eq!((done.opcode(), done.length_bytes()), (WcOpcode::RdmaRead, 8));
    assert_eq!(
        (sink.copy_out(32, 3).unwrap(), sink.copy_out(0, 5).unwrap()),
        (b"abc".to_vec(), b"defgh".to_vec())
    );
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn inline_bytes_may_change_as_soon_as_they_are_posted() {
    let (mut pair, memory) = with_recvs(&[&[64]]);
    let mut bytes = *b"inline";
    post(&mut pair.client, &[BatchRequest::send_inline(&bytes).with_imm(7)]).unwrap();
    bytes.fill(b'x');
    let arrived = &completions(&mut pair.server, 1)[0];
    assert_eq!((arrived.is_recv(), arrived.length_bytes(), arrived.imm()), (true, 6, Some(7)));
    assert_eq!(memory.copy_out(0, 7).unwrap(), b"inline\0");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn message_scatters_over_the_ranges_of_its_recv() {
    let (mut pair, memory) = with_recvs(&[&[3, 4, 5], &[2]]);
    for bytes in [b"abcdefghij".as_slice(), b"k"] {
        post(&mut pair.client, &[BatchRequest::send_inline(bytes)]).unwrap();
    }
    let arrived = completions(&mut pair.server, 2);
    let told: Vec<_> = arrived.iter().map(|done| (done.number(), done.length_bytes())).collect();
    assert_eq!(told, [(0, 10), (1, 1)]);
    assert_eq!(memory.copy_out(0, 13).unwrap(), b"abcdefghij\0\0k");
    assert_eq!(pair.server.work().recvs_in_flight(), 0);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn unsignalled_requests_are_done_when_a_later_one_is() {
    let mut pair = Pair::new();
    let (region, remote) = pair.region(64, Access::REMOTE);
    let ranges: Vec<_> = (1..=8).map(|number| [attached(&mut pair.client, &[number; 8])]).collect();
    let mut list = pair.client.work().request_list();
    for (range, at) in ranges.iter().zip(0..) {
        let write = BatchRequest::write(range, &remote.at(8 * at));
        list.push(if at == 7 { write } else { write.unsignalled() }).unwrap();
    }
    for round in 0..3 {
        assert_eq!(pair.client.work_mut().post_send_list(&mut list).unwrap(), 8 * round);
        assert_eq!(pair.client.work().sends_in_flight(), 8);
        let done = completions(&mut pair.client, 1);
        assert_eq!(done[0].number(), 8 * round + 7);
        assert_eq!(pair.client.work().sends_in_flight(), 0);
    }
    let mut more = BatchCompletion::places(8);
    assert_eq!(pair.client.work_mut().poll_batch(&mut more).unwrap(), 0);
    assert_eq!(region.copy_out(0, 64).unwrap(), (1..=8).flat_map(|number| [number; 8]).collect::<Vec<u8>>());
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn completions_come_as_many_as_fit() {
    let mut pair = Pair::new();
    let (_region, remote) = pair.region(64, Access::REMOTE);
    post(&mut pair.client, &[BatchRequest::write_inline(b"x", &remote); 8]).unwrap();
    let mut numbers = Vec::new();
    let mut places = BatchCompletion::places(3);
    while numbers.len() < 8 {
        let count = pair.client.wait_batch(&mut places, &soon()).unwrap();
        assert!(count <= 3);
        numbers.extend(places[..count].iter().map(BatchCompletion::number));
    }
    assert_eq!(numbers, (0..8).collect::<Vec<_>>());
    assert_eq!(pair.client.work_mut().poll_batch(&mut []).unwrap(), 0);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn attached_memory_outlives_its_owner_s_handle() {
    let mut pair = Pair::new();
    let (region, remote) = pair.region(64, Access::REMOTE);
    let source = pair.client.register_source(b"kept").unwrap();
    let address = source.address();
    let range = [pair.client.work_mut().attach(&source).whole().unwrap()];
    drop(source);
    // A new region cannot be at the address of one that is still there.
    let other = pair.client.register_source(b"else").unwrap();
    assert_ne!(other.address(), address);
    post(&mut pair.client, &[BatchRequest::write(&range, &remote)]).unwrap();
    completions(&mut pair.client, 1);
    assert_eq!(region.copy_out(0, 4).unwrap(), b"kept");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn atomics_of_a_list_find_what_the_one_before_left() {
    let mut pair = Pair::new();
    let (region, remote) = pair.region(8, Access::ATOMIC);
    let found = pair.client.register(24, Access::SINK).unwrap();
    let attached = pair.client.work_mut().attach(&found);
    let places: Vec<_> = (0..3).map(|number| [attached.range(8 * number, 8).unwrap()]).collect();
    let requests = [
        BatchRequest::fetch_add(&places[0], &remote, 3).unsignalled(),
        BatchRequest::cmp_swap(&places[1], &remote, 3, 40).unsignalled(),
        BatchRequest::fetch_add(&places[2], &remote, 2).fenced(),
    ];
    post(&mut pair.client, &requests).unwrap();
    completions(&mut pair.client, 1);
    let found: Vec<u64> = (0..3).map(|number| found.number(8 * number).unwrap()).collect();
    assert_eq!((found, region.number(0).unwrap()), (vec![0, 3, 40], 42));
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn write_with_immediate_of_a_list_completes_a_recv() {
    let (mut pair, _memory) = with_recvs(&[&[]]);
    let (region, remote) = pair.region(64, Access::REMOTE);
    post(&mut pair.client, &[BatchRequest::write_inline(b"abc", &remote).with_imm(0x1122_3344)]).unwrap();
    let arrived = &completions(&mut pair.server, 1)[0];
    assert_eq!(arrived.opcode(), WcOpcode::RecvRdmaWithImm);
    assert_eq!((arrived.length_bytes(), arrived.imm()), (3, Some(0x1122_3344)));
    assert_eq!(region.copy_out(0, 3).unwrap(), b"abc");
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn requests_of_both_kinds_keep_their_completions_apart() {
    let mut pair = Pair::new();
    let (_region, remote) = pair.region(64, Access::REMOTE);
    let source = pair.source(b"alone");
    let alone = pair.client.post_send(SendRequest::write(source, &remote)).unwrap();
    post(&mut pair.client, &[BatchRequest::write_inline(b"list", &remote)]).unwrap();
    let of_the_list = completions(&mut pair.client, 1);
    assert_eq!(of_the_list[0].number(), 0);
    // It was polled with the other, and kept.
    assert_eq!(pair.client.wait(alone, &soon()).unwrap().length_bytes, 5);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn completions_that_come_while_something_else_is_awaited_are_kept() {
    let mut pair = Pair::new();
    let (_region, remote) = pair.region(64, Access::REMOTE);
    let write = [BatchRequest::write_inline(b"one", &remote), BatchRequest::write_inline(b"two", &remote)];
    let first = post(&mut pair.client, &write).unwrap();
    // A request by itself completes behind them, and its wait takes theirs from the queue.
    let source = pair.source(b"three");
    pair.client.execute(SendRequest::write(source, &remote), &soon()).unwrap();
    assert_eq!(pair.client.work().sends_in_flight(), 0);
    // They come in their order, as many as fit.
    for number in [first, first + 1] {
        let completions = completions(&mut pair.client, 1);
        assert_eq!((completions[0].number(), completions[0].status()), (number, WcStatus::Success));
    }
    assert_eq!(pair.client.work_mut().poll_batch(&mut BatchCompletion::places(4)).unwrap(), 0);
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn sleeper_is_woken_by_a_completion_that_comes_later() {
    let (mut pair, _memory) = with_recvs(&[&[64]]);
    let Pair { server, client } = &mut pair;
    thread::scope(|scope| {
        let woken = scope.spawn(|| completions(server, 1)[0].length_bytes());
        thread::sleep(Duration::from_millis(200));
        post(client, &[BatchRequest::send_inline(b"late")]).unwrap();
        assert_eq!(woken.join().unwrap(), 4);
    });
    pair.disconnect();
}

#[test]
#[ignore = "needs an RDMA device"]
fn loop_that_polls_can_see_the_peer_leave() {
    let mut pair = Pair::new();
    assert!(!pair.server.peer_has_left().unwrap());
    let Pair { server, client } = &mut pair;
    thread::scope(|scope| {
        scope.spawn(|| {
            let deadline = soon();
            while !server.peer_has_left().unwrap() {
                assert!(!deadline.passed(), "the peer has left");
                thread::yield_now();
            }
            server.wait_disconnected(&soon()).unwrap();
        });
        client.disconnect(&soon()).unwrap();
    });
}
