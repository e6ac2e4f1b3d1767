//! Links of the documentation: each leads to a file of the repository, and each anchor to a heading there. A path in a sentence,
//! from the root, is there too.
//!
//! Anchors are GitHub's and mdBook's: a heading's words in small letters, spaces as `-`, other signs left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::sources::workspace;

/// A page with what it links to and what can be linked to in it.
#[derive(Debug, Default)]
struct MarkdownPage {
    links: Vec<String>,
    /// Code in sentences.
    spans: Vec<String>,
    anchors: BTreeSet<String>,
}

impl MarkdownPage {
    fn read(text: &str) -> MarkdownPage {
        let (mut page, mut heading, mut seen) = (MarkdownPage::default(), None, HashMap::new());
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            let is_code = matches!(event, Event::Code(_));
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(words) | Event::Code(words) => {
                    if is_code {
                        page.spans.push(words.to_string());
                    }
                    if let Some(heading) = &mut heading {
                        heading.push_str(&words);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor(&heading.take().unwrap_or_default());
                    let count: &mut u32 = seen.entry(anchor.clone()).or_default();
                    page.anchors.insert(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
                    *count += 1;
                }
                Event::Html(html) | Event::InlineHtml(html) => {
                    let ids = html.split("id=\"").skip(1).filter_map(|rest| rest.split('"').next());
                    page.anchors.extend(ids.map(ToOwned::to_owned));
                }
                _ => {}
            }
        }
        page
    }
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let letters = heading.trim().chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        letter if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
        _ => None,
    });
    letters.collect()
}

/// Links of `pages` that lead nowhere; `exists` tells of paths below the root.
fn dead(pages: &BTreeMap<PathBuf, MarkdownPage>, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut dead = Vec::new();
    for (path, page) in pages {
        for link in page.links.iter().filter(|link| !is_elsewhere(link)) {
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(file, id)| (file, Some(id)));
            let target = if file.is_empty() { path.clone() } else { joined(path, file) };
            let is_there = exists(&target)
                && anchor.is_none_or(|id| pages.get(&target).is_none_or(|page| page.anchors.contains(id)));
            if !is_there {
                dead.push(format!("{}: {link}", path.display()));
            }
        }
    }
    dead
}

fn is_elsewhere(link: &str) -> bool {
    ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme))
}

/// The path of what a page links to, from the root.
fn joined(page: &Path, link: &str) -> PathBuf {
    let mut path = page.parent().unwrap_or(Path::new("")).to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::Normal(part) => path.push(part),
            _ => {}
        }
    }
    path
}

/// Every page of the repository, by its path from the root.
fn pages() -> BTreeMap<PathBuf, MarkdownPage> {
    let root = workspace();
    let (mut pages, mut waiting) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let is_made = name == "target" || name.as_encoded_bytes().starts_with(b".");
            if path.is_dir() && !path.is_symlink() && !is_made {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).expect("a page");
                let name = path.strip_prefix(&root).expect("below the root").to_owned();
                pages.insert(name, MarkdownPage::read(&text));
            }
        }
    }
    pages
}

/// Paths in the sentences of `page` that are not there: spans that begin with one of `folders`, and have no `NAME` or `*`.
fn absent(page: &MarkdownPage, folders: &[&str], exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let is_path = |span: &&String| {
        let is_ours = span.split_once('/').is_some_and(|(folder, _)| folders.contains(&folder));
        is_ours
            && span
                .chars()
                .all(|letter| letter.is_lowercase() || letter.is_ascii_digit() || "/._-".contains(letter))
    };
    page.spans.iter().filter(is_path).filter(|span| !exists(Path::new(span))).cloned().collect()
}

#[test]
fn every_path_in_a_sentence_is_there() {
    let (root, folders) = (workspace(), ["docs", "fixtures", "lab", "src", "tests", "xtask"]);
    let mut all = 0;
    // CONTRIBUTING.md tells of files that somebody is about to write.
    for (name, page) in pages().iter().filter(|(name, _)| !name.starts_with("CONTRIBUTING.md")) {
        all += page.spans.len();
        // A page within a crate names that crate's own files.
        let is_there = |path: &Path| name.ancestors().any(|folder| root.join(folder).join(path).exists());
        let absent = absent(page, &folders, is_there);
        assert_eq!(absent, [""; 0], "{}", name.display());
    }
    assert!(all > 500, "{all} spans");
}

#[test]
fn every_link_leads_somewhere() {
    let (pages, root) = (pages(), workspace());
    let links: usize = pages.values().map(|page| page.links.len()).sum();
    assert!(pages.len() > 15 && links > 50, "{} pages, {links} links", pages.len());
    // Pages of runs are made where the book is built.
    let is_made = |path: &Path| {
        let run = path
            .strip_prefix("docs/pages")
            .ok()
            .filter(|page| page.extension().is_some_and(|it| it == "html"));
        run.is_some_and(|page| root.join("fixtures").join(page).with_extension("pcapng").is_file())
    };
    let dead = dead(&pages, |path| root.join(path).exists() || is_made(path));
    assert!(dead.is_empty(), "links that lead nowhere:\n{}", dead.join("\n"));
}

#[test]
fn book_has_every_page_of_docs_once() {
    let summary = fs::read_to_string(workspace().join("docs/SUMMARY.md")).expect("the book's summary");
    let mut listed = MarkdownPage::read(&summary).links;
    listed.sort();
    let docs = pages().into_keys().filter_map(|path| Some(path.strip_prefix("docs").ok()?.to_owned()));
    let there: Vec<String> =
        docs.map(|path| path.display().to_string()).filter(|name| name != "SUMMARY.md").collect();
    assert_eq!(listed, there, "docs/SUMMARY.md lists each page once");
    // The book has no page beside these.
    for (path, page) in pages().iter().filter(|(path, _)| path.starts_with("docs")) {
        let folders = path.components().count() - 2;
        let leaves =
            page.links.iter().find(|link| link.split('/').take_while(|part| *part == "..").count() > folders);
        assert_eq!(leaves, None, "{} links to what is not in the book", path.display());
    }
}

#[test]
fn planted_dead_links_are_found() {
    let page = |text: &str| MarkdownPage::read(text);
    let pages = BTreeMap::from([
        (
            "README.md".into(),
            page("# A b\n[x](docs/a.md) [y](docs/a.md#two-words) [z](docs/a.md#none) [h](https://x)"),
        ),
        (
            "docs/a.md".into(),
            page(
                "## Two `words`\n[up](../README.md#a-b) [gone](b.md) [own](#here)\n<a id=\"here\"></a>\n\n```\n[no](link.md)\n```\n",
            ),
        ),
    ]);
    let found = dead(&pages, |path| pages.contains_key(path));
    assert_eq!(found, ["README.md: docs/a.md#none", "docs/a.md: b.md"]);
    let page = page("`tests/none.rs` `tests/NAME.snap` `docs/a.md` `tests/*.rs` `other/x` `lab up`");
    assert_eq!(absent(&page, &["docs", "lab", "tests"], |path| pages.contains_key(path)), ["tests/none.rs"]);
}
