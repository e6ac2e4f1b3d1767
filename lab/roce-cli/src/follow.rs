//! `roce follow`: a capture that still grows.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::slice;
use std::thread;
use std::time::{Duration, Instant};

use crate::filter::PacketInfo;
use crate::input::{self, Input};
use crate::live::{LiveKind, LiveNames, LivePacket};
use crate::output::{self, BufferedOutput, Paint};
#[cfg(feature = "terminal")]
use crate::terminal::PausableLines;
use crate::{Common, Error, json};
use roce::wire::Frame;
use roce::{Analysis, Fate, Finding, Names};

/// Time between two looks at the end of the file.
const STEP: Duration = Duration::from_millis(50);

/// The arguments of `follow`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A capture; `-` is standard input.
    file: PathBuf,
    #[command(flatten)]
    common: Common,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
    /// End when nothing has come for this many seconds; without, only Ctrl-C ends it.
    #[arg(long, value_name = "SECONDS")]
    idle: Option<u64>,
}

/// A source that waits at its end for more.
struct Growing {
    source: Box<dyn Read + Send>,
    idle: Option<Duration>,
}

impl Read for Growing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begin = Instant::now();
        loop {
            let length = self.source.read(buffer)?;
            if length > 0 || buffer.is_empty() || self.idle.is_some_and(|idle| begin.elapsed() >= idle) {
                return Ok(length);
            }
            thread::sleep(STEP);
        }
    }
}

/// Destination of the lines: standard output, or a terminal on which a key holds them.
enum LiveSink {
    Plain(BufferedOutput, Paint),
    #[cfg(feature = "terminal")]
    Terminal(PausableLines),
}

impl LiveSink {
    fn new(is_for_people: bool) -> Self {
        #[cfg(feature = "terminal")]
        if is_for_people && output::is_on_terminal()
            // One that is not like the others gets plain lines.
            && let Ok(lines) = PausableLines::begin()
        {
            return Self::Terminal(lines);
        }
        #[cfg(not(feature = "terminal"))]
        let _ = is_for_people;
        Self::Plain(BufferedOutput::new(), Paint::of_stdout())
    }

    fn line(&mut self, kind: LiveKind, text: &str) -> Result<(), Error> {
        match self {
            Self::Plain(output, paint) => {
                output.line(paint.line(kind.style(), text))?;
                output.flush()
            }
            #[cfg(feature = "terminal")]
            Self::Terminal(lines) => lines
                .line(text, kind)
                .map_err(|error| Error::new(format!("failed to write to the terminal: {error}"))),
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Plain(output, _) => output.is_closed(),
            #[cfg(feature = "terminal")]
            Self::Terminal(_) => false,
        }
    }
}

impl Args {
    /// Prints packets and findings as they come.
    ///
    /// # Errors
    /// The capture cannot be read.
    pub fn run(&self, defaults: Names) -> Result<ExitCode, Error> {
        let (name, source) = input::source(&self.file)?;
        let source = Growing { source, idle: self.idle.map(Duration::from_secs) };
        let mut input = Input::new(name, Box::new(source), &self.common)?;
        let names = self.common.names(defaults, slice::from_ref(&self.file));
        let filter = self.common.filter(slice::from_ref(&self.file), &names)?;
        let mut sink = LiveSink::new(!self.json);
        let mut live = LiveNames::new(names.clone());
        let mut analysis = Analysis::streaming(names);
        let (mut first, mut last_ns) = (None, 0);
        let show = |sink: &mut LiveSink, finding: &Finding, names: &Names| match self.json {
            true => sink.line(LiveKind::Request, &json::finding(finding, names).to_string()),
            false => sink.line(LiveKind::Refusal, &format!("{:>7} {}: {finding}", "", finding.severity)),
        };
        if !self.json {
            sink.line(LiveKind::Request, &LivePacket::heads())?;
        }
        let stopped = input.for_each(|record, frame| {
            let first_ns = *first.get_or_insert(record.timestamp_ns);
            analysis.push_frame(record, frame);
            analysis.discard_messages();
            let findings = analysis.take_findings();
            last_ns = record.timestamp_ns.saturating_sub(first_ns);
            let Frame::Roce(packet) = frame else {
                return Ok(true);
            };
            let fate = record.comment.map(Fate::from_comment);
            let line = live.see(record.number, record.timestamp_ns, packet, fate.as_ref());
            let info = PacketInfo::of_packet(record, packet, first_ns, !findings.is_empty());
            if filter.matches(&info, analysis.names()) {
                if self.json {
                    let object = json::packet(record, packet, analysis.names()).to_string();
                    sink.line(LiveKind::Request, &object)?;
                } else {
                    sink.line(line.kind, &line.to_string())?;
                }
                for finding in &findings {
                    show(&mut sink, finding, analysis.names())?;
                }
            }
            Ok(!sink.is_closed())
        })?;
        analysis.lost_by_capture(input.lost_elsewhere());
        let report = analysis.finish();
        for finding in &report.findings {
            if filter.matches(&PacketInfo::of_finding(finding, last_ns), &report.names) {
                show(&mut sink, finding, &report.names)?;
            }
        }
        // The terminal's last line goes before anything is said beside it.
        drop(sink);
        output::remarks(&input.name, &report, stopped.is_none());
        stopped.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}
