//! A scenario as it is written, and as its nodes call it: with the local files that it names pushed, and each called by its name.

use std::path::{Path, PathBuf};

use crate::base::error::{IoContext as _, Result};
use crate::guest::pushed::Pushed;
use crate::scenario::Scenario;

/// Returns the scenario with its commands as they are called on a node, and the files that go there. Paths begin in the
/// scenario's directory; one without is of this process's.
///
/// # Errors
///
/// A file is not there, or two have one name.
pub fn called(written: &Scenario) -> Result<(Scenario, Pushed)> {
    let mut pushed = Pushed::below(&written.directory, &written.push)?;
    let called = written.with_commands(|command| pushed.command(command))?;
    Ok((called, pushed))
}

/// Returns the same scenario for a file in `directory`: its paths begin there.
///
/// # Errors
///
/// `directory` or a file is not there.
pub fn moved(written: &Scenario, directory: &Path) -> Result<Scenario> {
    let directory = directory.canonicalize().at("failed to resolve", directory)?;
    let mut pushed = Pushed::below(&written.directory, &[])?;
    let mut moved = written.with_commands(|command| pushed.command_in(&directory, command))?;
    let paths = written.push.iter().map(|file| pushed.path_from(&directory, file).map(PathBuf::from));
    moved.push = paths.collect::<Result<_>>()?;
    moved.directory = directory;
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn scenario_that_moves_calls_the_same_files() {
        let directory = tempfile::tempdir().unwrap();
        let [from, to] = ["a", "b/c"].map(|name| directory.path().join(name));
        for directory in [&from, &to] {
            fs::create_dir_all(directory).unwrap();
        }
        for name in ["srv", "libx.so"] {
            fs::write(from.join(name), "x").unwrap();
        }
        let mut written = Scenario::new("x", "./srv -a {server}".to_owned(), "rping -c".to_owned());
        (written.push, written.directory) = (vec!["libx.so".into()], from);
        let moved = moved(&written, &to).unwrap();
        assert_eq!((&*moved.server, &*moved.client), ("../../a/srv -a {server}", "rping -c"));
        assert_eq!(moved.push, [PathBuf::from("../../a/libx.so")]);
        let [here, there] = [&written, &moved].map(|scenario| called(scenario).unwrap());
        assert_eq!((&*here.0.server, here.1.files), (&*there.0.server, there.1.files));
    }
}
