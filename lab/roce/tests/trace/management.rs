//! Connection management in the trace.

use roce::synth::Pair;

use crate::{analyse, forwarded};

#[test]
fn rejected_connection_shows_its_reason_and_words() {
    let pair = Pair::new(18);
    let trace = analyse(&forwarded(vec![pair.req(7471, &[]), pair.rej(28, b"larger than 4096")])).trace();
    assert!(trace.contains("REJ   reason            consumer reject, of REQ\n"), "{trace}");
    assert!(trace.contains("private data      \"larger than 4096\"\n"), "{trace}");
    assert!(
        trace.contains("connection 1: client.qp1 > server.qp?\n")
            && trace.ends_with("messages: none\n\nfindings: none\n"),
        "{trace}"
    );
}

#[test]
fn ids_that_do_not_match_are_shown() {
    let pair = Pair::new(19);
    let mut stranger = pair;
    stranger.passive.comm_id ^= 1;
    stranger.salt ^= 2;
    let trace = analyse(&forwarded(vec![pair.req(1, &[]), pair.rep(&[]), stranger.rtu()])).trace();
    assert!(
        trace.contains("remote comm id    not the peer's\n")
            && trace.contains("transaction       not the request's\n"),
        "{trace}"
    );
}

#[test]
fn known_addresses_and_keys_in_longer_private_data_are_renamed() {
    let pair = Pair::new(20);
    let mut private_data = pair.advert().to_vec();
    private_data.extend([0xab, 0xcd, 0xef, 0x01, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0]);
    let mut frames = pair.write_then_read();
    frames[1] = pair.rep(&private_data);
    let trace = analyse(&forwarded(frames)).trace();
    assert!(
        trace.contains(
            "private data      <va server.mr1+0> <rkey server.mr1> abcdef01 01000000 00000000 00002000\n"
        ),
        "{trace}"
    );
}

#[test]
fn address_that_is_used_again_is_of_the_region_whose_key_stands_beside_it() {
    let (first, mut second) = (Pair::new(20), Pair::new(21));
    second.passive.va = first.passive.va;
    let mut frames = Vec::new();
    for pair in [first, second] {
        let mut flow = pair.write_then_read();
        flow[1] = pair.rep(&[&pair.advert()[..], &[1, 2, 3, 4]].concat());
        frames.extend(flow);
    }
    let trace = analyse(&forwarded(frames)).trace();
    for region in ["server.mr1", "server.mr2"] {
        let words = format!("private data      <va {region}+0> <rkey {region}> 01020304\n");
        assert!(trace.contains(&words), "{words}: {trace}");
    }
}

#[test]
fn where_disconnections_cross_each_reply_belongs_to_the_request_of_its_receiver() {
    let pair = Pair::new(22);
    let back = Pair { active: pair.passive, passive: pair.active, salt: pair.salt.wrapping_add(2) };
    let begin = [pair.req(7471, &[]), pair.rep(&[]), pair.rtu(), pair.dreq(), back.dreq()];
    let foreign = "transaction       not the request's\n";
    let crossed = analyse(&forwarded([&begin[..], &[back.drep(), pair.drep()]].concat())).trace();
    assert!(crossed.contains("client > server  DREP\n  server > client  DREP\n"), "{crossed}");
    // Of the other DREQ, and of none.
    let other = Pair { salt: pair.salt, ..back };
    let unknown = Pair { salt: 77, ..pair };
    let wrong = analyse(&forwarded([&begin[..], &[other.drep(), unknown.drep()]].concat())).trace();
    assert_eq!(wrong.matches(foreign).count(), 2, "{wrong}");
}

#[test]
fn after_a_write_with_immediate_it_is_one_trace_whichever_side_disconnects_first() {
    let pair = Pair::new(28);
    let back = Pair { active: pair.passive, passive: pair.active, salt: pair.salt.wrapping_add(2) };
    let (va, rkey) = (pair.passive.va, pair.passive.rkey);
    let write = |opcode| {
        let request = pair.request(opcode, 0).reth(va, rkey, 4);
        if opcode == 0x0b { request.header(&4_u32.to_be_bytes()) } else { request }
    };
    let trace = |opcode: u8, end: &[Vec<u8>]| {
        let ack = pair.response(0x11, 0).aeth(0x1f, 1).build();
        let write = write(opcode).ack_request().payload(b"four").build();
        let begin = [pair.req(7472, &[]), pair.rep(&pair.advert()), pair.rtu(), write, ack];
        analyse(&forwarded([&begin[..], end].concat())).trace()
    };
    // The reply belongs to the request of its receiver: the active side's is answered by `drep` of `pair`.
    let active_first = [pair.dreq(), pair.drep()];
    let passive_first = [back.dreq(), back.drep()];
    let crossed = [pair.dreq(), back.dreq(), back.drep(), pair.drep()];
    let crossed_and_answered_once = [back.dreq(), pair.dreq(), pair.drep()];
    let expected = trace(0x0b, &active_first);
    assert!(expected.starts_with("roce trace 1: 7 packets\n"), "{expected}");
    assert!(expected.contains("RTU\n  either side      DREQ, DREP\n\n"), "{expected}");
    for end in [&passive_first[..], &crossed, &crossed_and_answered_once] {
        assert_eq!(trace(0x0b, end), expected);
    }
    // Told as it was: an end that is not in order, and one after a message that its responder does not notice.
    for (opcode, end) in [
        (0x0b, &[pair.dreq()][..]),
        (0x0b, &[pair.dreq(), back.drep()]),
        (0x0b, &[pair.dreq(), pair.dreq(), pair.drep()]),
        (0x0a, &active_first),
    ] {
        let trace = trace(opcode, end);
        assert!(trace.contains("DREQ  queue pair        server.qp1\n"), "{trace}");
    }
}

#[test]
fn number_in_the_wrong_byte_order_is_in_hexadecimal_beside_the_decimal_one() {
    let pair = Pair::new(23);
    let peer = &pair.passive;
    let immediate =
        |n: u32, value: u32| pair.request(0x05, n).header(&value.to_be_bytes()).ack_request().build();
    let swapped = 1u64.swap_bytes();
    let frames = [
        pair.req(7471, &[]),
        pair.rep(&pair.advert()),
        pair.rtu(),
        immediate(0, 7),
        immediate(1, 7u32.swap_bytes()),
        pair.response(0x11, 1).aeth(0x1f, 2).build(),
        pair.request(0x14, 2).atomic_eth(peer.va, peer.rkey, swapped, 0).build(),
        pair.response(0x12, 2).aeth(0x1f, 3).header(&swapped.to_be_bytes()).build(),
        pair.request(0x0c, 3).reth(peer.va, peer.rkey, 16u32.swap_bytes()).build(),
    ];
    let report = analyse(&forwarded(frames.to_vec()));
    let trace = report.trace();
    assert_eq!(trace.matches("imm 7,").count(), 2, "{trace}");
    for (words, times) in [
        ("imm 117440512 (0x07000000)", 2),
        ("add 72057594037927936 (0x0100000000000000)", 1),
        ("original 72057594037927936 (0x0100000000000000)", 1),
        ("len 268435456 (0x10000000)", 1),
    ] {
        assert_eq!(trace.matches(words).count(), times, "{words}: {trace}");
    }
    assert!(report.summary().contains("imm 117440512 (0x07000000)"), "{}", report.summary());
    assert!(report.ladder(&Default::default()).to_svg().contains("imm 117440512 (0x07000000)"));
}
