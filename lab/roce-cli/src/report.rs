//! `roce report`: a capture as one HTML page, or two captures side by side.

use std::path::PathBuf;
use std::process::ExitCode;
use std::slice;

use roce::Names;
use roce_page::{Capture, Collector, Page, Traces};

use crate::analyse::analyse_beside;
use crate::input::Input;
use crate::output;
use crate::{Common, Error};

/// The arguments of `report`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A capture; `-` is standard input.
    file: PathBuf,
    /// A capture that is shown beside it: the page is of this one, with what differs on top.
    other: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
    /// File to write. Standard output without, or for `-`.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Title of the page [default: the capture's name].
    #[arg(long)]
    title: Option<String>,
}

/// A capture as a page has it, and why it ended before its end.
fn collect(common: &Common, file: PathBuf, defaults: Names) -> Result<(Capture, Option<Error>), Error> {
    let files = slice::from_ref(&file);
    let mut input = Input::open(files, common)?;
    let names = common.names(defaults, files);
    let filter = common.filter(files, &names)?;
    let mut collector = Collector::new();
    let (report, stopped) = analyse_beside(common, &mut input, names, &filter, |record, frame| {
        collector.push(record, frame);
    })?;
    output::remarks(&input.name, &report, stopped.is_none());
    output::note_in_vain(&filter, "packet", &input.name);
    let mut capture = collector.finish(input.name, report);
    if let Some(error) = &stopped {
        let what = error.to_string();
        let what = what.lines().next().unwrap_or_default();
        capture = capture.remark(format!("Of the capture there is only the part before a fault: {what}."));
    }
    Ok((capture, stopped))
}

impl Args {
    /// Writes the page; of what was read before a fault in a file there is a page too.
    ///
    /// # Errors
    /// A capture cannot be read, or not to its end; the page cannot be written.
    pub fn run(&self, defaults: Names) -> Result<ExitCode, Error> {
        let (first, mut stopped) = collect(&self.common, self.file.clone(), defaults.clone())?;
        let mut traces = None;
        let capture = match &self.other {
            None => first,
            Some(other) => {
                let (second, also) = collect(&self.common, other.clone(), defaults)?;
                stopped = stopped.or(also);
                traces = Some(Traces {
                    before_name: first.name,
                    before: first.report.trace(),
                    after_name: second.name.clone(),
                    after: second.report.trace(),
                });
                second
            }
        };
        let title = self.title.clone().unwrap_or_else(|| match &traces {
            Some(traces) => format!("{} and {}", traces.before_name, traces.after_name),
            None => capture.name.clone(),
        });
        let page = Page::new(title, &capture);
        let page = match traces {
            Some(traces) => page.traces(traces),
            None => page,
        };
        let html = page.to_html();
        output::write_to(self.output.as_deref(), html.as_bytes())?;
        stopped.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}
