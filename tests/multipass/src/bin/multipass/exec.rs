//! `exec`: the command's own standard streams and exit code, over SSH.
//!
//! The client keeps 4 for itself: a command that exits with it is run again, and again.

use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;

use lab::base::command::shell_word;
use multipass_stand_in::protocol::{ClientRequest, Notice, Purpose};

use crate::arguments::{Arguments, Spec};
use crate::client::{CommandClient, FAILED, failed};
use crate::daemon::ask;
use crate::spinner::Spinner;

const SPECS: &[Spec] = &[("working-directory", 'd', true), ("no-map-working-directory", 'n', false)];

/// The exit code that is the client's own word for "again".
const RETRY: u8 = 4;

/// Source address of connections to an instance.
const GATEWAY: &str = "192.0.2.1";

pub(crate) fn run(client: &CommandClient<'_>, rest: &[String]) -> Result<u8, String> {
    let arguments =
        Arguments::parse(rest, SPECS).map_err(|error| match rest.iter().any(|word| word == "--") {
            true => error,
            false => format!(
                "{error}\n\nOptions to the inner command should come after \"--\", like this:\n\
             multipass exec <instance> -- <command> <arguments>"
            ),
        })?;
    let [name, command @ ..] = arguments.words.as_slice() else {
        return Err("Wrong number of arguments".to_owned());
    };
    if command.is_empty() {
        return Err("Wrong number of arguments".to_owned());
    }
    if SPECS.iter().all(|(option, ..)| arguments.has(option)) {
        return Err("Options --working-directory and --no-map-working-directory clash".to_owned());
    }
    let words: Vec<String> = command.iter().map(|word| shell_word(word)).collect();
    let line = match arguments.value("working-directory") {
        Some(directory) => format!("cd {} && {}", shell_word(directory), words.join(" ")),
        None => words.join(" "),
    };
    loop {
        let reached = reach(client, "exec", name, Purpose::Exec);
        let code = match reached {
            Ok((way, address)) => over_ssh(&way, &address, &line),
            Err(code) => return Ok(code),
        };
        if code != RETRY {
            return Ok(code);
        }
        // Each time a new connection, which takes a while.
        thread::sleep(Duration::from_millis(500));
    }
}

/// The way into an instance, which is started where it does not run, and its address; or the exit code of a failure that
/// was told.
pub(crate) fn reach(
    client: &CommandClient<'_>,
    command: &str,
    name: &str,
    purpose: Purpose,
) -> Result<(Vec<String>, String), u8> {
    let mut spinner = Spinner::default();
    let mut asked = ask(client.place, &ClientRequest::Reach { name: name.to_owned(), purpose });
    let mut has_spun = false;
    loop {
        let event = asked.next();
        if has_spun && event.is_last() {
            spinner.stop();
            spinner.stop();
        }
        match event {
            Notice::Step(text) => {
                has_spun = true;
                spinner.start(&text);
            }
            Notice::Reached(way, address) => return Ok((way, address)),
            Notice::Failed(why) => return Err(failed(command, &why)),
            _ => return Err(FAILED),
        }
    }
}

fn over_ssh(way: &[String], address: &str, line: &str) -> u8 {
    let Some((program, words)) = way.split_first() else { return FAILED };
    // A real instance is reached by the address that its peer knows, too.
    let session = format!(
        "SSH_CONNECTION='{GATEWAY} 50000 {address} 22' /usr/lib/stand-in/session {}",
        shell_word(line)
    );
    let status = Command::new(program).args(words).arg(session).status();
    code(status)
}

/// An exit code; whatever ends without one is 255, as SSH has it.
fn code(status: std::io::Result<ExitStatus>) -> u8 {
    status.ok().and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}
