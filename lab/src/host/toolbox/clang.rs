//! libclang with its own headers, for bindgen in this computer's build scripts: loaded there, not run.
//!
//! A program of the toolbox runs through its own loader; a library must live with the C library of the process that
//! loads it. So the set brings all that libclang needs but the C library, and a shim that is linked here: it has no code,
//! needs libclang, and its RPATH leads everything that is loaded after it to the set. No variable is set that other
//! programs would see.

use std::path::Path;
use std::time::Duration;

use crate::base::cache::Cache;
use crate::base::command::Command;
use crate::base::error::{Error, Result};
use crate::host::libclang::{Libclang, Version};
use crate::host::toolbox::set::{Set, WITHOUT};
use crate::host::toolbox::unpacked::Unpacked;

/// The set: libclang of Debian 12, whose bindings this project is tested with.
pub const CLANG: Set = Set {
    name: "clang",
    title: "tools: libclang 14",
    release: "bookworm",
    packages: &["libclang1-14", "libclang-common-14-dev"],
    programs: &[],
    libraries: &[LIBRARY],
    data: &[HEADERS],
    kept: &["__stddef_", "float.h", "inttypes.h", "iso646.h", "limits.h", "std", "varargs.h"],
    about_mb: 51,
    ..WITHOUT
};

/// The oldest C library that these libraries load with.
pub const GLIBC_MINIMUM: (u32, u32) = (2, 36);

const LIBRARY: &str = "libclang-14.so.13";
const VERSION: &str = "14.0.6";
const HEADERS: &str = "usr/lib/llvm-14/lib/clang/14.0.6/include";

/// The shim's name: clang-sys loads only what is called so.
const SHIM: &str = "libclang.so";

/// The longest wait for the linker.
const LINK_LIMIT: Duration = Duration::from_secs(60);

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

/// Links the shim in the directory `libraries`.
pub(super) fn link(libraries: &Path) -> Result<()> {
    link_argv(Command::new(["cc"]))
        .directory(libraries)
        .run(LINK_LIMIT)
        .map(drop)
        .map_err(|error| Error::setup("failed to link libclang into place").source(error).next(NEXT))
}

const NEXT: &str =
    "a C compiler called cc is needed: Debian's package gcc, Fedora's gcc, Alpine's build-base";

fn link_argv(cc: Command) -> Command {
    cc.args(["-shared", "-nostdlib", "-o", SHIM, "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined"])
        // Without code there is nothing that says so, and glibc 2.41 loads none that may want to execute its stack.
        .arg("-Wl,-z,noexecstack")
        // RPATH, not RUNPATH, which would not hold for what libclang's libraries load in turn.
        .args(["-Wl,--disable-new-dtags", "-Wl,-rpath,$ORIGIN", &format!("./{LIBRARY}")])
}

#[cfg(test)]
mod tests {
    use goblin::elf::Elf;
    use goblin::elf::program_header::PT_GNU_STACK;

    use super::*;

    #[test]
    fn shim_leads_to_the_libraries_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let real = ["cc", "-shared", "-nostdlib", "-x", "c", "/dev/null", "-o", LIBRARY];
        let soname = format!("-Wl,-soname,{LIBRARY}");
        Command::new(real).arg(soname).directory(directory.path()).run(LINK_LIMIT).unwrap();
        link(directory.path()).unwrap();
        let bytes = std::fs::read(directory.path().join(SHIM)).unwrap();
        let elf = Elf::parse(&bytes).unwrap();
        assert_eq!((elf.libraries, elf.rpaths), (vec![LIBRARY], vec!["$ORIGIN"]));
        assert!(elf.runpaths.is_empty(), "{:?}", elf.runpaths);
        let stack = elf.program_headers.iter().find(|header| header.p_type == PT_GNU_STACK);
        assert!(stack.is_some_and(|stack| !stack.is_executable()), "{stack:?}");
    }
}
