//! Kernel modules: which files a list of names needs, in the order of loading.
//!
//! Each module names those it depends on in its own `.modinfo` section, so neither depmod nor modprobe is
//! needed, on the host or in the guest.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;
use ruzstd::decoding::StreamingDecoder;

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::names::nearest;
use crate::guest::image::head;

/// Endings of a module's file name.
const ENDINGS: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/// The kernel's list of what is built into it, beside the modules.
const BUILT_IN: &str = "modules.builtin";

/// A module as the kernel loads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name, with `_` and not `-`.
    pub name: String,
    /// Its bytes, decompressed.
    pub bytes: Vec<u8>,
}

/// The modules below one kernel's directory.
#[derive(Debug)]
pub struct Modules {
    files: HashMap<String, PathBuf>,
    built_in: HashSet<String>,
}

impl Modules {
    /// Finds every module below `directory`, as in `lib/modules/6.1.0-1-amd64`.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed.
    pub fn find(directory: &Path) -> Result<Modules> {
        // Paths below the directory, one a line.
        let list = fs::read_to_string(directory.join(BUILT_IN)).unwrap_or_default();
        let built_in = list.lines().filter_map(|path| name_of(path.rsplit('/').next()?)).collect();
        let mut files = HashMap::new();
        let mut pending = vec![directory.to_owned()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory).at("failed to list", &directory)? {
                let entry = entry.at("failed to list", &directory)?;
                let path = entry.path();
                let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
                if entry.file_type().at("failed to look at", &path)?.is_dir() {
                    // A kernel's build tree may have a repository.
                    pending.extend(Some(path).filter(|_| !is_hidden));
                } else if let Some(name) = path.file_name().and_then(|name| name_of(name.to_str()?)) {
                    files.insert(name, path);
                }
            }
        }
        Ok(Modules { files, built_in })
    }

    /// The modules `names` and all they need, each after what it needs, each once; what is built in is left out. A
    /// name may be alternatives, `a | b`: the first that this kernel has. One that ends with `?` may be missing.
    ///
    /// # Errors
    ///
    /// A module does not exist or cannot be read.
    pub fn order(&self, names: &[&str]) -> Result<Vec<Module>> {
        let mut order = Vec::new();
        for name in names {
            let has = |name: &String| self.files.contains_key(name) || self.built_in.contains(name);
            let (name, is_needed) = match name.strip_suffix('?') {
                Some(name) => (name, false),
                None => (*name, true),
            };
            let found = name.split('|').map(|name| canonical(name.trim())).find(has);
            match found {
                None if !is_needed => {}
                found => self.add(&found.unwrap_or_else(|| canonical(name)), &mut order)?,
            }
        }
        Ok(order)
    }

    /// The names of which this kernel has nothing, neither a module nor built in; what may be missing is left out.
    pub fn lacking<'n>(&self, names: &[&'n str]) -> Vec<&'n str> {
        let has = |name: &str| {
            let name = canonical(name.trim());
            self.files.contains_key(&name) || self.built_in.contains(&name)
        };
        let is_lacking = |name: &&&str| !name.ends_with('?') && !name.split('|').any(has);
        names.iter().filter(is_lacking).copied().collect()
    }

    /// Puts a file into the place of the module `name`, built in or not.
    pub fn replace(&mut self, name: &str, file: &Path) {
        let name = canonical(name);
        self.built_in.remove(&name);
        self.files.insert(name, file.to_owned());
    }

    /// Remark on a name that no module has.
    fn missing(&self, name: &str) -> Error {
        let error = Error::setup(format!("the guest's kernel has no module {name}"));
        match nearest(name, self.files.keys().map(String::as_str)) {
            Some(near) => error.next(format!("the nearest is {near}")),
            None => error,
        }
    }

    fn add(&self, name: &str, order: &mut Vec<Module>) -> Result<()> {
        if self.built_in.contains(name) || order.iter().any(|known| known.name == name) {
            return Ok(());
        }
        let path = self.files.get(name).ok_or_else(|| self.missing(name))?;
        let bytes = read(path)?;
        for needed in depends(&bytes) {
            self.add(&needed, order)?;
        }
        order.push(Module { name: name.to_owned(), bytes });
        Ok(())
    }
}

/// The module of a file's name.
fn name_of(file: &str) -> Option<String> {
    ENDINGS.iter().find_map(|ending| file.strip_suffix(ending)).map(canonical)
}

/// The bytes of a module's file, decompressed if need be: the guest's busybox loads them as they are.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).at("failed to read", path)?;
    let mut module = Vec::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => XzDecoder::new_multi_decoder(&bytes[..]).read_to_end(&mut module),
        Some("gz") => MultiGzDecoder::new(&bytes[..]).read_to_end(&mut module),
        Some("zst") => StreamingDecoder::new(&bytes[..])
            .map_err(io::Error::other)
            .and_then(|mut decoder| decoder.read_to_end(&mut module)),
        _ => return Ok(bytes),
    }
    .at("failed to decompress", path)?;
    Ok(module)
}

/// The name with `_` and not `-`: the kernel takes both for the same.
pub(super) fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The names in `depends=a,b` of a module's `.modinfo`.
fn depends(module: &[u8]) -> Vec<String> {
    let list = head::field(module, "depends").unwrap_or_default();
    list.split(',').filter(|name| !name.is_empty()).map(canonical).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use liblzma::write::XzEncoder;
    use ruzstd::encoding::CompressionLevel;

    use super::*;

    fn module(name: &str, needs: &str) -> String {
        format!("\x7fELF\0license=GPL\0depends={needs}\0name={name}\0")
    }

    fn tree(modules: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, needs) in modules {
            fs::write(directory.path().join(format!("{name}.ko")), module(name, needs)).unwrap();
        }
        directory
    }

    fn order(directory: &tempfile::TempDir, names: &[&str]) -> Vec<String> {
        let modules = Modules::find(directory.path()).unwrap();
        modules.order(names).unwrap().into_iter().map(|module| module.name).collect()
    }

    #[test]
    fn modules_come_after_what_they_need_and_once() {
        let directory =
            tree(&[("rdma_rxe", "ib-core,udp_tunnel"), ("ib_core", ""), ("udp_tunnel", "ib-core")]);
        assert_eq!(order(&directory, &["rdma_rxe", "ib_core"]), ["ib_core", "udp_tunnel", "rdma_rxe"]);
    }

    #[test]
    fn missing_module_is_named() {
        let directory = tree(&[("a", "b")]);
        let modules = Modules::find(directory.path()).unwrap();
        let named = |names: &[&str]| modules.order(names).unwrap_err().to_string();
        assert_eq!(named(&["a"]), "the guest's kernel has no module b");
        assert_eq!(named(&["c | d"]), "the guest's kernel has no module c | d");
        let directory = tree(&[("nvme_rdma", ""), ("nvmet_rdma", ""), ("siw", "")]);
        let error = Modules::find(directory.path()).unwrap().order(&["nvme-rmda"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the guest's kernel has no module nvme_rmda\n  next: the nearest is nvme_rdma"
        );
    }

    #[test]
    fn what_is_built_in_is_not_loaded() {
        let directory = tree(&[("rdma_rxe", "crc32,ib_core"), ("ib_core", "")]);
        let list = "kernel/drivers/virtio/virtio_pci.ko\nkernel/lib/crc32.ko\n";
        fs::write(directory.path().join(BUILT_IN), list).unwrap();
        assert_eq!(order(&directory, &["virtio-pci", "rdma_rxe"]), ["ib_core", "rdma_rxe"]);
    }

    #[test]
    fn all_that_a_kernel_lacks_is_named_at_once() {
        let directory = tree(&[("virtio-blk", "")]);
        fs::write(directory.path().join(BUILT_IN), "kernel/fs/erofs.ko\n").unwrap();
        let modules = Modules::find(directory.path()).unwrap();
        let names = ["virtio_blk", "erofs", "rdma_rxe", "virtio_rng?", "a | virtio_blk", "virtio_net"];
        assert_eq!(modules.lacking(&names), ["rdma_rxe", "virtio_net"]);
    }

    #[test]
    fn own_module_takes_the_place_of_a_file_and_of_what_is_built_in() {
        let (directory, own) = (tree(&[("rdma_rxe", "ib_core"), ("ib_core", "")]), tree(&[("mine", "")]));
        let mut modules = Modules::find(directory.path()).unwrap();
        modules.replace("rdma-rxe", &own.path().join("mine.ko"));
        let order = modules.order(&["rdma_rxe"]).unwrap();
        assert_eq!(order, [Module { name: "rdma_rxe".to_owned(), bytes: module("mine", "").into_bytes() }]);
    }

    #[test]
    fn first_alternative_that_is_there_is_taken() {
        let directory = tree(&[("crc32c_cryptoapi", ""), ("crc32c", "")]);
        assert_eq!(order(&directory, &["crc32c_generic | crc32c-cryptoapi | crc32c"]), ["crc32c_cryptoapi"]);
        fs::write(directory.path().join(BUILT_IN), "kernel/crypto/crc32c_generic.ko\n").unwrap();
        assert_eq!(order(&directory, &["crc32c_generic | crc32c"]), Vec::<String>::new());
    }

    #[test]
    fn what_a_kernel_may_lack_is_loaded_where_it_is_there() {
        let directory = tree(&[("rdma_rxe", "")]);
        assert_eq!(order(&directory, &["crc32_generic?", "rdma_rxe"]), ["rdma_rxe"]);
        let directory = tree(&[("rdma_rxe", ""), ("crc32-generic", "")]);
        assert_eq!(order(&directory, &["crc32_generic?", "rdma_rxe"]), ["crc32_generic", "rdma_rxe"]);
    }

    #[test]
    fn compressed_module_is_loaded_as_what_it_was() {
        let text = module("ib_uverbs", "ib_core");
        let mut xz = XzEncoder::new(Vec::new(), 1);
        xz.write_all(text.as_bytes()).unwrap();
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        let zst = ruzstd::encoding::compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
        for (ending, bytes) in [("xz", xz.finish().unwrap()), ("gz", gz.finish().unwrap()), ("zst", zst)] {
            let directory = tree(&[("ib_core", "")]);
            let path = directory.path().join(format!("ib_uverbs.ko.{ending}"));
            fs::write(&path, bytes).unwrap();
            let order = Modules::find(directory.path()).unwrap().order(&["ib_uverbs"]).unwrap();
            assert_eq!(order.len(), 2, "{ending}");
            assert_eq!(order[1], Module { name: "ib_uverbs".to_owned(), bytes: text.clone().into_bytes() });
            fs::write(&path, "something else").unwrap();
            let error = Modules::find(directory.path()).unwrap().order(&["ib_uverbs"]).unwrap_err();
            assert!(error.to_string().contains("failed to decompress"), "{ending}: {error}");
        }
    }
}
