//! `transfer`: files to and from an instance, as its user `ubuntu`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lab::command::shell_word;
use multipass_stand_in::place::{Seen, Switch};
use multipass_stand_in::protocol::Purpose;

use crate::arguments::{Arguments, Spec};
use crate::exec::reach;
use crate::{Client, FAILED, OK, complain, stamp};

const SPECS: &[Spec] = &[("recursive", 'r', false), ("parents", 'p', false)];

/// What the remote end of a push or pull exits with, and what SFTP would have said.
const ENDINGS: [(i32, &str); 3] = [(41, "No such file"), (42, "Permission denied"), (43, "Failure")];

/// The remote directory does not exist.
const NO_DIRECTORY: i32 = 44;
/// A directory, where a file is needed.
const IS_DIRECTORY: i32 = 45;

/// `name:path`, or a path of this computer.
enum End<'a> {
    Instance(&'a str, &'a str),
    Here(&'a str),
}

fn end(word: &str) -> End<'_> {
    match word.split_once(':') {
        Some((name, path)) => End::Instance(name, path),
        None => End::Here(word),
    }
}

pub(crate) fn run(client: &Client<'_>, rest: &[String]) -> Result<u8, String> {
    let parsed = check(rest);
    let reads_stdin = matches!(&parsed, Ok((_, sources, _)) if sources.iter().any(|source| source == "-"));
    let mut bytes = Vec::new();
    if reads_stdin {
        let _ = std::io::stdin().read_to_end(&mut bytes);
    }
    client.log(reads_stdin.then_some(&bytes[..]));
    let (arguments, sources, target) = parsed?;
    Ok(match end(&target) {
        End::Instance(name, path) => push(client, &arguments, &sources, name, path, &bytes),
        End::Here(path) => pull(client, &sources, path),
    })
}

/// What the client refuses; else the sources and the target.
fn check(rest: &[String]) -> Result<(Arguments, Vec<String>, String), String> {
    let arguments = Arguments::parse(rest, SPECS)?;
    let words = arguments.words.clone();
    let Some((target, sources @ [_, ..])) = words.split_last() else {
        return Err("Not enough arguments given".to_owned());
    };
    if words.iter().filter(|word| *word == "-").count() > 1 {
        return Err("Only one '-' allowed".to_owned());
    }
    let is_there = |word: &String| matches!(end(word), End::Instance(..));
    match (sources.iter().any(is_there), is_there(target)) {
        (true, true) => Err("Cannot specify an instance name for both source and destination".to_owned()),
        (false, false) => Err("An instance name is needed for either source or destination".to_owned()),
        _ => Ok((arguments.clone(), sources.to_vec(), target.clone())),
    }
}

/// A failure of SFTP's: with a time before it, except where one end is a pipe.
fn sftp_failed(is_pipe: bool, what: &str) -> u8 {
    match is_pipe {
        true => complain(what),
        false => complain(&format!("{} [error] [sftp] {what}", stamp())),
    }
    FAILED
}

fn push(
    client: &Client<'_>,
    arguments: &Arguments,
    sources: &[String],
    name: &str,
    target: &str,
    stdin: &[u8],
) -> u8 {
    let way = match reach(client, "transfer", name, Purpose::Transfer) {
        Ok((way, _)) => way,
        Err(code) => return code,
    };
    let target = if target.is_empty() { "." } else { target };
    if sources.len() > 1 && remote(&way, &format!("[ -d {} ]", shell_word(target)), &[]).0 != Some(0) {
        complain(&format!("Target \"{target}\" is not a directory"));
        return FAILED;
    }
    for source in sources {
        let is_pipe = source == "-";
        let (mut bytes, mode, base) = if is_pipe {
            (stdin.to_vec(), None, String::new())
        } else {
            let path = match client.place.seen(Path::new(source)) {
                Seen::At(path) => path,
                Seen::Hidden => PathBuf::new(),
            };
            if path.is_dir() {
                return sftp_failed(
                    false,
                    &format!("omitting local directory {source}: recursive mode not specified"),
                );
            }
            let Ok(bytes) = fs::read(&path) else {
                return sftp_failed(false, &format!("cannot access {source}: No such file or directory"));
            };
            let mode = fs::metadata(&path).map_or(0o644, |file| file.permissions().mode() & 0o777);
            (bytes, Some(mode), path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        };
        if client.place.switch(Switch::TruncatedPush).is_some() {
            bytes.truncate(bytes.len() / 2);
        }
        let make = if arguments.has("parents") { "mkdir -p \"${t%/*}\";" } else { "" };
        let chmod = mode.map_or(String::new(), |mode| format!("chmod {mode:o} \"$t\";"));
        // A file that runs cannot be opened, which SFTP has no word for.
        let script = format!(
            "t={}; [ -d \"$t\" ] && t=$t/{}; {make} case \"$t\" in */*) [ -d \"${{t%/*}}/\" ] || exit {NO_DIRECTORY};; esac
             umask 022; why=$( {{ exec 4>>\"$t\"; }} 2>&1 ) || case \"$why\" in
             *denied*) exit 42;; *'No such'*) exit 41;; *) exit 43;; esac
             cat >\"$t\" || exit 43; {chmod} exit 0",
            shell_word(target),
            shell_word(&base)
        );
        match remote(&way, &script, &bytes).0 {
            Some(0) => {}
            Some(NO_DIRECTORY) => return sftp_failed(is_pipe, "remote target does not exist"),
            code => return sftp_failed(is_pipe, &cannot_open(target, code)),
        }
    }
    OK
}

fn cannot_open(path: &str, code: Option<i32>) -> String {
    let why = ENDINGS.iter().find(|(ending, _)| Some(*ending) == code).map_or("Failure", |(_, why)| why);
    format!("cannot open remote file {path}: SFTP server: {why}")
}

fn pull(client: &Client<'_>, sources: &[String], target: &str) -> u8 {
    let is_pipe = target == "-";
    let here = match client.place.seen(Path::new(target)) {
        Seen::At(path) => path,
        Seen::Hidden => PathBuf::new(),
    };
    for source in sources {
        let End::Instance(name, path) = end(source) else { return FAILED };
        let way = match reach(client, "transfer", name, Purpose::Transfer) {
            Ok((way, _)) => way,
            Err(code) => return code,
        };
        let file = match here.is_dir() {
            true => here.join(Path::new(path).file_name().unwrap_or_default()),
            false => here.clone(),
        };
        if !is_pipe && !file.parent().is_some_and(Path::is_dir) {
            return sftp_failed(false, "local target does not exist");
        }
        let script = format!(
            "t={}; [ -d \"$t\" ] && exit {IS_DIRECTORY}; [ -e \"$t\" ] || exit 41; [ -r \"$t\" ] || exit 42; cat \"$t\"",
            shell_word(path)
        );
        let (code, mut bytes) = remote(&way, &script, &[]);
        if code == Some(IS_DIRECTORY) {
            return sftp_failed(
                is_pipe,
                &format!("omitting remote directory {path}: recursive mode not specified"),
            );
        }
        if client.place.switch(Switch::TruncatedPull).is_some() {
            bytes.truncate(bytes.len() / 2);
        }
        let written = match is_pipe {
            true => std::io::stdout().write_all(&bytes),
            // Also where the pull fails: a file is left behind.
            false => fs::write(&file, &bytes),
        };
        if code != Some(0) {
            return sftp_failed(is_pipe, &cannot_open(path, code));
        }
        if let Err(error) = written {
            return sftp_failed(is_pipe, &format!("cannot open local file {target}: {error}"));
        }
    }
    OK
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
