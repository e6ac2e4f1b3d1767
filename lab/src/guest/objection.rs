//! Obstacles to running a file in a guest: another processor or system, or a library, an interpreter or a C library that is not
//! there.

use goblin::elf::Elf;
use goblin::elf::header::{EM_X86_64, machine_to_str};

use crate::base::program::Program;
use crate::guest::contents::Contents;
use crate::host::glibc;

/// Objection to a file among others that go there, and what to do; what is called has to be a program.
pub(super) fn objection(
    bytes: &[u8],
    is_called: bool,
    files: &[Program],
    contents: &Contents,
) -> Option<(String, String)> {
    if bytes.starts_with(b"\x7fELF") {
        return to_elf(bytes, files, contents);
    }
    if let Some(line) = bytes.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        return to_script(&String::from_utf8_lossy(line), files, contents);
    }
    is_called.then(|| (format!("is {}", kind_of(bytes)), "build it for Linux on x86-64".to_owned()))
}

/// Objection to an ELF file, and what to do.
fn to_elf(bytes: &[u8], files: &[Program], contents: &Contents) -> Option<(String, String)> {
    let elf = match Elf::parse(bytes) {
        Ok(elf) => elf,
        Err(error) => {
            return Some((format!("is a damaged ELF file: {error}"), "build it again".to_owned()));
        }
    };
    if elf.header.e_machine != EM_X86_64 || !elf.is_64 {
        let bits = if elf.is_64 { 64 } else { 32 };
        let machine = machine_to_str(elf.header.e_machine).trim_start_matches("EM_").to_owned();
        return Some((
            format!("is for another processor: {machine}, {bits} bits; the guest is X86_64, 64 bits"),
            "build it for x86_64-unknown-linux-gnu".to_owned(),
        ));
    }
    if let Some(interpreter) = elf.interpreter
        && !contents.has(interpreter)
    {
        return Some((
            format!("needs the interpreter {interpreter}, which the guest has not"),
            "link it statically, or against the GNU C library of a Debian".to_owned(),
        ));
    }
    let has = |name: &str| contents.has_library(name) || files.iter().any(|file| file.name == name);
    let missing: Vec<&str> = elf.libraries.iter().copied().filter(|name| !has(name)).collect();
    if !missing.is_empty() {
        return Some((
            format!("needs libraries that the guest has not: {}", missing.join(", ")),
            "bring each with --push FILE, or link statically".to_owned(),
        ));
    }
    let (needed, there) = (glibc::needed(&elf)?, contents.glibc()?);
    (needed > there).then(|| {
        (
            format!("needs glibc {}.{}; the guest has {}.{}", needed.0, needed.1, there.0, there.1),
            "build it on an older system, against an older sysroot, or statically".to_owned(),
        )
    })
}

/// Objection to a script whose first line is `#!` and `line`, and what to do.
fn to_script(line: &str, files: &[Program], contents: &Contents) -> Option<(String, String)> {
    let mut words = line.split_whitespace();
    let interpreter = words.next()?;
    let has = |name: &str| contents.has_program(name) || files.iter().any(|file| file.name == name);
    let missing = if interpreter.ends_with("/env") {
        words.find(|word| !word.starts_with('-')).filter(|name| !has(name))
    } else {
        Some(interpreter).filter(|path| !contents.has(path))
    };
    missing.map(|name| {
        (
            format!("is a script for {name}, which the guest has not"),
            format!(
                "the guest's shell is busybox: #!/bin/sh; others come with a package: --packages {}",
                package_of(name)
            ),
        )
    })
}

/// The package of Debian's that has an interpreter.
fn package_of(interpreter: &str) -> &str {
    match interpreter.rsplit('/').next().unwrap_or(interpreter) {
        "python3" => "python3-minimal",
        "perl" => "perl-base",
        name => name,
    }
}

/// Kind of a file that is neither an ELF file nor a script.
fn kind_of(bytes: &[u8]) -> &'static str {
    match bytes {
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => "a program for macOS",
        [b'M', b'Z', ..] => "a program for Windows",
        [] => "empty",
        _ => "no program: neither an ELF file nor a script that begins with #!",
    }
}
