//! Pages of real and hostile captures, taken apart again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roce::capture::{Reader, Record};
use roce::synth::{Pair, conversation};
use roce::{Analysis, Names, Rule};
use roce_page::{
    Calls, Capture, Cause, Collector, Counter, Index, IndexRow, Page, Run, RunState, RunText, Traces,
};
use serde_json::Value;

/// Text that would break out of a page, in each way that there is.
const HOSTILE: &str = "</script></noscript></pre></title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&lt;{{data}}<!--\u{1b}[31m\u{202e}\u{200f}";

fn fixtures() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|file| file.extension().is_some_and(|it| it == "pcapng")).collect();
    files.sort();
    files
}

/// Collects the records that `next` gives.
fn collected<'a>(names: Names, records: impl IntoIterator<Item = Record<'a>>) -> Capture {
    let (mut analysis, mut collector) = (Analysis::new(names), Collector::new());
    for record in records {
        let frame = record.frame();
        collector.push(&record, &frame);
        analysis.push_frame(&record, &frame);
    }
    collector.finish("a.pcapng", analysis.finish())
}

fn of_file(file: &Path) -> (Capture, Vec<Vec<u8>>) {
    let bytes = std::fs::read(file).unwrap();
    let mut reader = Reader::new(&bytes[..]).unwrap();
    let (mut analysis, mut collector, mut frames) =
        (Analysis::new(Names::new()), Collector::new(), Vec::new());
    while let Some(record) = reader.next().unwrap() {
        let frame = record.frame();
        collector.push(&record, &frame);
        analysis.push_frame(&record, &frame);
        if frame.packet().is_some() {
            frames.push(record.data.to_vec());
        }
    }
    (collector.finish("a.pcapng", analysis.finish()), frames)
}

fn of_frames(frames: &[Vec<u8>]) -> Capture {
    let records = (1..).zip(frames).map(|(number, frame)| Record::ethernet(number, number * 1_000, frame));
    collected(Names::new(), records)
}

/// The content of the element that opens with `start`, up to its end tag.
fn element<'a>(html: &'a str, start: &str, end: &str) -> &'a str {
    let from = html.find(start).unwrap_or_else(|| panic!("no {start}")) + start.len();
    &html[from..from + html[from..].find(end).unwrap()]
}

fn data(html: &str) -> Value {
    serde_json::from_str(element(html, "<script type=\"application/json\" id=\"data\">", "</script>"))
        .unwrap()
}

/// A column, unpacked as the page's script does it.
fn unpacked(column: &Value) -> Vec<i64> {
    let numbers =
        |list: &Value| list.as_array().unwrap().iter().map(|it| it.as_i64().unwrap()).collect::<Vec<_>>();
    if column.is_array() {
        return numbers(column);
    }
    let (runs, is_steps) = match column.get("steps") {
        Some(steps) => (numbers(steps), true),
        None => (numbers(&column["runs"]), false),
    };
    let (mut out, mut last) = (Vec::new(), 0);
    for run in runs.chunks(2) {
        for _ in 0..run[1] {
            last = if is_steps { last + run[0] } else { run[0] };
            out.push(last);
        }
    }
    out
}

fn column(data: &Value, name: &str) -> Vec<i64> {
    unpacked(&data["packets"][name])
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

#[test]
fn hostile_text_is_text_everywhere() {
    let pair = Pair::new(1);
    let mut private_data = HOSTILE.as_bytes().to_vec();
    private_data.truncate(56);
    let frames = [pair.req(7471, &private_data), pair.rep(HOSTILE.as_bytes()), pair.rtu()];
    let names = Names::new().with(pair.active.address, HOSTILE).with(pair.passive.address, "<b>server");
    let records = (1..).zip(&frames).map(|(number, frame)| Record {
        comment: Some(HOSTILE),
        interface_name: Some(HOSTILE),
        ..Record::ethernet(number, 0, frame)
    });
    let capture = collected(names, records).remark(HOSTILE);
    let text = || HOSTILE.to_owned();
    let run = Run {
        state: RunState::Failed,
        headline: text(),
        summary: text(),
        ends: vec![text()],
        faults: vec![text()],
        expected: vec![text()],
        data: vec![text()],
        causes: vec![Cause { check: text(), text: format!("{HOSTILE}\n{HOSTILE}") }],
        expected_causes: vec![Cause { check: text(), text: text() }],
        facts: vec![(text(), text())],
        nodes: vec![text()],
        counters: vec![Counter { name: text(), values: vec![Some(1)] }],
        calls: vec![Calls::of_log(HOSTILE, &format!("[0.1] rdma_connect: {HOSTILE}"))],
        outputs: vec![RunText { title: text(), remark: text(), text: text() }],
    };
    let traces = Traces {
        before_name: text(),
        before: format!("a b {HOSTILE}\n{HOSTILE}"),
        after_name: text(),
        after: format!("a b c{HOSTILE}\n"),
    };
    let html = Page::new(HOSTILE, &capture).run(run).traces(traces).to_html();
    // The page's own: the data, the bytes, the script, and nothing else.
    assert_eq!(html.matches("<script").count(), 3);
    assert_eq!(html.matches("</script").count(), 3);
    assert_eq!(html.matches("</noscript").count(), 1);
    for markup in ["<img", "onerror=alert(2)>", "<b>server", "<!--", "\u{1b}", "\u{202e}", "\u{200f}"] {
        assert!(!html.contains(markup), "{markup:?}");
    }
    assert_eq!(
        html.matches("alert(1)").count(),
        html.matches("&lt;script&gt;alert(1)").count() + html.matches("\\u003cscript\\u003ealert(1)").count()
    );
    // It is there all the same, and what looks like a place in the template is no such place.
    assert!(html.matches("&lt;script&gt;alert(1)&lt;/script&gt;").count() > 12);
    assert!(html.contains("\\u{1b}[31m\\u{202e}\\u{200f}") && html.contains("{{data}}"));
    let data = data(&html);
    assert!(data["nodes"][0].as_str().unwrap().contains("<script>alert(1)"), "{:?}", data["nodes"]);
    let entry = IndexRow {
        name: text(),
        headline: text(),
        link: Some(text()),
        findings: vec![text()],
        ..IndexRow::default()
    };
    let index = Index { title: text(), summary: text(), entries: vec![entry], ..Index::default() }.to_html();
    assert!(!index.contains("<script") && !index.contains("<img"), "{index}");
}

#[test]
fn each_packet_finding_and_message_of_a_fixture_is_there() {
    for file in fixtures() {
        let (capture, frames) = of_file(&file);
        let html = Page::new("a", &capture).to_html();
        let (data, report) = (data(&html), &capture.report);
        let numbers: Vec<u64> = report.packet_lines().iter().map(|line| line.number).collect();
        let shown: Vec<u64> = column(&data, "number").iter().map(|it| *it as u64).collect();
        assert_eq!((shown.len() as u64, &shown), (report.packets, &numbers), "{}", file.display());
        assert_eq!(data["findings"].as_array().unwrap().len(), report.findings.len());
        let messages = data["messages"].get("first").map_or(0, |first| unpacked(first).len());
        assert_eq!(messages, report.messages.len());
        // The bytes are the frames', one behind the other.
        let blob = STANDARD.decode(element(&html, "id=\"bytes\">", "</script>")).unwrap();
        let mut at = 0;
        for (frame, kept) in frames.iter().zip(column(&data, "kept")) {
            let kept = kept as usize;
            assert_eq!(&blob[at..at + kept], &frame[..kept], "{}", file.display());
            at += kept;
        }
        assert_eq!(at, blob.len());
        // Without JavaScript each line of the trace is text.
        let text = element(&html, "<noscript>", "</noscript>");
        assert!(text.contains(&format!("roce trace 1: {} packets", report.packets)));
    }
}

#[test]
fn each_rule_that_is_broken_is_explained_in_place() {
    for rule in [Rule::RequestPsnGap, Rule::RequestRefused, Rule::IcrcMismatch, Rule::CaptureLostPackets] {
        let frames = conversation(rule);
        let records = (1..)
            .zip(&frames)
            .map(|(number, (time_us, frame))| Record::ethernet(number, time_us * 1_000, frame));
        let capture = collected(Names::new(), records);
        let html = Page::new("a", &capture).to_html();
        assert!(capture.report.findings.iter().any(|finding| finding.rule == rule));
        let explanation = rule.explanation().replace('\'', "&#39;").replace('"', "&quot;");
        assert!(html.contains(&explanation), "{rule}");
        assert_eq!(data(&html)["rules"][rule.name()]["title"], rule.title());
    }
}

/// Text that the page's script shows for a field.
fn shown(slot: &Value, strings: &Value, bytes: &[u8], own: &mut impl Iterator<Item = String>) -> String {
    let (start, length) = (number(&slot[2]), number(&slot[3]));
    let part = &bytes[start..start + length];
    let hex =
        |separator: &str| part.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(separator);
    match slot[4].as_str().unwrap() {
        "s" => strings[number(&slot[5])].as_str().unwrap().to_owned(),
        "o" => own.next().unwrap(),
        "d" => part.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)).to_string(),
        "x" => format!("0x{}", hex("")),
        "b" => hex(""),
        "m" => hex(":"),
        "4" => part.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
        other => panic!("notation {other}"),
    }
}

#[test]
fn fields_are_at_their_bytes() {
    let file = fixtures().into_iter().find(|file| file.ends_with("write_read.pcapng")).unwrap();
    let (capture, frames) = of_file(&file);
    let data = data(&Page::new("a", &capture).to_html());
    let strings = &data["strings"];
    let mut seen = BTreeSet::new();
    let own = unpacked(&data["values"]);
    let mut own = own.iter().map(|index| strings[*index as usize].as_str().unwrap().to_owned());
    for (at, frame) in frames.iter().enumerate() {
        let layout = &data["layouts"][column(&data, "layout")[at] as usize];
        let record = Record::ethernet(1, 0, frame);
        let packet = *record.frame().packet().unwrap();
        for slot in layout.as_array().unwrap() {
            let name = strings[number(&slot[1])].as_str().unwrap().to_lowercase().replace('_', " ");
            let value = shown(slot, strings, frame, &mut own);
            let bth = packet.bth.unwrap();
            match name.as_str() {
                "opcode" => assert_eq!(value, bth.opcode().0.to_string()),
                "psn" => assert_eq!(value, bth.psn().value().to_string()),
                "destination qpn" => assert_eq!(value, format!("{:#08x}", bth.destination_qpn())),
                "icrc" => assert_eq!(number(&slot[2]) + 4, frame.len()),
                _ => {}
            }
            seen.insert(name);
        }
    }
    assert_eq!(own.next(), None);
    for name in [
        "opcode",
        "psn",
        "destination qpn",
        "icrc",
        "total length",
        "source port",
        "payload",
        "va",
        "rkey",
        "syndrome",
        "msn",
        "local comm id",
    ] {
        assert!(seen.contains(name), "{name} of {seen:?}");
    }
}

#[test]
fn page_of_fifty_thousand_packets_is_bounded() {
    let pair = Pair::new(1);
    let payload = vec![7; 1024];
    let frames: Vec<Vec<u8>> = (0..49_000)
        .flat_map(|n| {
            let write = pair.request(0x0a, n).reth(0x5500_0000 + u64::from(n) * 1024, 0x1234, 1024);
            let ack = (n % 49 == 0).then(|| pair.response(0x11, n).aeth(0x1f, n + 1).build());
            std::iter::once(write.payload(&payload).ack_request().build()).chain(ack)
        })
        .collect();
    let capture = of_frames(&frames);
    let start = Instant::now();
    let html = Page::new("a", &capture).to_html();
    assert_eq!(frames.len(), 50_000);
    assert!(html.len() <= 15 << 20, "{} bytes", html.len());
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    let data = data(&html);
    assert_eq!(column(&data, "number").len(), frames.len());
    // Headers stay whole.
    assert!(column(&data, "kept").iter().all(|kept| *kept >= 54));
    if let Some(directory) = std::env::var_os("ROCE_PAGE_OUT") {
        std::fs::write(Path::new(&directory).join("fifty_thousand.html"), html).unwrap();
    }
}

#[test]
fn key_that_nobody_gave_out_is_no_region_and_stands_beside_the_one_that_was() {
    let pair = Pair::new(1);
    let (va, given, used) = (0x55e8_75c5_b000_u64, 0x584_u32, 0x585_u32);
    let private_data = [&va.to_be_bytes()[..], &given.to_be_bytes()].concat();
    let frames = [
        pair.req(7471, &[]),
        pair.rep(&private_data),
        pair.rtu(),
        pair.request(0x0a, 0).reth(va, used, 4).payload(b"four").ack_request().build(),
        pair.response(0x11, 0).aeth(0x62, 0).build(),
    ];
    let capture = of_frames(&frames);
    let responder = capture.report.names.get(pair.passive.address);
    let log = format!("[1.0] ibv_reg_mr: 4096 bytes at {va:#x}, lkey 0x1, rkey {given:#x}, access 0x7\n");
    let run = Run { calls: vec![Calls::of_log(responder, &log)], ..Run::default() };
    let html = Page::new("a", &capture).run(run).to_html();
    let data = data(&html);
    let regions: Vec<(&str, bool, Option<u64>)> = data["regions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["rkey"].as_str().unwrap(), it["unknown"].as_bool().unwrap(), it["length"].as_u64()))
        .collect();
    assert_eq!(regions, [("0x584", false, Some(4096)), ("0x585", true, None)]);
    assert!(data["regions"][1]["given"].as_str().unwrap().starts_with("0x584 ("), "{}", data["regions"]);
    assert!(html.contains("(rkey used: 0x585, given out: 0x584)"));
    let memory = unpacked(&data["messages"]["memory"])[0] as usize;
    assert_eq!(data["strings"][memory], "rkey 0x585, which nobody gave out");
    // The WRITE is refused by the NAK, which is about the WRITE.
    assert_eq!(column(&data, "arrival"), [0, 0, 0, 4, 0]);
    assert_eq!(column(&data, "about"), [0, 0, 0, 5, 4]);
    assert!(html.contains("was refused for good"));
    // The finding stands at the NAK, and leads to the WRITE as well.
    let listed = element(&html, "<ul class=\"findings\">", "</ul>");
    assert!(
        listed.contains("The request is <button type=\"button\" class=\"go\" data-packet=\"4\">"),
        "{listed}"
    );
}

#[test]
fn receive_that_is_posted_late_stands_between_its_rnr_nak_and_the_retry() {
    let pair = Pair::new(1);
    let send = || pair.request(0x04, 0).payload(b"four").ack_request().build();
    let frames = [
        send(),
        pair.response(0x11, 0).aeth(0x20, 0).build(),
        send(),
        pair.response(0x11, 0).aeth(0x1f, 1).build(),
    ];
    let capture = of_frames(&frames);
    let responder = capture.report.names.get(pair.passive.address);
    let qp = capture.report.messages[0].responder_qpn;
    // By the program's own clock it is a second; the wire says that it lies between the first packet and the third.
    let log = format!("[1.000000] ibv_post_recv: qp {qp}, wr_id 1, 4 bytes\n");
    let run = Run { calls: vec![Calls::of_log(responder.clone(), &log)], ..Run::default() };
    let html = Page::new("a", &capture).run(run).to_html();
    let plain: String = element(&html, "<dl class=\"story\">", "</dl>")
        .split('<')
        .filter_map(|piece| piece.split_once('>'))
        .map(|(_, text)| text)
        .collect();
    let told = format!(
        "found no RECV: packet 2 says so after 1.0 µs and asks to wait 655.36 ms at least. The {responder} posts a RECV after about 1.0 µs. \
         packet 3 is the same once more, after 2.0 µs. packet 4 answers, after 3.0 µs. All times count from packet 1."
    );
    assert!(plain.contains(&told), "{plain}");
    let data = data(&html);
    assert_eq!(unpacked(&data["calls"]["time"]), [1_000]);
    assert!(data["clocks"].as_array().unwrap().iter().any(|it| it == 1_000), "{}", data["clocks"]);
}

#[test]
fn lost_packet_is_named_with_its_recovery_and_is_what_a_finding_is_about() {
    let pair = Pair::new(1);
    let send = |n| pair.request(0x04, n).payload(b"four").ack_request().build();
    let frames = [
        send(0),
        send(1),
        send(2),
        pair.response(0x11, 1).aeth(0x60, 1).build(),
        send(1),
        send(2),
        pair.response(0x11, 2).aeth(0x1f, 3).build(),
    ];
    let records = (1..).zip(&frames).map(|(number, frame)| Record {
        comment: (number == 2).then_some("fate=dropped"),
        ..Record::ethernet(number, number * 1_000, frame)
    });
    let html = Page::new("a", &collected(Names::new(), records)).to_html();
    let story = element(&html, "<dl class=\"story\">", "</dl>");
    let plain: String =
        story.split('<').filter_map(|piece| piece.split_once('>')).map(|(_, text)| text).collect();
    assert!(
        plain.contains("packet 5 is the same once more, after 3.0 µs. packet 7 answers, after 5.0 µs. All times count from packet 2."),
        "{plain}"
    );
    let data = data(&html);
    let gap = data["findings"].as_array().unwrap().iter().find(|it| it[0] == "RequestPsnGap").unwrap();
    assert_eq!((gap[2].as_u64(), gap[4].as_u64()), (Some(3), Some(2)));
}

#[test]
fn page_needs_no_network() {
    for file in fixtures().into_iter().take(6) {
        let (capture, _) = of_file(&file);
        let html = Page::new("a", &capture).to_html();
        let style_and_script =
            [element(&html, "<style>", "</style>"), html.rsplit("<script>").next().unwrap()];
        for part in style_and_script {
            let foreign = part.replace("http://www.w3.org/2000/svg", "");
            for word in ["http:", "https:", "url(", "@import", "fetch(", "XMLHttpRequest", "import("] {
                assert!(!foreign.contains(word), "{word}");
            }
        }
        for markup in ["<link", "<iframe", "src=", "<base", "<form"] {
            assert!(!html.contains(markup), "{markup}");
        }
        assert!(html.contains("default-src &#39;none&#39;") || html.contains("default-src 'none'"));
    }
}

#[test]
fn numbers_that_are_left_out_are_those_of_frames_without_roce() {
    let mut arp = vec![0; 42];
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let frames = [arp, Pair::new(1).write_then_read()[0].clone()];
    let html = Page::new("x", &of_frames(&frames)).to_html();
    let figures = element(&html, "<p class=\"figures\">", "</p>");
    assert!(figures.starts_with("1 packet ") && figures.ends_with("1 frame without RoCE: ARP"), "{figures}");
}

#[test]
fn captures_without_packets_and_with_one_have_pages() {
    let none = of_frames(&[]);
    let html = Page::new("none", &none).to_html();
    assert!(html.contains("no packet of RoCE") && html.contains("0 packets"));
    let one = of_frames(&[Pair::new(1).write_with_immediate().remove(3)]);
    let html = Page::new("one", &one).to_html();
    assert_eq!(column(&data(&html), "number").len(), 1);
    // Four nodes, one of which talks to itself.
    let node = |last: u8| std::net::IpAddr::from([198, 51, 100, last]);
    let frame = |from, to| {
        roce::synth::FrameBuilder::new(node(from), node(to), roce::wire::Opcode(0x04))
            .payload(b"four")
            .build()
    };
    let four = of_frames(&[frame(1, 2), frame(3, 4), frame(4, 4), frame(2, 3)]);
    let data = data(&Page::new("four", &four).to_html());
    assert_eq!(data["nodes"].as_array().unwrap().len(), 4);
    assert_eq!(column(&data, "from")[2], column(&data, "to")[2]);
}

#[test]
fn damaged_frames_of_any_length_have_pages() {
    let frames = Pair::new(3).write_then_read();
    let cut: Vec<Vec<u8>> =
        frames.iter().flat_map(|frame| (0..frame.len().min(90)).map(|end| frame[..end].to_vec())).collect();
    let capture = of_frames(&cut);
    let data = data(&Page::new("cut", &capture).to_html());
    assert_eq!(column(&data, "number").len() as u64, capture.report.packets);
}
