//! The version of this computer's C library.

use std::fs;
use std::path::Path;

use goblin::elf::Elf;

/// The version of the GNU C library that this process runs on; nothing where it runs on another one.
pub fn version() -> Option<(u32, u32)> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps.lines().find_map(|line| {
        let path = line.get(line.find('/')?..)?;
        path.rsplit('/').next()?.starts_with("libc.so").then_some(path)
    })?;
    newest(&fs::read(Path::new(path)).ok()?)
}

/// The newest version that a library says it has.
fn newest(library: &[u8]) -> Option<(u32, u32)> {
    let elf = Elf::parse(library).ok()?;
    let names = elf
        .verdef
        .as_ref()?
        .iter()
        .flat_map(|version| version.iter().map(|name| name.vda_name).collect::<Vec<_>>());
    names.filter_map(|name| number(elf.dynstrtab.get_at(name)?)).max()
}

/// `GLIBC_2.36` as numbers.
fn number(name: &str) -> Option<(u32, u32)> {
    let mut numbers = name.strip_prefix("GLIBC_")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_the_newest_that_the_library_defines() {
        assert_eq!(number("GLIBC_2.36"), Some((2, 36)));
        assert_eq!(number("GLIBC_2.2.5"), Some((2, 2)));
        assert_eq!(number("GLIBC_PRIVATE"), None);
        if cfg!(all(target_os = "linux", target_env = "gnu")) {
            assert!(version() >= Some((2, 17)), "{:?}", version());
        }
        assert_eq!(newest(b"no library"), None);
    }
}
