//! Imports between the files of a crate.
//!
//! A path counts wherever it stands: in `use`, in code, in a macro's words. It leads to the file that defines what it
//! names: a `pub use` on the way is looked through, and is itself no import, since a folder's `mod.rs` is its face. What
//! only tests are built with does not count: a test may build a whole house to stand in.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Item, ItemMod, ItemUse, Path, UseTree, Visibility};

use crate::sources::{Crate, is_of_tests};

/// The files of a crate, each with the files that it names, as module paths (`wire::switch`).
pub(crate) type Imports = BTreeMap<String, BTreeSet<String>>;

/// Names in a file: its imports, and what it hands on under another path.
#[derive(Default)]
struct Named {
    paths: BTreeSet<Vec<String>>,
    handed_on: Vec<(Vec<String>, String)>,
}

/// Looks through all files of a crate.
pub(crate) fn imports(of: &Crate) -> Imports {
    let files: BTreeMap<&[String], Named> = of
        .modules
        .iter()
        .map(|module| {
            let mut reader =
                Reader { at: module.path.clone(), children: Vec::new(), named: Named::default() };
            reader.children = module.items.iter().filter_map(child).collect();
            for item in &module.items {
                reader.visit_item(item);
            }
            (module.path.as_slice(), reader.named)
        })
        .collect();
    let mut imports = Imports::new();
    for (file, named) in &files {
        let targets = named.paths.iter().map(|path| resolve(&files, path, 0)).filter(|to| to != file);
        imports.insert(title(file), targets.map(|to| title(&to)).collect());
    }
    imports
}

/// The name of a file in messages; the root has none of its own.
fn title(path: &[String]) -> String {
    if path.is_empty() { "(root)".to_owned() } else { path.join("::") }
}

fn child(item: &Item) -> Option<String> {
    match item {
        Item::Mod(ItemMod { ident, content: None, .. }) => Some(ident.to_string()),
        _ => None,
    }
}

/// The file that a path from the crate's root leads to.
fn resolve(files: &BTreeMap<&[String], Named>, path: &[String], depth: usize) -> Vec<String> {
    let mut length = 0;
    while length < path.len() && files.contains_key(&path[..=length]) {
        length += 1;
    }
    let (module, rest) = path.split_at(length);
    let handed_on = files.get(module).map(|named| named.handed_on.as_slice()).unwrap_or_default();
    if let [name, below @ ..] = rest
        && let Some((real, _)) = handed_on.iter().find(|(_, local)| local == name)
        && depth < 8
    {
        return resolve(files, &[real, below].concat(), depth + 1);
    }
    module.to_vec()
}

/// Reads one file.
struct Reader {
    at: Vec<String>,
    children: Vec<String>,
    named: Named,
}

impl Reader {
    /// The path from the crate's root, if this one leads into the crate.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([&self.at, rest].concat()),
            "super" => {
                let mut at = self.at.clone();
                at.pop();
                let beyond = rest.iter().take_while(|name| *name == "super").count();
                at.truncate(at.len().saturating_sub(beyond));
                Some([&at, &rest[beyond..]].concat())
            }
            child if self.children.iter().any(|name| name == child) => Some([&self.at, path].concat()),
            _ => None,
        }
    }

    fn name(&mut self, path: &[String]) {
        if let Some(path) = self.absolute(path) {
            self.named.paths.insert(path);
        }
    }

    /// All paths of a `use`, each with the name that it has here.
    fn flatten(tree: &UseTree, before: &[String], out: &mut Vec<(Vec<String>, String)>) {
        let with = |name: &str| [before, &[name.to_owned()]].concat();
        match tree {
            UseTree::Path(path) => Reader::flatten(&path.tree, &with(&path.ident.to_string()), out),
            UseTree::Name(name) if name.ident == "self" => {
                out.push((before.to_vec(), before.last().cloned().unwrap_or_default()));
            }
            UseTree::Name(name) => out.push((with(&name.ident.to_string()), name.ident.to_string())),
            UseTree::Rename(name) => {
                let path = if name.ident == "self" { before.to_vec() } else { with(&name.ident.to_string()) };
                out.push((path, name.rename.to_string()));
            }
            UseTree::Glob(_) => out.push((before.to_vec(), "*".to_owned())),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| Reader::flatten(tree, before, out));
            }
        }
    }

    /// Paths among a macro's words, as far as their first word says that they lead into the crate.
    fn words(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.name(&std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                other => {
                    self.name(&std::mem::take(&mut path));
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.words(group.stream());
                    }
                }
            }
        }
        self.name(&path);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[syn::Attribute] = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            _ => &[],
        };
        if !is_of_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut found = Vec::new();
        Reader::flatten(&item.tree, &[], &mut found);
        for (path, local) in found {
            if matches!(item.vis, Visibility::Inherited) {
                self.name(&path);
            } else if let Some(path) = self.absolute(&path) {
                self.named.handed_on.push((path, local));
            }
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.name(&names);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.words(item.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}
