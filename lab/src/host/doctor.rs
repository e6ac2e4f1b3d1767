//! The doctor's report: what is there, what is missing, and the exact command to get it.
//!
//! The rows of [`requirement::RUN`] decide whether the report is good; those of [`requirement::CI`] and the
//! rows that a caller adds only inform. Runs programs that print versions; changes nothing.

use std::fmt;

use crate::host::requirement::{self, Cure, Requirement, Status};
use crate::host::{Host, apt};
use crate::provider::multipass::client;

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is about.
    pub name: String,
    /// How it stands.
    pub mark: Mark,
    /// Where it is, which version, why not.
    pub detail: String,
    /// The command that brings it.
    pub command: Option<String>,
}

/// How the thing of a [`Row`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It is there and can be used.
    Found,
    /// It is not there.
    Missing,
    /// It is there and cannot be used.
    Unfit,
    /// Neither good nor bad.
    Info,
}

/// A group of rows under a heading.
#[derive(Debug, Clone)]
pub struct Section {
    /// What the rows are needed for.
    pub title: &'static str,
    /// Whether a row that is not found makes the report bad.
    pub decides: bool,
    /// The rows.
    pub rows: Vec<Row>,
}

/// The whole report.
#[derive(Debug, Clone)]
pub struct Report {
    sections: Vec<Section>,
    commands: Vec<String>,
    can_install: bool,
}

impl Row {
    /// A row that only informs, such as which accelerator was chosen and why.
    pub fn info(name: impl Into<String>, detail: impl Into<String>) -> Row {
        Row { name: name.into(), mark: Mark::Info, detail: detail.into(), command: None }
    }
}

/// Examines `host`.
pub fn report(host: &Host) -> Report {
    let mut missing = Vec::new();
    let sections = vec![
        section(host, "to run scenarios on this computer", true, requirement::RUN, &mut missing),
        section(host, "more, for `cargo xtask ci`", false, &[requirement::CI], &mut missing),
        Section { title: "machines", decides: false, rows: machines(host) },
    ];
    Report {
        sections,
        commands: apt::commands(host, &missing),
        can_install: host.program("apt-get").is_some(),
    }
}

impl Report {
    /// Adds a row to the last section, "machines".
    pub fn push(&mut self, row: Row) {
        if let Some(section) = self.sections.last_mut() {
            section.rows.push(row);
        }
    }

    /// Whether everything that decides is there.
    pub fn is_good(&self) -> bool {
        self.sections
            .iter()
            .filter(|section| section.decides)
            .flat_map(|section| &section.rows)
            .all(|row| matches!(row.mark, Mark::Found | Mark::Info))
    }
}

fn section(
    host: &Host,
    title: &'static str,
    decides: bool,
    sets: &[&[Requirement]],
    missing: &mut Vec<Cure>,
) -> Section {
    let mut rows = Vec::new();
    for requirement in sets.iter().copied().flatten() {
        let (mark, detail) = match requirement.check(host) {
            Status::Found(detail) => (Mark::Found, detail),
            Status::Missing => (Mark::Missing, requirement.purpose.to_owned()),
            Status::Unfit(why) => (Mark::Unfit, why),
        };
        let command = (mark != Mark::Found).then(|| {
            missing.push(requirement.cure());
            let command = apt::commands(host, &[requirement.cure()]).join("\n");
            if command.contains('\n') { "see the commands below".to_owned() } else { command }
        });
        rows.push(Row { name: requirement.name.to_owned(), mark, detail, command });
    }
    Section { title, decides, rows }
}

/// Which kinds of machine there are, and which is taken when none is named.
fn machines(host: &Host) -> Vec<Row> {
    let program = host.program("multipass");
    let daemon = program.as_ref().and_then(|program| client::version_of(program));
    let multipass = match (&program, &daemon) {
        (None, _) => Row::info("Multipass", "not on this computer; not needed"),
        (Some(_), None) => Row::info("Multipass", "its daemon does not answer; not needed"),
        (_, Some(version)) => Row { mark: Mark::Found, ..Row::info("Multipass", version.clone()) },
    };
    let usual = match daemon {
        Some(_) => "multipass, since its daemon answers; another: --provider qemu",
        None => "qemu: it needs neither root nor a daemon",
    };
    vec![multipass, Row::info("default provider", usual)]
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mark::Found => "found",
            Mark::Missing => "MISSING",
            Mark::Unfit => "UNFIT",
            Mark::Info => "",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.sections.iter().flat_map(|section| &section.rows);
        let width = rows.map(|row| row.name.chars().count()).max().unwrap_or(0);
        for section in &self.sections {
            writeln!(f, "{}", section.title)?;
            for row in &section.rows {
                let detail = row.detail.replace('\n', " ");
                writeln!(f, "  {:<width$}  {:<7}  {detail}", row.name, row.mark)?;
                if let Some(command) = &row.command {
                    writeln!(f, "  {:<width$}  {:<7}  get it: {command}", "", "")?;
                }
            }
            writeln!(f)?;
        }
        if self.commands.is_empty() {
            return writeln!(f, "Nothing is missing.");
        }
        if !self.is_good() {
            writeln!(f, "Something is missing. All of it at once:")?;
        } else {
            writeln!(f, "Scenarios can run; `cargo xtask ci` needs more. All of it at once:")?;
        }
        for line in self.commands.iter().flat_map(|command| command.lines()) {
            writeln!(f, "  {line}")?;
        }
        if self.can_install {
            writeln!(f, "or\n  cargo xtask doctor --install")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn empty_computer_has_a_bad_report_that_names_everything() {
        let root = tempfile::tempdir().unwrap();
        let report = report(&Host::new(root.path(), OsStr::new("")));
        assert!(!report.is_good());
        let text = report.to_string();
        for requirement in requirement::RUN.iter().copied().flatten().chain(requirement::CI) {
            let row = text.lines().find(|line| line.trim_start().starts_with(requirement.name)).unwrap();
            if requirement.name != "libclang" {
                assert!(row.contains("MISSING"), "{row}");
            }
        }
        assert!(text.contains("install what Debian calls apt dpkg"), "{text}");
        assert!(!text.contains("--install\n"), "{text}");
    }

    #[test]
    fn informing_row_never_makes_a_report_bad() {
        let mut report = Report {
            sections: vec![Section {
                title: "machines",
                decides: false,
                rows: vec![Row { mark: Mark::Missing, ..Row::info("x", "y") }],
            }],
            commands: Vec::new(),
            can_install: false,
        };
        report.push(Row::info("accelerator", "tcg: no /dev/kvm"));
        assert!(report.is_good());
        assert_eq!(
            report.to_string(),
            "machines\n  x            MISSING  y\n  accelerator           tcg: no /dev/kvm\n\nNothing is missing.\n"
        );
    }
}
