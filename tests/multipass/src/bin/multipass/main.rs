//! `multipass`, as a stand-in: parses its arguments, asks the daemon, and prints as version 1.16.3 does.
//!
//! Exit codes: 0 done; 1 the arguments are wrong; 2 it failed; 5 the client's own limit; of `exec` the command's.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use multipass_stand_in::instance;
use multipass_stand_in::json;
use multipass_stand_in::place::{Logged, Misbehaviour, StandInDirectory, VARIABLE};
use multipass_stand_in::protocol::{ClientRequest, Notice};
use serde_json::json;

use crate::arguments::{Arguments, Spec};
use crate::client::{CommandClient, FAILED, OK, TIMED_OUT, USAGE, complain, failed};
use crate::daemon::ask;
use crate::spinner::{Spinner, say};

mod arguments;
mod client;
mod daemon;
mod exec;
mod launch;
mod spinner;
mod transfer;

/// The version that it stands in for.
const VERSION: &str = "1.16.3";

const FORMAT: Spec = ("format", ' ', true);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(place) = StandInDirectory::from_env() else {
        let text = format!(
            "this is a stand-in for Multipass, for tests: run it under `multipassd DIR -- COMMAND`, which sets {VARIABLE}"
        );
        complain(&text);
        return ExitCode::from(USAGE);
    };
    ExitCode::from(run(&place, &words))
}

fn run(place: &StandInDirectory, words: &[String]) -> u8 {
    place.log(&Logged { argv: words.to_vec() });
    let Some((command, rest)) = words.split_first() else {
        say("Usage: multipass [options] <command>\n");
        return FAILED;
    };
    let client = CommandClient { place };
    if place.switch(Misbehaviour::NeverRan).is_some() {
        complain(
            "[error] [client] Caught an unhandled exception: failed to open file \
             '/usr/local/etc/multipassd/multipass_root_cert.pem': No such file or directory(2)",
        );
        return USAGE;
    }
    let result = match command.as_str() {
        "version" => version(&client, rest),
        "launch" => launch::run(&client, rest),
        "exec" => exec::run(&client, rest),
        "transfer" => transfer::run(&client, rest),
        "info" => info(&client, rest),
        "list" => list(&client, rest),
        "get" => get(&client, rest),
        "start" => start(&client, rest),
        "stop" => stop(&client, rest),
        "suspend" => suspend(&client, rest),
        "delete" => delete(&client, rest),
        "recover" => recover(&client, rest),
        unknown => {
            say(&format!(
                "Error: Unknown command or alias '{unknown}' (try \"multipass help\" or \"multipass aliases\")\n"
            ));
            return USAGE;
        }
    };
    result.unwrap_or_else(|error| {
        complain(&error);
        USAGE
    })
}

fn version(client: &CommandClient<'_>, rest: &[String]) -> Result<u8, String> {
    only_json(&Arguments::parse(rest, &[FORMAT])?)?;
    // Without a daemon, the client's own version and exit code 0.
    let daemon = match ask(client.place, &ClientRequest::Version).last() {
        Notice::Text(version) => Some(version),
        _ => None,
    };
    let mut versions = json!({ "multipass": VERSION });
    if let Some(daemon) = daemon {
        versions["multipassd"] = daemon.into();
    }
    say(&json::text(&versions));
    Ok(OK)
}

/// Refuses tables, which the lab never asks for.
fn only_json(arguments: &Arguments) -> Result<(), String> {
    match arguments.value("format") {
        Some("json") => Ok(()),
        _ => Err("the stand-in answers with `--format json` only".to_owned()),
    }
}

fn info(client: &CommandClient<'_>, rest: &[String]) -> Result<u8, String> {
    let specs = [FORMAT, ("all", ' ', false), ("no-runtime-information", ' ', false)];
    let known = if client.place.switch(Misbehaviour::OldClient).is_some() { 2 } else { 3 };
    let arguments = Arguments::parse(rest, &specs[..known])?;
    only_json(&arguments)?;
    let runtime = !arguments.has("no-runtime-information");
    let Some(instances) =
        client.instances("info", &ClientRequest::Info { names: arguments.words.clone(), runtime })
    else {
        return Ok(FAILED);
    };
    say(&json::text(&instance::info_json(&instances)));
    Ok(OK)
}

fn list(client: &CommandClient<'_>, rest: &[String]) -> Result<u8, String> {
    only_json(&Arguments::parse(rest, &[FORMAT])?)?;
    let Some(instances) = client.instances("list", &ClientRequest::List) else { return Ok(FAILED) };
    say(&json::text(&instance::list_json(&instances)));
    Ok(OK)
}

fn get(client: &CommandClient<'_>, rest: &[String]) -> Result<u8, String> {
    let arguments = Arguments::parse(rest, &[])?;
    let [key] = arguments.words.as_slice() else { return Err("Need exactly one setting key.".to_owned()) };
    Ok(match ask(client.place, &ClientRequest::Get { key: key.clone() }).last() {
        Notice::Text(value) => {
            say(&format!("{value}\n"));
            OK
        }
        Notice::Failed(why) => failed("get", &why),
        _ => FAILED,
    })
}

fn start(client: &CommandClient<'_>, rest: &[String]) -> Result<u8, String> {
    let arguments = Arguments::parse(rest, &[("all", ' ', false), ("timeout", ' ', true)])?;
    let limit = launch::limit(&arguments)?;
    let names = named(&arguments)?;
    let mut spinner = Spinner::default();
    spinner.start(&format!("Starting {}", names.join(", ")));
    let ended = launch::within(limit, ask(client.place, &ClientRequest::Start { names }));
    spinner.stop();
    Ok(match ended {
        Some(Notice::Failed(why)) => {
            say_clear();
            failed("start", &why)
        }
        Some(_) => {
            say_clear();
            OK
        }
        None => {
            complain("Timed out waiting for instance to start.");
            TIMED_OUT
        }
    })
}

fn stop(client: &CommandClient<'_>, rest: &[String]) -> Result<u8, String> {
    let specs = [("all", ' ', false), ("time", 't', true), ("cancel", 'c', false), ("force", ' ', false)];
    let arguments = Arguments::parse(rest, &specs)?;
    let force = arguments.has("force");
    if force && (arguments.has("time") || arguments.has("cancel")) {
        return Err("Cannot set 'force' along with 'time' or 'cancel' options at the same time".to_owned());
    }
    let names = named(&arguments)?;
    Ok(spin(client, "stop", "Stopping", &names.clone(), &ClientRequest::Stop { names, force }))
}

fn suspend(client: &CommandClient<'_>, rest: &[String]) -> Result<u8, String> {
    let names = named(&Arguments::parse(rest, &[("all", ' ', false), ("timeout", ' ', true)])?)?;
    Ok(spin(client, "suspend", "Suspending", &names.clone(), &ClientRequest::Suspend { names }))
}

fn spin(
    client: &CommandClient<'_>,
    command: &str,
    doing: &str,
    names: &[String],
    request: &ClientRequest,
) -> u8 {
    let mut spinner = Spinner::default();
    spinner.start(&format!("{doing} {}", names.join(", ")));
    let ended = ask(client.place, request).last();
    spinner.stop();
    if let Notice::Failed(why) = ended {
        say_clear();
        return failed(command, &why);
    }
    OK
}

/// Clears the line once more, as a second spinner's end does.
fn say_clear() {
    Spinner::default().stop();
}

fn delete(client: &CommandClient<'_>, rest: &[String]) -> Result<u8, String> {
    let arguments = Arguments::parse(rest, &[("all", ' ', false), ("purge", 'p', false)])?;
    let purge = arguments.has("purge");
    let names = named(&arguments)?;
    Ok(client.plain("delete", &ClientRequest::Delete { names, purge }))
}

fn recover(client: &CommandClient<'_>, rest: &[String]) -> Result<u8, String> {
    let names = named(&Arguments::parse(rest, &[("all", ' ', false)])?)?;
    Ok(client.plain("recover", &ClientRequest::Recover { names }))
}

fn named(arguments: &Arguments) -> Result<Vec<String>, String> {
    match (arguments.has("all"), arguments.words.is_empty()) {
        (false, true) => Err("Name argument or --all is required".to_owned()),
        (true, false) => Err("Cannot specify name when --all option set".to_owned()),
        _ => Ok(arguments.words.clone()),
    }
}
