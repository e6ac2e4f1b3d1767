//! `roce diff`: two captures by what they mean.
//!
//! Both traces are compared: what differs between two runs without meaning anything (queue pair numbers, PSNs, keys, addresses, times) has the same name in both.

use std::path::PathBuf;
use std::process::ExitCode;
use std::slice;
use std::time::Duration;

use similar::{Algorithm, TextDiff};

use crate::analyse::analyse;
use crate::input::Input;
use crate::output::{self, BufferedOutput};
use crate::{Common, Error};
use roce::Names;

/// Time after which a worse but quicker alignment is taken.
const LIMIT: Duration = Duration::from_secs(10);

/// The arguments of `diff`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A capture; `-` is standard input.
    before: PathBuf,
    /// The capture that is compared with it.
    after: PathBuf,
    #[command(flatten)]
    common: Common,
    /// Lines of context around each difference.
    #[arg(long, short = 'U', default_value_t = 3)]
    context: usize,
}

/// Exit code when the captures could not be compared, or not whole.
const TROUBLE: u8 = 2;

fn end(faults: &[Error], has_doubt: bool, code: ExitCode) -> ExitCode {
    for fault in faults {
        output::error(fault);
    }
    if faults.is_empty() && !has_doubt { code } else { ExitCode::from(TROUBLE) }
}

impl Args {
    /// Prints what differs; exit code 0 when nothing does, 1 when anything does, 2 when a capture cannot be read to its end or followed whole, or both hold
    /// nothing to compare. What was read before a fault in a file is compared before the error.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn run(&self, defaults: Names) -> Result<ExitCode, Error> {
        self.compare(defaults).or_else(|error| {
            output::error(&error);
            Ok(ExitCode::from(TROUBLE))
        })
    }

    fn compare(&self, defaults: Names) -> Result<ExitCode, Error> {
        let (mut packets, mut has_doubt) = (0, false);
        let mut traces = Vec::new();
        let mut faults = Vec::new();
        let mut is_of_all = true;
        for file in [&self.before, &self.after] {
            let mut input = Input::open(slice::from_ref(file), &self.common)?;
            let names = self.common.names(defaults.clone(), slice::from_ref(file));
            let filter = self.common.filter(slice::from_ref(file), &names)?;
            let (report, stopped) = analyse(&self.common, &mut input, names, &filter)?;
            output::remarks(&input.name, &report, stopped.is_none());
            output::note_in_vain(&filter, "packet", &input.name);
            packets += report.packets;
            has_doubt |= report.connections_dropped + report.requests_dropped > 0 || filter.is_in_vain();
            faults.extend(stopped);
            is_of_all &= report.packets_untraced == 0;
            traces.push((input.name, report.trace()));
        }
        let [(before_name, before), (after_name, after)] = &traces[..] else {
            return Ok(ExitCode::from(TROUBLE));
        };
        if before == after {
            output::note(match (faults.is_empty(), is_of_all) {
                (true, true) => "the captures mean the same",
                (true, false) => "the captures mean the same, as far as they were compared",
                (false, _) => "the captures mean the same, as far as they can be read",
            });
            return Ok(end(&faults, has_doubt || !is_of_all || packets == 0, ExitCode::SUCCESS));
        }
        let diff =
            TextDiff::configure().algorithm(Algorithm::Patience).timeout(LIMIT).diff_lines(before, after);
        let mut output = BufferedOutput::new();
        output.text(diff.unified_diff().context_radius(self.context).header(before_name, after_name))?;
        output.flush()?;
        Ok(end(&faults, has_doubt, ExitCode::FAILURE))
    }
}
