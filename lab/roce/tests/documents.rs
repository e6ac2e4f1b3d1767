//! Documents that are written from the code; `ROCE_UPDATE=1` writes them anew.

use std::fs;
use std::path::Path;

#[test]
fn catalogue_of_the_rules_is_the_enums() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules.md");
    // The package that is published has no documents.
    if !path.parent().is_some_and(Path::exists) {
        return;
    }
    if std::env::var_os("ROCE_UPDATE").is_some() {
        fs::write(&path, roce::Rule::catalogue()).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, roce::Rule::catalogue(), "write docs/rules.md anew with ROCE_UPDATE=1");
}
