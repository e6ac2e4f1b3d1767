//! One meaning a type name in the whole workspace.

use std::collections::BTreeMap;

use syn::Item;

use crate::sources::{Crate, crates, is_of_tests, planted};

/// Names that still have more than one meaning, and how many.
///
/// FIXME: may only shrink; a name with one meaning goes.
const KNOWN: [(&str, usize); 28] = [
    ("Broken", 2),
    ("Capture", 2),
    ("Chunk", 2),
    ("Completion", 2),
    ("Entry", 3),
    ("Event", 2),
    ("Evidence", 2),
    ("Field", 2),
    ("Host", 3),
    ("Kind", 3),
    ("Machine", 3),
    ("Pair", 2),
    ("Place", 2),
    ("Port", 2),
    ("QueuePair", 2),
    ("Recording", 2),
    ("Request", 2),
    ("Row", 2),
    ("Run", 2),
    ("Seen", 2),
    ("Side", 2),
    ("Source", 3),
    ("State", 3),
    ("Stream", 2),
    ("Target", 2),
    ("Tracker", 2),
    ("Wire", 2),
    ("Work", 2),
];

/// Names that are one pattern rather than one thing: what each module or crate of a kind calls its own.
const PATTERNS: [&str; 3] = ["Args", "Error", "Result"];

/// Every type name with the places where it is defined.
fn definitions(crates: &[Crate]) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for of in crates {
        for module in &of.modules {
            let place = format!("{}: {}", of.name, module.path.join("::"));
            collect(&module.items, &place, &mut found);
        }
    }
    found
}

fn collect(items: &[Item], place: &str, found: &mut BTreeMap<String, Vec<String>>) {
    for item in items {
        let (name, attributes) = match item {
            Item::Struct(item) => (&item.ident, &item.attrs),
            Item::Enum(item) => (&item.ident, &item.attrs),
            Item::Union(item) => (&item.ident, &item.attrs),
            Item::Trait(item) => (&item.ident, &item.attrs),
            Item::Type(item) => (&item.ident, &item.attrs),
            Item::Mod(item) => {
                if let Some((_, items)) = &item.content
                    && !is_of_tests(&item.attrs)
                {
                    collect(items, place, found);
                }
                continue;
            }
            _ => continue,
        };
        if !is_of_tests(attributes) {
            found.entry(name.to_string()).or_default().push(place.to_owned());
        }
    }
}

fn with_several_meanings(crates: &[Crate]) -> Vec<(String, Vec<String>)> {
    definitions(crates)
        .into_iter()
        .filter(|(name, places)| places.len() > 1 && !PATTERNS.contains(&name.as_str()))
        .collect()
}

#[test]
fn type_name_has_one_meaning() {
    let several = with_several_meanings(&crates());
    let mut wrong = Vec::new();
    for (name, places) in &several {
        let known = KNOWN.iter().find(|(known, _)| known == name).map_or(1, |(_, count)| *count);
        if places.len() != known {
            wrong.push(format!(
                "{name}: {} meanings, known {known}\n  {}",
                places.len(),
                places.join("\n  ")
            ));
        }
    }
    let gone = KNOWN.iter().filter(|(name, _)| !several.iter().any(|(found, _)| found == name));
    wrong.extend(gone.map(|(name, _)| format!("{name}: one meaning by now; take it off the list")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn planted_second_meaning_is_found() {
    let planted = planted(&[
        ("a", "struct Row; enum One {} #[cfg(test)] mod tests { struct One; }"),
        ("b", "mod inner { trait Row {} } fn f() { struct One; }"),
    ]);
    let names: Vec<String> = with_several_meanings(&[planted]).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Row"]);
}
