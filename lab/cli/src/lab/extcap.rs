//! `extcap`: the wires of the labs in Wireshark's own list of interfaces.
//!
//! Wireshark calls the programs in its `extcap` directory:
//!
//! 1. `--extcap-interfaces`: a line for each lab that is up
//! 2. `--extcap-dlts --extcap-interface X`: its link type
//! 3. `--extcap-config --extcap-interface X`: its options, of which there are none
//! 4. `--capture --extcap-interface X --fifo PATH`: packets into the pipe, until that is closed
//!
//! Source of the grammar: Wireshark's developer's guide, "Extcap command line interface".

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lab::base::cache::Cache;
use lab::base::command::shell_word;
use lab::base::error::IoContext as _;
use lab::base::invocation::Invocation;
use lab::{Error, Result};

use super::capture::default_file;
use super::pour::pour;
use super::target::labs;
use crate::front::this_program;
use crate::output;

/// Beginning of an interface's name.
const PREFIX: &str = "rdma-lab-";

/// The arguments of `lab extcap`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("call").required(true)))]
pub struct Args {
    /// Put a script that calls this into Wireshark's directory of such programs [default: ~/.local/lib/wireshark/extcap].
    #[arg(long, group = "call", value_name = "DIR", num_args = 0..=1)]
    install: Option<Option<PathBuf>>,
    /// As Wireshark calls it: list the labs.
    #[arg(long, group = "call")]
    extcap_interfaces: bool,
    /// As Wireshark calls it: tell the link type.
    #[arg(long, group = "call", requires = "extcap_interface")]
    extcap_dlts: bool,
    /// As Wireshark calls it: tell the options.
    #[arg(long, group = "call", requires = "extcap_interface")]
    extcap_config: bool,
    /// As Wireshark calls it: capture.
    #[arg(long, group = "call", requires_all = ["extcap_interface", "fifo"])]
    capture: bool,
    /// Interface that is meant: `rdma-lab-` and the lab's name.
    #[arg(long, value_name = "INTERFACE")]
    extcap_interface: Option<String>,
    /// Pipe to capture into.
    #[arg(long, value_name = "PATH")]
    fifo: Option<PathBuf>,
    /// Wireshark's version.
    #[arg(long, value_name = "VERSION", num_args = 0..=1)]
    extcap_version: Option<Option<String>>,
    /// Wireshark's capture filter, which has no effect: filter what is shown.
    #[arg(long, value_name = "FILTER")]
    extcap_capture_filter: Option<String>,
}

/// Answers a call of Wireshark's.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(directory) = &args.install {
        install(directory.as_deref())?;
    } else if args.extcap_interfaces {
        output::print(interfaces()?)?;
    } else if args.extcap_dlts {
        output::line("dlt {number=1}{name=EN10MB}{display=Ethernet}")?;
    } else if let (true, Some(interface), Some(fifo)) = (args.capture, &args.extcap_interface, &args.fifo) {
        capture(interface, fifo)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The labs that are up, an interface each.
fn interfaces() -> Result<String> {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("extcap {{version={version}}}{{display=RDMA lab}}\n");
    for lab in labs()?.all()? {
        // One whose recording is on another computer shows nothing while it happens.
        if lab.gate().is_err() || !lab.report().is_ok_and(|report| report.is_up) {
            continue;
        }
        let name = lab.name();
        text +=
            &format!("interface {{value={PREFIX}{name}}}{{display=RDMA lab {name}: server and client}}\n");
    }
    Ok(text)
}

/// Captures into the pipe; begins to record if nothing does.
fn capture(interface: &str, fifo: &Path) -> Result<()> {
    let name = interface.strip_prefix(PREFIX).ok_or_else(|| {
        Error::usage(format!("no interface is called {interface}"))
            .next(format!("name one as in {PREFIX}lab"))
    })?;
    let mut lab = labs()?.get(name)?;
    let file = lab.follow_capture(&default_file(lab.as_ref()))?;
    let pipe = OpenOptions::new().write(true).open(fifo).at("failed to open the pipe", fifo)?;
    pour(&file, lab.as_ref(), pipe)
}

/// Writes the script that Wireshark calls.
fn install(directory: Option<&Path>) -> Result<()> {
    let directory = match directory {
        Some(directory) => directory.to_owned(),
        None => std::env::home_dir()
            .ok_or_else(|| Error::usage("this user has no home directory").next("name one: --install DIR"))?
            .join(".local/lib/wireshark/extcap"),
    };
    fs::create_dir_all(&directory).at("failed to create", &directory)?;
    let path = directory.join("rdma-lab");
    fs::write(&path, script(&this_program()?, &Cache::open()?.path(""))).at("failed to write", &path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).at("failed to make executable", &path)?;
    output::line(format_args!(
        "{}: the wires of labs that are up are interfaces in Wireshark",
        path.display()
    ))
}

fn script(program: &Path, cache: &Path) -> String {
    let Invocation { program: front, lab, .. } = Invocation::get();
    let words = lab.strip_prefix(front).unwrap_or_default();
    let [program, cache] = [program, cache].map(|path| shell_word(&path.display().to_string()));
    format!("#!/bin/sh\nexport RDMA_LAB_CACHE={cache}\nexec {program}{words} extcap \"$@\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_calls_this_program_with_its_cache() {
        assert_eq!(
            script(Path::new("/a b/xtask"), Path::new("/c")),
            "#!/bin/sh\nexport RDMA_LAB_CACHE=/c\nexec '/a b/xtask' lab extcap \"$@\"\n"
        );
    }
}
