//! Kernel, modules and rdma-core of the user's own, found and checked: what takes the place of a release's.
//!
//! Everything that files alone can tell is told before a machine starts: another processor, modules of another build, a kernel
//! that lacks what a node needs. Their content decides the image's key.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::own_parts::OwnParts;
use crate::guest::image::head;
use crate::guest::image::kernel::KernelFiles;
use crate::guest::image::modules::{self, Modules};
use crate::guest::image::rdma_core::RdmaCoreFiles;

/// Modules of any kernel's that a node loads in the initramfs.
pub const EARLY: [&str; 5] = ["virtio_pci", "virtio_blk", "crc32c_generic?", "erofs", "overlay"];

/// Modules of any kernel's that a node loads from the root disk.
pub const LATE: [&str; 6] =
    ["virtio_net", "virtio_rng?", "crc32_generic?", "rdma_rxe", "ib_uverbs", "rdma_ucm"];

/// The kernel's options that make those modules.
const OPTIONS: [(&str, &str); 8] = [
    ("virtio_pci", "VIRTIO_PCI"),
    ("virtio_blk", "VIRTIO_BLK"),
    ("erofs", "EROFS_FS"),
    ("overlay", "OVERLAY_FS"),
    ("virtio_net", "VIRTIO_NET"),
    ("rdma_rxe", "RDMA_RXE"),
    ("ib_uverbs", "INFINIBAND_USER_ACCESS"),
    ("rdma_ucm", "INFINIBAND_USER_ACCESS"),
];

/// Path of the kernel in its build tree.
const BUILT: &str = "arch/x86/boot/bzImage";

/// Digits of a checksum that tell one content from another, for people.
const SHOWN: usize = 12;

/// Parts of one node that are the user's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// A kernel with its modules.
    pub kernel: Option<KernelFiles>,
    /// Modules in place of the kernel's, by name.
    pub modules: Vec<(String, PathBuf)>,
    /// An rdma-core.
    pub rdma_core: Option<RdmaCoreFiles>,
    /// Checksum of all their content, for the image's key; empty if there is nothing.
    pub digest: String,
    /// Each part with its own checksum, for people: "kernel 7.3.4 (sha256 0123456789ab)".
    pub described: Vec<String>,
}

impl Own {
    /// Finds and checks what `parts` name.
    ///
    /// # Errors
    ///
    /// A part is not there; it is for another processor; modules are of another build than the kernel; the kernel lacks what
    /// a node needs.
    pub fn read(parts: &OwnParts) -> Result<Own> {
        let mut own = Own::default();
        if let Some(path) = &parts.kernel {
            let kernel = find_kernel(path, parts.kernel_modules.as_deref())?;
            let digest = check_kernel(&kernel)?;
            own.add(&format!("kernel {}", kernel.version), digest);
            own.kernel = Some(kernel);
        }
        for path in &parts.module {
            let bytes = modules::read(path)?;
            head::vermagic(&bytes).map_err(|what| is(path, &what, "name a module: rdma_rxe.ko"))?;
            let stem = path.file_name().unwrap_or_default().to_string_lossy();
            let stem = stem.split(".ko").next().unwrap_or_default();
            let name = modules::canonical(head::field(&bytes, "name").unwrap_or(stem));
            own.add(&format!("module {name}"), sum(&[&bytes]));
            own.modules.push((name, path.clone()));
        }
        if let Some(directory) = &parts.rdma_core {
            let files = RdmaCoreFiles::find(directory)?;
            let read = |path: &Path| fs::read(path).at("failed to read", path);
            let contents: Vec<Vec<u8>> = files.files().map(read).collect::<Result<_>>()?;
            own.add(format!("rdma-core {}", files.version).trim_end(), sum(&contents));
            own.rdma_core = Some(files);
        }
        Ok(own)
    }

    /// Takes note of a part and its checksum.
    fn add(&mut self, what: &str, digest: String) {
        self.described.push(format!("{what} (sha256 {})", &digest[..SHOWN]));
        self.digest = sum(&[self.digest.as_bytes(), what.as_bytes(), digest.as_bytes()]);
    }

    /// Puts the user's modules into the place of a kernel's; `names` are those that a node loads.
    ///
    /// # Errors
    ///
    /// No node loads a module of that name; it was built for another kernel.
    pub fn replace(&self, kernel: &mut Modules, names: &[&str]) -> Result<()> {
        let loaded = kernel.order(names)?;
        for (name, path) in &self.modules {
            let bytes = modules::read(path)?;
            let vermagic = head::vermagic(&bytes).unwrap_or_default();
            // What is built in has no file, and any other tells the same.
            let replaced = loaded.iter().find(|module| module.name == *name);
            if replaced.is_none() && !names.iter().any(|other| other.trim_end_matches('?') == name) {
                let all: Vec<&str> = loaded.iter().map(|module| module.name.as_str()).collect();
                return Err(Error::usage(format!("{}: no node loads a module {name}", path.display()))
                    .next(format!("nodes load {}", all.join(", "))));
            }
            if let Some(module) = replaced.or(loaded.first()) {
                let expected = head::vermagic(&module.bytes).unwrap_or_default();
                if vermagic != expected {
                    return Err(other_build(path, vermagic, expected));
                }
            }
            kernel.replace(name, path);
        }
        Ok(())
    }
}

/// The kernel that a path means, with its modules.
fn find_kernel(path: &Path, modules: Option<&Path>) -> Result<KernelFiles> {
    let shown = path.display();
    if !path.exists() {
        return Err(Error::usage(format!("no kernel is at {shown}")).next(
            "name a kernel's build tree, an unpacked package, or a bzImage with --kernel-modules DIR",
        ));
    }
    let (vmlinuz, found) = if path.is_file() {
        // As in /lib/modules/VERSION/vmlinuz.
        let beside = path.parent().filter(|parent| parent.join("kernel").is_dir());
        (path.to_owned(), beside.map(Path::to_owned))
    } else if path.join(BUILT).is_file() {
        (path.join(BUILT), Some(path.to_owned()))
    } else if let Some(unpacked) = ["", "usr"].iter().find_map(|below| unpacked(path, &path.join(below))) {
        (unpacked.0, Some(unpacked.1))
    } else {
        return Err(Error::usage(format!(
            "{shown} has no kernel: neither {BUILT} nor lib/modules/*/vmlinuz"
        ))
        .next("build it first (make bzImage modules), or name the bzImage and --kernel-modules DIR"));
    };
    let bytes = fs::read(&vmlinuz).at("failed to read", &vmlinuz)?;
    let next = "a node is x86-64 and boots a bzImage: arch/x86/boot/bzImage of a build, /boot/vmlinuz-VERSION of a package";
    let version = head::kernel_version(&bytes).map_err(|what| is(&vmlinuz, &what, next))?;
    let modules = modules.map(Path::to_owned).or(found).ok_or_else(|| {
        Error::usage(format!("the modules of {shown} are not beside it"))
            .next("name them: --kernel-modules /lib/modules/VERSION")
    })?;
    if !modules.is_dir() {
        return Err(Error::usage(format!("no directory of modules is at {}", modules.display())));
    }
    Ok(KernelFiles { version, vmlinuz, modules })
}

/// Kernel and modules of a package that was unpacked into `root`, whose `lib/modules` is below `usr` or not.
fn unpacked(root: &Path, usr: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut versions = fs::read_dir(usr.join("lib/modules")).ok()?.flatten();
    let version = versions.next().filter(|_| versions.next().is_none())?;
    let name = version.file_name().to_string_lossy().into_owned();
    let places = [root.join(format!("boot/vmlinuz-{name}")), version.path().join("vmlinuz")];
    places.into_iter().find(|path| path.is_file()).map(|vmlinuz| (vmlinuz, version.path()))
}

/// Checks a kernel against its modules; returns the checksum of all that a node takes of both.
fn check_kernel(kernel: &KernelFiles) -> Result<String> {
    let KernelFiles { version, vmlinuz, modules: directory } = kernel;
    let all = Modules::find(directory)?;
    let names = [&EARLY[..], &LATE].concat();
    let lacking = all.lacking(&names);
    if !lacking.is_empty() {
        let option =
            |name: &&str| OPTIONS.iter().find(|(module, _)| module == name).map(|(_, option)| option);
        let told = |name: &&str| {
            option(name).map_or_else(|| (*name).to_owned(), |option| format!("{name} (CONFIG_{option})"))
        };
        let told: Vec<String> = lacking.iter().map(told).collect();
        return Err(Error::usage(format!(
            "the kernel {version} lacks what a node needs: {}; its modules were looked for in {}",
            told.join(", "),
            directory.display()
        ))
        .next("build it with these options, built in or as modules (make modules)"));
    }
    let mut contents = vec![fs::read(vmlinuz).at("failed to read", vmlinuz)?];
    for module in all.order(&names)? {
        let path = directory.join(format!("{}.ko", module.name));
        let vermagic =
            head::vermagic(&module.bytes).map_err(|what| is(&path, &what, "build it for x86-64"))?;
        if vermagic.split(' ').next() != Some(version.as_str()) {
            return Err(other_build(&path, vermagic, version));
        }
        contents.push(module.bytes);
    }
    Ok(sum(&contents))
}

fn is(path: &Path, what: &str, next: &str) -> Error {
    Error::usage(format!("{} is {what}", path.display())).next(next)
}

fn other_build(path: &Path, vermagic: &str, expected: &str) -> Error {
    Error::usage(format!(
        "{} is of another build: it was made for `{vermagic}`, the kernel is `{expected}`",
        path.display()
    ))
    .next("build the module against the headers of this very kernel, or name the kernel that it was built with: --kernel")
}

/// Checksum of some contents, in order.
fn sum<B: AsRef<[u8]>>(contents: &[B]) -> String {
    let mut digest = Sha256::new();
    for content in contents {
        digest.update((content.as_ref().len() as u64).to_be_bytes());
        digest.update(content);
    }
    hex::encode(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::image::head::synth;

    const VERSION: &str = "7.4.0-rc1";
    const VERMAGIC: &str = "7.4.0-rc1 SMP preempt mod_unload";

    fn write(path: &Path, bytes: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A kernel's build tree.
    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        write(&tree.path().join(BUILT), &synth::kernel(VERSION));
        for name in ["virtio_blk", "erofs", "overlay", "virtio_net", "rdma_rxe", "ib_uverbs", "rdma_ucm"] {
            let module = synth::module(name, VERMAGIC, "", 62);
            write(&tree.path().join(format!("drivers/{name}/{name}.ko")), &module);
        }
        write(&tree.path().join("modules.builtin"), b"kernel/drivers/virtio/virtio_pci.ko\n");
        tree
    }

    fn kernel(path: &Path) -> OwnParts {
        OwnParts { kernel: Some(path.to_owned()), ..OwnParts::default() }
    }

    fn refusal(parts: &OwnParts) -> String {
        Own::read(parts).unwrap_err().to_string()
    }

    #[test]
    fn build_tree_unpacked_package_and_both_paths_lead_to_the_same_kernel() {
        let tree = tree();
        let built = Own::read(&kernel(tree.path())).unwrap();
        assert_eq!(built.kernel.as_ref().unwrap().version, VERSION);
        assert!(built.described[0].starts_with("kernel 7.4.0-rc1 (sha256 "), "{:?}", built.described);
        let both = OwnParts { kernel_modules: Some(tree.path().into()), ..kernel(&tree.path().join(BUILT)) };
        assert_eq!(Own::read(&both).unwrap(), built);
        let package = tempfile::tempdir().unwrap();
        let modules = package.path().join("usr/lib/modules").join(VERSION);
        fs::create_dir_all(modules.parent().unwrap()).unwrap();
        fs::rename(tree.path(), &modules).unwrap();
        fs::rename(modules.join(BUILT), modules.join("vmlinuz")).unwrap();
        let unpacked = Own::read(&kernel(package.path())).unwrap();
        assert_eq!(unpacked.digest, built.digest, "the content decides");
        write(
            &modules.join("drivers/rdma_rxe/rdma_rxe.ko"),
            &synth::module("rdma_rxe", VERMAGIC, "erofs", 62),
        );
        assert_ne!(Own::read(&kernel(package.path())).unwrap().digest, built.digest);
        fs::create_dir_all(tree.path()).unwrap();
    }

    #[test]
    fn kernel_without_rxe_or_virtio_is_named_with_the_options_that_it_lacks() {
        let tree = tree();
        for name in ["rdma_rxe", "virtio_net"] {
            fs::remove_file(tree.path().join(format!("drivers/{name}/{name}.ko"))).unwrap();
        }
        let text = refusal(&kernel(tree.path()));
        for part in ["virtio_net (CONFIG_VIRTIO_NET), rdma_rxe (CONFIG_RDMA_RXE)", VERSION, "make modules"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn kernel_or_modules_for_another_processor_are_named() {
        let (tree, bz_image) = (tree(), BUILT);
        write(
            &tree.path().join("drivers/rdma_rxe/rdma_rxe.ko"),
            &synth::module("rdma_rxe", VERMAGIC, "", 183),
        );
        let text = refusal(&kernel(tree.path()));
        assert!(text.contains("rdma_rxe.ko is for AARCH64, 64 bits; a node is X86_64"), "{text}");
        write(&tree.path().join(bz_image), &synth::module("vmlinux", "", "", 183));
        let text = refusal(&kernel(tree.path()));
        assert!(text.contains("bzImage is a kernel for AARCH64, 64 bits"), "{text}");
        // That its modules are not beside it comes second.
        let alone = tempfile::tempdir().unwrap();
        let file = alone.path().join("vmlinuz");
        write(&file, &synth::module("vmlinux", "", "", 183));
        assert!(refusal(&kernel(&file)).contains("is a kernel for AARCH64"), "{}", refusal(&kernel(&file)));
    }

    #[test]
    fn modules_of_another_build_are_named_with_both_versions() {
        let tree = tree();
        let other = synth::module("rdma_rxe", "7.3.0 SMP preempt mod_unload", "", 62);
        write(&tree.path().join("drivers/rdma_rxe/rdma_rxe.ko"), &other);
        let text = refusal(&kernel(tree.path()));
        assert!(text.contains("`7.3.0 SMP preempt mod_unload`, the kernel is `7.4.0-rc1`"), "{text}");
    }

    #[test]
    fn path_that_leads_to_no_kernel_is_told_what_would() {
        let empty = tempfile::tempdir().unwrap();
        assert!(refusal(&kernel(empty.path())).contains("make bzImage modules"));
        assert!(refusal(&kernel(&empty.path().join("x"))).contains("no kernel is at"));
        let file = empty.path().join("bzImage");
        write(&file, &synth::kernel(VERSION));
        assert!(refusal(&kernel(&file)).contains("--kernel-modules /lib/modules/VERSION"));
    }

    #[test]
    fn own_module_is_known_by_its_name_and_must_be_of_the_kernels_build() {
        let (tree, elsewhere) = (tree(), tempfile::tempdir().unwrap());
        let own = |name: &str, vermagic: &str| {
            let path = elsewhere.path().join("rxe-of-mine.ko");
            write(&path, &synth::module(name, vermagic, "", 62));
            Own::read(&OwnParts { module: vec![path], ..OwnParts::default() }).unwrap()
        };
        let replaced = |own: &Own| {
            let mut modules = Modules::find(tree.path()).unwrap();
            own.replace(&mut modules, &[&EARLY[..], &LATE].concat()).map_err(|error| error.to_string())?;
            let order = modules.order(&["rdma_rxe"]).unwrap();
            Ok(head::field(&order.last().unwrap().bytes, "vermagic").unwrap().to_owned())
        };
        let mine = own("rdma_rxe", VERMAGIC);
        assert_eq!(mine.modules[0].0, "rdma_rxe");
        assert_eq!(replaced(&mine), Ok(VERMAGIC.to_owned()));
        let text: Result<String, String> = replaced(&own("rdma_rxe", "7.4.0-rc1 SMP mod_unload"));
        assert!(text.as_ref().unwrap_err().contains("is of another build"), "{text:?}");
        let text: Result<String, String> = replaced(&own("e1000", VERMAGIC));
        let text = text.unwrap_err();
        assert!(text.contains("no node loads a module e1000") && text.contains("rdma_rxe"), "{text}");
        let path = elsewhere.path().join("text.ko");
        write(&path, b"text");
        assert!(refusal(&OwnParts { module: vec![path], ..OwnParts::default() }).contains("no ELF file"));
    }
}
