//! The library that leads to libclang: linked here, without code of its own.

use std::path::Path;
use std::time::Duration;

use crate::base::command::Command;
use crate::base::error::{Error, Result};
use crate::host::toolbox::set::LIBRARY;

/// The shim's name: clang-sys loads only what is called so.
pub(super) const SHIM: &str = "libclang.so";

/// The longest wait for the linker.
const LINK_LIMIT: Duration = Duration::from_secs(60);

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
