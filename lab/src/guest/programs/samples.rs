//! The sample programs of this project: built from their sources in a workspace, or built before and at hand.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::error::{Error, Result};
use crate::base::program::Program;

/// Every sample program, by name.
pub const NAMES: [&str; 10] = [
    "rdma_bench_client",
    "rdma_bench_server",
    "rdma_client",
    "rdma_client_atomic",
    "rdma_client_imm",
    "rdma_client_send",
    "rdma_server",
    "rdma_server_atomic",
    "rdma_server_imm",
    "rdma_server_send",
];

/// Directory of a node in which all is that the lab brings.
const HOME: &str = "/opt/lab/";

/// Source of the sample programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Samples {
    /// Built from the sources of the workspace at this path.
    Workspace(PathBuf),
    /// Built before; without any, nothing of them is deployed.
    Prebuilt(Vec<Program>),
}

impl Samples {
    /// Returns no sample programs: nothing is built, nothing but a user's own files is deployed.
    pub fn none() -> Samples {
        Samples::Prebuilt(Vec::new())
    }

    /// Finds prebuilt sample programs in `directory`, which need not be there.
    pub fn prebuilt_in(directory: &Path) -> Samples {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut programs: Vec<Program> = entries
            .filter(|path| path.is_file())
            .filter_map(|path| Some(Program { name: path.file_name()?.to_str()?.to_owned(), path }))
            .filter(|program| NAMES.contains(&program.name.as_str()))
            .collect();
        programs.sort_by(|a, b| a.name.cmp(&b.name));
        Samples::Prebuilt(programs)
    }

    /// Returns true if the compiler is needed for them.
    pub fn are_built(&self) -> bool {
        matches!(self, Samples::Workspace(_))
    }

    /// Returns true if they can be deployed, built or to be built.
    pub fn are_at_hand(&self) -> bool {
        *self != Samples::none()
    }

    /// Returns the names of all that can be deployed.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let (all, prebuilt) = match self {
            Samples::Workspace(_) => (&NAMES[..], &[][..]),
            Samples::Prebuilt(programs) => (&[][..], programs.as_slice()),
        };
        all.iter().copied().chain(prebuilt.iter().map(|program| program.name.as_str()))
    }

    /// Demands that every sample program that `text` names can be deployed.
    ///
    /// # Errors
    ///
    /// One is not at hand: with how to get it.
    pub fn demand_named_in(&self, text: &str) -> Result<()> {
        let Samples::Prebuilt(programs) = self else { return Ok(()) };
        let is_there = |name: &&str| programs.iter().any(|program| program.name == **name);
        match named_in(text).find(|name| !is_there(name)) {
            None => Ok(()),
            Some(name) => Err(Error::usage(format!(
                "{name} is a sample program of the lab's own, which is not at hand"
            ))
            .next(
                "unpack the release's rdma-lab-samples.tar.gz into the directory of this program\n\
                 or name a program of yours (by its path: ./srv) or of the guest's (rping, ib_write_bw)",
            )),
        }
    }
}

/// Names of sample programs that are words of `text`, a command or a script. A path elsewhere than below `/opt/lab` is of another
/// program, as `/usr/bin/rdma_server` is.
pub fn named_in(text: &str) -> impl Iterator<Item = &'static str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let words = text.split(move |c| !is_of_name(c) && c != '/' && c != '.');
    let own: Vec<&str> = words.filter(|word| !word.starts_with('/') || word.starts_with(HOME)).collect();
    NAMES
        .into_iter()
        .filter(move |name| own.iter().any(|word| word.split(|c| !is_of_name(c)).any(|part| part == *name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_sources() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/bin");
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .flatten()
            .map(|entry| entry.path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, NAMES);
    }

    #[test]
    fn names_are_whole_words() {
        let names = |text| named_in(text).collect::<Vec<_>>();
        assert_eq!(names("rdma_server --once"), ["rdma_server"]);
        assert_eq!(names("exec timeout 9 /opt/lab/bin/rdma_client_imm server"), ["rdma_client_imm"]);
        assert_eq!(names("/usr/bin/rdma_server; X=1 '/usr/local/bin/rdma_client' -s a"), [""; 0]);
        assert_eq!(names("rping -s; ./my_rdma_server rdma_servers"), [""; 0]);
    }

    #[test]
    fn prebuilt_ones_are_found_by_name_and_missed_by_name() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["rdma_server", "README"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let samples = Samples::prebuilt_in(directory.path());
        assert!(samples.are_at_hand() && !samples.are_built());
        samples.demand_named_in("rdma_server --once").unwrap();
        let text = samples.demand_named_in("rdma_client {server}").unwrap_err().to_string();
        assert!(text.contains("rdma_client is a sample program") && text.contains("next: "), "{text}");
        assert!(!Samples::prebuilt_in(&directory.path().join("absent")).are_at_hand());
    }
}
