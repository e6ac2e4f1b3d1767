//! Versions of the GNU C library: of this computer, and those that programs ask for.

use std::fs;
use std::path::Path;

use goblin::elf::Elf;

/// A version of the GNU C library, as in 2.36.
pub type Glibc = (u32, u32);

/// Reads `2.36` and what begins with it, up to a character that is no digit.
pub fn parse(text: &str) -> Option<Glibc> {
    let (major, rest) = text.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The version that this process runs on; nothing where it runs on another library.
pub fn version() -> Option<Glibc> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps.lines().find_map(|line| {
        let path = line.get(line.find('/')?..)?;
        path.rsplit('/').next()?.starts_with("libc.so").then_some(path)
    })?;
    newest(&fs::read(Path::new(path)).ok()?)
}

/// The least version that a program asks for, by the versions of the symbols that it names; nothing of one that asks for none.
pub fn needed(elf: &Elf<'_>) -> Option<Glibc> {
    let libraries = elf.verneed.as_ref()?.iter();
    let names =
        libraries.flat_map(|library| library.iter().map(|version| version.vna_name).collect::<Vec<_>>());
    names.filter_map(|name| of_symbol(elf.dynstrtab.get_at(name)?)).max()
}

/// The newest version that a library says it has.
fn newest(library: &[u8]) -> Option<Glibc> {
    let elf = Elf::parse(library).ok()?;
    let versions = elf.verdef.as_ref()?.iter();
    let names = versions.flat_map(|version| version.iter().map(|name| name.vda_name).collect::<Vec<_>>());
    names.filter_map(|name| of_symbol(elf.dynstrtab.get_at(name)?)).max()
}

/// `GLIBC_2.36` as numbers.
fn of_symbol(name: &str) -> Option<Glibc> {
    parse(name.strip_prefix("GLIBC_")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_the_newest_that_the_library_defines_and_no_program_runs_on_an_older_one() {
        assert_eq!(of_symbol("GLIBC_2.36"), Some((2, 36)));
        assert_eq!(of_symbol("GLIBC_2.2.5"), Some((2, 2)));
        assert_eq!(of_symbol("GLIBC_PRIVATE"), None);
        if cfg!(all(target_os = "linux", target_env = "gnu")) {
            let program = fs::read(std::env::current_exe().unwrap()).unwrap();
            let needed = needed(&Elf::parse(&program).unwrap());
            assert!(needed >= Some((2, 17)) && version() >= needed, "{needed:?} {:?}", version());
        }
        assert_eq!(newest(b"no library"), None);
    }
}
