//! Placeholders in a command for a node's address on the RDMA network: `{server}`, `{client}`, `{client2}`.

use std::ops::Range;

use crate::base::error::{Error, Result};
use crate::base::role::Role;

/// The words between braces in a command, as in `{server}`, each with the bytes that it and its braces take;
/// `${server}` is the shell's own.
fn placeholders(command: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let start = from + command[from..].find('{')?;
            from = start + 1;
            let Some(length) = command[from..].find('}') else { continue };
            let word = &command[from..from + length];
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            if !word.is_empty() && word.bytes().all(is_word) && !command[..start].ends_with('$') {
                return Some((start..from + length + 1, word));
            }
        }
    })
}

/// The command with a node's address for each placeholder that is a node's name.
pub fn filled(command: &str, address: impl Fn(Role) -> String) -> String {
    let (mut text, mut from) = (String::new(), 0);
    for (place, word) in placeholders(command) {
        if let Ok(role) = word.parse::<Role>() {
            text.push_str(&command[from..place.start]);
            text.push_str(&address(role));
            from = place.end;
        }
    }
    text + &command[from..]
}

/// Refuses a placeholder that is nearly one of these nodes; what is not is left to the shell, as awk's `{print}`.
///
/// # Errors
///
/// There is one: with the nearest that there is.
pub fn check(command: &str, nodes: &[Role]) -> Result<()> {
    for (place, word) in placeholders(command) {
        let lower = word.to_ascii_lowercase();
        let is_near = |name: &str| lower.contains(name) || strsim::osa_distance(&lower, name) <= 2;
        let near = nodes.iter().map(|role| role.name()).find(|name| is_near(name));
        let is_node = word.parse::<Role>().is_ok_and(|role| nodes.contains(&role));
        if let (Some(near), false) = (near, is_node) {
            let placeholder = &command[place];
            return Err(Error::usage(format!("{placeholder} stands for nothing; the nearest is {{{near}}}"))
                .next(format!(
                    "{{server}} and {{client}} stand for the nodes' addresses; it is in `{command}`"
                )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_the_nodes_addresses() {
        let filled = |command: &str| filled(command, |role| format!("<{role}>"));
        assert_eq!(filled("x -a {server} -b {Client}:1"), "x -a <server> -b <client>:1");
        assert_eq!(filled("x {client2} {client7}"), "x <client2> <client7>");
        assert!(check("x {client2}", &Role::BOTH).is_err() && check("x {client2}", Role::first(3)).is_ok());
        assert_eq!(filled("server=1; echo ${server} {server}"), "server=1; echo ${server} <server>");
        for command in ["awk '{print}'", "{ y; }", "x {", "cp a{1,2} b", "find -exec {} ;", "{é} {server"] {
            assert_eq!(filled(command), command);
            check(command, &Role::BOTH).unwrap();
        }
    }
}
