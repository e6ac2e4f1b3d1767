//! Packets in tunnels, behind extension headers, in fragments, of version 1 and of InfiniBand: what a mirror delivers decodes as what was sent.
#![cfg(feature = "synth")]

use std::net::IpAddr;

use roce::capture::Record;
use roce::synth::{Pair, Tunnel, fragments, with_extensions};
use roce::wire::{Decoder, Encapsulation, Frame, Icrc, LinkType, NotRoce, Packet};
use roce::{Analysis, Names, Report};

/// A pair with addresses of IPv4 or IPv6.
fn pair(is_version_4: bool) -> Pair {
    let mut pair = Pair::new(7);
    if !is_version_4 {
        for (side, address) in [(&mut pair.active, "2001:db8:1::2"), (&mut pair.passive, "2001:db8:1::1")] {
            side.address = address.parse().unwrap();
        }
    }
    pair
}

fn report_of<'a>(frames: impl IntoIterator<Item = &'a [u8]>) -> Report {
    let mut analysis = Analysis::new(Names::new());
    for (at, frame) in frames.into_iter().enumerate() {
        analysis.push(&Record::ethernet(at as u64 + 1, at as u64 * 1_000, frame));
    }
    analysis.finish()
}

fn packet(frame: &[u8]) -> Packet<'_> {
    match Frame::decode(LinkType::ETHERNET, frame) {
        Frame::Roce(packet) => packet,
        Frame::NotRoce(what) => panic!("{what}"),
    }
}

fn other(frame: &[u8]) -> NotRoce {
    match Frame::decode(LinkType::ETHERNET, frame) {
        Frame::Roce(packet) => panic!("{packet:?}"),
        Frame::NotRoce(what) => what,
    }
}

#[test]
fn what_is_in_every_tunnel_is_what_was_sent() {
    for is_version_4 in [true, false] {
        let frames = pair(is_version_4).write_then_read();
        let plain = report_of(frames.iter().map(Vec::as_slice));
        assert!(plain.findings.is_empty() && plain.encapsulations.is_empty());
        for tunnel in Tunnel::ALL {
            let wrapped: Vec<Vec<u8>> = frames.iter().map(|frame| tunnel.wrap(frame)).collect();
            let report = report_of(wrapped.iter().map(Vec::as_slice));
            assert_eq!(report.trace(), plain.trace(), "{tunnel:?}");
            assert_eq!(report.encapsulations.values().sum::<u64>(), frames.len() as u64, "{tunnel:?}");
            for (wrapped, frame) in wrapped.iter().zip(&frames) {
                let (inner, plain) = (packet(wrapped), packet(frame));
                assert_eq!((inner.icrc, inner.payload), (Icrc::Good, plain.payload), "{tunnel:?}");
                assert_eq!((inner.source, inner.destination), (plain.source, plain.destination));
                // A frame that Ethernet filled up, and one with its check sequence.
                let padded = [wrapped, &[0; 64][..]].concat();
                assert_eq!(packet(&padded).payload, plain.payload, "{tunnel:?}");
            }
        }
    }
}

#[test]
fn plain_frame_decodes_as_the_same_packet_behind_a_tag() {
    // The one is decoded at a glance, the other by a walk.
    for frame in pair(true).write_then_read() {
        let headers = 14..66.min(frame.len());
        for (at, bit) in headers.flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut changed = frame.clone();
            changed[at] ^= 1 << bit;
            let tagged = [&changed[..12], &[0x81, 0, 0, 7], &changed[12..]].concat();
            for cut in [changed.len(), 60, 44, 41, 34] {
                let decode = |frame: &[u8], begin: usize| {
                    format!("{:?}", Frame::decode(LinkType::ETHERNET, &frame[..begin + cut]))
                };
                let offsets =
                    |text: String| text.chars().filter(|letter| !letter.is_ascii_digit()).collect::<String>();
                let (one, other) = (offsets(decode(&changed, 0)), offsets(decode(&tagged, 4)));
                assert_eq!(one, other, "byte {at} bit {bit} cut {cut}");
            }
        }
    }
}

#[test]
fn tunnel_has_its_name() {
    let frame = pair(true).write_with_immediate().remove(3);
    for (tunnel, expected) in [
        (Tunnel::ErspanI, Encapsulation::ErspanI),
        (Tunnel::ErspanII, Encapsulation::ErspanII),
        (Tunnel::ErspanIIIPlatform, Encapsulation::ErspanIII),
        (Tunnel::GreFull, Encapsulation::Gre),
        (Tunnel::Nvgre, Encapsulation::Nvgre),
        (Tunnel::Vxlan(8472), Encapsulation::Vxlan),
        (Tunnel::Geneve, Encapsulation::Geneve),
        (Tunnel::SegmentRouting, Encapsulation::IpInIp),
        (Tunnel::MplsControlWord, Encapsulation::Mpls),
        (Tunnel::Pppoe, Encapsulation::Ppp),
        (Tunnel::EtherIp, Encapsulation::Ethernet),
    ] {
        assert_eq!(packet(&tunnel.wrap(&frame)).encapsulation, expected);
    }
}

#[test]
fn tunnels_in_tunnels_are_taken_off_up_to_a_depth() {
    let frame = pair(true).write_with_immediate().remove(3);
    for outer in Tunnel::ALL {
        for inner in Tunnel::ALL {
            let wrapped = inner.wrap(&frame);
            let takes_ip_only = matches!(
                outer,
                Tunnel::Gre
                    | Tunnel::GreFull
                    | Tunnel::VxlanGpe
                    | Tunnel::IpInIp
                    | Tunnel::IpInIpv6
                    | Tunnel::SegmentRouting
                    | Tunnel::Mpls
                    | Tunnel::MplsInUdp
                    | Tunnel::Pppoe
            );
            if takes_ip_only && !matches!(wrapped[12..14], [0x08, 0x00] | [0x86, 0xdd]) {
                continue;
            }
            assert_eq!(packet(&outer.wrap(&wrapped)).icrc, Icrc::Good, "{outer:?} {inner:?}");
        }
    }
    let mut deep = frame;
    for depth in 1..200 {
        deep = Tunnel::IpInIp.wrap(&deep);
        match Frame::decode(LinkType::ETHERNET, &deep) {
            Frame::Roce(packet) => assert_eq!((packet.icrc, depth < 16), (Icrc::Good, true), "{depth}"),
            Frame::NotRoce(what) => assert_eq!((what, depth < 16), (NotRoce::TooDeep, false), "{depth}"),
        }
    }
    assert!(NotRoce::TooDeep.may_hold_roce());
}

#[test]
fn frame_in_mpls_may_begin_with_any_address() {
    let mut frame = pair(true).write_with_immediate().remove(3);
    for first in 0..=255 {
        frame[0] = first;
        for tunnel in [Tunnel::MplsEthernet, Tunnel::MplsControlWord] {
            assert_eq!(packet(&tunnel.wrap(&frame)).icrc, Icrc::Good, "{first:#04x} {tunnel:?}");
        }
    }
}

#[test]
fn what_is_cut_anywhere_in_a_tunnel_breaks_no_rule() {
    for tunnel in Tunnel::ALL {
        let frames = pair(true).write_then_read();
        for length in 0..tunnel.wrap(&frames[3]).len() {
            let mut analysis = Analysis::new(Names::new());
            for (at, frame) in frames.iter().enumerate() {
                let wrapped = tunnel.wrap(frame);
                let data = if at == 3 { &wrapped[..length] } else { &wrapped[..] };
                let record = Record::ethernet(at as u64 + 1, 0, data);
                analysis.push(&Record { original_length_bytes: wrapped.len() as u32, ..record });
            }
            let report = analysis.finish();
            let errors = report.findings.iter().filter(|finding| finding.packet == 4).count();
            assert_eq!(errors, 0, "{tunnel:?} {length}");
        }
    }
}

#[test]
fn mirror_that_cuts_what_it_copies_makes_no_packet_malformed() {
    let frames = pair(true).write_then_read();
    let lost =
        frames.iter().map(|frame| Tunnel::ErspanII.wrap(&frame[..frame.len().min(90)])).collect::<Vec<_>>();
    let report = report_of(lost.iter().map(Vec::as_slice));
    assert_eq!((report.packets, report.findings.len()), (12, 0), "{:?}", report.findings);
}

#[test]
fn no_length_that_lies_reaches_outside_of_the_frame() {
    for is_version_4 in [true, false] {
        let frame = pair(is_version_4).write_with_immediate().remove(3);
        for tunnel in Tunnel::ALL {
            let wrapped = tunnel.wrap(&Tunnel::Vxlan(4789).wrap(&with_extensions(&frame, 1)));
            for at in 0..wrapped.len() {
                for value in [0, 1, 7, 0x0f, 0x40, 0x45, 0x4f, 0x60, 0x7f, 0x80, 0xff, wrapped[at] ^ 1] {
                    let mut lying = wrapped.clone();
                    lying[at] = value;
                    if let Frame::Roce(packet) = Frame::decode(LinkType::ETHERNET, &lying) {
                        assert!(packet.payload_offset + packet.payload.len() <= lying.len());
                    }
                }
            }
        }
    }
}

#[test]
fn vxlan_to_another_port_is_named_and_read_when_it_is_told() {
    let frame = Tunnel::Vxlan(50_001).wrap(&pair(true).write_with_immediate()[3]);
    assert_eq!(other(&frame), NotRoce::PerhapsVxlan { port: 50_001 });
    let mut decoder = Decoder::new().vxlan_ports(&[50_000, 50_001]);
    assert!(decoder.decode(LinkType::ETHERNET, &frame).packet().is_some());
    // With the fields of a group policy.
    let mut of_group = frame.clone();
    of_group[42..46].copy_from_slice(&[0x88, 0, 0, 77]);
    assert_eq!(other(&of_group), NotRoce::PerhapsVxlan { port: 50_001 });
    // TCP in it is nobody's RoCE.
    let mut tcp = frame;
    tcp[14 + 20 + 8 + 8 + 14 + 9] = 6;
    assert_eq!(other(&tcp), NotRoce::Udp);
}

#[test]
fn extension_headers_are_walked_to_the_packet() {
    let pair = pair(false);
    let frames = pair.write_then_read();
    let plain = report_of(frames.iter().map(Vec::as_slice)).trace();
    for segments_left in [0, 1] {
        let extended: Vec<Vec<u8>> =
            frames.iter().map(|frame| with_extensions(frame, segments_left)).collect();
        assert_eq!(report_of(extended.iter().map(Vec::as_slice)).trace(), plain);
        let first = packet(&extended[0]);
        assert_eq!((first.destination, first.icrc), (pair.passive.address, Icrc::Good));
        let mut damaged = extended[0].clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(packet(&damaged).icrc, Icrc::Unverifiable, "nobody knows what its sender counted");
    }
}

#[test]
fn version_1_has_a_grh_for_ip_and_udp() {
    let pair = pair(true);
    let request = pair.request(0x0a, 0).reth(pair.passive.va, pair.passive.rkey, 5).payload(b"hello");
    let frames = [request.build_version_1(), pair.response(0x11, 0).aeth(0x1f, 1).build_version_1()];
    let report = report_of(frames.iter().map(Vec::as_slice));
    assert_eq!((report.packets, report.packets_version_1, report.findings.len()), (2, 2, 0));
    assert_eq!((report.messages.len(), report.messages[0].bytes), (1, 5));
    let first = packet(&frames[0]);
    assert_eq!((first.source, first.destination), (pair.active.address, pair.passive.address));
    assert_eq!((first.icrc, first.payload, first.pad.len()), (Icrc::Good, &b"hello"[..], 3));
    assert_eq!(packet(&Tunnel::Vxlan(4789).wrap(&frames[0])).icrc, Icrc::Good);
    for at in 14..frames[0].len() {
        let mut damaged = frames[0].clone();
        damaged[at] ^= 0x10;
        if let Frame::Roce(packet) = Frame::decode(LinkType::ETHERNET, &damaged) {
            // Traffic class, flow label, hop limit and the congestion bits of the BTH are a router's.
            let is_free = [15, 16, 17, 21, 58].contains(&at);
            assert_eq!(packet.icrc == Icrc::Good, is_free, "byte {at}");
        }
    }
    for length in 0..frames[0].len() {
        match Frame::decode(LinkType::ETHERNET, &frames[0][..length]) {
            Frame::Roce(packet) => assert!(packet.is_cut && packet.icrc == Icrc::Unverifiable),
            Frame::NotRoce(what) => {
                assert!(length < 54 && matches!(what, NotRoce::Stop(_)), "{length} {what}")
            }
        }
    }
    let mut raw = frames[0].clone();
    raw[20] = 59;
    assert_eq!(other(&raw), NotRoce::GrhNextHeader(59));
}

/// The packet of a frame of version 1 behind an LRH, with its variant CRC.
fn infiniband(frame: &[u8]) -> Vec<u8> {
    let packet = &frame[14..];
    let words = ((8 + packet.len()) / 4) as u16;
    let [high, low] = words.to_be_bytes();
    [&[0, 3, 0, 2, high, low, 0, 1][..], packet, &[0x55, 0xaa]].concat()
}

#[test]
fn infiniband_is_decoded_with_a_grh_and_named_without() {
    let pair = pair(true);
    let frame = infiniband(&pair.request(0x04, 0).payload(b"over InfiniBand").build_version_1());
    let mut erf = [0; 16];
    erf[8] = 21;
    for (link_type, bytes) in
        [(LinkType::INFINIBAND, frame.clone()), (LinkType::ERF, [&erf[..], &frame].concat())]
    {
        let Frame::Roce(packet) = Frame::decode(link_type, &bytes) else { panic!("{link_type}") };
        assert_eq!((packet.payload, packet.stop), (&b"over InfiniBand"[..], None));
        assert_eq!((packet.encapsulation, packet.icrc), (Encapsulation::Infiniband, Icrc::Unverifiable));
        for length in 0..bytes.len() {
            Frame::decode(link_type, &bytes[..length]);
        }
    }
    let mut local = frame;
    local[1] = 2;
    let Frame::NotRoce(what) = Frame::decode(LinkType::INFINIBAND, &local) else { panic!("no addresses") };
    assert_eq!((what, what.may_hold_roce()), (NotRoce::InfinibandLocal, true));
}

/// Change of the order of a packet's fragments.
type Order = fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>;

/// Pushes the fragments of each frame in the order that `order` makes of them.
fn fragmented(frames: &[Vec<u8>], order: Order) -> Report {
    let pieces: Vec<Vec<u8>> = frames.iter().flat_map(|frame| order(fragments(frame, 64))).collect();
    report_of(pieces.iter().map(Vec::as_slice))
}

#[test]
fn fragments_are_put_together_in_any_order() {
    for is_version_4 in [true, false] {
        let frames = pair(is_version_4).write_then_read();
        let plain = report_of(frames.iter().map(Vec::as_slice)).trace();
        let orders: [Order; 3] = [
            |pieces| pieces,
            |pieces| pieces.into_iter().rev().collect(),
            // The first one twice.
            |pieces| pieces.first().cloned().filter(|_| pieces.len() > 1).into_iter().chain(pieces).collect(),
        ];
        for order in orders {
            let report = fragmented(&frames, order);
            assert_eq!(report.trace().replace(", ICRC unverifiable", ""), plain);
            assert_eq!((report.findings.len(), report.unread.len()), (0, 0), "{:?}", report.unread);
            assert_eq!(report.records, report.packets + report.not_roce.values().sum::<u64>());
        }
        let report = fragmented(&frames, |mut pieces| {
            if pieces.len() > 10 {
                pieces.remove(3);
            }
            pieces
        });
        assert!(report.unread["IP fragment"] > 10, "{:?}", report.unread);
        assert!(report.packets < 12);
    }
}

#[test]
fn tunnel_in_fragments_is_put_together_and_so_are_fragments_in_a_tunnel() {
    let frame = pair(true).write_then_read().remove(6);
    let outer = fragments(&Tunnel::Vxlan(4789).wrap(&frame), 576);
    let inner: Vec<Vec<u8>> =
        fragments(&frame, 576).iter().map(|piece| Tunnel::ErspanII.wrap(piece)).collect();
    let both: Vec<Vec<u8>> = inner
        .iter()
        .enumerate()
        .flat_map(|(at, piece)| {
            let mut pieces = fragments(piece, 200);
            // Packets in fragments at the same time have different numbers.
            pieces.iter_mut().for_each(|piece| piece[19] = at as u8 + 1);
            pieces
        })
        .collect();
    for (pieces, icrc, around) in [
        (outer, Icrc::Good, Encapsulation::Vxlan),
        (inner, Icrc::Unverifiable, Encapsulation::ErspanII),
        (both, Icrc::Unverifiable, Encapsulation::ErspanII),
    ] {
        let mut decoder = Decoder::new();
        let (last, earlier) = pieces.split_last().unwrap();
        for piece in earlier {
            assert!(matches!(decoder.decode(LinkType::ETHERNET, piece), Frame::NotRoce(NotRoce::Fragment)));
        }
        let Frame::Roce(packet) = decoder.decode(LinkType::ETHERNET, last) else { panic!("{around}") };
        assert_eq!((packet.frames as usize, packet.icrc, packet.encapsulation), (pieces.len(), icrc, around));
        assert_eq!((packet.payload.len(), packet.stop), (1024, None));
    }
}

#[test]
fn packet_in_fragments_that_is_no_roce_is_no_riddle() {
    let mut frame = pair(true).write_then_read().remove(6);
    frame[36..38].copy_from_slice(&[0, 53]);
    let report = fragmented(&[frame], |pieces| pieces);
    assert_eq!((report.packets, report.unread.len()), (0, 0), "{:?}", report.unread);
    assert_eq!(report.not_roce["IP packet in fragments"], 1);
    // The protocol of a fragment says as much when the others never come.
    let mut tcp = fragments(&pair(true).write_then_read()[6], 512).remove(1);
    tcp[23] = 6;
    assert_eq!(other(&tcp), NotRoce::IpProtocol(6));
}

/// Resident memory in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap()
}

#[test]
fn flood_of_fragments_costs_no_memory_and_hides_no_packet() {
    let (pair, mut decoder) = (pair(true), Decoder::new());
    let pieces = fragments(&pair.write_then_read()[6], 512);
    let before = resident_kib();
    for number in 0..200_000u32 {
        let mut piece = pieces[number as usize % pieces.len()].clone();
        piece[26..30].copy_from_slice(&number.to_be_bytes());
        if number % 3 == 0 {
            // The farthest offset there is.
            piece[20..22].copy_from_slice(&[0x1f, 0xc0]);
        }
        assert!(!matches!(decoder.decode(LinkType::ETHERNET, &piece), Frame::Roce(_)));
    }
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB");
    let (last, earlier) = pieces.split_last().unwrap();
    for piece in earlier {
        decoder.decode(LinkType::ETHERNET, piece);
    }
    assert!(decoder.decode(LinkType::ETHERNET, last).packet().is_some(), "behind the flood all is as before");
}

#[test]
fn fragments_that_contradict_each_other_are_nobody_s_packet() {
    let pieces = fragments(&pair(true).write_then_read()[6], 512);
    let mut decoder = Decoder::new();
    let mut longer = pieces.last().unwrap().clone();
    longer[16..18].copy_from_slice(&60u16.to_be_bytes());
    for piece in [&longer, pieces.last().unwrap(), &pieces[0]] {
        assert!(!matches!(decoder.decode(LinkType::ETHERNET, piece), Frame::Roce(_)));
    }
    let mut cut = pieces[0].clone();
    cut.truncate(60);
    assert!(matches!(decoder.decode(LinkType::ETHERNET, &cut), Frame::NotRoce(NotRoce::Fragment)));
}

#[test]
fn interfaces_that_change_link_type_and_clocks_that_jump_are_analysed() {
    let frames = pair(true).write_then_read();
    let mut analysis = Analysis::new(Names::new());
    let erf = |frame: &[u8]| [&[0; 8][..], &[2], &[0; 9], frame].concat();
    for (at, frame) in frames.iter().enumerate() {
        let (link_type, data) = match at % 4 {
            0 => (LinkType::ETHERNET, frame.clone()),
            1 => (LinkType::RAW, frame[14..].to_vec()),
            2 => (LinkType::NULL, [&[2, 0, 0, 0][..], &frame[14..]].concat()),
            _ => (LinkType::ERF, erf(frame)),
        };
        let timestamp_ns = [u64::MAX, 0, 1 << 40, 5][at % 4];
        let record = Record::ethernet(at as u64 + 1, timestamp_ns, &data);
        analysis.push(&Record { link_type, ..record });
    }
    let report = analysis.finish();
    assert_eq!((report.packets, report.findings.len()), (12, 0), "{:?}", report.findings);
}

#[test]
fn addresses_of_both_versions_are_the_same_node_s_with_and_without_a_grh() {
    let pair = pair(true);
    let first = pair.request(0x04, 0).payload(b"four").build_version_1();
    assert_eq!(packet(&first).source, IpAddr::from([198, 51, 100, 2]));
}

#[test]
fn further_tags_and_service_headers_are_taken_off() {
    let frame = pair(true).write_with_immediate().remove(3);
    let tagged = |tag: &[u8]| [&frame[..12], tag, &frame[12..]].concat();
    for tag in [
        &[0x92, 0, 0, 7][..],
        &[0x93, 0, 0, 7, 0x81, 0, 0, 9],
        &[0xf1, 0xc1, 0, 0, 0, 9],
        &[0x89, 0x2f, 0x10, 0x40, 0, 9],
        &[0x89, 0x09, 1, 1, 0, 1, 0, 9],
    ] {
        assert_eq!(packet(&tagged(tag)).icrc, Icrc::Good, "{tag:x?}");
        for cut in 12..12 + tag.len() + 2 {
            assert!(Frame::decode(LinkType::ETHERNET, &tagged(tag)[..cut]).packet().is_none());
        }
    }
    let service = [0x0f, 0xc2, 2, 3, 0, 0, 1, 0xff];
    let behind = [&frame[..12], &[0x89, 0x4f], &service, &frame].concat();
    assert_eq!(packet(&behind).icrc, Icrc::Good);
    // The same in VXLAN-GPE, whose protocol is 4 then.
    let mut wrapped = Tunnel::Vxlan(4790).wrap(&[&service, &frame[..]].concat());
    (wrapped[42], wrapped[45]) = (0x0c, 4);
    assert_eq!(packet(&wrapped).icrc, Icrc::Good);
    wrapped[53] = 9;
    assert_eq!(other(&wrapped).to_string(), "NSH");
}

#[test]
fn tunnels_that_are_not_read_are_named_by_their_ports() {
    let frame = pair(true).write_with_immediate().remove(3);
    for (port, name) in [(1701, "L2TP"), (4341, "LISP"), (4500, "ESP in UDP"), (6343, "sFlow")] {
        let what = other(&Tunnel::Vxlan(port).wrap(&frame));
        assert_eq!((what.to_string().as_str(), what.may_hold_roce()), (name, true));
    }
    for (is_version_4, protocol_at) in [(true, 9), (false, 6)] {
        let frame = pair(is_version_4).write_with_immediate().remove(3);
        let mut in_udp = Tunnel::Vxlan(9_999).wrap(&frame);
        in_udp.drain(42..42 + 8 + 14);
        let length = in_udp.len() as u16;
        in_udp[16..18].copy_from_slice(&(length - 14).to_be_bytes());
        in_udp[38..40].copy_from_slice(&(length - 34).to_be_bytes());
        assert_eq!(other(&in_udp), NotRoce::PerhapsIp { port: 9_999 });
        in_udp[42 + protocol_at] = 6;
        assert_eq!(other(&in_udp), NotRoce::Udp, "no RoCE in it");
    }
    let mut geneve = Tunnel::Geneve.wrap(&frame);
    geneve[36..38].copy_from_slice(&9_999u16.to_be_bytes());
    assert_eq!(other(&geneve), NotRoce::PerhapsGeneve { port: 9_999 });
}

#[test]
fn pieces_of_two_packets_are_no_packet() {
    let frames = pair(true).write_then_read();
    // Both have the same identification; of each a piece is missing.
    let [one, other] = [6, 3].map(|at| fragments(&frames[at], 48));
    let mixed: Vec<&[u8]> = one[..1].iter().chain(&other[1..]).map(Vec::as_slice).collect();
    assert!(one.len() > 2 && other.len() == 2);
    let report = report_of(mixed);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!((report.packets, report.unread.get("IP fragment")), (0, Some(&2)));
}
