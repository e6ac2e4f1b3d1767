//! Standard output whose reader may leave early, or what stands in for it until its turn has come.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, BufWriter, ErrorKind, IsTerminal as _, Write};
use std::path::Path;

use anstyle::Style;

use crate::{Error, Filter};
use roce::Report;

/// Buffered standard output. After the reader has gone, everything is dropped in silence.
pub(super) struct BufferedOutput {
    sink: BufWriter<Box<dyn Write + Send>>,
    is_closed: bool,
}

impl BufferedOutput {
    pub(super) fn new() -> Self {
        Self::to(io::stdout())
    }

    /// The same into another sink.
    pub(super) fn to(sink: impl Write + Send + 'static) -> Self {
        Self { sink: BufWriter::with_capacity(64 * 1024, Box::new(sink)), is_closed: false }
    }

    /// True if nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub(super) fn text(&mut self, text: impl fmt::Display) -> Result<(), Error> {
        self.attempt(|sink| write!(sink, "{text}"))
    }

    pub(super) fn line(&mut self, text: impl fmt::Display) -> Result<(), Error> {
        self.attempt(|sink| writeln!(sink, "{text}"))
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.attempt(|sink| sink.flush())
    }

    pub(super) fn attempt(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Error> {
        if self.is_closed {
            return Ok(());
        }
        match write(&mut self.sink) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            Err(error) => Err(Error::new(format!("failed to write to standard output: {error}"))),
        }
    }
}

/// True if a person sits at both standard streams.
#[cfg(feature = "terminal")]
pub(super) fn is_on_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Columns of the terminal at standard output, if there is one.
pub(super) fn width() -> Option<usize> {
    #[cfg(feature = "terminal")]
    if io::stdout().is_terminal() {
        let size = ratatui_crossterm::crossterm::terminal::size();
        return size.ok().map(|(columns, _)| usize::from(columns)).filter(|columns| *columns > 0);
    }
    None
}

/// Colours of lines, where a person sees them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    is_coloured: bool,
}

impl Paint {
    /// Of standard output: colours on a terminal, unless `NO_COLOR` is set.
    pub(super) fn of_stdout() -> Self {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_coloured: io::stdout().is_terminal() && !is_unwanted }
    }

    /// A line in that style.
    pub(super) fn line(self, style: Style, text: &str) -> String {
        if self.is_coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// Prints what `write` writes.
pub(super) fn print_with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    let mut output = BufferedOutput::new();
    output.attempt(write)?;
    output.flush()
}

/// Writes `bytes` to a file, or to standard output where there is none or it is `-`.
pub(super) fn write_to(file: Option<&Path>, bytes: &[u8]) -> Result<(), Error> {
    match file.filter(|file| *file != Path::new("-")) {
        None => print_with(|sink| sink.write_all(bytes)),
        Some(file) => fs::write(file, bytes)
            .map_err(|error| Error::new(format!("failed to write {}: {error}", file.display()))),
    }
}

/// Says so when a filter matched nothing, which is no capture without faults.
pub(super) fn note_in_vain(filter: &Filter, what: &str, name: &str) {
    if filter.is_in_vain() {
        note(&format!("the filter matches no {what} in {name}"));
    }
}

/// A number of things: `1 packet`, `2 packets`.
pub(super) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Counts by kind in one line: `2 ESP, 1 MACsec`.
fn kinds<K: fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
    let kinds: Vec<String> = counts.iter().map(|(kind, number)| format!("{number} {kind}")).collect();
    kinds.join(", ")
}

/// Remarks on what a report has not got, or could not follow; `is_whole` is whether the capture was read to its end.
pub(super) fn remarks(name: &str, report: &Report, is_whole: bool) {
    if report.packets == 0 && is_whole {
        note(&match report.records {
            0 => format!("no RoCE packet in {name}: it has no frame at all"),
            records => {
                format!(
                    "no RoCE packet in {name}: {}: {}",
                    count(records, "other frame"),
                    kinds(&report.not_roce)
                )
            }
        });
    } else if !report.unread.is_empty() {
        let unread = report.unread.values().sum();
        note(&format!(
            "{} may hold RoCE and could not be read: {}",
            count(unread, "frame"),
            kinds(&report.unread)
        ));
    }
    if report.unread.keys().any(|kind| kind.starts_with("VXLAN to port")) {
        note("`--vxlan-port PORT` reads what is in VXLAN to another port");
    }
    if report.packets_without_bth > 0 {
        note(&format!(
            "of {} the capture has no BTH: nothing can be checked of these",
            count(report.packets_without_bth, "packet")
        ));
    }
    if report.packets_cut_by_mirror > 0 {
        note(&format!(
            "a mirror cut {}, for the IP headers say more than there is: what is missing is unknown",
            count(report.packets_cut_by_mirror, "packet")
        ));
    }
    if report.packets_rewritten > 0 {
        note(&format!(
            "of {} the ICRC is wrong, as of every one before them in their direction: the capture has other bytes than were sent",
            count(report.packets_rewritten, "packet")
        ));
    }
    if !report.encapsulations.is_empty() {
        note(&format!("in tunnels: {}", kinds(&report.encapsulations)));
    }
    if report.packets_version_1 > 0 {
        note(&format!("RoCE v1: {}", count(report.packets_version_1, "packet")));
    }
    if report.lost_by_capture > 0 {
        note(&format!(
            "the capture says that it lost {}: what is missing may have been sent all the same",
            count(report.lost_by_capture, "packet")
        ));
    }
    if report.packets_untraced > 0 {
        let hidden = match report.findings_untraced {
            0 => String::new(),
            more => format!(", and without {}", count(more, "finding")),
        };
        note(&format!(
            "to bound the memory, this is of the first {} of {} packets{hidden}: `--all` is of all, and its memory grows with the capture; \
             `check`, `messages` and `stats` are of all in constant memory",
            report.packets - report.packets_untraced,
            report.packets
        ));
    }
    if report.connections_dropped + report.requests_dropped > 0 {
        note(&format!(
            "to bound the memory, {} and {} were forgotten; what came of them later counts as new",
            count(report.connections_dropped, "connection"),
            count(report.requests_dropped, "request")
        ));
    }
}

/// Writes a remark to standard error, which may be gone too.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "note: {text}");
}

/// Writes an error to standard error.
pub(super) fn error(error: &Error) {
    let _ = writeln!(io::stderr(), "error: {error}");
}
