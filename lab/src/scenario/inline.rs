//! Tables of a scenario file on a command line: what stands between the braces of an inline table.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::base::error::{Error, Result};
use crate::base::names::nearest_key;

/// Reads a table of a kind, such as "fault"; `example` is one that is right.
///
/// # Errors
///
/// The text is none; a key or a value that is not known is told with the nearest.
pub(super) fn read<T: DeserializeOwned>(kind: &str, text: &str, example: &str) -> Result<T> {
    #[derive(Deserialize)]
    struct InlineLine<T> {
        table: T,
    }
    toml::from_str(&format!("table = {{ {text} }}")).map(|line: InlineLine<T>| line.table).map_err(|error| {
        let near = nearest_key(error.message()).map(|near| format!("{near}\n"));
        Error::usage(format!("no {kind}: `{text}`"))
            .detail(error.message())
            .next(format!("{}write it as in {example}", near.unwrap_or_default()))
    })
}
