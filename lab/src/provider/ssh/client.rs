//! OpenSSH's client as a carrier: the user's configuration, keys and known hosts, never a question.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::command::{Command, Output, shell_word, tail};
use crate::base::error::{Error, Kind, Result};
use crate::host::toolbox::Tool;
use crate::provider::remote::host::RemoteHost;
use crate::provider::ssh::hosts::SshHost;

/// One host, reached by ssh.
#[derive(Debug, Clone)]
pub struct Client {
    ssh: Tool,
    host: SshHost,
    /// Where connections are shared, in a directory of a short name: a socket's path may have 107 bytes.
    sockets: PathBuf,
}

impl Client {
    /// A way to `host` by the program `ssh`, whose connections are shared through sockets in the directory `sockets`.
    pub fn new(ssh: Tool, host: &SshHost, sockets: &Path) -> Client {
        Client { ssh, host: host.clone(), sockets: sockets.to_owned() }
    }

    /// The words that reach the host; a command may follow them.
    fn words(&self) -> Command {
        let mut words = self.ssh.command();
        if let Some(config) = &self.host.config {
            words = words.arg("-F").arg(config);
        }
        if let Some(port) = self.host.port {
            words = words.args(["-p", &port.to_string()]);
        }
        if let Some(identity) = &self.host.identity {
            // An agent with many keys would use up the server's patience before this one's turn.
            words = words.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(identity);
        }
        words
            // A host whose key is not known yet is not trusted because nobody looked.
            .args(["-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=10"])
            .args(["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"])
    }

    /// The words for a command without a person: no question is asked, and the connection is shared.
    fn batch(&self, line: &str) -> Command {
        self.words()
            .args(["-o", "BatchMode=yes", "-o", "ControlMaster=auto", "-o", "ControlPersist=20", "-o"])
            // ssh splits the value as it does a line of its configuration.
            .arg(format!("ControlPath=\"{}/%C\"", self.sockets.display()))
            .args(["-T", "--", &self.host.ssh, line])
    }

    fn succeeded(&self, what: &str, output: &Output) -> Result<()> {
        match output.code {
            Some(0) => Ok(()),
            Some(255) | None => Err(self.explain(output)),
            Some(code) => Err(Error::setup(format!("failed to {what}: exit code {code}"))
                .detail(tail(&output.stderr, 6))
                .next("look whether there is room: df -h /tmp")),
        }
    }
}

impl RemoteHost for Client {
    fn name(&self) -> String {
        self.host.ssh.clone()
    }

    fn call(&self, line: &str, limit: Duration) -> Result<Output> {
        self.batch(line).output(limit).map_err(|error| self.out_of_reach(error))
    }

    fn upload(&self, bytes: &[u8], path: &str, limit: Duration) -> Result<()> {
        let line = format!("umask 077; cat >{}", shell_word(path));
        let output =
            self.batch(&line).stdin(bytes).output(limit).map_err(|error| self.out_of_reach(error))?;
        self.succeeded(&format!("write {path}"), &output)
    }

    fn download(&self, path: &str, to: &Path, limit: Duration) -> Result<()> {
        let line = format!("cat {}", shell_word(path));
        let output =
            self.batch(&line).stdout_file(to).output(limit).map_err(|error| self.out_of_reach(error))?;
        self.succeeded(&format!("read {path}"), &output)
    }

    fn explain(&self, output: &Output) -> Error {
        explain(&self.host, output)
    }

    fn shell(&self, line: Option<&str>, terminal: bool) -> Command {
        let words = self.words().args((terminal && line.is_some()).then_some("-t"));
        words.args(["--", &self.host.ssh]).args(line)
    }
}

impl Client {
    fn out_of_reach(&self, error: Error) -> Error {
        if error.kind() != Kind::Timeout {
            return error;
        }
        let destination = &self.host.ssh;
        error.next(format!("look whether it answers: ssh {destination} true"))
    }
}

/// Failures of ssh itself, by its words.
fn explain(host: &SshHost, output: &Output) -> Error {
    let destination = &host.ssh;
    let said = tail(&output.stderr, 12);
    let has = |part: &str| output.stderr.contains(part);
    let (what, next) = if has("REMOTE HOST IDENTIFICATION HAS CHANGED")
        || has("Host key for") && has("has changed")
    {
        (
            "its host key has changed: either it was set up anew, or somebody is in between".to_owned(),
            format!(
                "ask who runs it; if the change is meant, remove the old key (ssh-keygen -R, with the name above) and connect once by hand: ssh {destination}"
            ),
        )
    } else if has("Host key verification failed") || has("host key is known for") {
        (
            "its host key is not known".to_owned(),
            format!("connect once by hand, compare the key's fingerprint and accept it: ssh {destination}"),
        )
    } else if has("Too many authentication failures") {
        (
            "it refused after too many keys, as an agent with many of them offers".to_owned(),
            "name the one key in the hosts file: identity = \"~/.ssh/…\"".to_owned(),
        )
    } else if has("Permission denied") {
        (
            "it lets nobody in with these keys".to_owned(),
            format!(
                "a key without a question is needed (an agent, or no passphrase): ssh -o BatchMode=yes {destination} true"
            ),
        )
    } else if has("Could not resolve hostname") {
        ("no host has this name".to_owned(), "correct `ssh` in the hosts file".to_owned())
    } else if ["Connection refused", "Connection timed out", "No route to host", "Network is unreachable"]
        .iter()
        .any(|part| has(part))
    {
        (
            "it cannot be reached".to_owned(),
            format!("look whether it is on and its SSH server answers: ssh {destination} true"),
        )
    } else {
        ("ssh brought no answer".to_owned(), format!("try it by hand: ssh {destination} true"))
    };
    Error::setup(format!("{destination}: {what}")).detail(said).next(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(identity: Option<&str>) -> Client {
        let host = SshHost {
            ssh: "ubuntu@a".to_owned(),
            port: Some(2222),
            identity: identity.map(Into::into),
            config: None,
            address: "192.0.2.1".parse().unwrap(),
            device: None,
            setup_rxe: false,
            install: false,
        };
        let ssh = Tool { argv: vec!["ssh".into()], env: Vec::new(), identity: String::new() };
        Client::new(ssh, &host, Path::new("/tmp/x y"))
    }

    #[test]
    fn command_asks_nothing_checks_the_host_and_shares_a_connection() {
        assert_eq!(
            client(None).batch("true").to_string(),
            "ssh -p 2222 -o StrictHostKeyChecking=yes -o ConnectTimeout=10 -o ServerAliveInterval=5 \
             -o ServerAliveCountMax=3 -o BatchMode=yes -o ControlMaster=auto -o ControlPersist=20 \
             -o 'ControlPath=\"/tmp/x y/%C\"' -T -- ubuntu@a true"
        );
    }

    #[test]
    fn named_key_is_the_only_one_that_is_offered() {
        let text = client(Some("/k")).batch("true").to_string();
        assert!(text.contains("-o IdentitiesOnly=yes -i /k "), "{text}");
    }

    #[test]
    fn failures_are_named() {
        let explained = |stderr: &str| {
            let output = Output { code: Some(255), stdout: String::new(), stderr: stderr.to_owned() };
            explain(&client(None).host, &output).to_string()
        };
        for (said, named) in [
            (
                "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.",
                "has changed",
            ),
            (
                "No ED25519 host key is known for a and you have requested strict checking.\nHost key verification failed.",
                "is not known",
            ),
            ("Received disconnect from a port 22:2: Too many authentication failures", "identity ="),
            ("ubuntu@a: Permission denied (publickey).", "lets nobody in"),
            ("ssh: Could not resolve hostname a: Name or service not known", "no host has this name"),
            ("ssh: connect to host a port 22: Connection refused", "cannot be reached"),
            (
                "Host key for a has changed and you have requested strict checking.\nHost key verification failed.",
                "its host key has changed",
            ),
            ("", "brought no answer"),
        ] {
            let text = explained(said);
            assert!(text.contains(named) && text.contains("next: "), "{text}");
        }
    }
}
