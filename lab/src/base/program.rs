//! Programs that cargo has built.

use std::path::PathBuf;

use serde::Deserialize;

/// A program built for the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its file name, by which scenarios call it.
    pub name: String,
    /// Its path on the host.
    pub path: PathBuf,
}

/// The tests in cargo's JSON messages, or all other executables: tests bring the programs along that they may
/// call.
pub fn executables(messages: &str, are_tests: bool) -> Vec<Program> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
        profile: Option<Profile>,
    }
    #[derive(Deserialize)]
    struct Profile {
        test: bool,
    }
    let path = |message: Message| {
        let is_test = message.profile.is_some_and(|profile| profile.test);
        message.executable.filter(|_| is_test == are_tests)
    };
    let mut programs: Vec<Program> = messages
        .lines()
        .filter_map(|line| path(serde_json::from_str(line).ok()?))
        .filter_map(|path| Some(Program { name: name_of(path.file_name()?.to_str()?).to_owned(), path }))
        .collect();
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    programs
}

/// A file's name without the hash that cargo appends to a test's.
fn name_of(file: &str) -> &str {
    match file.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => name,
        _ => file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_come_from_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","executable":null}
{"reason":"compiler-artifact","executable":"/t/guest/rdma_server"}
{"reason":"compiler-artifact","executable":"/t/guest/rdma_client","profile":{"test":false}}
{"reason":"compiler-artifact","executable":"/t/guest/deps/verbs-0123456789abcdef","profile":{"test":true}}
{"reason":"build-finished","success":true}"#;
        let names = |are_tests| -> Vec<String> {
            executables(messages, are_tests).into_iter().map(|program| program.name).collect()
        };
        assert_eq!(names(false), ["rdma_client", "rdma_server"]);
        assert_eq!(names(true), ["verbs"]);
    }
}
