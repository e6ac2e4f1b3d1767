//! Words that a lesson is made of: question, runs, figures, claims, answer.
//!
//! Everything is constant but what is read off a run, so the page, the chapter and the tests have one source. Texts may hold
//! `code` between backticks.

use clap::Parser;
use lab::base::command::shell_word;
use lab::scenario::Scenario;
use lab::{Error, Result};
use rdma_lab_cli::run;

use super::figures::LessonFigures;
use super::seen::Seen;

/// Lesson.
#[derive(Debug)]
pub(crate) struct Lesson {
    /// Name of its file and of its chapter.
    pub(crate) name: &'static str,
    /// Title of the chapter.
    pub(crate) title: &'static str,
    /// Question that it answers.
    pub(crate) question: &'static str,
    /// Paragraphs before the run: the words that a newcomer needs, and what to watch.
    pub(crate) before: &'static [&'static str],
    /// Runs, in their order.
    pub(crate) runs: &'static [LessonRun],
    /// Packets that the ladder shows.
    pub(crate) ladder: LadderPart,
    /// Reads tables and plots off the runs.
    pub(crate) figures: fn(&Seen) -> std::result::Result<LessonFigures, String>,
    /// Sentences that the runs have to bear out.
    pub(crate) claims: &'static [LessonClaim],
    /// Paragraphs of the answer.
    pub(crate) answer: &'static [&'static str],
}

/// Run of a lesson: two programs between the machines, as `cargo xtask run` takes them.
#[derive(Debug)]
pub(crate) struct LessonRun {
    /// Name, by which claims ask for it.
    pub(crate) name: &'static str,
    /// Command on the node `server`.
    pub(crate) server: &'static str,
    /// Command on the node `client`.
    pub(crate) client: &'static str,
    /// Further options.
    pub(crate) options: &'static [&'static str],
}

/// Packets that a ladder shows: of one run the data packets of one connection, counted from 0, and at most so many.
#[derive(Debug)]
pub(crate) struct LadderPart {
    /// Name of the run.
    pub(crate) run: &'static str,
    /// Connection, in the order of their first packets.
    pub(crate) connection: usize,
    /// First packet that is shown.
    pub(crate) from: LadderStart,
    /// Most packets.
    pub(crate) limit: usize,
}

/// First packet of a ladder.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LadderStart {
    /// The connection's first.
    First,
    /// The first whose name begins like that, in the words of the trace.
    Named(&'static str),
    /// A few packets before the first that was lost.
    Lost,
}

/// Sentence that the runs have to bear out.
#[derive(Debug)]
pub(crate) struct LessonClaim {
    /// Sentence.
    pub(crate) says: &'static str,
    /// Rules on it.
    pub(crate) check: fn(&Seen) -> Ruling,
}

/// Ruling on a claim: the values that bear it out, or those that do not.
pub(crate) type Ruling = std::result::Result<String, String>;

/// Rules that a claim holds or not, by these values.
pub(crate) fn rule(holds: bool, values: impl Into<String>) -> Ruling {
    if holds { Ok(values.into()) } else { Err(values.into()) }
}

/// The command line of `cargo xtask run`.
#[derive(Debug, Parser)]
struct RunLine {
    #[command(flatten)]
    args: run::Args,
}

impl LessonRun {
    /// Options of `cargo xtask run`, a value behind each of those that take one.
    fn words(&self) -> Vec<&'static str> {
        ["--server", self.server, "--client", self.client]
            .into_iter()
            .chain(self.options.iter().copied())
            .collect()
    }

    /// The command that a person types, an option a line.
    pub(crate) fn command(&self) -> String {
        let mut command = "cargo xtask run".to_owned();
        for word in self.words() {
            command.push_str(if word.starts_with("--") { " \\\n    " } else { " " });
            command.push_str(&shell_word(word));
        }
        command
    }

    /// The scenario that the command means, under `name`.
    ///
    /// # Errors
    ///
    /// The command is none.
    pub(crate) fn scenario(&self, name: &str) -> Result<Scenario> {
        let words = std::iter::once("run").chain(self.words());
        let line = RunLine::try_parse_from(words)
            .map_err(|error| Error::usage(format!("`{}` is no command: {error}", self.command())))?;
        let mut scenario = line.args.written()?;
        name.clone_into(&mut scenario.name);
        Ok(scenario)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_that_is_shown_is_the_one_that_runs() {
        let run = LessonRun {
            name: "x",
            server: "rdma_server --once",
            client: "for n in 1 2; do rdma_client {server}; done",
            options: &["--fault", "action=\"drop\",nth=1", "--finding", "RequestPsnGap"],
        };
        assert_eq!(
            run.command(),
            "cargo xtask run \\\n    --server 'rdma_server --once' \\\n    --client 'for n in 1 2; do rdma_client {server}; done' \\\n    \
             --fault 'action=\"drop\",nth=1' \\\n    --finding RequestPsnGap"
        );
        let scenario = run.scenario("lesson-x").unwrap();
        assert_eq!((scenario.name.as_str(), scenario.faults.len()), ("lesson-x", 1));
        assert_eq!(scenario.expect.findings, ["RequestPsnGap"]);
        let wrong = LessonRun { options: &["--finding", "RequestPsnGp"], ..run };
        assert!(wrong.scenario("x").is_err());
    }
}
