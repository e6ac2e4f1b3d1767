//! The doctor's report: in five lines what this computer needs and has, then what to do about the rest.
//!
//! Rust, a C linker and a way to fetch packages are the host's; tools and machines are the lab's. Runs programs that print
//! versions; changes nothing.

use std::fmt;

use crate::base::disk;
use crate::base::policy::Policy;
use crate::base::selection::ToolSource;
use crate::host::Host;
use crate::host::multipass;
use crate::host::requirement::{self, Cure, Requirement, Standing};
use crate::host::toolbox::set;

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoctorRow {
    /// Its subject.
    pub name: &'static str,
    /// Its state.
    pub mark: Mark,
    /// Its place and version, or the reason that it is missing.
    pub detail: String,
}

/// State of the thing of a [`DoctorRow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// There, and usable.
    Found,
    /// Not there.
    Missing,
    /// There, and of no use.
    Unfit,
    /// Neither good nor bad.
    Info,
}

/// The whole report.
#[derive(Debug, Clone, Default)]
pub struct DoctorReport {
    rows: Vec<DoctorRow>,
    cures: Vec<Cure>,
    advice: Vec<String>,
}

/// Examines `host` and what is in the cache, Rust and a linker only where programs are `built`; the last line, on machines,
/// is the caller's: [`DoctorReport::machines`].
pub fn report(host: &Host, built: bool) -> DoctorReport {
    let mut report = DoctorReport::default();
    if built {
        report.rust(host);
        report.requirement("C linker", &requirement::LINKER, host);
    }
    report.requirement("packages", &requirement::PACKAGES, host);
    match Policy::get().tools {
        ToolSource::Toolbox => report.toolbox(host, built),
        ToolSource::Host => report.host_tools(host, built),
    }
    report
}

impl DoctorReport {
    /// True if scenarios can run on this computer.
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(|row| matches!(row.mark, Mark::Found | Mark::Info))
    }

    /// Adds the line on machines: what they run on, or why they cannot.
    pub fn machines(&mut self, host: &Host, accelerator: &str) {
        let multipass = match host.program("multipass").map(|program| multipass::version_of(&program)) {
            None => "Multipass is not on this computer",
            Some(None) => "Multipass is here, its daemon does not answer",
            Some(Some(_)) => "Multipass answers and is taken unless another --provider is named",
        };
        match requirement::demand_platform() {
            Ok(()) => self.push("machines", Mark::Info, format!("QEMU, {accelerator}; {multipass}")),
            Err(error) => {
                let text = error.to_string();
                let (what, next) = text.split_once("\n  next: ").unwrap_or((&text, ""));
                self.push("machines", Mark::Unfit, format!("{what}; {multipass}"));
                self.advice.push(next.to_owned());
            }
        }
    }

    fn push(&mut self, name: &'static str, mark: Mark, detail: impl Into<String>) {
        self.rows.push(DoctorRow { name, mark, detail: detail.into() });
    }

    fn requirement(&mut self, name: &'static str, requirement: &Requirement, host: &Host) {
        let (mark, detail) = match requirement.check(host) {
            Standing::Found(detail) => (Mark::Found, detail),
            Standing::Missing => (Mark::Missing, requirement.purpose.to_owned()),
            Standing::Unfit(why) => (Mark::Unfit, why),
        };
        if mark != Mark::Found {
            self.cures.push(requirement.cure());
        }
        self.push(name, mark, detail);
    }

    /// Rust is there, or nobody would ask; its components may not be.
    fn rust(&mut self, host: &Host) {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for component in requirement::CI {
            match component.check(host) {
                Standing::Found(_) => with.push(component.name),
                _ => {
                    without.push(component.name);
                    self.cures.push(component.cure());
                }
            }
        }
        let text = match (with.is_empty(), without.is_empty()) {
            (_, true) => format!("with {}", with.join(" and ")),
            (_, false) => format!("without {}, for `cargo xtask ci` only", without.join(" and ")),
        };
        let version = option_env!("CARGO_PKG_RUST_VERSION").unwrap_or_default();
        self.push("Rust", Mark::Found, format!("{version} or later; {text}"));
    }

    fn toolbox(&mut self, host: &Host, built: bool) {
        let whose = format!("the lab's own, of Debian {}", set::RELEASE);
        let Some(cache) = host.cache() else { return };
        if let Err(error) = disk::demand_exec(existing(cache)) {
            let text = error.to_string();
            let (what, next) = text.split_once("\n  next: ").unwrap_or((&text, ""));
            self.advice.push(next.replace("\n        ", "\n"));
            self.push("tools", Mark::Unfit, what);
            return;
        }
        let absent: Vec<&set::Set> = [&set::RUN]
            .into_iter()
            .chain(built.then_some(&crate::host::toolbox::set::CLANG))
            .filter(|set| !cache.join(set.directory()).is_dir())
            .collect();
        let megabytes: u32 = absent.iter().map(|set| set.about_mb).sum();
        let where_ = match (absent.is_empty(), Policy::get().offline) {
            (true, _) => format!("in {}", cache.display()),
            (false, false) => format!("about {megabytes} MB to download into {}", cache.display()),
            (false, true) => format!("not in {}, and downloads are forbidden", cache.display()),
        };
        let mark = if absent.is_empty() || !Policy::get().offline { Mark::Found } else { Mark::Missing };
        self.push("tools", mark, format!("{whose}, {where_}"));
    }

    fn host_tools(&mut self, host: &Host, built: bool) {
        let mut found = Vec::new();
        let mut lacking = Vec::new();
        let mut unfit = false;
        for tool in requirement::host_tools(built)
            .chain(built.then_some(requirement::HOST_CI_TOOLS).into_iter().flatten())
        {
            match tool.check(host) {
                Standing::Found(_) => found.push(tool.name.to_owned()),
                Standing::Missing => lacking.push(format!("no {}", tool.name)),
                Standing::Unfit(why) => {
                    unfit = true;
                    lacking.push(format!("{}: {why}", tool.name));
                }
            }
            if !matches!(tool.check(host), Standing::Found(_)) {
                self.cures.push(tool.cure());
            }
        }
        let mark = match (lacking.is_empty(), unfit) {
            (true, _) => Mark::Found,
            (false, true) => Mark::Unfit,
            (false, false) => Mark::Missing,
        };
        lacking.extend((!found.is_empty()).then(|| found.join(", ")));
        self.push("tools", mark, format!("the host's: {}", lacking.join("; ")));
    }
}

/// The nearest directory above `path`, or itself, that exists.
fn existing(path: &std::path::Path) -> &std::path::Path {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(path)
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

impl fmt::Display for DoctorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        for DoctorRow { name, mark, detail } in &self.rows {
            writeln!(f, "{name:<width$}  {mark:<7}  {}", detail.replace('\n', " "))?;
        }
        let ways = requirement::ways(&self.cures);
        writeln!(f)?;
        match (self.is_good(), ways.is_empty()) {
            (true, true) => return writeln!(f, "Nothing is missing, and nothing is installed."),
            (true, false) => writeln!(f, "Scenarios can run; `cargo xtask ci` needs more:")?,
            (false, _) => writeln!(f, "Something is missing:")?,
        }
        for line in ways.iter().chain(&self.advice).flat_map(|way| way.lines()) {
            writeln!(f, "  {line}")?;
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
        let host = Host::new(root.path(), OsStr::new("")).with_cache(root.path().join("cache"));
        let mut report = report(&host, true);
        report.machines(&host, "software emulation (TCG): no /dev/kvm");
        assert!(!report.is_good());
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[5], "", "five lines, then what to do: {text}");
        assert!(lines[1].starts_with("C linker  MISSING"), "{text}");
        assert!(
            text.contains("install gcc with") && text.contains("rustup component add rustfmt clippy"),
            "{text}"
        );
        assert!(text.contains("about 92 MB to download"), "{text}");
    }

    #[test]
    fn who_builds_nothing_needs_no_compiler() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path(), OsStr::new("")).with_cache(root.path().join("cache"));
        let text = report(&host, false).to_string();
        assert!(!text.contains("Rust") && !text.contains("gcc") && !text.contains("rustup"), "{text}");
        assert!(text.contains("about 41 MB to download"), "{text}");
    }

    #[test]
    fn informing_row_never_makes_a_report_bad() {
        let mut report = DoctorReport::default();
        report.push("machines", Mark::Info, "x");
        assert!(report.is_good());
        assert_eq!(
            report.to_string(),
            "machines           x\n\nNothing is missing, and nothing is installed.\n"
        );
        report.push("tools", Mark::Unfit, "y");
        assert!(!report.is_good());
    }
}
