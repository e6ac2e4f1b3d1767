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

/// Refuses what can only be meant as a placeholder and is none: outside of quotes any, and within them what is nearly one; the others
/// there are the shell's or a program's, as awk's `'{print}'`.
///
/// # Errors
///
/// There is one: with the nearest that there is.
pub fn check(command: &str, nodes: &[Role]) -> Result<()> {
    for (place, word) in placeholders(command) {
        if word.parse::<Role>().is_ok_and(|role| nodes.contains(&role)) {
            continue;
        }
        let near = nodes.iter().map(|role| role.name()).find(|name| is_near(word, name));
        if near.is_none() && is_quoted(&command[..place.start]) {
            continue;
        }
        let near = near.map_or(String::new(), |near| format!("; the nearest is {{{near}}}"));
        let placeholder = &command[place];
        return Err(Error::usage(format!("{placeholder} stands for nothing{near}")).next(format!(
            "{{server}} and {{client}} stand for the nodes' addresses; what a program is to have in braces is quoted; it is in `{command}`"
        )));
    }
    Ok(())
}

/// True if a word is probably meant as `name`: it holds it, is mistyped, or leaves letters of it out (`srv`).
fn is_near(word: &str, name: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let mut letters = name.chars();
    let is_short = lower.len() > 2
        && lower.starts_with(&name[..1])
        && lower.chars().all(|letter| letters.by_ref().any(|other| other == letter));
    lower.contains(name) || is_short || strsim::osa_distance(&lower, name) <= 2
}

/// True if a shell that has read so much is within quotes.
fn is_quoted(before: &str) -> bool {
    let (mut quote, mut bytes) = (None, before.bytes());
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (None | Some(b'"'), b'\\') => drop(bytes.next()),
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), byte) if byte == open => quote = None,
            _ => {}
        }
    }
    quote.is_some()
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
        for command in [
            "awk '{print}'",
            "awk \"{print \\\"{next}\\\"}\"",
            "{ y; }",
            "x {",
            "cp a{1,2} b",
            "find -exec {} ;",
            "{é} {server",
        ] {
            assert_eq!(filled(command), command);
            check(command, &Role::BOTH).unwrap();
        }
    }

    #[test]
    fn what_can_only_be_a_placeholder_is_refused_with_the_nearest() {
        for (command, text) in [
            ("x -a {srv}", "{srv} stands for nothing; the nearest is {server}"),
            ("x '{clnt}'", "{clnt} stands for nothing; the nearest is {client}"),
            ("x -a {address}:7471", "{address} stands for nothing\n"),
            ("x 'a' {port}", "{port} stands for nothing\n"),
        ] {
            let error = check(command, &Role::BOTH).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("{server} and {client} stand for"), "{error}");
        }
        check("sh -c 'x {port}'", &Role::BOTH).unwrap();
    }
}
