//! Head of a file that is to be a kernel or a module: its processor and version, read without a machine.
//!
//! Follows the kernel's Documentation/arch/x86/boot.rst, arm64/booting.rst and riscv/boot-image-header.rst. Pure: bytes go
//! in; panics on none.

use goblin::elf::Elf;
use goblin::elf::header::{EM_X86_64, machine_to_str};

/// Signature of the boot sector that a bzImage begins with.
const BOOT_SECTOR: (usize, [u8; 2]) = (0x1fe, [0x55, 0xaa]);

/// Signature of the setup header.
const HEADER: (usize, &[u8]) = (0x202, b"HdrS");

/// The protocol's version, from which on [`LOAD_FLAGS`] are there.
const PROTOCOL: (usize, u16) = (0x206, 0x020c);

/// Pointer to the text of the kernel's version, 512 bytes less.
const VERSION_POINTER: usize = 0x20e;

/// Flags of how the kernel can be loaded; bit 0: it has an entry of 64 bits.
const LOAD_FLAGS: usize = 0x236;

/// Signatures of kernels for other processors, or of none that QEMU loads here: offset, bytes, and what such a file is.
const OTHERS: [(usize, &[u8], &str); 5] = [
    (0x38, b"ARM\x64", "a kernel for arm64"),
    (0x38, b"RSC\x05", "a kernel for RISC-V"),
    (4, b"zimg", "a compressed kernel for arm64, RISC-V or LoongArch"),
    (0, b"\x1f\x8b", "compressed with gzip, as kernels for arm64 are"),
    (0, b"#!", "a script"),
];

/// Reads the version of a bzImage for x86-64, as `uname -r` prints it.
///
/// # Errors
///
/// It is something else: what, behind "is".
pub fn kernel_version(bytes: &[u8]) -> Result<String, String> {
    let at =
        |(offset, expected): (usize, &[u8])| bytes.get(offset..offset + expected.len()) == Some(expected);
    if !at((BOOT_SECTOR.0, &BOOT_SECTOR.1)) || !at(HEADER) {
        return Err(not_bz_image(bytes));
    }
    let word = |offset: usize| {
        let bytes = bytes.get(offset..offset + 2).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u16::from_le_bytes).unwrap_or_default()
    };
    if word(PROTOCOL.0) >= PROTOCOL.1 && word(LOAD_FLAGS) & 1 == 0 {
        return Err("a kernel for x86 of 32 bits".to_owned());
    }
    let text = bytes.get(usize::from(word(VERSION_POINTER)) + 0x200..).unwrap_or_default();
    let text = text.split(|byte| *byte == 0 || *byte == b' ').next().unwrap_or_default();
    match std::str::from_utf8(text) {
        Ok(version) if !version.is_empty() && version.len() < 100 => Ok(version.to_owned()),
        _ => Err("a bzImage that does not tell its version".to_owned()),
    }
}

fn not_bz_image(bytes: &[u8]) -> String {
    if bytes.starts_with(b"\x7fELF") {
        return match elf_for(bytes) {
            Ok(()) => "an uncompressed kernel: name its bzImage, arch/x86/boot/bzImage".to_owned(),
            Err(other) => format!("a kernel for {other}"),
        };
    }
    let found = OTHERS
        .iter()
        .find(|(offset, expected, _)| bytes.get(*offset..offset + expected.len()) == Some(*expected));
    found.map_or("no kernel", |(.., what)| what).to_owned()
}

/// Checks that an ELF file is for x86-64.
///
/// # Errors
///
/// It is for another processor, or no ELF file: named.
fn elf_for(bytes: &[u8]) -> Result<(), String> {
    let header = Elf::parse_header(bytes).map_err(|_| "nothing: it is no ELF file".to_owned())?;
    let is_64 = bytes.get(4) == Some(&2);
    if header.e_machine == EM_X86_64 && is_64 {
        return Ok(());
    }
    let bits = if is_64 { 64 } else { 32 };
    Err(format!("{}, {bits} bits", machine_to_str(header.e_machine).trim_start_matches("EM_")))
}

/// Reads the vermagic of a module for x86-64: the version and the traits of the kernel that it was built for.
///
/// # Errors
///
/// It is no such module: what it is, behind "is".
pub fn vermagic(module: &[u8]) -> Result<&str, String> {
    if !module.starts_with(b"\x7fELF") {
        return Err("no module: no ELF file".to_owned());
    }
    elf_for(module).map_err(|other| format!("for {other}; a node is X86_64, 64 bits"))?;
    field(module, "vermagic").ok_or_else(|| "no module: it has no vermagic".to_owned())
}

/// Finds the value of `key` in a module's section `.modinfo`, whose entries are texts `key=value`.
pub fn field<'m>(module: &'m [u8], key: &str) -> Option<&'m str> {
    let key: Vec<u8> = [b"\0", key.as_bytes(), b"="].concat();
    let start = module.windows(key.len()).position(|window| window == key)? + key.len();
    let value = module[start..].split(|byte| *byte == 0).next()?;
    std::str::from_utf8(value).ok().map(str::trim_end)
}

#[cfg(test)]
pub(super) mod synth {
    //! Files of a few bytes that have the head of a kernel or a module.

    /// A bzImage that tells `version`.
    pub(crate) fn kernel(version: &str) -> Vec<u8> {
        let mut bytes = vec![0; 0x400];
        bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        bytes[0x20e..0x210].copy_from_slice(&0x200_u16.to_le_bytes());
        bytes[0x236] = 1;
        bytes.extend(format!("{version} (somebody@somewhere) #1 SMP\0").as_bytes());
        bytes
    }

    /// A module built for `vermagic`, for the processor of that number: 62 is x86-64, 183 arm64.
    pub(crate) fn module(name: &str, vermagic: &str, depends: &str, machine: u8) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        bytes[16] = 1;
        bytes[18] = machine;
        bytes[20] = 1;
        bytes[52] = 64;
        bytes.extend(format!("\0vermagic={vermagic} \0name={name}\0depends={depends}\0").as_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bz_image_tells_its_version_and_every_shorter_one_does_not() {
        let kernel = synth::kernel("7.3.4+deb13-amd64");
        assert_eq!(kernel_version(&kernel).unwrap(), "7.3.4+deb13-amd64");
        for length in 0..0x400 {
            assert!(kernel_version(&kernel[..length]).is_err(), "{length}");
        }
        let mut old = kernel;
        old[0x236] = 0;
        assert!(kernel_version(&old).unwrap_err().contains("32 bits"));
    }

    #[test]
    fn kernel_for_another_processor_is_named() {
        let with = |offset: usize, bytes: &[u8]| {
            let mut file = vec![0; 0x400];
            file[offset..offset + bytes.len()].copy_from_slice(bytes);
            kernel_version(&file).unwrap_err()
        };
        assert_eq!(with(0x38, b"ARM\x64"), "a kernel for arm64");
        assert_eq!(with(0x38, b"RSC\x05"), "a kernel for RISC-V");
        assert!(with(0, b"MZ\0\0zimg").contains("compressed kernel"));
        assert!(with(0, b"\x1f\x8b").contains("gzip"));
        assert_eq!(with(0, b"plain"), "no kernel");
        let elf = |machine| kernel_version(&synth::module("vmlinux", "", "", machine)).unwrap_err();
        assert!(elf(62).contains("arch/x86/boot/bzImage"), "{}", elf(62));
        assert_eq!(elf(183), "a kernel for AARCH64, 64 bits");
    }

    #[test]
    fn module_tells_what_it_was_built_for() {
        let module = synth::module("rdma_rxe", "7.3.4 SMP preempt mod_unload modversions", "ib_core", 62);
        assert_eq!(vermagic(&module).unwrap(), "7.3.4 SMP preempt mod_unload modversions");
        assert_eq!(field(&module, "name"), Some("rdma_rxe"));
        assert_eq!(field(&module, "depends"), Some("ib_core"));
        let other = synth::module("rdma_rxe", "7.3.4", "", 183);
        assert_eq!(vermagic(&other).unwrap_err(), "for AARCH64, 64 bits; a node is X86_64, 64 bits");
        assert!(vermagic(b"text").unwrap_err().contains("no ELF file"));
        assert!(vermagic(&module[..64]).unwrap_err().contains("no vermagic"));
    }
}
