//! Filter expressions of `-E`, in the manner of cargo-nextest's: `tag(drop) and not name(read)`.
//!
//! ```text
//! or    = and   { ("or" | "|" | "+") and }
//! and   = unary { ("and" | "&") unary }
//! unary = ("not" | "!") unary | "(" or ")" | PROPERTY "(" matcher ")" | "all()" | "none()"
//! ```
//!
//! A matcher is `=text` (the whole), `~text` (a part) or `#text` (a pattern with `*` and `?`); without a sign it is the property's usual one.

use lab::base::names;
use lab::scenario::Scenario;
use lab::{Error, Result};

/// Properties of a scenario that an expression can ask for.
const PROPERTIES: [&str; 6] = ["cause", "finding", "name", "program", "summary", "tag"];

/// Most expressions in each other, so that no line of words ends the program.
const DEPTH: usize = 64;

/// Parsed expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filterset {
    All,
    None,
    Has(&'static str, FilterMatcher),
    Not(Box<Filterset>),
    And(Box<Filterset>, Box<Filterset>),
    Or(Box<Filterset>, Box<Filterset>),
}

/// Way in which a property is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FilterMatcher {
    Whole(String),
    Part(String),
    Pattern(glob::Pattern),
}

impl FilterMatcher {
    fn matches(&self, text: &str) -> bool {
        match self {
            FilterMatcher::Whole(word) => word.eq_ignore_ascii_case(text),
            FilterMatcher::Part(word) => text.to_lowercase().contains(&word.to_lowercase()),
            FilterMatcher::Pattern(pattern) => pattern.matches(text),
        }
    }
}

impl Filterset {
    /// Parses an expression.
    ///
    /// # Errors
    ///
    /// Text that is no expression, with the place; a property that is not known, with the nearest.
    pub(crate) fn parse(text: &str) -> Result<Filterset> {
        let mut words = FilterWords { text, at: 0, depth: 0 };
        let filter = words.or()?;
        if words.peek().is_some() {
            return Err(words.expected("`and`, `or` or the end"));
        }
        Ok(filter)
    }

    /// True if the expression is true of a scenario.
    pub(crate) fn matches(&self, scenario: &Scenario) -> bool {
        match self {
            Filterset::All => true,
            Filterset::None => false,
            Filterset::Not(inner) => !inner.matches(scenario),
            Filterset::And(one, other) => one.matches(scenario) && other.matches(scenario),
            Filterset::Or(one, other) => one.matches(scenario) || other.matches(scenario),
            Filterset::Has(property, matcher) => {
                let is_like = |text: &String| matcher.matches(text);
                match *property {
                    "cause" => scenario.expect.causes.iter().any(is_like),
                    "finding" => scenario.expect.findings.iter().chain(&scenario.expect.may).any(is_like),
                    "name" => matcher.matches(&scenario.name),
                    "program" => scenario.commands().split_whitespace().any(|word| matcher.matches(word)),
                    "summary" => matcher.matches(&scenario.summary),
                    _ => scenario.tags().iter().any(|tag| matcher.matches(tag)),
                }
            }
        }
    }
}

/// Words of an expression, read from the left.
struct FilterWords<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> FilterWords<'a> {
    fn rest(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn peek(&mut self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Takes one of these signs or words, if it is next.
    fn take(&mut self, signs: &[&str]) -> bool {
        let rest = self.rest();
        let is_next = |sign: &&&str| {
            let is_word = sign.chars().all(char::is_alphanumeric);
            rest.strip_prefix(**sign).is_some_and(|behind| !is_word || !behind.starts_with(is_of_word))
        };
        let found = signs.iter().find(is_next).map(|sign| sign.len());
        self.at += found.unwrap_or(0);
        found.is_some()
    }

    fn or(&mut self) -> Result<Filterset> {
        let mut filter = self.and()?;
        while self.take(&["or", "|", "+"]) {
            filter = Filterset::Or(Box::new(filter), Box::new(self.and()?));
        }
        Ok(filter)
    }

    fn and(&mut self) -> Result<Filterset> {
        let mut filter = self.unary()?;
        while self.take(&["and", "&"]) {
            filter = Filterset::And(Box::new(filter), Box::new(self.unary()?));
        }
        Ok(filter)
    }

    fn unary(&mut self) -> Result<Filterset> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Error::usage(format!("more than {DEPTH} expressions in each other")));
        }
        let filter = if self.take(&["not", "!"]) {
            Filterset::Not(Box::new(self.unary()?))
        } else if self.take(&["("]) {
            let inner = self.or()?;
            if !self.take(&[")"]) {
                return Err(self.expected("`)`"));
            }
            inner
        } else {
            self.has()?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn has(&mut self) -> Result<Filterset> {
        let rest = self.rest();
        let word: &str = rest.split(|character| !is_of_word(character)).next().unwrap_or_default();
        if word.is_empty() {
            return Err(
                self.expected(&format!("one of {}", PROPERTIES.map(|name| format!("{name}(…)")).join(", ")))
            );
        }
        let behind = rest.get(word.len()..).unwrap_or_default().trim_start();
        let Some(inner) = behind.strip_prefix('(') else {
            return Err(Error::usage(format!("`{word}` is no expression"))
                .next(format!("name a property with it, as in name({word}) or tag({word})")));
        };
        let Some((matcher, left)) = inner.split_once(')') else {
            return Err(Error::usage(format!("`{word}(` has no end")).next("close it with `)`"));
        };
        self.at = self.text.len() - left.len();
        let matcher = matcher.trim();
        match (word, matcher) {
            ("all", "") => return Ok(Filterset::All),
            ("none", "") => return Ok(Filterset::None),
            _ => {}
        }
        let property = names::find("property", word, PROPERTIES).map_err(Error::usage)?;
        let property = PROPERTIES.into_iter().find(|name| *name == property).unwrap_or("name");
        Ok(Filterset::Has(property, matched(property, matcher)?))
    }

    /// An error that names what should be here.
    fn expected(&mut self, what: &str) -> Error {
        let at = self.text.get(..self.at).map_or(0, |before| before.chars().count());
        let found = match self.peek() {
            Some(character) => format!("`{character}`"),
            None => "the end".to_owned(),
        };
        Error::usage(format!("filter `{}`: {what} should be at character {}, not {found}", self.text, at + 1))
            .next("write it as in -E 'tag(fault) and not name(read)'")
    }
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '-'
}

fn matched(property: &str, text: &str) -> Result<FilterMatcher> {
    let pattern = |word: &str| {
        glob::Pattern::new(word)
            .map(FilterMatcher::Pattern)
            .map_err(|why| Error::usage(format!("no pattern: `{word}`: {why}")))
    };
    let signed = |sign: char| text.strip_prefix(sign).map(str::trim);
    if let Some(word) = signed('=') {
        return Ok(FilterMatcher::Whole(word.to_owned()));
    }
    if let Some(word) = signed('~') {
        return Ok(FilterMatcher::Part(word.to_owned()));
    }
    if let Some(word) = signed('#') {
        return pattern(word);
    }
    if text.is_empty() {
        return Err(Error::usage(format!("`{property}()` asks for nothing"))
            .next(format!("say what, as in {property}(write)")));
    }
    Ok(match property {
        "name" | "summary" => FilterMatcher::Part(text.to_owned()),
        _ => FilterMatcher::Whole(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(name: &str, more: &str) -> Scenario {
        let text = format!(
            "summary = \"About {name}\"\nserver = \"rdma_server --once\"\nclient = \"rdma_client\"\n{more}"
        );
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(format!("{name}.toml"));
        std::fs::write(&file, text).unwrap();
        Scenario::read(&file).unwrap()
    }

    /// Names of scenarios of which an expression is true.
    fn found(text: &str) -> Vec<String> {
        let all = [
            scenario(
                "lost_read",
                "[[fault]]\naction = \"drop\"\nnth = 1\n[expect]\nfindings = [\"ReadResponsePsnGap\"]\n",
            ),
            scenario("lost_write", "[[fault]]\naction = \"drop\"\nnth = 1\n"),
            scenario("write_read", ""),
        ];
        let filter = Filterset::parse(text).unwrap();
        all.into_iter().filter(|scenario| filter.matches(scenario)).map(|scenario| scenario.name).collect()
    }

    #[test]
    fn expressions_choose_scenarios() {
        for (text, names) in [
            ("all()", &["lost_read", "lost_write", "write_read"][..]),
            ("none()", &[]),
            ("tag(drop)", &["lost_read", "lost_write"]),
            ("name(read)", &["lost_read", "write_read"]),
            ("name(=write_read)", &["write_read"]),
            ("name(#lost_*)", &["lost_read", "lost_write"]),
            ("tag(fault) and not name(read)", &["lost_write"]),
            ("tag(fault)&!name(read)", &["lost_write"]),
            ("finding(ReadResponsePsnGap) | name(=write_read)", &["lost_read", "write_read"]),
            // `and` binds closer than `or`.
            ("name(=write_read) or tag(drop) and name(read)", &["lost_read", "write_read"]),
            ("(name(=write_read) or tag(drop)) and not ( name( read ) )", &["lost_write"]),
            ("program(rdma_server) + summary(nothing)", &["lost_read", "lost_write", "write_read"]),
            ("summary(about LOST)", &["lost_read", "lost_write"]),
        ] {
            assert_eq!(found(text), names, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_told_with_its_place() {
        for (text, why) in [
            ("", "should be at character 1, not the end"),
            ("tag(drop) tag(fault)", "`and`, `or` or the end should be at character 11, not `t`"),
            ("tag(drop) and", "should be at character 14, not the end"),
            ("(tag(drop)", "`)` should be at character 11"),
            ("tgg(drop)", "the nearest is `tag`"),
            ("lost_write", "name(lost_write)"),
            ("tag(drop", "close it with `)`"),
            ("tag()", "asks for nothing"),
            ("name(#[)", "no pattern"),
            ("not", "should be at character 4"),
            ("ü(", "has no end"),
        ] {
            let error = Filterset::parse(text).unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
        let deep = "!".repeat(100_000);
        assert!(Filterset::parse(&deep).unwrap_err().to_string().contains("in each other"));
    }
}
