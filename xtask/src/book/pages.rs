//! The pages of the documentation.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lab::Result;
use lab::base::error::IoContext as _;

/// Markdown files below `folder`, in order; what is built or hidden is left out.
pub(super) fn pages(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let (mut pages, mut waiting) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).at("failed to read", &folder)?.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let is_made = name == "target" || name.as_encoded_bytes().starts_with(b".");
            if path.is_dir() && !path.is_symlink() && !is_made {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.insert(path);
            }
        }
    }
    Ok(pages)
}
