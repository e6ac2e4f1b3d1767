//! The libclang that bindgen is given, brought if need be.

use crate::base::cache::Cache;
use crate::base::error::{Error, Result};
use crate::base::policy::Policy;
use crate::base::selection::ToolSource;
use crate::host::libclang::{Libclang, Search, search, without_package};
use crate::host::toolbox::clang;
use crate::host::{Host, glibc, wheel};

/// The one to use on `host`: what `LIBCLANG_PATH` names; else the toolbox's, unpacked if need be; else what
/// [`search`] finds; else that of Python's package, fetched. With the host's own tools: what [`search`] finds.
///
/// # Errors
///
/// There is none, or none of a usable version; the text names what was found and what brings one.
pub fn libclang(host: &Host, cache: &Cache) -> Result<Libclang> {
    let is_named = std::env::var_os("LIBCLANG_PATH").is_some_and(|named| !named.is_empty());
    let found = glibc::version();
    let fits = found.is_some_and(|found| found >= clang::GLIBC_MINIMUM);
    let own_tools = Policy::get().tools == ToolSource::Toolbox;
    if own_tools && !is_named && fits {
        return clang::ensure(cache);
    }
    let mut what = match search(host) {
        Search::Found(libclang) => return Ok(libclang),
        Search::Absent => "no libclang: rdma-sys needs 11 to 15".to_owned(),
        Search::Unfit(why) => why,
    };
    if own_tools && !is_named {
        let (major, minor) = clang::GLIBC_MINIMUM;
        let found = found.map_or("another".to_owned(), |(major, minor)| format!("{major}.{minor}"));
        what = format!("{what}; the lab's own needs glibc {major}.{minor}, and this computer's is {found}");
        if wheel::fits() && wheel::has_pip(host) {
            wheel::fetch(host, cache)?;
            if let Search::Found(libclang) = search(host) {
                return Ok(libclang);
            }
        }
    }
    Err(Error::setup(what).next(without_package()))
}
