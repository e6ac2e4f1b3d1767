//! The client's end of the line to the daemon.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::os::unix::net::UnixStream;

use multipass_stand_in::place::{Misbehaviour, StandInDirectory};
use multipass_stand_in::protocol::{ClientRequest, Notice};

/// A request under way.
#[derive(Debug)]
pub(crate) struct PendingAnswer(Result<Lines<BufReader<UnixStream>>, String>);

/// Asks the daemon.
pub(crate) fn ask(place: &StandInDirectory, request: &ClientRequest) -> PendingAnswer {
    if place.switch(Misbehaviour::NotAuthenticated).is_some() {
        return PendingAnswer(Err("The client is not authenticated with the Multipass service.\n\
            Please use 'multipass authenticate' before proceeding."
            .to_owned()));
    }
    let connected = UnixStream::connect(place.socket()).and_then(|mut stream| {
        let text = serde_json::to_string(request).map_err(std::io::Error::other)?;
        stream.write_all(format!("{text}\n").as_bytes())?;
        Ok(BufReader::new(stream).lines())
    });
    PendingAnswer(connected.map_err(|_| "cannot connect to the multipass socket".to_owned()))
}

impl PendingAnswer {
    /// Waits for the next notice. A daemon that goes away is one that cannot be reached.
    pub(crate) fn next(&mut self) -> Notice {
        let gone = || Notice::Failed("cannot connect to the multipass socket".to_owned());
        match &mut self.0 {
            Err(why) => Notice::Failed(why.clone()),
            Ok(lines) => match lines.next() {
                Some(Ok(line)) => serde_json::from_str(&line).unwrap_or_else(|_| gone()),
                _ => gone(),
            },
        }
    }

    /// The last thing that comes.
    pub(crate) fn last(mut self) -> Notice {
        loop {
            let event = self.next();
            if event.is_last() {
                return event;
            }
        }
    }
}
