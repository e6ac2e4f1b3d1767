//! The book: mdBook's output, and beside it the pages of runs that it embeds.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lab::base::command::Command;
use lab::base::error::IoContext as _;
use lab::{Error, Result};
use rdma_lab_cli::front;

use super::pages::pages;
use super::session::ROCE;
use crate::{setup_git, workspace};

/// Longest time that mdBook may take.
const BUILD_LIMIT: Duration = Duration::from_secs(300);

/// Directory of the built book.
pub(super) fn directory() -> PathBuf {
    workspace::root().join("target/book")
}

/// Builds the book, and the pages of runs that it embeds.
///
/// # Errors
///
/// mdBook is not there or fails, or a page of a run cannot be made.
pub(crate) fn build() -> Result<()> {
    if setup_git::on_path("mdbook").is_none() {
        return Err(Error::setup("no mdbook is here, so no book is built")
            .next("cargo install --locked mdbook; or cargo xtask book --check, which builds nothing"));
    }
    Command::new(["mdbook", "build"]).directory(workspace::root()).run(BUILD_LIMIT)?;
    let program = front::this_program()?;
    for name in embedded()? {
        let page = directory().join(format!("pages/{name}.html"));
        if let Some(folder) = page.parent() {
            fs::create_dir_all(folder).at("failed to create", folder)?;
        }
        Command::new([program.as_os_str()])
            .args([ROCE, "report"])
            .arg(workspace::root().join(format!("fixtures/{name}.pcapng")))
            .args(["--title", &name, "-o"])
            .arg(page)
            .run(BUILD_LIMIT)?;
    }
    Ok(())
}

/// Names of the pages of runs that the book links to, `pages/NAME.html`: those of `fixtures/NAME.pcapng`.
fn embedded() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for file in pages(&workspace::root().join("docs"))? {
        let page = fs::read_to_string(&file).at("failed to read", &file)?;
        let links = page.split("(pages/").skip(1).chain(page.split("\"pages/").skip(1));
        names.extend(links.filter_map(|link| Some(link.split_once(".html")?.0.to_owned())));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_page_has_its_fixture() {
        let names = embedded().unwrap();
        assert!(names.contains("write_read"), "{names:?}");
        for name in names {
            assert!(workspace::root().join(format!("fixtures/{name}.pcapng")).is_file(), "{name}");
        }
    }
}
