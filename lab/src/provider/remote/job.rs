//! A command under systemd on a machine: carriers forward no signals and wait for whoever holds an output.
//!
//! A transient unit runs it with locked memory unlimited and a limit of its own; its output goes into files. How
//! the unit ended is told by systemd itself to the unit's `ExecStopPost`, which writes it down.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::base::command::Output;
use crate::base::error::{Error, Result};
use crate::base::names::unique;
use crate::node::Running;
use crate::node::pair::Node;
use crate::provider::remote::machine::{DIRECTORY, Machine, SHORT};

/// Beginning of every unit's name.
pub const UNITS: &str = "rdma-lab-";

/// Longest time that anything may run, should nobody be left to stop it.
pub(super) const LONGEST: Duration = Duration::from_secs(3600);

/// The most of each output that is fetched, in bytes.
const OUTPUT_LIMIT: u32 = 1 << 20;

/// The shell function `ends`, which prints a file: of more than [`OUTPUT_LIMIT`] bytes both ends, and between them
/// how much is left out.
fn ends() -> String {
    let half = OUTPUT_LIMIT / 2;
    format!(
        "ends() {{ size=$(stat -c %s \"$1\"); if [ \"$size\" -le {OUTPUT_LIMIT} ]; then cat \"$1\"; else \
         head -c {half} \"$1\"; printf '\\n... %s bytes left out ...\\n' $((size - {OUTPUT_LIMIT})); \
         tail -c {half} \"$1\"; fi; }}"
    )
}

/// Exit code of a script that waited in vain; `timeout` has 124.
const NOT_YET: i32 = 75;

/// A command that was started.
#[derive(Debug)]
pub struct Job<'a> {
    machine: &'a Machine,
    command: String,
    unit: String,
    is_over: bool,
}

impl<'a> Job<'a> {
    /// Starts a shell command.
    ///
    /// # Errors
    ///
    /// The machine does not answer, or systemd does not start it.
    pub fn start(machine: &'a Machine, command: &str) -> Result<Job<'a>> {
        let unit = format!("{UNITS}{}", unique());
        let directory = format!("{DIRECTORY}/{unit}");
        let encoded = BASE64_STANDARD.encode(command);
        let script = format!(
            "mkdir -p {directory} && echo {encoded} | base64 -d >{directory}/script\n{}",
            unit_command(&unit, &[], &format!("/bin/sh {directory}/script"))
        );
        machine.demand("systemd starts a command", &script, SHORT)?;
        Ok(Job { machine, command: command.to_owned(), unit, is_over: false })
    }

    /// Waits on the machine itself; gives `None` if it runs on.
    fn wait_there(&self, limit: Duration) -> Result<Option<Output>> {
        let directory = format!("{DIRECTORY}/{}", self.unit);
        let script = format!(
            "{}\ncat {directory}/ended\n{}\n\
             for part in out err; do ends {directory}/$part | base64 -w 0; echo; done\n\
             rm -rf {directory}",
            wait_for(&format!("[ -e {directory}/ended ]"), limit),
            ends()
        );
        let output = self.machine.run_root(&script, limit + SHORT)?;
        match output.code {
            Some(0) => parse(&output.stdout).map(Some).ok_or_else(|| {
                Error::boot(format!("{}: systemd did not tell how a command ended", self.machine.title()))
                    .detail(output.stdout + &output.stderr)
            }),
            Some(NOT_YET) => Ok(None),
            _ => Err(Error::boot(format!("{}: failed to wait for a command", self.machine.title()))
                .detail(output.stdout + &output.stderr)),
        }
    }
}

impl Running for Job<'_> {
    fn wait(&mut self, limit: Duration) -> Result<Output> {
        match self.wait_there(limit)? {
            Some(output) => {
                self.is_over = true;
                Ok(output)
            }
            None => Err(Error::timeout(
                format_args!("end of `{}` on {}", self.command, self.machine.title()),
                limit,
            )),
        }
    }

    fn signal(&mut self, signal: &str) -> Result<()> {
        self.machine.run_root(&kill(&self.unit, signal), SHORT).map(drop)
    }

    fn stop(&mut self) -> Result<Output> {
        self.machine.run_root(&kill(&self.unit, "KILL"), SHORT)?;
        self.wait(SHORT)
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // The machine may have gone; the reset before the next scenario ends what is left.
            let _ = self.machine.run_root(&kill(&self.unit, "KILL"), SHORT);
        }
    }
}

/// The command that starts `command` as the unit `unit`, whose directory exists.
pub(super) fn unit_command(unit: &str, properties: &[&str], command: &str) -> String {
    let directory = format!("{DIRECTORY}/{unit}");
    let limit = format!("RuntimeMaxSec={}", LONGEST.as_secs());
    let (out, err) =
        (format!("StandardOutput=file:{directory}/out"), format!("StandardError=file:{directory}/err"));
    let ended = format!("'ExecStopPost=/bin/sh {DIRECTORY}/ended {directory}'");
    let mut words = vec!["systemd-run --quiet --collect --service-type=exec", "--unit", unit];
    for property in [&limit, "LimitMEMLOCK=infinity", "TimeoutStopSec=2", &out, &err, &ended]
        .into_iter()
        .chain(properties.iter().copied())
    {
        words.extend(["-p", property]);
    }
    words.extend(["--", command]);
    words.join(" ")
}

/// The file that systemd runs when a unit has ended: `sh ended DIRECTORY`.
pub(super) const ENDED: &str = "echo \"$SERVICE_RESULT $EXIT_CODE $EXIT_STATUS\" >\"$1/ended.part\"\nmv \"$1/ended.part\" \"$1/ended\"\n";

/// Command that waits until a condition is true; the script exits with [`NOT_YET`] if it is not within `limit`.
pub(super) fn wait_for(condition: &str, limit: Duration) -> String {
    let looks = limit.as_millis() / 50;
    format!("n=0; until {condition}; do n=$((n+1)); [ $n -gt {looks} ] && exit {NOT_YET}; sleep 0.05; done")
}

/// The command that sends a signal to everything of a unit; one that has ended is no error.
pub(super) fn kill(unit: &str, signal: &str) -> String {
    format!("systemctl kill --signal={signal} {unit} 2>/dev/null; true")
}

/// Reads `<result> <exited|killed|dumped> <status>` and both outputs.
fn parse(text: &str) -> Option<Output> {
    let mut lines = text.lines();
    let mut words = lines.next()?.split(' ').skip(1);
    let (how, status) = (words.next()?, words.next()?);
    // A signal is told by its name.
    let code = if how == "exited" { Some(status.parse().ok()?) } else { None };
    let mut decoded = lines.map(|line| {
        let bytes = BASE64_STANDARD.decode(line).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    });
    Some(Output { code, stdout: decoded.next()??, stderr: decoded.next()?? })
}

impl Node for Machine {
    fn run(&self, command: &str, limit: Duration) -> Result<Output> {
        self.run_root(&format!("export RDMA_DEVICE={}\n{command}", self.device), limit)
    }

    fn start(&self, command: &str) -> Result<Box<dyn Running + '_>> {
        Ok(Box::new(Job::start(self, command)?))
    }

    fn address(&self) -> IpAddr {
        self.setting.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::command::Command;

    #[test]
    fn end_is_what_systemd_tells() {
        let output = parse("exit-code exited 3\nb3V0Cg==\n\n").unwrap();
        assert_eq!(output, Output { code: Some(3), stdout: "out\n".to_owned(), stderr: String::new() });
        assert_eq!(parse("signal killed KILL\n\nZQ==\n").unwrap().code, None);
        assert_eq!(parse("success exited 0\n\n\n").unwrap().code, Some(0));
        for cut in ["", "success\n", "success exited 0\n", "success exited 0\n\n", "success exited x\n\n\n"] {
            assert_eq!(parse(cut), None, "{cut}");
        }
    }

    #[test]
    fn unit_has_limits_and_files() {
        let text = unit_command("rdma-lab-1", &["KillSignal=SIGINT"], "true");
        assert_eq!(
            text,
            "systemd-run --quiet --collect --service-type=exec --unit rdma-lab-1 -p RuntimeMaxSec=3600 \
             -p LimitMEMLOCK=infinity -p TimeoutStopSec=2 -p StandardOutput=file:/var/tmp/rdma-lab/rdma-lab-1/out \
             -p StandardError=file:/var/tmp/rdma-lab/rdma-lab-1/err \
             -p 'ExecStopPost=/bin/sh /var/tmp/rdma-lab/ended /var/tmp/rdma-lab/rdma-lab-1' \
             -p KillSignal=SIGINT -- true"
        );
    }

    #[test]
    fn both_ends_of_a_long_output_are_fetched() {
        let fetched = |bytes: u32| {
            let script = format!(
                "{}\nf=$(mktemp); (printf B; head -c {bytes} /dev/zero; printf E) >$f; ends $f; rm $f",
                ends()
            );
            Command::new(["sh", "-c", &script]).run(Duration::from_secs(10)).unwrap().stdout
        };
        assert_eq!(fetched(2), "B\0\0E");
        let long = fetched(OUTPUT_LIMIT + 5);
        assert!(long.starts_with("B\0") && long.ends_with("\0E"));
        assert!(long.contains("\0\n... 7 bytes left out ...\n\0"));
    }

    #[test]
    fn wait_in_vain_has_an_exit_code_of_its_own() {
        let run = |condition| {
            let script = wait_for(condition, Duration::from_millis(100));
            Command::new(["sh", "-c", &script]).output(Duration::from_secs(10)).unwrap().code
        };
        assert_eq!(run("true"), Some(0));
        assert_eq!(run("false"), Some(NOT_YET));
    }
}
