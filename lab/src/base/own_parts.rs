//! Parts of the user's own in QEMU's machines, as paths: options of a command line.
//!
//! Nothing is read here; what the paths lead to is for the image's stage to check.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::role::Role;

/// Kernel, modules and RDMA libraries of the user's own, in place of those of the release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct OwnParts {
    /// A kernel of one's own: a kernel's build tree, a tree that a package was unpacked into, or a bzImage with --modules (QEMU).
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<PathBuf>,
    /// The modules of the kernel that --kernel names: a directory as /lib/modules/VERSION (QEMU).
    #[arg(long, value_name = "DIR", requires = "kernel")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules: Option<PathBuf>,
    /// Modules of one's own in place of those of the same name: rdma_rxe.ko (QEMU).
    #[arg(long, value_name = "FILE,…", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub module: Vec<PathBuf>,
    /// An rdma-core of one's own in place of the release's: its build directory, or a tree that it was installed into (QEMU).
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdma_core: Option<PathBuf>,
    /// The node that has these parts, where the other is to be the release's [default: both] (QEMU).
    #[arg(long, value_name = "NODE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_on: Option<Role>,
}

impl OwnParts {
    /// True if everything is the release's.
    pub fn is_empty(&self) -> bool {
        self.kernel.is_none() && self.modules.is_none() && self.module.is_empty() && self.rdma_core.is_none()
    }

    /// Returns the parts of one node.
    #[must_use]
    pub fn of(&self, role: Role) -> OwnParts {
        match self.only_on {
            Some(only) if only != role => OwnParts::default(),
            _ => OwnParts { only_on: None, ..self.clone() },
        }
    }

    /// Returns the same by absolute paths: who reads them may run elsewhere.
    ///
    /// # Errors
    ///
    /// This process has no directory; modules without a kernel, or a node without parts were named.
    pub fn absolute(&self) -> Result<OwnParts> {
        if self.modules.is_some() && self.kernel.is_none() {
            return Err(
                Error::usage("--modules names the modules of no kernel").next("name the kernel: --kernel")
            );
        }
        if let Some(role) = self.only_on
            && self.is_empty()
        {
            return Err(Error::usage(format!("--only-on {role} is about no part"))
                .next("name one: --kernel, --module or --rdma-core"));
        }
        let absolute = |path: &Path| std::path::absolute(path).at("failed to resolve", path);
        let maybe = |path: &Option<PathBuf>| path.as_deref().map(absolute).transpose();
        Ok(OwnParts {
            kernel: maybe(&self.kernel)?,
            modules: maybe(&self.modules)?,
            module: self.module.iter().map(|path| absolute(path)).collect::<Result<_>>()?,
            rdma_core: maybe(&self.rdma_core)?,
            only_on: self.only_on,
        })
    }

    /// Returns these parts, or others where none is named.
    #[must_use]
    pub fn or(self, other: OwnParts) -> OwnParts {
        if self.is_empty() && self.only_on.is_none() { other } else { self }
    }

    /// Returns the options that name them, without their dashes.
    pub fn options(&self) -> Vec<(&'static str, Option<String>)> {
        let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let modules: Vec<String> = self.module.iter().map(|path| path.display().to_string()).collect();
        vec![
            ("kernel", text(&self.kernel)),
            ("modules", text(&self.modules)),
            ("module", Some(modules.join(",")).filter(|paths| !paths.is_empty())),
            ("rdma-core", text(&self.rdma_core)),
            ("only-on", self.only_on.map(|role| role.to_string())),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_both_nodes_unless_one_is_named() {
        let both = OwnParts { module: vec!["rdma_rxe.ko".into()], ..OwnParts::default() };
        assert_eq!(both.of(Role::Server), both.of(Role::Client));
        let one = OwnParts { only_on: Some(Role::Client), ..both.clone() };
        assert!(one.of(Role::Server).is_empty());
        assert_eq!(one.of(Role::Client), both);
    }

    #[test]
    fn what_is_about_nothing_is_refused() {
        let modules = OwnParts { modules: Some("m".into()), ..OwnParts::default() };
        assert!(modules.absolute().unwrap_err().to_string().contains("--kernel"));
        let node = OwnParts { only_on: Some(Role::Server), ..OwnParts::default() };
        assert!(node.absolute().unwrap_err().to_string().contains("--only-on server is about no part"));
        let kernel = OwnParts { kernel: Some("k".into()), ..modules };
        assert!(kernel.absolute().unwrap().modules.unwrap().is_absolute());
    }
}
