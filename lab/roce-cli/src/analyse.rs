//! A whole capture to a report, as the options ask for it, and the filter whose names only a report knows.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::common::PACKETS_MAX;
use crate::filter::{Filter, PacketInfo};
use crate::input::{self, Input};
use crate::{Common, Error};
use roce::capture::Record;
use roce::wire::Frame;
use roce::{Analysis, Names, Report};

/// Analyses a whole capture, and keeps its first packets unless all are asked for; what a filter hides is hidden in the report. Gives also why the capture
/// ended before its end.
pub(super) fn analyse(
    common: &Common,
    input: &mut Input,
    names: Names,
    filter: &Filter,
) -> Result<(Report, Option<Error>), Error> {
    analyse_beside(common, input, names, filter, |_, _| {})
}

/// The same, with each record whose packet is kept given to `beside`.
pub(super) fn analyse_beside(
    common: &Common,
    input: &mut Input,
    names: Names,
    filter: &Filter,
    mut beside: impl FnMut(&Record<'_>, &Frame<'_>) + Send,
) -> Result<(Report, Option<Error>), Error> {
    let mut analysis = common.analysis(names);
    let mut packets: Vec<PacketInfo> = Vec::new();
    let mut first_ns = None;
    let mut is_selective = false;
    let stopped = input.for_each(|record, frame| {
        let first_ns = *first_ns.get_or_insert(record.timestamp_ns);
        // Only the end tells of findings: until then every packet may have one.
        let info = PacketInfo::of_frame(record, frame, first_ns, true);
        let is_wanted = |info: &PacketInfo, analysis: &Analysis| {
            filter.is_empty() || filter.matches(info, analysis.names())
        };
        if !is_selective && !filter.is_empty() && analysis.is_full() {
            // Only now is the capture too large for all of its packets; those that are asked for may all have room.
            is_selective = true;
            packets.retain(|info| is_wanted(info, &analysis));
            let numbers: HashSet<u64> = packets.iter().map(|info| info.number).collect();
            analysis.keep_only(|number| numbers.contains(&number));
        }
        if is_selective && info.as_ref().is_some_and(|info| !is_wanted(info, &analysis)) {
            analysis.push_hidden(record, frame);
            return Ok(true);
        }
        if !filter.is_empty() && !analysis.is_full() {
            packets.extend(info);
        }
        if !analysis.is_full() {
            beside(record, frame);
        }
        analysis.push_frame(record, frame);
        Ok(true)
    })?;
    analysis.lost_by_capture(input.lost_elsewhere());
    let mut report = analysis.finish();
    if !filter.is_empty() {
        let broken: HashSet<u64> = report.findings.iter().map(|finding| finding.packet).collect();
        let shown: HashSet<u64> = packets
            .into_iter()
            .map(|info| PacketInfo { has_finding: broken.contains(&info.number), ..info })
            .filter(|info| filter.matches(info, &report.names))
            .map(|info| info.number)
            .collect();
        report.show_only(|number| shown.contains(&number));
    }
    Ok((report, stopped))
}

impl Common {
    /// The filter; a capture whose trace has the names in it is read for them first.
    pub(super) fn filter(&self, files: &[PathBuf], names: &Names) -> Result<Filter, Error> {
        let terms = self.filter.clone().unwrap_or_default();
        if !terms.has_names() {
            return Ok(Filter::new(terms));
        }
        if let Some(file) = files.iter().find(|file| !input::can_be_read_again(file)) {
            let name = if *file == Path::new("-") {
                "standard input".to_owned()
            } else {
                file.display().to_string()
            };
            return Err(Error::new(format!(
                "names in a filter need the whole capture, and {name} comes only once"
            ))
            .next("give a file, or numbers"));
        }
        let (report, _) = analyse(self, &mut Input::open(files, self)?, names.clone(), &Filter::default())?;
        if report.packets_untraced > 0 {
            return Err(Error::new(format!(
                "names in a filter are known of the first {PACKETS_MAX} packets, and the capture has {}",
                report.packets
            ))
            .next(
                "give numbers, as in `qp=0x11 psn=100..200`, or `--all`, whose memory grows with the capture",
            ));
        }
        let name = files.first().map(|file| file.display().to_string()).unwrap_or_default();
        Filter::named(terms, &report).map_err(|error| Error::new(format!("{name}: {error}")))
    }
}
