//! The way in for people: SSH on 127.0.0.1, with the lab's own key and known hosts.
//!
//! The user's configuration, agent and keys are left out of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::{Cache, write_whole};
use crate::command::Command;
use crate::error::{IoContext as _, Result};
use crate::node::Role;

const KEYGEN_LIMIT: Duration = Duration::from_secs(20);

/// The lab's own key pair, in the cache.
#[derive(Debug, Clone)]
pub struct Key {
    private: PathBuf,
    public: String,
}

impl Key {
    /// Reads it, or makes it once.
    ///
    /// # Errors
    ///
    /// `ssh-keygen` fails, or the cache cannot be written.
    pub fn ensure(cache: &Cache) -> Result<Key> {
        let private = cache.path("ssh-key");
        let public = private.with_extension("pub");
        let _lock = cache.lock("ssh-key")?;
        if !private.exists() {
            let scratch = cache.scratch()?;
            let fresh = scratch.path().join("key");
            Command::new(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "rdma-lab", "-f"])
                .arg(&fresh)
                .run(KEYGEN_LIMIT)?;
            let fresh_public = fresh.with_extension("pub");
            write_whole(&public, &fs::read(&fresh_public).at("failed to read", &fresh_public)?)?;
            fs::rename(&fresh, &private).at("failed to keep the key", &private)?;
        }
        let public = fs::read_to_string(&public).at("failed to read", &public)?.trim().to_owned();
        Ok(Key { private, public })
    }

    /// The file with the private half.
    pub fn private(&self) -> &Path {
        &self.private
    }

    /// The public half, as in `authorized_keys`.
    pub fn public(&self) -> &str {
        &self.public
    }
}

/// What starts a guest's SSH server, which lets one user in with one public key; prints the server's own
/// host key.
pub fn server(public: &str, (user, home): (&str, &str)) -> String {
    format!(
        "mkdir -p {home}/.ssh /etc/dropbear && chmod 700 {home} {home}/.ssh\n\
         echo '{public}' >{home}/.ssh/authorized_keys\n\
         chown -R {user} {home}\n\
         key=/etc/dropbear/dropbear_ed25519_host_key\n\
         {{ dropbearkey -t ed25519 -f $key && dropbear -s -r $key; }} >/dev/null 2>&1\n\
         dropbearkey -y -f $key | grep ^ssh-"
    )
}

/// A line of a `known_hosts` file: the node under a name of its own, whatever its port.
pub fn known_host(role: Role, host_key: &str) -> String {
    format!("{} {}\n", alias(role), host_key.trim())
}

/// The words that reach a node; a command may follow them.
pub fn command(key: &Key, known_hosts: &Path, role: Role, user: &str, port: u16) -> Command {
    Command::new(["ssh", "-F", "none", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"])
        // A machine that has gone must not keep anybody waiting.
        .args(["-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o"])
        // ssh splits the value as it does a line of its configuration.
        .arg(format!("UserKnownHostsFile=\"{}\"", known_hosts.display()))
        .args(["-o", &format!("HostKeyAlias={}", alias(role)), "-o", "StrictHostKeyChecking=yes"])
        .arg("-i")
        .arg(&key.private)
        .args(["-p", &port.to_string(), &format!("{user}@127.0.0.1")])
}

/// The name under which known hosts have a node.
pub fn alias(role: Role) -> String {
    format!("rdma-lab-{role}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_leaves_the_users_configuration_out() {
        let key = Key { private: "/c/ssh-key".into(), public: String::new() };
        let text = command(&key, Path::new("/c/known hosts"), Role::Client, "root", 4242).to_string();
        assert_eq!(
            text,
            "ssh -F none -o IdentitiesOnly=yes -o LogLevel=ERROR -o ConnectTimeout=10 \
             -o ServerAliveInterval=5 -o 'UserKnownHostsFile=\"/c/known hosts\"' \
             -o HostKeyAlias=rdma-lab-client -o StrictHostKeyChecking=yes -i /c/ssh-key -p 4242 root@127.0.0.1"
        );
    }
}
