//! `transfer`: from standard input into a file of an instance, or from there to standard output, as its user `ubuntu`.
//!
//! Files of this computer are refused: the lab names none, since the snap's client does not see every one.

use std::io::{Read as _, Write as _};
use std::process::{Command, Output, Stdio};

use lab::base::command::shell_word;
use multipass_stand_in::place::Misbehaviour;
use multipass_stand_in::protocol::Purpose;

use crate::arguments::Arguments;
use crate::client::{CommandClient, FAILED, OK, complain};
use crate::exec::reach;

/// Exit codes of a push or pull's remote end, each with SFTP's words for it.
const ENDINGS: [(i32, &str); 3] = [(41, "No such file"), (42, "Permission denied"), (43, "Failure")];

/// The remote directory does not exist.
const NO_DIRECTORY: i32 = 44;

pub(crate) fn run(client: &CommandClient<'_>, rest: &[String]) -> Result<u8, String> {
    let words = Arguments::parse(rest, &[])?.words;
    let remote = |word: &String| word.split_once(':').map(|(name, path)| (name.to_owned(), path.to_owned()));
    match words.as_slice() {
        [] | [_] => Err("Not enough arguments given".to_owned()),
        [from, to] if from == "-" && to == "-" => Err("Only one '-' allowed".to_owned()),
        [from, to] => match (remote(from), remote(to)) {
            (None, Some((name, path))) if from == "-" => {
                let mut bytes = Vec::new();
                let _ = std::io::stdin().read_to_end(&mut bytes);
                Ok(push(client, &name, &path, &bytes))
            }
            (Some((name, path)), None) if to == "-" => Ok(pull(client, &name, &path)),
            _ => Err("the stand-in transfers standard input and output only".to_owned()),
        },
        _ => Err("the stand-in transfers one file".to_owned()),
    }
}

fn sftp_failed(what: &str) -> u8 {
    complain(what);
    FAILED
}

fn push(client: &CommandClient<'_>, name: &str, target: &str, stdin: &[u8]) -> u8 {
    let way = match reach(client, "transfer", name, Purpose::Transfer) {
        Ok((way, _)) => way,
        Err(code) => return code,
    };
    let kept = match client.place.switch(Misbehaviour::TruncatedPush) {
        Some(_) => &stdin[..stdin.len() / 2],
        None => stdin,
    };
    // A file that runs cannot be opened, which SFTP has no word for.
    let script = format!(
        "t={}; case \"$t\" in */*) [ -d \"${{t%/*}}/\" ] || exit {NO_DIRECTORY};; esac
         umask 022; why=$( {{ exec 4>>\"$t\"; }} 2>&1 ) || case \"$why\" in
         *denied*) exit 42;; *'No such'*) exit 41;; *) exit 43;; esac
         cat >\"$t\" || exit 43",
        shell_word(target)
    );
    match remote(&way, &script, kept).0 {
        Some(0) => OK,
        Some(NO_DIRECTORY) => sftp_failed("remote target does not exist"),
        code => sftp_failed(&cannot_open(target, code)),
    }
}

fn cannot_open(path: &str, code: Option<i32>) -> String {
    let why = ENDINGS.iter().find(|(ending, _)| Some(*ending) == code).map_or("Failure", |(_, why)| why);
    format!("cannot open remote file {path}: SFTP server: {why}")
}

fn pull(client: &CommandClient<'_>, name: &str, path: &str) -> u8 {
    let way = match reach(client, "transfer", name, Purpose::Transfer) {
        Ok((way, _)) => way,
        Err(code) => return code,
    };
    let script =
        format!("t={}; [ -e \"$t\" ] || exit 41; [ -r \"$t\" ] || exit 42; cat \"$t\"", shell_word(path));
    let (code, mut bytes) = remote(&way, &script, &[]);
    if client.place.switch(Misbehaviour::TruncatedPull).is_some() {
        bytes.truncate(bytes.len() / 2);
    }
    let written = std::io::stdout().write_all(&bytes);
    match code {
        Some(0) if written.is_ok() => OK,
        _ => sftp_failed(&cannot_open(path, code)),
    }
}

/// Runs a script in an instance, fed with bytes; gives its exit code and what it wrote.
fn remote(way: &[String], script: &str, bytes: &[u8]) -> (Option<i32>, Vec<u8>) {
    let run = || {
        let mut child = Command::new(&way[0])
            .args(&way[1..])
            .arg(format!("sh -c {}", shell_word(script)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdin = child.stdin.take();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(bytes)));
            child.wait_with_output()
        })
    };
    run().map_or((None, vec![]), |output: Output| (output.status.code(), output.stdout))
}
