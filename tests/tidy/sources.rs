//! The crates of the workspace, and each of their files as a parsed module.

use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, Item};

/// One file of a crate.
pub(crate) struct Module {
    /// Its path from the crate's root: `["wire", "switch"]`; the root's is empty.
    pub(crate) path: Vec<String>,
    /// Its text.
    pub(crate) text: String,
    /// Its items.
    pub(crate) items: Vec<Item>,
}

impl Module {
    fn new(path: Vec<String>, text: String) -> Module {
        let items = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path:?}: {error}")).items;
        Module { path, text, items }
    }
}

/// One crate: a library or a binary of a package.
pub(crate) struct Crate {
    /// The name that messages call it by: its directory, or that and the binary's file.
    pub(crate) name: String,
    /// Its files.
    pub(crate) modules: Vec<Module>,
}

/// The workspace's directory.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).expect("the workspace").to_owned()
}

/// All crates of the workspace's members.
pub(crate) fn crates() -> Vec<Crate> {
    let workspace = workspace();
    let manifest = fs::read_to_string(workspace.join("Cargo.toml")).expect("the workspace's manifest");
    let list = manifest.lines().find(|line| line.starts_with("members = ")).expect("one line of members");
    let members = list.split('"').skip(1).step_by(2);
    let mut crates: Vec<Crate> = members.flat_map(|member| crates_of(&workspace, member)).collect();
    crates.retain(|found| !found.modules.is_empty());
    crates
}

/// The crates of the package in the directory `member`.
fn crates_of(workspace: &Path, member: &str) -> Vec<Crate> {
    let source = workspace.join(member).join("src");
    let name = |of: &str| format!("{member}/{of}").trim_start_matches("./").to_owned();
    let mut found = vec![Crate { name: name("src"), modules: modules_in(&source, &["bin"]) }];
    for path in entries(&source.join("bin")) {
        let file = path.file_name().expect("a name").to_string_lossy().into_owned();
        let modules = match path.is_dir() {
            true => modules_in(&path, &[]),
            false => vec![Module::new(Vec::new(), read(&path))],
        };
        found.push(Crate { name: name(&format!("src/bin/{file}")), modules });
    }
    found
}

/// All files below `root`, without those of the directories `without`.
fn modules_in(root: &Path, without: &[&str]) -> Vec<Module> {
    let mut modules = Vec::new();
    let mut waiting: Vec<PathBuf> =
        entries(root).into_iter().filter(|path| !without.iter().any(|name| path.ends_with(name))).collect();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(entries(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let below = path.strip_prefix(root).expect("below the root").with_extension("");
            let mut names: Vec<String> =
                below.iter().map(|name| name.to_string_lossy().into_owned()).collect();
            if matches!(names.last().map(String::as_str), Some("mod" | "lib" | "main")) {
                names.pop();
            }
            modules.push(Module::new(names, read(&path)));
        }
    }
    modules.sort_by(|a, b| a.path.cmp(&b.path));
    modules
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A crate of files that a test writes down: path and text of each.
pub(crate) fn planted(files: &[(&str, &str)]) -> Crate {
    let path = |path: &str| path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let module = |(at, text): &(&str, &str)| Module::new(path(at), (*text).to_owned());
    Crate { name: "planted".to_owned(), modules: files.iter().map(module).collect() }
}

/// True for what only tests are built with.
pub(crate) fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let tokens = quote::ToTokens::to_token_stream(&attribute.meta).to_string();
        tokens == "cfg (test)" || tokens == "test"
    })
}
