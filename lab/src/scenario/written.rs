//! A scenario as a file: all that it says, and nothing that is so unless said.

use toml::{Table, Value};

use crate::base::error::{Error, Result};
use crate::scenario::Scenario;

/// Keys in the order of a file that people write; tables follow them.
const KEYS: [&str; 16] = [
    "summary",
    "server",
    "client",
    "nodes",
    "more_clients",
    "push",
    "packages",
    "modules",
    "user",
    "swap",
    "restart",
    "ready",
    "stop",
    "timeout_s",
    "needs",
    "trace",
];

impl Scenario {
    /// The text of a scenario file that says the same.
    ///
    /// # Errors
    ///
    /// A value has no form in TOML.
    pub fn written(&self) -> Result<String> {
        let failed = |source: &dyn std::fmt::Display| {
            Error::setup("failed to write the scenario").detail(source.to_string())
        };
        let table = |scenario: &Scenario| Table::try_from(scenario).map_err(|source| failed(&source));
        let usual = table(&Scenario::new("", String::new(), String::new()))?;
        let mut said = without(table(self)?, &usual);
        said.remove("name");
        let mut text = String::new();
        for key in KEYS {
            if let Some(value) = said.remove(key) {
                let line = Table::from_iter([(key.to_owned(), value)]);
                text.push_str(&toml::to_string(&line).map_err(|source| failed(&source))?);
            }
        }
        let tables = toml::to_string(&said).map_err(|source| failed(&source))?;
        if !tables.is_empty() {
            text.push('\n');
            text.push_str(&tables);
        }
        Ok(text)
    }
}

/// A table without what another has with the same value.
fn without(table: Table, other: &Table) -> Table {
    table
        .into_iter()
        .filter(|(key, value)| other.get(key) != Some(value))
        .map(|(key, value)| match (value, other.get(&key)) {
            (Value::Table(inner), Some(Value::Table(usual))) => (key, Value::Table(without(inner, usual))),
            (value, _) => (key, value),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario::counters::Count;

    #[test]
    fn usual_scenario_says_its_commands_alone() {
        let mut scenario = Scenario::new("x", "srv 'a b'".to_owned(), "cli {server}".to_owned());
        scenario.summary = "What it shows".to_owned();
        assert_eq!(
            scenario.written().unwrap(),
            "summary = \"What it shows\"\nserver = \"srv 'a b'\"\nclient = \"cli {server}\"\n"
        );
    }

    #[test]
    fn what_is_said_is_written_in_the_order_of_a_file() {
        let mut scenario = Scenario::new("x", "./srv".to_owned(), "./cli {server}".to_owned());
        scenario.summary = "s".to_owned();
        scenario.push = vec!["libx.so".into()];
        scenario.timeout_s = 60;
        scenario.network.server_mtu = Some(800);
        scenario.faults = vec!["action=\"drop\",nth=1".parse().unwrap()];
        scenario.expect.completions = false;
        scenario.expect.client.exit = 3;
        scenario.expect.client.counters.insert("send_err".to_owned(), Count::Exactly(1));
        let text = scenario.written().unwrap();
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
        let order = ["summary", "server", "client", "push", "timeout_s"].map(at);
        assert!(order.is_sorted(), "{text}");
        for part in ["[network]\nserver_mtu = 800\n", "[[fault]]\n", "[expect.client]\nexit = 3\n"] {
            assert!(at(part) > order[4], "{text}");
        }
        assert!(!text.contains("ready") && !text.contains("ip ="), "{text}");
        let again = Scenario::parse("x", &text).unwrap();
        assert_eq!(again.written().unwrap(), text);
        assert_eq!(again.faults, scenario.faults);
    }

    #[test]
    fn every_scenario_of_the_catalogue_is_written_as_it_is_read() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        for scenario in Scenario::read_all(&directory).unwrap() {
            let text = scenario.written().unwrap();
            let again = Scenario::parse(&scenario.name, &text).unwrap();
            assert_eq!(again.written().unwrap(), text, "{}", scenario.name);
        }
    }
}
