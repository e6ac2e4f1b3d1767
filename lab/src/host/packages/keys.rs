//! The keys that sign Debian's releases: the signatures that are believed, whatever the host's keyring holds.
//!
//! Their fingerprints are in `keys/README.md`, equal to those of the package debian-archive-keyring.

macro_rules! key {
    ($name:literal) => {
        ($name, include_str!(concat!("keys/", $name)))
    };
}
/// File names and armored keys.
pub const ARCHIVE: [(&str, &str); 4] = [
    key!("debian-archive-bookworm-automatic.asc"),
    key!("debian-archive-bookworm-stable.asc"),
    key!("debian-archive-trixie-automatic.asc"),
    key!("debian-archive-trixie-stable.asc"),
];
