//! Keys of `step`, and the words that stand for them in a pipe.

use std::str::FromStr;

use lab::wire::gate::GateDecision;

/// Time by which a packet is delayed unless a word says another, in milliseconds.
pub(super) const DELAY_MS: u64 = 1_000;

/// Meaning of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StepKey {
    /// Decides on the packet that waits.
    Decide(GateDecision),
    /// Asks both machines for queue pairs and counters.
    Nodes,
    /// Forwards all that waits and ends.
    Quit,
}

/// Keys with what they do, in the order in which they are told.
pub(super) const KEYS: [(&str, &str); 7] = [
    ("f", "forward"),
    ("d", "drop"),
    ("2", "double"),
    ("c", "corrupt"),
    ("l", "delay"),
    ("n", "nodes"),
    ("q", "quit"),
];

/// Reads a key's letter, its word, or `delay=MS`.
impl FromStr for StepKey {
    type Err = String;

    fn from_str(word: &str) -> Result<StepKey, String> {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let ms = match value {
            None => DELAY_MS,
            Some(value) if matches!(name, "l" | "delay") => {
                value.parse().map_err(|_| format!("`{value}` is no number of milliseconds"))?
            }
            Some(_) => return Err(unknown(word)),
        };
        Ok(match name {
            "f" | "forward" => StepKey::Decide(GateDecision::Forward),
            "d" | "drop" => StepKey::Decide(GateDecision::Drop),
            "2" | "double" => StepKey::Decide(GateDecision::Double),
            "c" | "corrupt" => StepKey::Decide(GateDecision::Corrupt),
            "l" | "delay" => StepKey::Decide(GateDecision::Delay { ms }),
            "n" | "nodes" => StepKey::Nodes,
            "q" | "quit" => StepKey::Quit,
            _ => return Err(unknown(word)),
        })
    }
}

fn unknown(word: &str) -> String {
    let known: Vec<String> = KEYS.iter().map(|(key, does)| format!("{key} {does}")).collect();
    format!("`{word}` is no key; there are: {}, and delay=MS", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_words_mean_the_same() {
        for (key, does) in KEYS {
            assert_eq!(key.parse::<StepKey>(), does.parse());
            key.parse::<StepKey>().unwrap();
        }
        assert_eq!("l=20".parse(), Ok(StepKey::Decide(GateDecision::Delay { ms: 20 })));
        assert_eq!("delay".parse(), Ok(StepKey::Decide(GateDecision::Delay { ms: DELAY_MS })));
        for word in ["x", "", "f=1", "l=soon", "l=", "F"] {
            word.parse::<StepKey>().unwrap_err();
        }
    }
}
