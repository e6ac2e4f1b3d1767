//! `launch`: what the client checks itself, the spinner, and its own clock.

use std::io::Read as _;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use multipass_stand_in::protocol::{ClientRequest, Launch, Notice, size_bytes};

use crate::arguments::{Arguments, Spec};
use crate::client::{CommandClient, FAILED, OK, TIMED_OUT, complain, failed, unhandled};
use crate::daemon::{PendingAnswer, ask};
use crate::spinner::{Spinner, say};

const SPECS: &[Spec] = &[
    ("cpus", 'c', true),
    ("disk", 'd', true),
    ("memory", 'm', true),
    ("name", 'n', true),
    ("cloud-init", ' ', true),
    ("timeout", ' ', true),
];

/// The name of an instance that is given none: real ones are drawn.
const UNNAMED: &str = "stand-in";

pub(crate) fn run(client: &CommandClient<'_>, rest: &[String]) -> Result<u8, String> {
    let arguments = Arguments::parse(rest, SPECS)?;
    let user_data = match arguments.value("cloud-init") {
        None => None,
        Some("-") => {
            let mut bytes = Vec::new();
            let _ = std::io::stdin().read_to_end(&mut bytes);
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }
        // No file is seen: the snap sees some, and nobody knows which.
        Some(path) => {
            return Err(format!(
                "Could not load cloud-init configuration: bad file: {path}\n\
                 Please ensure that Multipass can read it."
            ));
        }
    };
    let limit = limit(&arguments)?;
    let request = check(&arguments, user_data)?;
    let name = request.name.clone();
    let mut spinner = Spinner::default();
    let mut asked = ask(client.place, &ClientRequest::Launch(request));
    let started = Instant::now();
    let (sender, events) = channel();
    thread::spawn(move || {
        loop {
            let event = asked.next();
            let is_last = event.is_last();
            if sender.send(event).is_err() || is_last {
                break;
            }
        }
    });
    loop {
        let left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
        let event = match left {
            Some(left) => match events.recv_timeout(left) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => Notice::TimedOut,
                Err(RecvTimeoutError::Disconnected) => return Ok(FAILED),
            },
            None => match events.recv() {
                Ok(event) => event,
                Err(_) => return Ok(FAILED),
            },
        };
        match event {
            Notice::Step(text) => {
                spinner.stop();
                spinner.start(&text);
            }
            Notice::Failed(why) => {
                spinner.stop();
                spinner.stop();
                return Ok(failed("launch", &why));
            }
            Notice::TimedOut => {
                spinner.stop();
                complain("Timed out waiting for instance launch.");
                return Ok(TIMED_OUT);
            }
            _ => {
                spinner.stop();
                say(&format!("Launched: {name}\n"));
                spinner.stop();
                return Ok(OK);
            }
        }
    }
}

/// `--timeout`: the client's own clock.
pub(crate) fn limit(arguments: &Arguments) -> Result<Option<Duration>, String> {
    match arguments.value("timeout").map(str::parse::<u64>) {
        None => Ok(None),
        Some(Ok(seconds @ 1..)) => Ok(Some(Duration::from_secs(seconds))),
        Some(_) => Err("error: --timeout value has to be a positive integer".to_owned()),
    }
}

/// Waits for the last thing that comes, or until the client's own clock has run down.
pub(crate) fn within(limit: Option<Duration>, asked: PendingAnswer) -> Option<Notice> {
    let (sender, event) = channel();
    thread::spawn(move || sender.send(asked.last()));
    let event = match limit {
        Some(limit) => event.recv_timeout(limit).ok()?,
        None => event.recv().ok()?,
    };
    (event != Notice::TimedOut).then_some(event)
}

/// Checks the request as the client itself does.
fn check(arguments: &Arguments, user_data: Option<String>) -> Result<Launch, String> {
    let image = match arguments.words.as_slice() {
        [] => "default".to_owned(),
        [image] => image.clone(),
        _ => return Err("Too many arguments supplied".to_owned()),
    };
    let cpus = arguments.value("cpus").unwrap_or("1");
    if !cpus.parse::<u32>().is_ok_and(|cpus| cpus > 0) {
        return Err(format!("Error: invalid CPU count '{cpus}', need a positive integer value."));
    }
    let memory = arguments.value("memory").unwrap_or("1G");
    let disk = arguments.value("disk").unwrap_or("5G");
    for size in [memory, disk] {
        if size_bytes(size).is_none() {
            return Err(unhandled(&format!(
                "{size} is not a valid memory size - need a non-negative integer (in base 10) or a decimal \
                 followed by K, M, or G (e.g. 1234B, 42MiB, 0.5G)"
            )));
        }
    }
    Ok(Launch {
        image,
        name: arguments.value("name").unwrap_or(UNNAMED).to_owned(),
        cpus: cpus.to_owned(),
        memory: memory.to_owned(),
        disk: disk.to_owned(),
        user_data,
    })
}
