//! Scripts as one line of shell that always exits with 0 and tells the real exit code as its last output.
//!
//! Carriers give exit codes meanings of their own: multipass 1.14 to 1.16 runs a command that exits with 4 again
//! and again, for ever; ssh's 255 is also its own failure. The script travels in base64, so no quoting rule of a
//! carrier or a login shell touches it. It runs as root, and `timeout` ends it there when its limit has passed
//! here, since carriers leave it behind.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::base::command::Output;

const BEGIN: &str = "@lab-begin";
const END: &str = "@lab-end";

/// Longest script, in bytes: a Linux kernel takes 128 KiB in one argument, and base64 makes four of three.
pub const LONGEST: usize = 90_000;

/// Sets `$sudo` to what makes a user root without a question; nothing for root itself.
pub const SUDO: &str = "sudo=; [ $(id -u) = 0 ] || sudo=\"sudo -n\"; ";

/// The line that runs `script`, ended there after `limit`.
pub fn line(script: &str, limit: Duration) -> String {
    let encoded = BASE64_STANDARD.encode(script);
    let seconds = limit.as_secs() + 1;
    format!(
        "sh -c 'echo {BEGIN}; {SUDO}\
         $sudo timeout -k 5 {seconds} sh -c \"$(echo {encoded} | base64 -d)\" </dev/null; \
         code=$?; echo; echo {END} $code; exit 0'"
    )
}

/// True if a script did not run since its user may not become root without being asked.
pub fn is_refused(stderr: &str) -> bool {
    // As sudo says it, with whatever its configuration complains about before.
    let is_refusal = |line: &str| {
        line.starts_with("sudo: a password is required")
            || line.starts_with("sudo: a terminal is required")
            || line.starts_with("sudo: sorry, you must have a tty")
            || line.contains("is not in the sudoers file")
            || line.contains("sudo: not found")
            || line.contains("sudo: command not found")
    };
    stderr.lines().any(is_refusal)
}

/// Outputs of the script and its exit code; `None` if the line did not run to its end.
pub fn output(carried: &Output) -> Option<Output> {
    // What a carrier writes itself (a spinner, while it starts the machine) comes before.
    let (_, rest) = carried.stdout.split_once(&format!("{BEGIN}\n"))?;
    let (stdout, code) = rest.rsplit_once(&format!("\n{END} "))?;
    let code = code.trim().parse().ok()?;
    Some(Output { code: Some(code), stdout: stdout.to_owned(), stderr: carried.stderr.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::command::Command;

    /// As a carrier does, as a user whose `sudo` is the given script.
    fn carried_with(sudo: &str, script: &str) -> Output {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("sudo", sudo), ("id", "echo 1000")] {
            let path = directory.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:/usr/bin:/bin", directory.path().display());
        let limit = Duration::from_secs(10);
        Command::new(["sh", "-c", &line(script, limit)]).env("PATH", path).output(limit).unwrap()
    }

    fn carried(script: &str) -> Output {
        carried_with("shift; exec \"$@\"", script)
    }

    #[test]
    fn sudo_that_asks_is_told_from_a_script_that_fails() {
        let refused = carried_with("echo 'sudo: a password is required' >&2; exit 1", "true");
        let output = output(&refused).unwrap();
        assert!(output.code == Some(1) && is_refused(&output.stderr));
        assert!(!is_refused("rdma: not found\n"));
    }

    #[test]
    fn exit_codes_that_mean_something_to_a_carrier_stay_in_the_script() {
        for code in [0, 1, 2, 4, 5, 124, 255] {
            let carried = carried(&format!("echo 'it''s \"x\" $HOME'; echo e >&2; exit {code}"));
            assert_eq!(carried.code, Some(0));
            let output = output(&carried).unwrap();
            assert_eq!(output.code, Some(code));
            assert!(output.stdout.starts_with("its \"x\" $HOME\n"), "{output:?}");
            assert_eq!(output.stderr, "e\n");
        }
    }

    #[test]
    fn output_is_told_byte_by_byte() {
        assert_eq!(output(&carried("printf abc")).unwrap().stdout, "abc");
        assert_eq!(output(&carried("echo abc")).unwrap().stdout, "abc\n");
        assert_eq!(output(&carried("true")).unwrap().stdout, "");
        assert_eq!(output(&carried("kill -9 $$")).unwrap().code, Some(137));
    }

    #[test]
    fn what_a_carrier_says_before_is_not_the_scripts() {
        let mut carried = carried("echo x");
        carried.stdout.insert_str(0, "\x1b[2K\x1b[0A\x1b[0EStarting rdma-client  \x08/\x08-");
        assert_eq!(output(&carried).unwrap().stdout, "x\n");
        let cut = carried.stdout.find(END).unwrap();
        carried.stdout.truncate(cut);
        assert_eq!(output(&carried), None);
    }
}
