//! Kernel modules: which files a list of names needs, in the order of loading.
//!
//! Each module names those it depends on in its own `.modinfo` section, so neither depmod nor modprobe is
//! needed, on the host or in the guest.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext as _, Result};

/// The modules below one kernel's directory.
#[derive(Debug)]
pub struct Modules {
    files: HashMap<String, PathBuf>,
}

impl Modules {
    /// Finds every module below `directory`, as in `lib/modules/6.1.0-1-amd64`.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed.
    pub fn find(directory: &Path) -> Result<Modules> {
        let mut files = HashMap::new();
        let mut pending = vec![directory.to_owned()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory).at("failed to list", &directory)? {
                let entry = entry.at("failed to list", &directory)?;
                let path = entry.path();
                if entry.file_type().at("failed to look at", &path)?.is_dir() {
                    pending.push(path);
                } else if let Some(name) =
                    path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko"))
                {
                    files.insert(canonical(name), path);
                }
            }
        }
        Ok(Modules { files })
    }

    /// The modules `names` and all they need, each after what it needs, each once.
    ///
    /// # Errors
    ///
    /// A module does not exist or cannot be read.
    pub fn order(&self, names: &[&str]) -> Result<Vec<(String, &Path)>> {
        let mut order = Vec::new();
        for name in names {
            self.add(&canonical(name), &mut order)?;
        }
        Ok(order)
    }

    fn add<'a>(&'a self, name: &str, order: &mut Vec<(String, &'a Path)>) -> Result<()> {
        if order.iter().any(|(known, _)| known == name) {
            return Ok(());
        }
        let path = self
            .files
            .get(name)
            .ok_or_else(|| Error::setup(format!("the guest's kernel has no module {name}")))?;
        let bytes = fs::read(path).at("failed to read", path)?;
        for needed in depends(&bytes) {
            self.add(&needed, order)?;
        }
        order.push((name.to_owned(), path));
        Ok(())
    }
}

/// The kernel takes `-` and `_` in a module's name for the same.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The names in `depends=a,b` of a module's `.modinfo`.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let list = &module[start + KEY.len()..];
    let end = list.iter().position(|&byte| byte == 0).unwrap_or(list.len());
    String::from_utf8_lossy(&list[..end]).split(',').filter(|name| !name.is_empty()).map(canonical).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(modules: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, needs) in modules {
            let content = format!("\x7fELF\0license=GPL\0depends={needs}\0name={name}\0");
            fs::write(directory.path().join(format!("{name}.ko")), content).unwrap();
        }
        directory
    }

    #[test]
    fn modules_come_after_what_they_need_and_once() {
        let directory =
            tree(&[("rdma_rxe", "ib-core,udp_tunnel"), ("ib_core", ""), ("udp_tunnel", "ib-core")]);
        let modules = Modules::find(directory.path()).unwrap();
        let order: Vec<_> = modules.order(&["rdma_rxe", "ib_core"]).unwrap();
        let names: Vec<_> = order.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ib_core", "udp_tunnel", "rdma_rxe"]);
    }

    #[test]
    fn missing_module_is_named() {
        let directory = tree(&[("a", "b")]);
        let error = Modules::find(directory.path()).unwrap().order(&["a"]).unwrap_err();
        assert_eq!(error.to_string(), "the guest's kernel has no module b");
    }
}
