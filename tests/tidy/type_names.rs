//! One meaning a type name in the whole workspace.

use std::collections::BTreeMap;

use syn::Item;

use crate::sources::{Crate, crates, is_of_tests, planted};

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
    let wrong: Vec<String> = with_several_meanings(&crates())
        .iter()
        .map(|(name, places)| format!("{name}: {} meanings\n  {}", places.len(), places.join("\n  ")))
        .collect();
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
