//! The arguments of one command, as Qt's parser takes them: options anywhere, until `--`.

use std::collections::BTreeMap;

/// An option: its long name, its letter (or a space), whether it takes a value.
pub(crate) type Spec = (&'static str, char, bool);

/// Options of every command.
const COMMON: &[Spec] = &[("help", 'h', false), ("verbose", 'v', false)];

/// Arguments as given.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) words: Vec<String>,
    options: BTreeMap<&'static str, Vec<String>>,
}

impl Arguments {
    /// Parses what follows a command's name; an error is what Multipass says.
    pub(crate) fn parse(given: &[String], specs: &[Spec]) -> Result<Arguments, String> {
        let mut arguments = Arguments::default();
        let mut unknown = Vec::new();
        let mut rest = given.iter();
        let find = |wanted: &dyn Fn(&Spec) -> bool| specs.iter().chain(COMMON).find(|spec| wanted(spec));
        while let Some(word) = rest.next() {
            if word == "--" {
                arguments.words.extend(rest.by_ref().cloned());
            } else if let Some(long) = word.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                match find(&|spec| spec.0 == name) {
                    None => unknown.push(name.to_owned()),
                    Some((name, _, false)) => arguments.add(name, String::new()),
                    Some((name, _, true)) => {
                        let value = value.or_else(|| rest.next().cloned());
                        arguments.add(name, value.ok_or(format!("Missing value after '--{name}'."))?);
                    }
                }
            } else if word.len() > 1 && word.starts_with('-') {
                let mut letters = word[1..].chars();
                while let Some(letter) = letters.next() {
                    match find(&|spec| spec.1 == letter) {
                        None => unknown.push(letter.to_string()),
                        Some((name, _, false)) => arguments.add(name, String::new()),
                        Some((name, _, true)) => {
                            let value = match letters.as_str() {
                                "" => {
                                    rest.next().cloned().ok_or(format!("Missing value after '-{letter}'."))?
                                }
                                value => value.to_owned(),
                            };
                            letters = "".chars();
                            arguments.add(name, value);
                        }
                    }
                }
            } else {
                arguments.words.push(word.clone());
            }
        }
        match unknown.as_slice() {
            [] => Ok(arguments),
            [one] => Err(format!("Unknown option '{one}'.")),
            several => Err(format!("Unknown options: {}.", several.join(", "))),
        }
    }

    fn add(&mut self, name: &'static str, value: String) {
        self.options.entry(name).or_default().push(value);
    }

    /// True if an option was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// An option's value, the last where there are several.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.options.get(name)?.last().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, String> {
        let given: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Arguments::parse(&given, &[("name", 'n', true), ("purge", 'p', false)])
    }

    #[test]
    fn options_are_long_short_and_joined() {
        for words in [["--name", "x"], ["-n", "x"], ["--name=x", "-vv"], ["-nx", "-v"]] {
            assert_eq!(parse(&words).unwrap().value("name"), Some("x"));
        }
        assert!(parse(&["a", "-p"]).unwrap().has("purge"));
        assert_eq!(parse(&["a", "--", "-p"]).unwrap().words, ["a", "-p"]);
        assert_eq!(parse(&["-"]).unwrap().words, ["-"]);
        assert_eq!(parse(&["--bogus"]).unwrap_err(), "Unknown option 'bogus'.");
    }
}
