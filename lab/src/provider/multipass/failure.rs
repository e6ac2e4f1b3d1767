//! Failed calls of `multipass`: the cause, a name of ours for it, and what to do about it.
//!
//! Observed: v1.16.3. The daemon's own log comes on the client's standard error too, before the failure: without a
//! network each launch, list or stop begins with downloads that failed. The cause is what follows `<command> failed:`.

use crate::base::command::{Output, tail};
use crate::base::error::Error;

/// A way out for those whose computer or network is not for Multipass.
const ELSEWHERE: &str = "or use --provider qemu";

/// The error of a call with these words that failed with `output`.
pub fn explain(words: &[&str], output: &Output) -> Error {
    let cause = cause(&output.stderr);
    let instance = instance(words).unwrap_or("NAME");
    let (name, next) = name(&cause, output.code, instance);
    let code = output.code.map_or("a signal".to_owned(), |code| format!("exit code {code}"));
    Error::setup(format!("{name}: `multipass {}`: {code}", words.join(" ")))
        .detail(tail(&cause, 8))
        .next(next)
}

/// The instance of the lab's that a call is about.
pub fn instance<'a>(words: &[&'a str]) -> Option<&'a str> {
    let names = words.iter().map(|word| word.split(':').next().unwrap_or_default());
    names.into_iter().find(|word| word.starts_with("rdma-"))
}

/// True if an instance's guest did not answer Multipass in time, which a busy one does a moment later: before anything
/// that was to be done there was begun.
pub fn is_silence(output: &Output) -> bool {
    let cause = cause(&output.stderr);
    ["ssh connection failed", "failed to obtain exit status for remote process"]
        .iter()
        .any(|part| cause.contains(part))
}

/// The client's words on its failure, without what the daemon logged.
fn cause(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.trim_end().lines().filter(|line| !is_log(line)).collect();
    let failed = lines.iter().rposition(|line| after_failed(line).is_some());
    let (first, rest) = match failed {
        Some(at) => (after_failed(lines[at]).unwrap_or_default(), &lines[at + 1..]),
        None => ("", &lines[..]),
    };
    let exception = |line: &str| {
        line.split_once("Caught an unhandled exception: ").map_or(line, |(_, what)| what).to_owned()
    };
    let all: Vec<String> =
        [first].iter().chain(rest).filter(|line| !line.is_empty()).map(|line| exception(line)).collect();
    all.join("\n")
}

/// `launch failed: why`.
fn after_failed(line: &str) -> Option<&str> {
    let (command, why) = line.split_once(" failed: ")?;
    (!command.is_empty() && command.bytes().all(|byte| byte.is_ascii_lowercase())).then_some(why)
}

/// `[2026-11-29T15:37:27.382] [error] [url downloader] …`; the client's own such lines are no log.
fn is_log(line: &str) -> bool {
    let Some((time, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] [")) else {
        return false;
    };
    time.starts_with(|digit: char| digit.is_ascii_digit())
        && !rest.contains("] [client] ")
        && !rest.contains("] [sftp] ")
}

/// Text between two others.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

/// Name and next step of a failure.
fn name(cause: &str, code: Option<i32>, instance: &str) -> (String, String) {
    let has = |part: &str| cause.contains(part);
    if let Some(named) = size(cause).or_else(|| image(cause)) {
        return named;
    }
    let (name, next) = if has("cannot connect to the multipass socket") {
        (
            "Multipass's daemon cannot be reached",
            format!(
                "start it (Linux: sudo snap start multipass), then look: multipass version\n\
                 if it runs, this user may not open its socket (Linux: join the group that `ls -l` says it has)\n{ELSEWHERE}"
            ),
        )
    } else if has("multipass_root_cert.pem") {
        (
            "Multipass's daemon has never run on this computer",
            format!("start it (Linux: sudo snap start multipass), then look: multipass version\n{ELSEWHERE}"),
        )
    } else if has("not authenticated")
        || has("multipass authenticate")
        || has("Permission denied") && !has("SFTP server")
    {
        (
            "Multipass's daemon does not let this user in",
            "run it as the user who installed Multipass, or: multipass authenticate\nnever mix with `sudo multipass`"
                .to_owned(),
        )
    } else if has("KVM support is not enabled") || has("/dev/kvm") {
        (
            "this computer gives Multipass no KVM",
            format!(
                "enable virtualization in the firmware, or nested virtualization in the machine this runs on\n{ELSEWHERE}, which does without"
            ),
        )
    } else if has("Timed out waiting for") || code == Some(5) {
        (
            "the instance did not come up in time",
            "run it again, which goes on from where this stopped; a slow computer needs more: --launch-limit SECONDS"
                .to_owned(),
        )
    } else if has("Cannot retrieve credentials in unknown state") {
        ("the instance's state is unknown to Multipass", "run it again: `lab up` mends that".to_owned())
    } else if has("ssh connection failed") || has("failed to obtain exit status for remote process") {
        (
            "the instance's guest does not answer",
            format!(
                "if this computer is busy, run it again; else end it: multipass stop --force {instance}, then run this again"
            ),
        )
    } else {
        ("multipass failed", "run the command by hand to see more: multipass -vv …".to_owned())
    };
    (name.to_owned(), next)
}

/// A size that Multipass does not take.
fn size(cause: &str) -> Option<(String, String)> {
    for (option, usual) in [("memory", "2G"), ("disk", "10G")] {
        if let Some(size) = between(cause, &format!("Invalid {option} size value supplied: "), ".") {
            let least = if option == "memory" { "128M" } else { "512M" };
            return Some((
                format!("Multipass refuses the {option} of {size}"),
                format!("give more than its least, {least}: --{option} {usual}"),
            ));
        }
    }
    if let Some(asked) = between(cause, "Requested disk (", " bytes) below minimum") {
        let gib = |text: &str| text.parse::<u64>().ok().map(|bytes| bytes.div_ceil(1 << 30));
        let needed = between(cause, "for this image (", " bytes)").and_then(gib).unwrap_or(10);
        return Some((
            format!("the image needs a larger disk than {}G", gib(asked).unwrap_or_default()),
            format!("give at least: --disk {needed}G"),
        ));
    }
    let is_one = ["is not a valid memory size", "invalid CPU count"].iter().any(|part| cause.contains(part));
    is_one
        .then(|| ("Multipass refuses that size".to_owned(), "correct --cpus, --memory or --disk".to_owned()))
}

/// An image that Multipass cannot have.
fn image(cause: &str) -> Option<(String, String)> {
    let has = |part: &str| cause.contains(part);
    let network = "look at this computer's network, then run it again\n\
         a proxy is the daemon's to know, not this shell's: set https_proxy and http_proxy for its service\n\
         (Linux: sudo systemctl edit snap.multipass.multipassd), restart it, then look: multipass find\n\
         an image that is here needs no network: --image file:///path/to/image.img";
    let (name, next) = if let Some(path) = between(cause, "Custom image `", "` does not exist") {
        return Some((
            format!("there is no image file {path}"),
            "correct --image; Multipass's snap sees neither /tmp nor directories that begin with a dot"
                .to_owned(),
        ));
    } else if has("is unknown or unreachable") {
        ("Multipass cannot look up its images, this one or any", network)
    } else if has("failed to download") || has("Cannot retrieve headers") || has("Network unreachable") {
        ("Multipass could not download its image", network)
    } else if has("Unable to find an image matching")
        || has("Unable to find image")
        || has("Remote '") && has("is not found")
    {
        ("Multipass has no such image", "list those it has: multipass find")
    } else {
        return None;
    };
    Some((name.to_owned(), next.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a daemon without a network says it before whatever it was asked fails.
    const NOISE: &str = "[2026-11-29T15:00:00.000] [error] [url downloader] Failed to get https://h/x: Error opening https://h/x\n\
        [2026-11-29T15:00:00.001] [error] [blueprint provider] Error fetching Blueprints: failed to download from 'https://h/x': Error opening https://h/x\n";

    fn explained(code: i32, stderr: &str) -> String {
        let output = Output { code: Some(code), stdout: String::new(), stderr: stderr.to_owned() };
        explain(&["exec", "-n", "rdma-client"], &output).to_string()
    }

    #[test]
    fn failures_are_named_each_with_what_to_do() {
        for (code, said, named) in [
            (2, "info failed: cannot connect to the multipass socket\n", "daemon cannot be reached"),
            (
                1,
                "[error] [client] Caught an unhandled exception: failed to open file '/usr/local/etc/multipassd/multipass_root_cert.pem': No such file or directory(2)\n",
                "never run on this computer",
            ),
            (
                2,
                "list failed: The client is not authenticated with the Multipass service.\nPlease use 'multipass authenticate' before proceeding.\n",
                "does not let this user in",
            ),
            (2, "launch failed: KVM support is not enabled on this machine.\n", "no KVM"),
            (
                2,
                "launch failed: Unable to find an image matching \"99.99\" in remote \"\".\n",
                "no such image",
            ),
            (
                2,
                "launch failed: Remote 'foo' is not found. Please use `multipass find` for supported remotes and images.\n",
                "no such image",
            ),
            (
                2,
                "launch failed: Remote \"\" is unknown or unreachable. If image mirror is enabled, please confirm it is valid.\n",
                "cannot look up its images",
            ),
            (
                2,
                "launch failed: failed to download from 'https://10.255.255.1/x.img': Network unreachable\n",
                "could not download",
            ),
            (2, "launch failed: Custom image `/nope.img` does not exist.\n", "no image file /nope.img"),
            (5, "Timed out waiting for instance launch.\n", "did not come up in time"),
            (
                2,
                "launch failed: Requested disk (1073741824 bytes) below minimum for this image (2422210560 bytes)\n",
                "larger disk than 1G",
            ),
            (
                2,
                "launch failed: Invalid arguments supplied\nInvalid memory size value supplied: 1M.\n",
                "refuses the memory of 1M",
            ),
            (
                2,
                "launch failed: Invalid arguments supplied\nInvalid disk size value supplied: 1.5M.\n",
                "refuses the disk of 1",
            ),
            (
                1,
                "[2026-11-23T09:35:08.311] [error] [client] Caught an unhandled exception: lots is not a valid memory size - need a non-negative integer\n",
                "refuses that size",
            ),
            (2, "exec failed: Cannot retrieve credentials in unknown state\n", "state is unknown"),
            (2, "exec failed: ssh connection failed: 'Timeout connecting to 10.1.2.3'\n", "does not answer"),
            (
                2,
                "info failed: failed to obtain exit status for remote process 'echo loadavg: ...': timed out after 5000 ms\n",
                "does not answer",
            ),
            (
                2,
                "transfer failed: cannot open remote file /x: SFTP server: Permission denied\n",
                "multipass failed",
            ),
            (255, "", "multipass failed"),
        ] {
            for before in ["", NOISE] {
                let text = explained(code, &format!("{before}{said}"));
                assert!(text.contains(named) && text.contains("next: "), "{text}");
                assert!(!text.contains("https://h/"), "{text}");
            }
        }
    }

    #[test]
    fn next_step_has_the_name_of_the_instance() {
        let text = explained(2, "exec failed: ssh connection failed: 'Timeout connecting to 10.1.2.3'\n");
        assert!(text.contains("multipass stop --force rdma-client"), "{text}");
        assert_eq!(instance(&["transfer", "-", "rdma-server:/tmp/x"]), Some("rdma-server"));
        assert_eq!(instance(&["get", "local.driver"]), None);
    }

    #[test]
    fn cause_is_what_follows_the_failure() {
        assert_eq!(
            cause(&format!("{NOISE}launch failed: Invalid arguments supplied\nInvalid x: 1M.\n")),
            "Invalid arguments supplied\nInvalid x: 1M."
        );
        assert_eq!(
            cause("Timed out waiting for instance launch.\n"),
            "Timed out waiting for instance launch."
        );
        assert_eq!(cause(NOISE), "");
        assert_eq!(
            cause("start failed: instance(s) missing\nInstance 'x' does not exist.\n"),
            "instance(s) missing\nInstance 'x' does not exist."
        );
    }
}
