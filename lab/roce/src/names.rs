//! The names of nodes, by IP address.

use std::collections::HashMap;
use std::net::IpAddr;

/// Names for IP addresses; one without a name gets `node1`, `node2` in order of appearance.
#[derive(Clone, Debug, Default)]
pub struct Names {
    by_address: HashMap<IpAddr, String>,
    unnamed: usize,
}

impl Names {
    /// Makes an empty set of names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a name; a later name of the same address replaces the earlier.
    #[must_use]
    pub fn with(mut self, address: IpAddr, name: impl Into<String>) -> Self {
        self.by_address.insert(address, name.into());
        self
    }

    /// Adds a name that a capture says; one that was given stays.
    pub fn learn(&mut self, address: IpAddr, name: &str) {
        let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
        if (1..=64).contains(&name.len()) && name.chars().all(is_plain) {
            self.by_address.entry(address).or_insert_with(|| name.to_owned());
        }
    }

    /// The name of `address`, or the address as text when it has not appeared.
    pub fn get(&self, address: IpAddr) -> String {
        self.by_address.get(&address).cloned().unwrap_or_else(|| address.to_string())
    }

    /// Names `address` if it has none.
    pub(crate) fn see(&mut self, address: IpAddr) {
        if !self.by_address.contains_key(&address) {
            self.unnamed += 1;
            self.by_address.insert(address, format!("node{}", self.unnamed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unnamed_addresses_are_numbered_in_order_of_appearance() {
        let address = |last| IpAddr::from([198, 51, 100, last]);
        let mut names = Names::new().with(address(1), "server");
        for last in [9, 1, 2, 9] {
            names.see(address(last));
        }
        assert_eq!([1, 9, 2].map(|last| names.get(address(last))), ["server", "node1", "node2"]);
        assert_eq!(names.get(address(3)), "198.51.100.3");
    }
}
