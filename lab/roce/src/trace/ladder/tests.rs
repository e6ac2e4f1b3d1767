use std::net::IpAddr;

use super::*;
use crate::capture::Record;
use crate::synth::{FrameBuilder, Pair};
use crate::wire::{Opcode, Psn};
use crate::{Analysis, Names};

/// Names, comments and private data that would break out of a picture or a diagram.
const HOSTILE: &str = "</text><script>alert(1)</script>\";#%%{init}\n end\u{1b}[31m\u{202e}";

fn ladder_of(frames: impl IntoIterator<Item = Vec<u8>>, comments: &[&str], names: Names) -> Ladder {
    let mut analysis = Analysis::new(names);
    for (at, frame) in frames.into_iter().enumerate() {
        let record = Record::ethernet(at as u64 + 1, at as u64 * 1_000_000, &frame);
        analysis
            .push(&Record { comment: comments.get(at).copied().filter(|text| !text.is_empty()), ..record });
    }
    analysis.finish().ladder(&LadderOptions { title: "title".to_owned(), ..LadderOptions::default() })
}

fn ladder(frames: impl IntoIterator<Item = Vec<u8>>) -> Ladder {
    ladder_of(frames, &[], Names::new())
}

/// The texts of a picture, in order.
fn texts(svg: &str) -> Vec<String> {
    let text = |part: &str| {
        let (_, rest) = part.split_once('>').unwrap();
        let text = rest.split("</text>").next().unwrap();
        text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
    };
    svg.split("<text ").skip(1).map(text).collect()
}

/// Text of a diagram with its entity codes resolved.
fn resolved(text: &str) -> String {
    let mut parts = text.split('#');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_once(';').unwrap();
        out.push(char::from_u32(code.parse().unwrap()).unwrap());
        out.push_str(rest);
    }
    out
}

#[test]
fn every_output_has_the_same_labels() {
    let pair = Pair::new(1);
    let ladder = ladder(pair.write_then_read());
    let (svg, mermaid) = (texts(&ladder.to_svg()), resolved(&ladder.to_mermaid()));
    assert_eq!(ladder.labels().len(), pair.write_then_read().len());
    for label in ladder.labels() {
        for words in label.iter().filter(|words| !words.is_empty()) {
            assert!(svg.contains(words), "{words} of {svg:?}");
            assert!(mermaid.contains(words.as_str()), "{words} of {mermaid}");
        }
    }
}

#[test]
fn picture_has_nothing_that_a_renderer_leaves_out() {
    let svg = ladder(Pair::new(1).write_then_read()).to_svg();
    for part in [
        "<style",
        "class=",
        "style=",
        "tspan",
        "paint-order",
        "%",
        "href",
        "text-anchor",
        "<path",
        "transform",
    ] {
        assert!(!svg.contains(part), "{part}");
    }
    let all = |name: &str| svg.matches(name).count();
    assert_eq!(all("<text "), all("font-family="));
    assert_eq!(all("<text "), all("font-size="));
}

/// Texts of a picture with their places: line, left end, and right end in a font whose bold letters are a tenth wider.
fn placed(svg: &str) -> Vec<(i64, f64, f64, String)> {
    let texts = texts(svg);
    let tags = svg.split("<text ").skip(1).map(|part| part.split('>').next().unwrap());
    let mut placed: Vec<(i64, f64, f64, String)> = tags
        .zip(texts)
        .map(|(tag, text)| {
            let value =
                |name: &str| tag.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap();
            let number = |name| value(name).parse::<f64>().unwrap();
            let wider = if tag.contains("bold") { 1.1 } else { 1.0 };
            let columns = unicode_width::UnicodeWidthStr::width(text.as_str()) as f64;
            let (x, end) = (number("x"), columns * number("font-size") * 0.602 * wider);
            (number("y") as i64, x, x + end, text)
        })
        .collect();
    placed.sort_by(|a, b| (a.0, a.1).partial_cmp(&(b.0, b.1)).unwrap());
    placed
}

#[test]
fn no_text_is_over_another_whatever_the_names_and_the_font() {
    let pair = Pair::new(1);
    for [active, passive] in [
        ["client", "server"],
        [
            "a-node-with-a-name-that-goes-on-and-on-and-never-comes-to-its-end",
            "服务器的名字很长很长很长很长很长很长很长很长很长很长很长很长",
        ],
        ["x", "another-node-with-a-name-that-goes-on-and-on-and-never-comes-to-its-end"],
    ] {
        let names = Names::new().with(pair.active.address, active).with(pair.passive.address, passive);
        let ladder =
            ladder_of(pair.write_then_read(), &["fate=dropped", "", "", "fate=delayed 20 ms"], names);
        let svg = ladder.to_svg();
        let placed = placed(&svg);
        for pair in placed.windows(2) {
            let [(line, _, end, left), (other, start, ..)] = pair else { unreachable!() };
            assert!(line != other || end <= start, "{left:?} and {:?} at {line}: {end} > {start}", pair[1].3);
        }
        let wide: f64 = svg.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        assert!(placed.iter().all(|(_, start, end, _)| *start >= 0.0 && *end <= wide), "{wide}: {placed:?}");
    }
}

#[test]
fn words_of_a_pause_are_on_paper_where_a_lane_crosses_them() {
    let (one, mut other) = (Pair::new(1), Pair::new(2));
    other.active.address = IpAddr::from([198, 51, 100, 3]);
    let frames = [one.req(1, b""), other.req(1, b""), one.rep(b""), other.rep(b"")];
    let mut analysis = Analysis::new(Names::new());
    for ((number, ms), frame) in (1..).zip([0, 1, 2, 102]).zip(&frames) {
        analysis.push(&Record::ethernet(number, ms * 1_000_000, frame));
    }
    let svg = analysis.finish().ladder(&LadderOptions::default()).to_svg();
    let lines: Vec<&str> = svg.lines().collect();
    let at = lines.iter().position(|line| line.contains("100.00 ms pass<")).unwrap();
    assert!(lines[at - 1].starts_with("<rect ") && lines[at - 2].starts_with("<polyline "), "{svg}");
}

#[test]
fn what_a_node_sends_to_itself_goes_between_two_lanes_and_back() {
    let node = IpAddr::from([198, 51, 100, 1]);
    let frame = |opcode, qpn| FrameBuilder::new(node, node, Opcode(opcode)).destination_qpn(qpn);
    let ladder = ladder([frame(0x04, 9).payload(b"four").build(), frame(0x11, 8).aeth(0x1f, 1).build()]);
    let ends: Vec<_> = ladder.arrows.iter().map(|arrow| (arrow.from, arrow.to)).collect();
    assert_eq!((ladder.lanes.len(), ends), (2, vec![(0, 1), (1, 0)]));
}

#[test]
fn every_node_has_a_lane_and_arrows_go_between_those_that_speak() {
    let (one, mut other) = (Pair::new(1), Pair::new(2));
    other.active.address = IpAddr::from([198, 51, 100, 3]);
    let addresses = [one.passive.address, one.active.address, other.active.address];
    let names =
        Names::new().with(addresses[0], "server").with(addresses[1], "client").with(addresses[2], "client2");
    let frames = one.write_then_read().into_iter().chain(other.write_then_read());
    let ladder = ladder_of(frames, &[], names);
    assert_eq!(ladder.lanes, ["client", "client2", "server"]);
    let ends: std::collections::BTreeSet<(usize, usize)> =
        ladder.arrows.iter().map(|arrow| (arrow.from, arrow.to)).collect();
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [(0, 2), (1, 2), (2, 0), (2, 1)]);
    assert!(texts(&ladder.to_svg()).contains(&"client2".to_owned()));
    assert!(ladder.to_mermaid().contains("participant n2 as server"));
}

#[test]
fn queue_pairs_are_told_apart_where_there_are_several() {
    let one = Pair::new(1).write_then_read();
    let two = Pair::new(2).write_with_immediate();
    assert!(!ladder(one.clone()).to_svg().contains("qp1 &gt;"));
    let both = ladder([one, two].concat()).to_svg();
    assert!(both.contains(">qp1 &gt; qp1, ") && both.contains(">qp2 &gt; qp2, "), "{both}");
}

#[test]
fn a_long_picture_says_again_whose_lanes_they_are() {
    let pair = Pair::new(1);
    let names = |count: u32| {
        let write = |n: u32| pair.request(0x04, n).psn(Psn::new(n)).payload(b"four").build();
        ladder((0..count).map(write)).to_svg().matches(">node2<").count()
    };
    assert_eq!([names(10), names(40), names(41), names(81)], [1, 2, 3, 4]);
}

#[test]
fn fates_have_signs_of_their_own() {
    let pair = Pair::new(1);
    let frame = |psn| pair.request(0x04, psn).payload(b"four").build();
    let comments = [
        "fate=dropped",
        "fate=delayed 20 ms",
        "fate=corrupted",
        "fate=altered-of #3",
        "fate=released #2",
        "fate=duplicate-of #5",
    ];
    let psns = [0, 1, 2, 2, 1, 1];
    let ladder = ladder_of(psns.map(frame), &comments, Names::new());
    let shown: Vec<(ArrowLength, LadderMark)> =
        ladder.arrows.iter().map(|arrow| (arrow.way, arrow.marks[0])).collect();
    assert_eq!(
        shown,
        [
            (ArrowLength::UpToTheSwitch, LadderMark::Lost),
            (ArrowLength::UpToTheSwitch, LadderMark::Late),
            (ArrowLength::UpToTheSwitch, LadderMark::Altered),
            (ArrowLength::FromTheSwitch, LadderMark::Altered),
            (ArrowLength::FromTheSwitch, LadderMark::Late),
            (ArrowLength::FromTheSwitch, LadderMark::Repeated),
        ]
    );
    let svg = ladder.to_svg();
    for words in ["lost", "late", "altered", "repeated"] {
        assert!(texts(&svg).iter().any(|text| text == words), "{words} in the legend");
    }
    assert!(ladder.to_mermaid().contains("-xn") && ladder.to_mermaid().contains("LOST"));
}

#[test]
fn hostile_text_stays_text() {
    let pair = Pair::new(1);
    let frames = [pair.req(7471, b"x"), pair.rep(&HOSTILE.as_bytes()[..40]), pair.rtu()];
    let names = Names::new().with(pair.active.address, HOSTILE).with(pair.passive.address, "end");
    let ladder = ladder_of(frames, &[HOSTILE; 3], names);
    let (svg, mermaid) = (ladder.to_svg(), ladder.to_mermaid());
    for text in [&svg, &mermaid] {
        assert!(
            !text.contains("<script") && !text.contains('\u{1b}') && !text.contains('\u{202e}'),
            "{text}"
        );
    }
    assert!(texts(&svg).iter().any(|text| text.contains("<script>alert(1)")), "{svg}");
    // A line each: what begins it is ours, and nothing that ends a label is in it.
    for line in mermaid.lines().skip(1) {
        let line = line.trim();
        assert!(
            ["title ", "participant n", "n0", "n1", "Note over n"]
                .iter()
                .any(|start| line.starts_with(start)),
            "{line}"
        );
        assert!(!line.contains('%') && !line.contains('<') && !line.contains('"'), "{line}");
    }
    assert!(
        mermaid.contains("participant n1 as #101;nd") || mermaid.contains("participant n0 as #101;nd"),
        "{mermaid}"
    );
    assert!(resolved(&mermaid).contains("<script>alert(1)"), "{mermaid}");
}

#[test]
fn limit_and_range_choose_packets() {
    let pair = Pair::new(1);
    let mut analysis = Analysis::new(Names::new());
    for (at, frame) in pair.write_then_read().iter().enumerate() {
        analysis.push(&Record::ethernet(at as u64 + 1, 0, frame));
    }
    let report = analysis.finish();
    let numbers = |options: &LadderOptions| {
        let ladder = report.ladder(options);
        (ladder.arrows.iter().map(|arrow| arrow.number).collect::<Vec<_>>(), ladder.more)
    };
    let all = LadderOptions::default();
    let ranged = LadderOptions { packets: Some(3..=5), ..all.clone() };
    assert_eq!(numbers(&ranged), (vec![3, 4, 5], 0));
    assert_eq!(numbers(&LadderOptions { limit: 2, ..ranged }), (vec![3, 4], 1));
    assert_eq!(numbers(&LadderOptions { limit: 1, ..all.clone() }), (vec![1], report.packets - 1));
    assert!(report.ladder(&LadderOptions { limit: 1, ..all }).to_svg().contains("more packets<"));
}

#[test]
fn nothing_is_a_picture_and_a_diagram_too() {
    let none = ladder([]);
    assert!(none.is_empty() && none.to_svg().contains("no packet"));
    assert_eq!(none.to_mermaid(), "sequenceDiagram\n    title title\n    participant n0 as no packet\n");
}

#[test]
fn diagram_is_never_longer_than_mermaid_takes() {
    let pair = Pair::new(1);
    let write = |n: u32| pair.request(0x04, n).payload(b"four").build();
    let ladder = ladder((0..900).map(write));
    let diagram = ladder.to_mermaid();
    assert!(diagram.len() < 50_000 && diagram.contains("more packets"), "{}", diagram.len());
}
