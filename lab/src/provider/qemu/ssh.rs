//! The way in for people: SSH on 127.0.0.1, with the lab's own key and known hosts.
//!
//! The user's configuration, agent and keys are left out of it. The key pair is made and looked into here: OpenSSH is
//! needed by who goes in, and by nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use crate::base::cache::{Cache, read_record, sha256_file, write_record, write_whole};
use crate::base::command::Command;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::invocation;
use crate::base::progress::say;
use crate::base::role::Role;
use crate::host::toolbox::{Tool, Toolbox};

/// The longest wait for a client that only tells its version.
const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// Name of the private half's file.
const KEY: &str = "ssh-key";

/// Comment of the public half.
const COMMENT: &str = "rdma-lab";

/// The lab's own key pair, in the cache; a lab that is up has a copy.
#[derive(Debug, Clone)]
pub struct Key {
    private: PathBuf,
    public: String,
    /// Source of the client that comes in with it, and of what ends one with its parent.
    toolbox: Toolbox,
}

/// Checksums of the key's files: the file `ssh-key.json` of the cache.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sums {
    private: String,
    public: String,
}

impl Key {
    /// Reads it, or makes it once. A damaged public half is made again from the private one; a damaged private half is
    /// the end of the pair, and a new one takes its place.
    ///
    /// # Errors
    ///
    /// The cache cannot be written, or this system has no randomness.
    pub fn ensure(cache: &Cache) -> Result<Key> {
        let key = Key { private: cache.path(KEY), public: String::new(), toolbox: Toolbox::of(cache) };
        let sums_file = key.private.with_extension("json");
        let _lock = cache.lock(KEY)?;
        if key.private.exists() {
            let sums = read_record::<Sums>(&sums_file).ok().flatten();
            if sums.is_some() && sums == key.sums().ok() {
                return key.read();
            }
            if let Some(public) = key.derived()? {
                let is_as_it_was = key.clone().read().is_ok_and(|key| key.public == public);
                if !is_as_it_was {
                    say("ssh-key.pub of the cache is damaged and is made again from ssh-key");
                    write_whole(&key.public_file(), format!("{public}\n").as_bytes())?;
                }
                key.note(&sums_file)?;
                return key.read();
            }
            say("ssh-key of the cache is damaged: a new pair is made");
        }
        let (private, public) = pair()?;
        write_whole(&key.public_file(), format!("{public}\n").as_bytes())?;
        write_whole(&key.private, private.as_bytes())?;
        key.note(&sums_file)?;
        key.read()
    }

    /// A lab's own copy of it, which nothing that happens to the cache takes from the lab.
    ///
    /// # Errors
    ///
    /// It cannot be read or written.
    pub fn copied_into(&self, run_directory: &Path) -> Result<Key> {
        let private = run_directory.join(KEY);
        let bytes = fs::read(&self.private).at("failed to read", &self.private)?;
        write_whole(&private, &bytes)?;
        Ok(Key { private, ..self.clone() })
    }

    /// The copy that a lab has of it; itself where an older kit brought the lab up.
    pub fn for_lab(&self, run_directory: &Path) -> Key {
        let private = run_directory.join(KEY);
        if private.exists() { Key { private, ..self.clone() } } else { self.clone() }
    }

    /// A command that gets SIGKILL when the process that started it ends.
    ///
    /// # Errors
    ///
    /// There is no setpriv.
    pub fn tied_to_parent(&self, command: Command) -> Result<Command> {
        Ok(tied(&self.toolbox.tool("setpriv")?, command))
    }

    fn public_file(&self) -> PathBuf {
        self.private.with_extension("pub")
    }

    fn sums(&self) -> Result<Sums> {
        Ok(Sums { private: sha256_file(&self.private)?, public: sha256_file(&self.public_file())? })
    }

    fn note(&self, sums_file: &Path) -> Result<()> {
        write_record(sums_file, &self.sums()?)
    }

    fn read(mut self) -> Result<Key> {
        let public = self.public_file();
        self.public = fs::read_to_string(&public).at("failed to read", &public)?.trim().to_owned();
        Ok(self)
    }

    /// The public half of the private one; `None` of one that is damaged.
    fn derived(&self) -> Result<Option<String>> {
        let bytes = fs::read(&self.private).at("failed to read", &self.private)?;
        // Each of its copies of the public half is compared with what the private one gives.
        let Ok(private) = PrivateKey::from_openssh(bytes) else { return Ok(None) };
        Ok(private.key_data().ed25519().is_some().then(|| public_of(private)).flatten())
    }

    /// The client that comes in with it.
    ///
    /// # Errors
    ///
    /// There is none, or it does not run: it refuses users without a name.
    fn client(&self) -> Result<Tool> {
        let client = self.toolbox.tool("ssh")?;
        let uid = rustix::process::getuid().as_raw();
        if has_name(&fs::read_to_string("/etc/passwd").unwrap_or_default(), uid) {
            return Ok(client);
        }
        // Other sources of names are the client's own business.
        let output = client.command().arg("-V").output(VERSION_LIMIT)?;
        if output.code == Some(0) { Ok(client) } else { Err(refused(uid, &output.stderr)) }
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

/// A new pair: the private half as OpenSSH's file, the public one as a line.
fn pair() -> Result<(String, String)> {
    let failed = || Error::setup("failed to make the lab's SSH key pair");
    let private =
        PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(|source| failed().source(source))?;
    let text = private.to_openssh(LineEnding::LF).map_err(|source| failed().source(source))?.to_string();
    Ok((text, public_of(private).ok_or_else(failed)?))
}

/// The public half as a line, whatever the private one has as its comment.
fn public_of(mut private: PrivateKey) -> Option<String> {
    private.set_comment(COMMENT);
    private.public_key().to_openssh().ok()
}

/// True if the text of a `passwd` file has a user of this number.
fn has_name(passwd: &str, uid: u32) -> bool {
    let uid = uid.to_string();
    passwd.lines().any(|line| line.split(':').nth(2) == Some(&uid))
}

/// Error of a client that ends at once for this user.
fn refused(uid: u32, stderr: &str) -> Error {
    let nameless = stderr.contains("No user exists");
    let what = if nameless {
        format!("OpenSSH's client does not run for a user without a name, and user id {uid} has none here")
    } else {
        "OpenSSH's client does not run".to_owned()
    };
    let next = if nameless {
        format!(
            "give it one, as root: echo 'lab:x:{uid}:{uid}::/:/bin/sh' >>/etc/passwd, or start the container as a user \
             that has one\nscenarios ({}) need no SSH",
            invocation::test("")
        )
    } else {
        format!("look at what it says above; scenarios ({}) need no SSH", invocation::test(""))
    };
    Error::setup(what).detail(stderr.trim()).next(next)
}

fn tied(setpriv: &Tool, command: Command) -> Command {
    let words = setpriv.with(["--pdeathsig", "KILL"]);
    setpriv.env.iter().fold(command, |command, (key, value)| command.env(key, value)).behind(words)
}

/// Command that starts a guest's SSH server, which lets one user in with one public key; prints the server's own
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

/// Words before a command that end it within a second or two of whatever ends the client's side. Its own end is left
/// alone, and so is what it leaves behind on purpose. Who looks after that is no child of the command's, which may count
/// its children.
pub const ENDS_WITH_ITS_SESSION: &str =
    "( (while kill -0 $PPID; do sleep 1; done; kill -0 $$ && kill -HUP 0) </dev/null >/dev/null 2>&1 & );";

/// A line of a `known_hosts` file: the node under a name of its own, whatever its port.
pub fn known_host(role: Role, host_key: &str) -> String {
    format!("{} {}\n", alias(role), host_key.trim())
}

/// Puts the lines of these nodes, as they are in `from`, into a lab's own file in the place of earlier ones.
///
/// # Errors
///
/// A file cannot be read or written.
pub fn keep_known_hosts(from: &Path, roles: &[Role], lab: &Path) -> Result<()> {
    let is_of = |line: &str, roles: &[Role]| {
        roles.iter().any(|&role| line.split(' ').next().is_some_and(|name| name == alias(role)))
    };
    let earlier = fs::read_to_string(lab).unwrap_or_default();
    let frozen = fs::read_to_string(from).at("failed to read", from)?;
    let kept = earlier.lines().filter(|line| !is_of(line, roles));
    let lines = kept.chain(frozen.lines().filter(|line| is_of(line, roles)));
    write_whole(lab, lines.map(|line| format!("{line}\n")).collect::<String>().as_bytes())
}

/// Puts a node's host key into a lab's own file in the place of an earlier one.
///
/// # Errors
///
/// The file cannot be read or written.
pub fn keep_host_key(role: Role, host_key: &str, lab: &Path) -> Result<()> {
    let earlier = fs::read_to_string(lab).at("failed to read", lab)?;
    let kept = earlier.lines().filter(|line| line.split(' ').next() != Some(&alias(role)));
    let lines: String = kept.map(|line| format!("{line}\n")).collect();
    write_whole(lab, format!("{lines}{}", known_host(role, host_key)).as_bytes())
}

/// Command that takes the place of [`server`] on a node that was forked from another: its server gets a host key of its own.
pub fn server_anew(public: &str, user: (&str, &str)) -> String {
    format!(
        "kill $(pidof dropbear) 2>/dev/null; rm -f /etc/dropbear/dropbear_ed25519_host_key\n\
         for i in $(seq 100); do pidof dropbear >/dev/null || break; usleep 20000; done\n{}",
        server(public, user)
    )
}

/// The words that reach a node; a command may follow them.
///
/// # Errors
///
/// There is no OpenSSH client, or it does not run for this user.
pub fn command(key: &Key, known_hosts: &Path, role: Role, user: &str, port: u16) -> Result<Command> {
    Ok(words(&key.client()?, &key.private, known_hosts, role, user, port))
}

fn words(client: &Tool, key: &Path, known_hosts: &Path, role: Role, user: &str, port: u16) -> Command {
    client
        .command()
        .args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"])
        // A machine that has gone must not keep anybody waiting.
        .args(["-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o"])
        // ssh splits the value as it does a line of its configuration.
        .arg(format!("UserKnownHostsFile=\"{}\"", known_hosts.display()))
        .args(["-o", &format!("HostKeyAlias={}", alias(role)), "-o", "StrictHostKeyChecking=yes"])
        .arg("-i")
        .arg(key)
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
    fn damaged_key_is_mended_and_labs_keep_theirs() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned()).unwrap();
        let key = Key::ensure(&cache).unwrap();
        assert_eq!(Key::ensure(&cache).unwrap().public, key.public);
        let run_directory = tempfile::tempdir().unwrap();
        key.copied_into(run_directory.path()).unwrap();
        let lab_key = key.for_lab(run_directory.path());
        let whole = fs::read(&key.private).unwrap();
        let flip = |path: &Path, at: usize| {
            let mut bytes = fs::read(path).unwrap();
            bytes[at] ^= 1;
            write_whole(path, &bytes).unwrap();
        };
        // Its public half, its comment included, and what says how both have to be: as before. An older kit has no sums.
        let public = key.public_file();
        let sums = key.private.with_extension("json");
        let end = key.public.len() - 2;
        for (path, at) in [(&public, 30), (&public, end), (&sums, 20), (&sums, 0)] {
            flip(path, at);
            assert_eq!(Key::ensure(&cache).unwrap().public, key.public, "{} {at}", path.display());
        }
        fs::remove_file(&sums).unwrap();
        assert_eq!(Key::ensure(&cache).unwrap().public, key.public);
        fs::remove_file(&public).unwrap();
        assert_eq!(Key::ensure(&cache).unwrap().public, key.public);
        // Its private half: another pair, and one that works.
        let mut last = key.public.clone();
        for at in [3, whole.len() / 2, whole.len() * 2 / 3] {
            flip(&key.private, at);
            let made = Key::ensure(&cache).unwrap();
            assert_ne!(made.public, last);
            assert_eq!(made.derived().unwrap().as_ref(), Some(&made.public));
            last = made.public;
        }
        assert_eq!(fs::read(&lab_key.private).unwrap(), whole);
    }

    #[test]
    fn known_hosts_of_a_lab_change_with_the_machines_that_do() {
        let directory = tempfile::tempdir().unwrap();
        let [frozen, lab] = ["frozen", "lab"].map(|name| directory.path().join(name));
        let write = |key: &str| {
            let lines = Role::BOTH.map(|role| known_host(role, &format!("ssh-ed25519 {key}-{role}")));
            fs::write(&frozen, lines.concat()).unwrap();
        };
        write("a");
        keep_known_hosts(&frozen, &Role::BOTH, &lab).unwrap();
        write("b");
        keep_known_hosts(&frozen, &[Role::Client], &lab).unwrap();
        let both = "rdma-lab-server ssh-ed25519 a-server\nrdma-lab-client ssh-ed25519 b-client\n";
        assert_eq!(fs::read_to_string(&lab).unwrap(), both);
        for key in ["ssh-ed25519 c", "ssh-ed25519 d\n"] {
            keep_host_key(Role::Client2, key, &lab).unwrap();
        }
        assert_eq!(fs::read_to_string(&lab).unwrap(), format!("{both}rdma-lab-client2 ssh-ed25519 d\n"));
        // Those that are forked anew leave it alone.
        keep_known_hosts(&frozen, &Role::BOTH, &lab).unwrap();
        assert!(fs::read_to_string(&lab).unwrap().contains("rdma-lab-client2 ssh-ed25519 d\n"));
    }

    #[test]
    fn command_leaves_the_users_configuration_out() {
        let [client, setpriv] = ["ssh", "setpriv"].map(|name| Tool {
            argv: vec![name.into()],
            env: Vec::new(),
            identity: String::new(),
        });
        let tied = tied(&setpriv, client.command()).to_string();
        assert_eq!(tied, "setpriv --pdeathsig KILL ssh");
        let [key, known_hosts] = ["/c/ssh-key", "/c/known hosts"].map(Path::new);
        let text = words(&client, key, known_hosts, Role::Client, "root", 4242).to_string();
        assert_eq!(
            text,
            "ssh -F none -o IdentitiesOnly=yes -o LogLevel=ERROR -o ConnectTimeout=10 \
             -o ServerAliveInterval=5 -o 'UserKnownHostsFile=\"/c/known hosts\"' \
             -o HostKeyAlias=rdma-lab-client -o StrictHostKeyChecking=yes -i /c/ssh-key -p 4242 root@127.0.0.1"
        );
    }
    #[test]
    fn user_without_a_name_is_the_cause() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nlab:x:1000:54321::/home/lab:/bin/sh\n";
        assert!(has_name(passwd, 0) && has_name(passwd, 1000));
        assert!(!has_name(passwd, 54321) && !has_name("", 0));
        let text = refused(54321, "No user exists for uid 54321\r\n").to_string();
        assert!(text.contains("user id 54321 has none") && text.contains("/etc/passwd"), "{text}");
        let text = refused(0, "cannot open shared object file").to_string();
        assert!(text.contains("cannot open") && !text.contains("/etc/passwd"), "{text}");
    }
}
