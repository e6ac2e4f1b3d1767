//! The packages of a release: the stanzas of `Packages`, and who provides what.
//!
//! Follows the policy manual, 5.1 and 7. Borrows from the text; a stanza that lacks a name, a version or a
//! file is left out.

use std::collections::HashMap;

use crate::version;

/// The fields that are kept of a list.
const FIELDS: [&str; 11] = [
    "Package",
    "Version",
    "Architecture",
    "Essential",
    "Priority",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Filename",
    "Size",
    "SHA256",
];

/// One package of a release.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexedPackage<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) architecture: &'a str,
    pub(crate) essential: bool,
    pub(crate) priority: &'a str,
    pub(crate) provides: &'a str,
    pub(crate) depends: &'a str,
    pub(crate) pre_depends: &'a str,
    pub(crate) filename: &'a str,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: &'a str,
}

/// A name in a relation, with what it demands of the version: `name (>= 1.2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relation<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: Option<(&'a str, &'a str)>,
}

/// All packages, by name and by what they provide.
#[derive(Debug)]
pub(crate) struct PackageIndex<'a> {
    pub(crate) packages: Vec<IndexedPackage<'a>>,
    by_name: HashMap<&'a str, usize>,
    providers: HashMap<&'a str, Vec<(usize, Option<&'a str>)>>,
}

/// Shortens a list to the fields that are kept: a fifth of its size.
pub(crate) fn shortened(list: &str) -> String {
    let mut short = String::with_capacity(list.len() / 3);
    for line in list.lines() {
        let kept = line.is_empty() || line.split_once(':').is_some_and(|(field, _)| FIELDS.contains(&field));
        if kept {
            short.push_str(line);
            short.push('\n');
        }
    }
    short
}

impl<'a> PackageIndex<'a> {
    /// Parses a list; of several versions of a package the highest is kept.
    pub(crate) fn parse(list: &'a str) -> PackageIndex<'a> {
        let mut index =
            PackageIndex { packages: Vec::new(), by_name: HashMap::new(), providers: HashMap::new() };
        for stanza in list.split("\n\n") {
            let Some(package) = parse_stanza(stanza) else { continue };
            match index.by_name.get(package.name) {
                Some(&other) => {
                    if version::compare(package.version, index.packages[other].version).is_gt() {
                        index.packages[other] = package;
                    }
                }
                None => {
                    index.by_name.insert(package.name, index.packages.len());
                    index.packages.push(package);
                }
            }
        }
        for (number, package) in index.packages.iter().enumerate() {
            for group in relations(package.provides) {
                for provided in group {
                    let version = provided.version.map(|(_, version)| version);
                    index.providers.entry(provided.name).or_default().push((number, version));
                }
            }
        }
        index
    }

    /// The package of a name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The packages that fulfil a relation: the one of that name first, then those that provide it, the most
    /// important first.
    pub(crate) fn fulfilling(&self, relation: &Relation<'_>) -> Vec<usize> {
        let own = self.find(relation.name).filter(|&number| match relation.version {
            Some((operator, version)) => version::holds(self.packages[number].version, operator, version),
            None => true,
        });
        let mut providers: Vec<usize> = self
            .providers
            .get(relation.name)
            .into_iter()
            .flatten()
            .filter(|(number, provided)| {
                Some(*number) != own
                    && match (relation.version, provided) {
                        (None, _) => true,
                        // What is provided without a version fulfils no demand for one.
                        (Some(_), None) => false,
                        (Some((operator, version)), Some(provided)) => {
                            version::holds(provided, operator, version)
                        }
                    }
            })
            .map(|(number, _)| *number)
            .collect();
        providers.sort_by_key(|&number| {
            let package = &self.packages[number];
            (!package.essential, importance(package.priority))
        });
        own.into_iter().chain(providers).collect()
    }
}

impl IndexedPackage<'_> {
    /// The archive's name as apt has it: with the epoch, whose colon is escaped.
    pub(crate) fn file(&self) -> String {
        format!("{}_{}_{}.deb", self.name, self.version.replace(':', "%3a"), self.architecture)
    }
}

/// The groups of alternatives in a field: `a, b | c` is two groups.
pub(crate) fn relations(field: &str) -> impl Iterator<Item = Vec<Relation<'_>>> {
    field
        .split(',')
        .map(|group| group.split('|').filter_map(parse_relation).collect::<Vec<_>>())
        .filter(|group| !group.is_empty())
}

fn parse_relation(text: &str) -> Option<Relation<'_>> {
    let text = text.trim();
    let (name, rest) = text.split_at(text.find([' ', '(', '[']).unwrap_or(text.len()));
    // `name:any` asks for no other architecture than ours.
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    let version = rest.trim().strip_prefix('(').and_then(|rest| {
        let inside = rest.split_once(')')?.0.trim();
        let (operator, version) = inside.split_at(inside.find(|c| !"<=>".contains(c))?);
        Some((operator, version.trim()))
    });
    (!name.is_empty()).then_some(Relation { name, version })
}

fn parse_stanza(stanza: &str) -> Option<IndexedPackage<'_>> {
    let mut package = IndexedPackage::default();
    for line in stanza.lines() {
        let Some((field, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match field {
            "Package" => package.name = value,
            "Version" => package.version = value,
            "Architecture" => package.architecture = value,
            "Essential" => package.essential = value == "yes",
            "Priority" => package.priority = value,
            "Provides" => package.provides = value,
            "Depends" => package.depends = value,
            "Pre-Depends" => package.pre_depends = value,
            "Filename" => package.filename = value,
            "Size" => package.size_bytes = value.parse().ok()?,
            "SHA256" => package.sha256 = value,
            _ => {}
        }
    }
    let plain = |text: &str| !text.is_empty() && !text.contains('/') && !text.starts_with('.');
    let whole = plain(package.name)
        && plain(package.version)
        && plain(package.architecture)
        && !package.filename.is_empty()
        && !package.sha256.is_empty();
    whole.then_some(package)
}

fn importance(priority: &str) -> usize {
    ["required", "important", "standard", "optional"].iter().position(|known| *known == priority).unwrap_or(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_have_names_versions_and_alternatives() {
        let groups: Vec<_> = relations("libc6 (>= 2.34), perl:any, a | b (<<1:2~), , c [amd64]").collect();
        let relation = |name, version| Relation { name, version };
        assert_eq!(
            groups,
            [
                vec![relation("libc6", Some((">=", "2.34")))],
                vec![relation("perl", None)],
                vec![relation("a", None), relation("b", Some(("<<", "1:2~")))],
                vec![relation("c", None)],
            ]
        );
    }

    #[test]
    fn highest_version_of_a_package_is_kept() {
        let list = "Package: a\nVersion: 1.9\nArchitecture: all\nFilename: x\nSHA256: 1\nSize: 1\n\n\
            Package: a\nVersion: 1.10\nArchitecture: all\nFilename: x\nSHA256: 1\nSize: 1\n\n\
            Package: a\nVersion: 1.2\nArchitecture: all\nFilename: x\nSHA256: 1\nSize: 1\n";
        let index = PackageIndex::parse(list);
        assert_eq!(index.packages.len(), 1);
        assert_eq!(index.packages[0].version, "1.10");
    }

    #[test]
    fn shortened_list_is_the_same_index() {
        let list = "Package: a\nVersion: 1:2-3\nDescription: text\n more: text\nArchitecture: amd64\n\
            Filename: pool/a.deb\nSize: 5\nSHA256: 77\nTag: x::y,\n z\n\nPackage: b\n";
        let short = shortened(list);
        assert!(!short.contains("text") && !short.contains("Tag"));
        assert_eq!(PackageIndex::parse(&short).packages, PackageIndex::parse(list).packages);
        assert_eq!(PackageIndex::parse(list).packages[0].file(), "a_1%3a2-3_amd64.deb");
    }
}
