//! libclang with its own headers, for bindgen in this computer's build scripts: loaded there, not run.
//!
//! A program of the toolbox runs through its own loader; a library must live with the C library of the process that
//! loads it. So the set brings all that libclang needs but the C library, and a shim that is linked here: it has no code,
//! needs libclang, and its RPATH leads everything that is loaded after it to the set. No variable is set that other
//! programs would see.

use std::path::Path;

use crate::base::cache::Cache;
use crate::base::error::Result;
use crate::host::libclang::{Libclang, Version};
use crate::host::toolbox::set::CLANG;
use crate::host::toolbox::set::HEADERS;
use crate::host::toolbox::shim::SHIM;
use crate::host::toolbox::unpacked::Unpacked;

/// The oldest C library that these libraries load with.
pub const GLIBC_MINIMUM: (u32, u32) = (2, 36);

const VERSION: &str = "14.0.6";

/// libclang, unpacked if need be.
///
/// # Errors
///
/// The set cannot be fetched or the shim not be linked.
pub fn ensure(cache: &Cache) -> Result<Libclang> {
    let set = Unpacked::ensure(cache, &CLANG)?;
    Ok(Libclang {
        file: set.path("lib").join(SHIM),
        version: Version::parse(VERSION),
        resources: set.path(HEADERS).parent().map(Path::to_owned),
    })
}
