//! No file of a crate imports itself by way of others, and folders import only those before them.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::{Imports, imports};
use crate::sources::{Crate, crates, planted};

/// The stages of crate `lab`: each imports only those before it.
const STAGES: [&str; 13] = [
    "base",
    "scenario",
    "wire",
    "host",
    "guest",
    "node",
    "provider",
    "run",
    "judge",
    "trial",
    "explore",
    "fuzz",
    "self_test",
];

/// The sets of files (or folders) that reach each other, each sorted.
fn circles(graph: &Imports) -> Vec<Vec<String>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|from| (from.as_str(), reach(graph, from))).collect();
    let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
    for (from, to) in &reached {
        if to.contains(from) {
            let circle =
                to.iter().filter(|other| reached.get(*other).is_some_and(|back| back.contains(from)));
            circles.insert(circle.map(|name| (*name).to_owned()).collect());
        }
    }
    circles.into_iter().collect()
}

fn reach<'a>(graph: &'a Imports, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<&str> = graph[from].iter().map(String::as_str).collect();
    while let Some(next) = waiting.pop() {
        if seen.insert(next) {
            waiting.extend(graph.get(next).into_iter().flatten().map(String::as_str));
        }
    }
    seen
}

/// The circles among the files of a crate, and among the folders and files that lie side by side in any folder of it.
fn all_circles(of: &Crate) -> Vec<Vec<String>> {
    let imports = imports(of);
    let mut found = circles(&imports);
    let folders: BTreeSet<String> = imports.keys().flat_map(|file| ancestors(file)).collect();
    for folder in folders {
        for circle in circles(&side_by_side(&imports, &folder)) {
            if !found.contains(&circle) {
                found.push(circle);
            }
        }
    }
    found
}

/// The folders around a file, the crate itself (an empty name) among them.
fn ancestors(file: &str) -> Vec<String> {
    let parts: Vec<&str> = file.split("::").collect();
    (0..parts.len()).map(|length| parts[..length].join("::")).collect()
}

/// Files and folders in `folder`, each with the neighbours that it imports.
fn side_by_side(imports: &Imports, folder: &str) -> Imports {
    let own = |file: &str| -> Option<String> {
        let below = match folder {
            "" => file,
            folder => file.strip_prefix(folder)?.strip_prefix("::")?,
        };
        let name = below.split("::").next().unwrap_or_default();
        Some(if folder.is_empty() { name.to_owned() } else { format!("{folder}::{name}") })
    };
    let mut graph = Imports::new();
    for (from, targets) in imports {
        let Some(from) = own(from) else { continue };
        let entry = graph.entry(from.clone()).or_default();
        entry.extend(targets.iter().filter_map(|to| own(to)).filter(|to| *to != from));
    }
    graph
}

/// A circle with the imports that make it, for people.
fn described(circle: &[String], imports: &Imports) -> String {
    let is_in = |file: &str, name: &String| file == name || file.starts_with(&format!("{name}::"));
    let of = |file: &str| circle.iter().find(|name| is_in(file, name));
    let mut lines = vec![format!("circle of {}:", circle.join(", "))];
    for (from, targets) in imports {
        for to in targets {
            if let (Some(a), Some(b)) = (of(from), of(to))
                && a != b
            {
                lines.push(format!("  {from} -> {to}"));
            }
        }
    }
    lines.join("\n")
}

#[test]
fn no_circle_between_files_or_folders_of_a_crate() {
    let mut wrong = Vec::new();
    for found in crates() {
        let circles = all_circles(&found);
        if !circles.is_empty() {
            let imports = imports(&found);
            let text: Vec<String> = circles.iter().map(|circle| described(circle, &imports)).collect();
            wrong.push(format!("{}:\n{}", found.name, text.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn stages_of_the_lab_import_only_those_before_them() {
    let crates = crates();
    let lab = crates.iter().find(|found| found.name == "lab/src").expect("crate lab");
    let place = |file: &str| {
        let stage = file.split("::").next().unwrap_or_default();
        STAGES.iter().position(|name| *name == stage)
    };
    let mut wrong = Vec::new();
    for (from, targets) in imports(lab) {
        if from == "(root)" {
            continue;
        }
        let Some(stage) = place(&from) else {
            wrong.push(format!("{from} is of no stage"));
            continue;
        };
        wrong.extend(
            targets
                .iter()
                .filter(|to| *to != "(root)" && place(to).is_none_or(|to| to > stage))
                .map(|to| format!("{from} -> {to}")),
        );
    }
    assert_eq!(wrong, [""; 0], "imports of later stages");
}

#[test]
fn planted_circles_are_found() {
    let found = |files: &[(&str, &str)]| all_circles(&planted(files));
    let a_b = vec![vec!["a".to_owned(), "b".to_owned()]];
    assert_eq!(found(&[("a", "use crate::b::B;"), ("b", "use super::a::A;")]), a_b);
    assert_eq!(found(&[("a", "fn f() { crate::b::g(); }"), ("b", "fn g() { vec![crate::a::f()]; }")]), a_b);
    assert_eq!(found(&[("a", "use crate::b::B;"), ("b", "struct B;")]), Vec::<Vec<String>>::new());
    // By way of a folder's face.
    let face = ("c", "pub mod d; pub use d::D;");
    let by_face = found(&[face, ("c::d", "use crate::a::A;"), ("a", "use crate::c::D;")]);
    assert!(by_face.contains(&vec!["a".to_owned(), "c::d".to_owned()]), "{by_face:?}");
    // Of folders, where no file is in one.
    let folders = [
        ("c", ""),
        ("c::x", "use crate::d::y::Y;"),
        ("c::z", ""),
        ("d", ""),
        ("d::y", "struct Y;"),
        ("d::w", "use crate::c::z::Z;"),
    ];
    assert_eq!(found(&folders), [["c".to_owned(), "d".to_owned()]]);
    // A parent that calls its child, which calls back.
    let parent = found(&[("a", "mod b; fn f() { b::g() }"), ("a::b", "use crate::a::f;")]);
    assert_eq!(parent, [["a".to_owned(), "a::b".to_owned()]]);
    // Tests may.
    let tests = "struct B; #[cfg(test)] mod tests { use crate::a::A; }";
    assert_eq!(found(&[("a", "use crate::b::B;"), ("b", tests)]), Vec::<Vec<String>>::new());
}
