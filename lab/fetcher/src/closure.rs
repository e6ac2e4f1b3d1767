//! The dependency closure: the packages that installing some on an empty system takes, without recommended ones.
//!
//! Chooses as apt does: what is already chosen fulfils a dependency; else the first alternative that exists, a
//! package of that name before one that provides it. Dependencies with one way to fulfil them come first, so
//! that a choice falls on what is there anyhow. Conflicts are not looked at.

use std::collections::{HashSet, VecDeque};

use crate::error::Error;
use crate::index::{IndexedPackage, PackageIndex, Relation, relations};

/// Likeness from which on a name is near: 1 is the same, 0 has nothing in common.
const NEAR: f64 = 0.6;

/// The packages, each before what it depends on, as numbers into the index.
///
/// # Errors
///
/// A package does not exist, or a dependency cannot be fulfilled: both are named.
pub(crate) fn closure(index: &PackageIndex<'_>, wanted: &[String]) -> Result<Vec<usize>, Error> {
    let mut chosen = Chosen { order: Vec::new(), all: HashSet::new() };
    for name in wanted {
        chosen.add(exact(index, name)?);
    }
    let mut examined = 0;
    let mut choices: VecDeque<(usize, Vec<Relation<'_>>)> = VecDeque::new();
    loop {
        if let Some(&number) = chosen.order.get(examined) {
            examined += 1;
            let package = &index.packages[number];
            for group in relations(package.pre_depends).chain(relations(package.depends)) {
                match candidates(index, &group).as_slice() {
                    [] => return Err(unfulfilled(package, &group)),
                    [one] => chosen.add(*one),
                    _ => choices.push_back((number, group)),
                }
            }
        } else if let Some((_, group)) = choices.pop_front() {
            let candidates = candidates(index, &group);
            if !candidates.iter().any(|number| chosen.all.contains(number)) {
                chosen.add(candidates[0]);
            }
        } else {
            return Ok(chosen.order);
        }
    }
}

/// The package of a name that was asked for, or the only one that provides that name.
///
/// # Errors
///
/// There is none.
pub(crate) fn exact(index: &PackageIndex<'_>, name: &str) -> Result<usize, Error> {
    if let Some(number) = index.find(name) {
        return Ok(number);
    }
    match index.fulfilling(&Relation { name, version: None }).as_slice() {
        [one] => Ok(*one),
        _ => Err(no_such(index, name)),
    }
}

/// Remark on a name that no package has: the nearest that one has.
fn no_such(index: &PackageIndex<'_>, name: &str) -> Error {
    let likeness = |other: &str| strsim::normalized_damerau_levenshtein(name, other);
    let nearest = index.packages.iter().map(|package| (likeness(package.name), package.name));
    let nearest = nearest.filter(|(likeness, _)| *likeness >= NEAR).max_by(|a, b| a.0.total_cmp(&b.0));
    let what = format!("the release has no package {name}");
    match nearest {
        Some((_, near)) => Error::new(what, format!("the nearest is {near}")),
        None => Error::mirror(what),
    }
}

/// The packages that fulfil the dependencies of `name`, in its order; those that the release does not have are left out, as
/// apt leaves out virtual ones.
///
/// # Errors
///
/// There is no such package.
pub(crate) fn dependencies(index: &PackageIndex<'_>, name: &str) -> Result<Vec<usize>, Error> {
    let package = &index.packages[exact(index, name)?];
    let first = |group: Vec<Relation<'_>>| candidates(index, &group).first().copied();
    Ok(relations(package.depends).filter_map(first).collect())
}

struct Chosen {
    order: Vec<usize>,
    all: HashSet<usize>,
}

impl Chosen {
    fn add(&mut self, number: usize) {
        if self.all.insert(number) {
            self.order.push(number);
        }
    }
}

/// All packages that fulfil one of the alternatives, the preferred one first.
fn candidates(index: &PackageIndex<'_>, group: &[Relation<'_>]) -> Vec<usize> {
    let mut all: Vec<usize> = Vec::new();
    for relation in group {
        for number in index.fulfilling(relation) {
            if !all.contains(&number) {
                all.push(number);
            }
        }
    }
    all
}

fn unfulfilled(package: &IndexedPackage<'_>, group: &[Relation<'_>]) -> Error {
    let alternatives: Vec<String> = group
        .iter()
        .map(|relation| match relation.version {
            Some((operator, version)) => format!("{} ({operator} {version})", relation.name),
            None => relation.name.to_owned(),
        })
        .collect();
    Error::mirror(format!(
        "package {} {} depends on {}, which the release does not have",
        package.name,
        package.version,
        alternatives.join(" | ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packages of `name version: other fields`.
    fn list(packages: &[(&str, &str, &str)]) -> String {
        packages
            .iter()
            .map(|(name, version, fields)| {
                format!(
                    "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}.deb\n\
                     SHA256: 00\nSize: 1\n{fields}\n\n"
                )
            })
            .collect()
    }

    fn names(list: &str, wanted: &[&str]) -> Result<Vec<String>, Error> {
        let index = PackageIndex::parse(list);
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let mut names: Vec<String> =
            closure(&index, &wanted)?.iter().map(|&number| index.packages[number].name.to_owned()).collect();
        names.sort();
        Ok(names)
    }

    #[test]
    fn both_kinds_of_dependency_are_followed_and_no_recommendation() {
        let list = list(&[
            ("a", "1", "Depends: b (>= 2)\nRecommends: e"),
            ("b", "2", "Pre-Depends: c\nDepends: a"),
            ("c", "1", ""),
            ("e", "1", ""),
        ]);
        assert_eq!(names(&list, &["a"]).unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn first_alternative_is_taken_unless_another_comes_anyhow() {
        let packages = |last: &str| {
            let last = format!("Depends: {last}");
            list(&[("a", "1", "Depends: gone | b | c, d"), ("b", "1", ""), ("c", "1", ""), ("d", "1", &last)])
        };
        assert_eq!(names(&packages("b"), &["a"]).unwrap(), ["a", "b", "d"]);
        assert_eq!(names(&packages("c"), &["a"]).unwrap(), ["a", "c", "d"]);
    }

    #[test]
    fn provided_names_count_and_with_a_version_where_one_is_demanded() {
        let list = list(&[
            ("plain", "9", "Provides: v, w"),
            ("versioned", "1", "Provides: v (= 2.0)\nPriority: required"),
            ("any", "1", "Depends: w"),
            ("new", "1", "Depends: v (>= 2)"),
            ("newer", "1", "Depends: v (>= 3)"),
        ]);
        assert_eq!(names(&list, &["any"]).unwrap(), ["any", "plain"]);
        assert_eq!(names(&list, &["w"]).unwrap(), ["plain"]);
        assert!(names(&list, &["v"]).unwrap_err().what.contains("no package v"));
        assert_eq!(names(&list, &["new"]).unwrap(), ["new", "versioned"]);
        let text = names(&list, &["newer"]).unwrap_err().what;
        assert!(text.contains("newer 1 depends on v (>= 3)"), "{text}");
    }

    #[test]
    fn unknown_package_is_named() {
        assert!(names("", &["nosuch"]).unwrap_err().what.contains("nosuch"));
        let list = list(&[("qperf", "1", ""), ("perl", "1", "")]);
        assert_eq!(names(&list, &["qprf"]).unwrap_err().next, "the nearest is qperf");
    }
}
