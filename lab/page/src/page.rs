//! A page: the templates with everything in its place.

use std::fmt::Write as _;

use roce::Report;

use crate::answers::LinkedLines;
use crate::compare::Traces;
use crate::frames::Capture;
use crate::run::Run;
use crate::text::{escape, json_in_html, visible};
use crate::{compare, data, html};

const TEMPLATE: &str = include_str!("../assets/page.html");
const STYLE: &str = include_str!("../assets/page.css");
const SCRIPT: &str = concat!(include_str!("../assets/step.js"), include_str!("../assets/page.js"));

/// Bytes of the trace that a page without JavaScript has; the script shows all of it.
const TEXT_MAX: usize = 1 << 20;

/// Everything that one page shows.
#[derive(Debug)]
pub struct Page<'a> {
    title: String,
    capture: &'a Capture,
    run: Run,
    traces: Option<Traces>,
}

impl<'a> Page<'a> {
    /// A page of a capture.
    pub fn new(title: impl Into<String>, capture: &'a Capture) -> Self {
        Self { title: title.into(), capture, run: Run::default(), traces: None }
    }

    /// Adds the run that the capture is of.
    #[must_use]
    pub fn run(self, run: Run) -> Self {
        Self { run, ..self }
    }

    /// Adds two traces that are held against each other.
    #[must_use]
    pub fn traces(self, traces: Traces) -> Self {
        Self { traces: Some(traces), ..self }
    }

    /// Renders the page.
    pub fn to_html(&self) -> String {
        let report = &self.capture.report;
        let linked = LinkedLines::of(report);
        let (data, blob) = data::of(self.capture, &linked, &self.run.calls);
        let compared = self.traces.as_ref().filter(|traces| traces.before != traces.after).map(|traces| {
            let compared = compare::compare(&visible(&traces.before), &visible(&traces.after));
            html::compared(traces, &compared)
        });
        fill(TEMPLATE, |name| match name {
            "title" => escape(&self.title),
            "style" => STYLE.to_owned(),
            "script" => SCRIPT.to_owned(),
            "head" => html::head(&self.title, &self.run, self.capture, &linked),
            "causes" => html::causes(&self.run),
            "findings" => html::findings(report, &linked),
            "numbers" => html::numbers(report, &linked),
            "compared" => compared.clone().unwrap_or_default(),
            "connections" => html::connections(report),
            "calls" => html::calls(&self.run, self.capture, &linked),
            "counters" => html::counters(&self.run),
            "outputs" => html::outputs(&self.run),
            "text" => text(report),
            "data" => json_in_html(&data),
            "bytes" => blob.clone(),
            _ => String::new(),
        })
    }
}

/// Puts values in the place of `{{name}}`; what stands in a value is never taken for a place.
pub(crate) fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut parts = template.split("{{");
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or(("", part));
        out.push_str(&value(name));
        out.push_str(rest);
    }
    out
}

/// The trace as escaped text.
fn text(report: &Report) -> String {
    let trace = report.trace_with_times();
    let mut out = String::new();
    let mut left = 0;
    for line in trace.lines() {
        if out.len() > TEXT_MAX {
            left += 1;
            continue;
        }
        let _ = writeln!(out, "{}", escape(line));
    }
    if left > 0 {
        let _ = writeln!(out, "… {left} more lines: `roce trace` prints them");
    }
    out
}
