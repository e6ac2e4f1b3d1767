//! The parts of a page that are plain HTML, there without JavaScript too.

use std::fmt::Write as _;

use roce::{Difference, Evidence, Fate, Finding, MemoryLine, PacketLine, Refusal, Report, Rule, Side};

use crate::answers::{self, LinkedLines, Mishap, MishapKind};
use crate::calls::{Calls, duration, stamp};
use crate::compare::{Compared, ComparedRow, Traces};
use crate::frames::Capture;
use crate::run::{Cause, Run, RunState};
use crate::text::{count, escape};

/// Findings and connections that are listed; a page of many says how many more there are.
const LISTED: usize = 200;

/// Calls of a program that are listed.
const CALLS_LISTED: usize = 2_000;

/// Title, verdict, and facts.
pub(crate) fn head(title: &str, run: &Run, capture: &Capture, linked: &LinkedLines) -> String {
    let report = &capture.report;
    let mut out = String::new();
    let (class, sign, words) = (run.state.class(), run.state.sign(), run.state.words());
    let _ = write!(out, "<h1>{}</h1>", escape(title));
    let is_meant = !run.expected.is_empty() || !run.expected_causes.is_empty();
    let words = match run.state {
        RunState::Passed if is_meant => "passed: what it makes go wrong went wrong, as expected",
        _ => words,
    };
    if run.state != RunState::NotJudged {
        let _ = write!(
            out,
            "<p class=\"verdict {class}\"><span class=\"sign\" aria-hidden=\"true\">{sign}</span> <strong>{words}</strong> \
             <span class=\"headline\">{}</span></p>",
            escape(&run.headline)
        );
    }
    if !run.summary.is_empty() {
        let _ = write!(out, "<p class=\"summary\">{}</p>", escape(&run.summary));
    }
    if !run.ends.is_empty() {
        let _ = write!(out, "<p class=\"exits\">{}</p>", escape(&run.ends.join(" · ")));
    }
    story(&mut out, run, capture, linked);
    let mut figures = vec![
        count(report.packets, "packet"),
        count(report.messages.len() as u64, "message"),
        count(report.connections.len() as u64, "connection"),
        count(report.findings.len() as u64, "finding"),
    ];
    if report.retransmissions.total() > 0 {
        figures.push(format!("sent again: {}", report.retransmissions));
    }
    figures.extend(others(report));
    let _ = write!(out, "<p class=\"figures\">{}</p>", figures.join(" · "));
    let mut remarks = capture.remarks.clone();
    if report.packets_untraced > 0 {
        let shown = report.packets - report.packets_untraced;
        remarks.push(format!("This page is of the first {shown} of {} packets.", report.packets));
    }
    if report.lost_by_capture > 0 {
        remarks.push(format!("The capture says that it lost {}.", count(report.lost_by_capture, "packet")));
    }
    for remark in remarks {
        let _ = write!(out, "<p class=\"remark\">{}</p>", escape(&remark));
    }
    if !run.facts.is_empty() {
        out.push_str(
            "<details class=\"facts\"><summary>Machines, time, and how to run it again</summary><dl>",
        );
        for (name, value) in &run.facts {
            let _ = write!(out, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value));
        }
        out.push_str("</dl></details>");
    }
    out
}

/// Frames that are counted and not shown; numbers of packets are those of the capture.
fn others(report: &Report) -> Option<String> {
    let others = report.records.saturating_sub(report.packets);
    let kinds: Vec<&str> = report.not_roce.keys().map(String::as_str).collect();
    (others > 0).then(|| format!("{} without RoCE: {}", count(others, "frame"), escape(&kinds.join(", "))))
}

/// Words beside the packets: how their names and numbers are to be read.
pub(crate) fn numbers(report: &Report, linked: &LinkedLines) -> String {
    let others = others(report).map_or_else(String::new, |others| {
        format!("Numbers are those of the capture, and some are left out: it has {others}. ")
    });
    let requester =
        linked.lines.iter().find_map(|line| line.psn_offset.as_ref()).map(|(node, _)| escape(node));
    let psn = requester.map_or_else(String::new, |node| {
        format!(
            "The PSN <code>{node}+1</code> is the second of {node}’s requests on a connection, <code>+0</code> the first; an answer has the PSN of what it \
             answers. MSN counts the messages that the responder has done; AckReq asks for an answer. "
        )
    });
    format!("{others}{psn}GSI is the queue pair that connection management (CM) uses.")
}

/// Mishaps that are told at the top.
const MISHAPS: usize = 5;

/// Lines on what was made to go wrong, what came of it, and whether the data is right.
fn story(out: &mut String, run: &Run, capture: &Capture, linked: &LinkedLines) {
    let told = |mishap: &Mishap<'_>| recovery(mishap, run, capture, linked);
    let escaped = |sentences: &[String]| sentences.iter().map(|it| escape(it)).collect::<Vec<_>>();
    let mishaps = answers::mishaps(linked, MISHAPS);
    let rows = [
        ("on purpose", escaped(&run.faults)),
        ("at the switch", met(&linked.lines)),
        ("what came of it", mishaps.iter().map(told).collect()),
        ("as expected", escaped(&run.expected)),
        ("data", escaped(&run.data)),
    ];
    if rows.iter().all(|(_, sentences)| sentences.is_empty()) {
        return;
    }
    out.push_str("<dl class=\"story\">");
    for (name, sentences) in rows.iter().filter(|(_, sentences)| !sentences.is_empty()) {
        let _ = write!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", sentences.join("<br>"));
    }
    out.push_str("</dl>");
}

/// A packet as a button that leads to it.
fn packet_button(number: u64) -> String {
    format!("<button type=\"button\" class=\"go\" data-packet=\"{number}\">packet {number}</button>")
}

/// Name and PSN of a packet.
fn packet_words(line: &PacketLine) -> String {
    let psn = if line.psn.is_empty() { String::new() } else { format!(" {}", line.psn) };
    escape(&format!("{}{psn}", line.words))
}

/// The packets that the switch did not simply give on.
fn met(lines: &[PacketLine]) -> Vec<String> {
    let done = |line: &PacketLine| match &line.fate {
        Fate::Dropped => Some("dropped".to_owned()),
        Fate::LinkCut => Some("lost, the link was cut".to_owned()),
        Fate::PortFull => Some("lost, the port was full".to_owned()),
        Fate::Delayed { delay_ms } => Some(format!("held back for {delay_ms} ms")),
        Fate::Reordered => Some("held back until others had passed".to_owned()),
        Fate::Corrupted => Some("changed".to_owned()),
        Fate::Truncated => Some("cut short".to_owned()),
        Fate::EcnMarked | Fate::QueueMarked => Some("marked “congestion experienced”".to_owned()),
        Fate::DuplicateOf { number } => Some(format!("given on once more, after packet {number}")),
        _ => None,
    };
    let all: Vec<(&PacketLine, String)> = lines.iter().filter_map(|line| Some((line, done(line)?))).collect();
    let words = |(line, done): &(&PacketLine, String)| {
        format!("{} ({}): {done}", packet_button(line.number), packet_words(line))
    };
    let mut shown: Vec<String> = all.iter().take(MISHAPS).map(words).collect();
    if all.len() > MISHAPS {
        shown.push(format!("and {}", count((all.len() - MISHAPS) as u64, "more packet")));
    }
    shown
}

/// Sentences on a packet that went wrong, and on what made it good.
fn recovery(mishap: &Mishap<'_>, run: &Run, capture: &Capture, linked: &LinkedLines) -> String {
    let Mishap { line, what, again, done, repeats } = mishap;
    let after = |other: &PacketLine| duration(i128::from(other.timestamp_ns) - i128::from(line.timestamp_ns));
    let about = linked.place(line.number).and_then(|place| linked.links.get(place));
    let nak = about.and_then(|link| linked.place(link.about)).and_then(|place| linked.lines.get(place));
    let told = nak.map_or_else(String::new, |nak| {
        let wait = nak.details.strip_prefix("RNR NAK ").and_then(|rest| rest.split(" msn").next());
        let wait =
            wait.map_or_else(String::new, |wait| format!(" and asks to wait {} at least", escape(wait)));
        format!(": {} says so after {}{wait}", packet_button(nak.number), after(nak))
    });
    let went = match what {
        MishapKind::Lost => "was lost",
        MishapKind::NotReady => "found no RECV",
        MishapKind::Refused => "was refused for good",
    };
    let at = stamp(i128::from(line.timestamp_ns) - i128::from(capture.first_ns));
    let mut sentences =
        vec![format!("{} ({}, at {at}) {went}{told}", packet_button(line.number), packet_words(line))];
    match (what, again, done) {
        (MishapKind::Refused, ..) => sentences.push("It is not sent again".to_owned()),
        (_, None, None) if *repeats == 0 => sentences.push("It is not sent again".to_owned()),
        (_, None, None) => {
            sentences.push(format!("It is sent again {}, and never taken", count(*repeats as u64, "time")));
        }
        (_, again, done) => {
            sentences.extend(again.and_then(|again| receive_posted(line, again, run, capture, linked)));
            let again = again
                .map(|it| format!("{} is the same once more, after {}", packet_button(it.number), after(it)));
            let done = done.map(|it| format!("{} answers, after {}", packet_button(it.number), after(it)));
            sentences.extend(again);
            sentences.extend(done);
            sentences.push(format!("All times count from packet {}", line.number));
        }
    }
    sentences.join(". ") + "."
}

/// The RECV that the responder posted between a request that found none and the same once more.
fn receive_posted(
    line: &PacketLine,
    again: &PacketLine,
    run: &Run,
    capture: &Capture,
    linked: &LinkedLines,
) -> Option<String> {
    let node = capture.report.names.get(line.ends[1]);
    let message = linked.place(line.number).and_then(|place| linked.links.get(place))?.message?;
    let qp = capture.report.messages.get(message)?.responder_qpn.into();
    let span = i128::from(line.timestamp_ns)..=i128::from(again.timestamp_ns);
    let posted = |program: &Calls| {
        let offset = program.offset(capture, linked);
        let time_ns = program.receives_posted(qp, offset).find(|time_ns| span.contains(time_ns))?;
        Some((time_ns, offset.uncertainty_ns().unwrap_or(0)))
    };
    let (time_ns, doubt_ns) = run.calls.iter().filter(|program| program.node == node).find_map(posted)?;
    let after_ns = time_ns - i128::from(line.timestamp_ns);
    let after = if doubt_ns < 500_000 {
        duration(after_ns)
    } else {
        format!("{} ms", (after_ns + 500_000) / 1_000_000)
    };
    Some(format!("The {} posts a RECV after about {after}", escape(&node)))
}

/// Failed checks, and what went wrong as expected.
pub(crate) fn causes(run: &Run) -> String {
    cause_list("causes", "What is wrong", &run.causes)
        + &cause_list("expected", "What went wrong, as expected", &run.expected_causes)
}

fn cause_list(id: &str, title: &str, causes: &[Cause]) -> String {
    let mut out = String::new();
    for (index, cause) in causes.iter().enumerate() {
        let (line, rest) = cause.text.split_once('\n').unwrap_or((&cause.text, ""));
        let first = if index == 0 { " first" } else { "" };
        let _ = write!(
            out,
            "<li class=\"cause{first}\"><p><span class=\"check\">{}</span> {}</p>",
            escape(&cause.check),
            escape(line)
        );
        if !rest.is_empty() {
            let _ = write!(out, "<pre tabindex=\"0\">{}</pre>", escape(rest));
        }
        out.push_str("</li>");
    }
    if out.is_empty() {
        return out;
    }
    format!(
        "<section id=\"{id}\" aria-labelledby=\"h-{id}\"><h2 id=\"h-{id}\">{title}</h2><ol class=\"causes\">{out}</ol></section>"
    )
}

/// Broken rules, each with what the rule says.
pub(crate) fn findings(report: &Report, linked: &LinkedLines) -> String {
    let mut out = String::from(
        "<section id=\"findings\" aria-labelledby=\"h-findings\"><h2 id=\"h-findings\">Findings</h2>",
    );
    if report.findings.is_empty() {
        let words = if report.packets == 0 {
            "The capture has no packet of RoCE, so no rule could be broken."
        } else {
            "No rule is broken."
        };
        let _ = write!(out, "<p class=\"quiet\">{words}</p></section>");
        return out;
    }
    out.push_str("<ul class=\"findings\">");
    let lines = report.finding_lines();
    for (finding, line) in report.findings.iter().zip(&lines).take(LISTED) {
        let severity = finding.severity.to_string();
        let evidence = evidence(report, finding, &line.evidence);
        let place = linked.place(finding.packet).filter(|_| finding.rule == Rule::RequestRefused);
        let about = place.and_then(|place| linked.links.get(place)).map_or(0, |link| link.about);
        let refused =
            if about == 0 { String::new() } else { format!(" The request is {}.", packet_button(about)) };
        let missing = answers::missing_of(finding, linked).map_or_else(String::new, |number| {
            format!(
                " The fault is {}, which did not arrive; packet {} only shows it.",
                packet_button(number),
                finding.packet
            )
        });
        let _ = write!(
            out,
            "<li class=\"finding {severity}\"><p><span class=\"check\">{severity}</span> <strong>{}</strong> \
             {} <span class=\"where\">{} {}</span></p>\
             <p>{}: <em>{}</em>.{refused}{missing}</p><details><summary>What the rule says</summary><p>{}</p><p class=\"quiet\">{}</p></details></li>",
            finding.rule.name(),
            packet_button(finding.packet),
            escape(&line.direction),
            escape(&line.psn),
            escape(&sentence(finding.rule.title())),
            escape(&evidence),
            escape(finding.rule.explanation()),
            escape(finding.rule.source()),
        );
    }
    out.push_str("</ul>");
    more(&mut out, report.findings.len(), "finding");
    out.push_str("</section>");
    out
}

/// A finding's evidence; of a refused key with both keys, which a trace that is held against others leaves out.
pub(crate) fn evidence(report: &Report, finding: &Finding, words: &str) -> String {
    let Evidence::Refusal(Refusal { rkey: Some(used), difference: Some(difference), .. }) = &finding.evidence
    else {
        return words.to_owned();
    };
    let given: Vec<String> = match difference {
        Difference::KeySwapped(known) | Difference::KeyFlipped(known) => vec![format!("{known:#x}")],
        Difference::KeyUnknown | Difference::NeverAdvertised => {
            let is_its = |line: &&MemoryLine| line.node == finding.source && line.rkey != *used;
            report.memory_lines().iter().filter(is_its).map(|line| format!("{:#x}", line.rkey)).collect()
        }
        _ => return words.to_owned(),
    };
    let given = if given.is_empty() { "none is known".to_owned() } else { given.join(", ") };
    format!("{words} (rkey used: {used:#x}, given out: {given})")
}

fn more(out: &mut String, all: usize, what: &str) {
    if let Some(left) = all.checked_sub(LISTED).filter(|left| *left > 0) {
        let _ = write!(out, "<p class=\"quiet\">and {} more</p>", count(left as u64, what));
    }
}

/// A clause as the start of a sentence.
fn sentence(clause: &str) -> String {
    let mut characters = clause.chars();
    let first: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
    first + characters.as_str()
}

/// Two traces side by side.
pub(crate) fn compared(traces: &Traces, compared: &Compared) -> String {
    let mut out = format!(
        "<section id=\"compared\" aria-labelledby=\"h-compared\"><h2 id=\"h-compared\">What differs</h2>\
         <p><strong>{}.</strong> Rows stand beside the rows of the same meaning.</p>\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Rows of both\"><table class=\"compared\">\
         <thead><tr><th scope=\"col\"><span class=\"unseen\">change</span></th><th scope=\"col\">{}</th><th scope=\"col\">{}</th></tr></thead>",
        sentence(&compared.words()),
        escape(&traces.before_name),
        escape(&traces.after_name)
    );
    let line = |class: &str, mark: &str, words: &str, left: &str, right: &str| {
        format!(
            "<tr class=\"{class}\"><td><span aria-hidden=\"true\">{mark}</span><span class=\"unseen\">{words}</span></td>\
             <td><code>{left}</code></td><td><code>{right}</code></td></tr>"
        )
    };
    out.push_str("<tbody>");
    for row in &compared.rows {
        match row {
            ComparedRow::Same(text) => out.push_str(&line("same", "", "same", &escape(text), &escape(text))),
            ComparedRow::Gone(text) => out.push_str(&line("gone", "−", "gone", &escape(text), "")),
            ComparedRow::New(text) => out.push_str(&line("new", "+", "new", "", &escape(text))),
            ComparedRow::Changed([left, right]) => {
                out.push_str(&line("changed", "≠", "changed", &pieces(left, "del"), &pieces(right, "ins")));
            }
            ComparedRow::Skipped(lines) => {
                let text = escape(&lines.join("\n"));
                let _ = write!(
                    out,
                    "<tr class=\"skipped\"><td></td><td colspan=\"2\"><details><summary>{} alike</summary><pre>{text}</pre></details></td></tr>",
                    count(lines.len() as u64, "row")
                );
            }
        }
    }
    out.push_str("</tbody></table></div></section>");
    out
}

fn pieces(pieces: &[(bool, String)], tag: &str) -> String {
    let piece = |(is_changed, text): &(bool, String)| {
        let text = escape(text);
        if *is_changed { format!("<{tag}>{text}</{tag}>") } else { text }
    };
    pieces.iter().map(piece).collect()
}

/// Connections with both queue pairs.
pub(crate) fn connections(report: &Report) -> String {
    if report.connections.is_empty() {
        return String::new();
    }
    let names = report.connection_names();
    let mut out = String::from(
        "<section id=\"connections\" aria-labelledby=\"h-connections\"><h2 id=\"h-connections\">Queue pairs</h2>\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of queue pairs\"><table><thead><tr>\
         <th scope=\"col\">connection</th><th scope=\"col\">queue pair</th><th scope=\"col\">number</th><th scope=\"col\">first PSN</th>\
         <th scope=\"col\">packets that arrived</th><th scope=\"col\">their payload</th><th scope=\"col\">management</th><th scope=\"col\">path</th></tr></thead><tbody>",
    );
    for (index, connection) in report.connections.iter().enumerate().take(LISTED) {
        for (side, name) in
            [Side::Active, Side::Passive].into_iter().zip(names.get(index).into_iter().flatten())
        {
            let end = connection.endpoint(side);
            let said: Vec<&str> =
                connection.management.iter().filter(|(by, _)| *by == side).map(|(_, name)| *name).collect();
            let said = if said.is_empty() { "–".to_owned() } else { format!("sent {}", said.join(", ")) };
            let _ = write!(out, "<tr>");
            if side == Side::Active {
                let _ = write!(out, "<th scope=\"rowgroup\" rowspan=\"2\">{}</th>", index + 1);
            }
            let number = end.qpn.map_or_else(|| "?".to_owned(), |qpn| format!("{qpn:#08x}"));
            let psn = end.psn_first.map_or_else(|| "?".to_owned(), |psn| psn.to_string());
            let _ = write!(
                out,
                "<td>{}</td><td><code>{number}</code></td><td><code>{psn}</code></td><td>{}</td><td>{}</td><td>{said}</td>",
                escape(name),
                end.packets,
                count(end.payload_bytes, "byte")
            );
            if side == Side::Active {
                let _ = write!(out, "<td rowspan=\"2\">{}</td>", escape(&path(connection)));
            }
            out.push_str("</tr>");
        }
    }
    out.push_str("</tbody></table></div>");
    more(&mut out, report.connections.len(), "connection");
    out.push_str("</section>");
    out
}

fn path(connection: &roce::Connection) -> String {
    let mut parts = Vec::new();
    if let Some(space) = connection.port_space {
        parts.push(space.to_string());
    }
    parts.extend(connection.path_mtu_bytes.map(|bytes| format!("MTU {bytes} bytes")));
    parts.extend(connection.ack_timeout_ns.map(|ns| format!("ACK timeout {:.1} ms", ns as f64 / 1e6)));
    parts.extend(connection.retry_count.map(|count| format!("retry count {count}")));
    if connection.retransmissions.total() > 0 {
        parts.push(format!("sent again: {}", connection.retransmissions));
    }
    parts.join(", ")
}

/// Calls of the programs that log them, by their own clock and by the capture's.
pub(crate) fn calls(run: &Run, capture: &Capture, linked: &LinkedLines) -> String {
    let programs: Vec<&Calls> = run.calls.iter().filter(|program| !program.is_empty()).collect();
    if programs.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<section id=\"programs\" aria-labelledby=\"h-programs\"><h2 id=\"h-programs\">Verbs calls and completions</h2>\
         <p class=\"quiet\">Each program logs them by a clock of its own. It is matched with the wire’s by what cannot be otherwise: nothing is posted \
         after its packet, nothing completes before its answer, a RECV is posted after the request that found none, no CM event comes before the message \
         that makes it (to the side that disconnects, the DREP). \
         Where that leaves a range, the middle of it is shown.</p>",
    );
    for program in programs {
        let offset = program.offset(capture, linked);
        let _ = write!(
            out,
            "<details><summary>{}: {} <span class=\"quiet\">{}</span></summary><pre tabindex=\"0\">",
            escape(&program.node),
            count(program.calls.len() as u64, "line"),
            escape(&offset.words())
        );
        for call in program.calls.iter().take(CALLS_LISTED) {
            let own = call.time_ns as f64 / 1e9;
            let text = escape(&call.text);
            let _ = match offset.ns() {
                None => writeln!(out, "[{own:.6}] {text}"),
                Some(ns) => {
                    let wire = i128::from(call.time_ns) + ns - i128::from(capture.first_ns);
                    writeln!(out, "[{own:.6}] {:>12}  {text}", stamp(wire))
                }
            };
        }
        let left = program.calls.len().saturating_sub(CALLS_LISTED) + program.left_out;
        if left > 0 {
            let _ = writeln!(out, "… {left} more lines: they are in the program’s output");
        }
        out.push_str("</pre></details>");
    }
    out.push_str("</section>");
    out
}

/// Counters of the RDMA devices.
pub(crate) fn counters(run: &Run) -> String {
    if run.counters.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<section id=\"counters\" aria-labelledby=\"h-counters\"><h2 id=\"h-counters\">Counters</h2><details><summary>How far the counters of both devices moved</summary>\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of counters\"><table><thead><tr><th scope=\"col\">counter</th>",
    );
    for node in &run.nodes {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(node));
    }
    out.push_str("</tr></thead><tbody>");
    for counter in &run.counters {
        let is_still = counter.values.iter().all(|value| value.unwrap_or(0) == 0);
        let class = if is_still { " class=\"quiet\"" } else { "" };
        let _ = write!(out, "<tr{class}><th scope=\"row\"><code>{}</code></th>", escape(&counter.name));
        for value in &counter.values {
            let _ = match value {
                Some(value) => write!(out, "<td>{value}</td>"),
                None => write!(out, "<td>–</td>"),
            };
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div></details></section>");
    out
}

/// Outputs of programs, and logs.
pub(crate) fn outputs(run: &Run) -> String {
    if run.outputs.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<section id=\"outputs\" aria-labelledby=\"h-outputs\"><h2 id=\"h-outputs\">Programs and kernels</h2>",
    );
    for output in &run.outputs {
        let (title, remark) = (escape(&output.title), escape(&output.remark));
        let _ = write!(out, "<details><summary>{title} <span class=\"quiet\">{remark}</span></summary>");
        if output.text.trim().is_empty() {
            out.push_str("<p class=\"quiet\">nothing</p></details>");
        } else {
            let _ = write!(out, "<pre tabindex=\"0\">{}</pre></details>", escape(&output.text));
        }
    }
    out.push_str("</section>");
    out
}
