//! Expected end of a program: its exit code, or the signal that ends it, which a shell tells as 128 and its number.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::base::names;

/// Signals by which programs end, with their numbers on Linux.
const SIGNALS: [(&str, i32); 12] = [
    ("SIGHUP", 1),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGILL", 4),
    ("SIGABRT", 6),
    ("SIGBUS", 7),
    ("SIGFPE", 8),
    ("SIGKILL", 9),
    ("SIGUSR1", 10),
    ("SIGSEGV", 11),
    ("SIGPIPE", 13),
    ("SIGTERM", 15),
];

/// An exit code as a scenario file has it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a program ends with a number, or by a signal: \"SIGTERM\"")]
pub enum WrittenExit {
    /// A number.
    Code(i32),
    /// The name of a signal.
    Signal(String),
}

/// Reads an exit code, or the name of the signal that ends a program.
///
/// # Errors
///
/// It is neither: with the nearest signal.
pub fn parse(text: &str) -> Result<i32, String> {
    if let Ok(code) = text.trim().parse() {
        return Ok(code);
    }
    let upper = text.trim().to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    let found = names::find("signal that ends a program", &name, SIGNALS.map(|(name, _)| name))?;
    let number = SIGNALS.iter().find(|(name, _)| *name == found).map_or(0, |(_, number)| *number);
    Ok(128 + number)
}

/// Reads a number or the name of a signal.
///
/// # Errors
///
/// As [`parse`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    match WrittenExit::deserialize(deserializer)? {
        WrittenExit::Code(code) => Ok(code),
        WrittenExit::Signal(name) => parse(&name).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_exit_codes_of_a_shell() {
        for (text, code) in [("0", 0), ("-1", -1), ("SIGTERM", 143), ("int", 130), ("SigKill", 137)] {
            assert_eq!(parse(text), Ok(code), "{text}");
        }
        let error = parse("SIGTREM").unwrap_err();
        assert!(error.contains("the nearest is `SIGTERM`"), "{error}");
    }
}
