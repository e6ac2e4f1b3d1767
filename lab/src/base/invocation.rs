//! The command line as a person types it: `cargo xtask lab down` in this workspace, `rdma-lab down` elsewhere.
//!
//! Each front end says once which it is; errors and verdicts name commands in its words.

use std::sync::OnceLock;

/// Words of a front end before those of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invocation {
    /// Before `doctor`, `run`, `results` and the like.
    pub program: &'static str,
    /// Before `up`, `exec`, `down` and the like.
    pub lab: &'static str,
    /// Before names of scenarios.
    pub test: &'static str,
    /// Hidden subcommand of this executable that is the package fetcher; `None` if cargo compiles a program for that.
    pub fetcher: Option<&'static str>,
}

/// The front end of this workspace.
pub const XTASK: Invocation = Invocation {
    program: "cargo xtask",
    lab: "cargo xtask lab",
    test: "cargo xtask test-e2e",
    fetcher: None,
};

static CURRENT: OnceLock<Invocation> = OnceLock::new();

impl Invocation {
    /// Makes this the front end of this process. The first one stays.
    pub fn set(self) {
        let _ = CURRENT.set(self);
    }

    /// Returns the front end of this process: the one that was set, else [`XTASK`].
    pub fn get() -> Invocation {
        *CURRENT.get_or_init(|| XTASK)
    }
}

/// Spells a command such as `doctor --probe`.
pub fn program(words: &str) -> String {
    spell(Invocation::get().program, words)
}

/// Spells a command on labs that stay, such as `down --all`.
pub fn lab(words: &str) -> String {
    spell(Invocation::get().lab, words)
}

/// Spells the command that runs scenarios, such as `write_read --review`.
pub fn test(words: &str) -> String {
    spell(Invocation::get().test, words)
}

fn spell(before: &str, words: &str) -> String {
    format!("{before} {words}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_this_workspace_s_unless_another_front_end_is_set() {
        assert_eq!(program("doctor"), "cargo xtask doctor");
        assert_eq!(lab("down --all"), "cargo xtask lab down --all");
        assert_eq!(test(""), "cargo xtask test-e2e");
    }
}
