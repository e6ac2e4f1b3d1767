//! A Debian binary package: an `ar` of a version, a control tar and a data tar, the latter two compressed.
//!
//! Follows deb(5). Reads only the data; panics on no input.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Calls `take` with the decoded data tar of the package `path`, as a stream.
///
/// # Errors
///
/// Not a package of format 2, a compression that is unknown, damaged bytes; or what `take` returns.
pub(super) fn with_data<T>(path: &Path, take: impl FnOnce(&mut dyn Read) -> io::Result<T>) -> io::Result<T> {
    let mut archive = ar::Archive::new(BufReader::new(File::open(path)?));
    let mut format = String::new();
    match archive.next_entry() {
        Some(Ok(mut entry)) if entry.header().identifier() == b"debian-binary" => {
            entry.by_ref().take(16).read_to_string(&mut format)?;
        }
        Some(Err(error)) => return Err(error),
        _ => {}
    }
    if !format.starts_with("2.") {
        return Err(io::Error::other("not a Debian package of format 2"));
    }
    while let Some(entry) = archive.next_entry() {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(entry.header().identifier()).into_owned();
        let Some(compression) = name.strip_prefix("data.tar") else { continue };
        return match compression {
            "" => take(&mut entry),
            ".xz" => take(&mut liblzma::read::XzDecoder::new_multi_decoder(&mut entry)),
            ".gz" => take(&mut flate2::read::GzDecoder::new(&mut entry)),
            ".zst" => {
                let mut decoder =
                    ruzstd::decoding::StreamingDecoder::new(&mut entry).map_err(io::Error::other)?;
                take(&mut decoder)
            }
            _ => Err(io::Error::other(format!("its data is compressed in an unknown way: {name}"))),
        };
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "ends before its data"))
}
