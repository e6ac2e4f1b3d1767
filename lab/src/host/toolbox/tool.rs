//! One program, as the words and variables that start it.

use std::ffi::{OsStr, OsString};

use crate::base::command::Command;

/// A program of the toolbox or of the host, as pure data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// The words that start it; arguments follow.
    pub argv: Vec<OsString>,
    /// Variables that it needs.
    pub env: Vec<(OsString, OsString)>,
    /// Identity among versions of itself.
    pub identity: String,
}

impl Tool {
    /// A command that starts it; arguments may be added.
    pub fn command(&self) -> Command {
        let command = Command::new(self.argv.iter().cloned());
        self.env.iter().fold(command, |command, (key, value)| command.env(key, value))
    }

    /// Its words, followed by `arguments`.
    pub fn with<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Vec<OsString> {
        self.argv.iter().cloned().chain(arguments.into_iter().map(|word| word.as_ref().to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn command_has_the_words_and_variables() {
        let tool = Tool {
            argv: ["sh", "-c"].map(OsString::from).into(),
            env: vec![("LAB_TOOL".into(), "x y".into())],
            identity: String::new(),
        };
        let output = tool.command().arg("echo \"$LAB_TOOL\"").run(Duration::from_secs(5)).unwrap();
        assert_eq!(output.stdout, "x y\n");
        assert_eq!(tool.with(["true"]), ["sh", "-c", "true"]);
    }
}
