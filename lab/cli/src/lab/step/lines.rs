//! `step` in a pipe: keys come as words, a packet goes out as a line, and its fate as another.
//!
//! 1. prints a packet that waits
//! 2. takes the next word and does it; words may come before their packets
//! 3. ends at `q`, at the end of its input, or at Ctrl-C; what waits then is forwarded

use std::collections::VecDeque;
use std::io::BufRead as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use lab::base::role::Role;
use lab::provider::resident::Resident;
use lab::{Error, Result};
use roce_cli::live::LivePacket;

use super::key::StepKey;
use super::nodes::NodeSession;
use super::stepper::Stepper;
use crate::output;

/// Interval at which the switch is asked.
const LOOK: Duration = Duration::from_millis(50);

/// Longest time that a node may take to tell its queue pairs, the session's opening included.
const NODE_LIMIT: Duration = Duration::from_secs(60);

/// Standard input, word by word.
enum StepInput {
    Word(String),
    End,
    Interrupt,
}

fn words() -> Result<Receiver<StepInput>> {
    let (sender, words) = channel();
    let interrupted = sender.clone();
    ctrlc::set_handler(move || {
        // Without a receiver it is ending already.
        let _ = interrupted.send(StepInput::Interrupt);
    })
    .map_err(|source| Error::setup("failed to handle Ctrl-C").source(source))?;
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(std::io::Result::ok) {
            for word in line.split_whitespace() {
                let _ = sender.send(StepInput::Word(word.to_owned()));
            }
        }
        let _ = sender.send(StepInput::End);
    });
    Ok(words)
}

/// Holds packets and does what the words say.
pub(super) fn run(stepper: &mut Stepper, lab: &dyn Resident) -> Result<()> {
    let words = words()?;
    let (mut waiting, mut is_ended) = (VecDeque::<String>::new(), false);
    let (mut shown, mut sessions) = (0, Vec::new());
    output::line(LivePacket::heads())?;
    loop {
        match words.recv_timeout(LOOK) {
            Ok(StepInput::Word(word)) => waiting.push_back(word),
            Ok(StepInput::Interrupt) => return Ok(()),
            Ok(StepInput::End) => is_ended = true,
            Err(RecvTimeoutError::Timeout) => {}
            // The handler of Ctrl-C holds its end.
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        let first = stepper.first()?;
        if let Some(packet) = first
            && packet.number > shown
        {
            shown = packet.number;
            output::line(&packet.line)?;
        }
        let is_there = first.is_some();
        let key = match waiting.front().map(|word: &String| word.parse::<StepKey>()) {
            None if is_ended => return Ok(()),
            None => continue,
            Some(Err(why)) => {
                waiting.pop_front();
                output::note(&why);
                continue;
            }
            Some(Ok(key)) => key,
        };
        match key {
            StepKey::Quit => return Ok(()),
            StepKey::Nodes => tell_nodes(stepper, lab, &mut sessions)?,
            // It waits for its packet.
            StepKey::Decide(_) if !is_there => continue,
            StepKey::Decide(decision) => match stepper.decide(decision) {
                Ok(_) => output::line(format_args!("        {decision}"))?,
                Err(error) => output::note(&error.to_string()),
            },
        }
        waiting.pop_front();
    }
}

/// Prints queue pairs and counters of both nodes. They may take longer than the switch waits for a sign of life.
fn tell_nodes(stepper: &mut Stepper, lab: &dyn Resident, sessions: &mut Vec<NodeSession>) -> Result<()> {
    if sessions.is_empty() {
        *sessions = Role::BOTH.into_iter().map(|role| NodeSession::open(lab, role)).collect::<Result<_>>()?;
    }
    sessions.iter_mut().for_each(NodeSession::ask);
    for (session, role) in sessions.iter().zip(Role::BOTH) {
        let look = session.answer(NODE_LIMIT, || stepper.first().map(drop))?;
        for queue_pair in &look.queue_pairs {
            output::line(format_args!("        {role}: {queue_pair}"))?;
        }
        output::line(format_args!("        {role}: {}", look.counter_words(None).join(", ")))?;
    }
    Ok(())
}
