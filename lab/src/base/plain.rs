//! Text of a machine or a program, made fit for a terminal and for Markdown.

/// Returns `text` with every control character but the line end and the tab as its escape: `\\x1b` for ESC.
///
/// A terminal acts on control characters, and a guest's log or a program's output may hold any.
pub fn plain(text: &str) -> String {
    if !text.chars().any(is_acted_on) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            character if !is_acted_on(character) => out.push(character),
            character if u32::from(character) < 0x100 => {
                out.push_str(&format!("\\x{:02x}", u32::from(character)))
            }
            character => out.extend(character.escape_unicode()),
        }
    }
    out
}

/// True if a terminal acts on it: C0 and C1 controls, and what turns the direction of text.
fn is_acted_on(character: char) -> bool {
    let turns = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() && !matches!(character, '\n' | '\t') || turns
}

/// A fence of Markdown that nothing in `text` closes.
pub fn fence(text: &str) -> String {
    let longest = text.split(|character| character != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(3) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_is_left() {
        assert_eq!(plain("a\tb\nc ü"), "a\tb\nc ü");
        assert_eq!(plain("\u{1b}[31mred\u{7}\r\u{9b}2J\u{202e}"), "\\x1b[31mred\\x07\\x0d\\x9b2J\\u{202e}");
    }

    #[test]
    fn fence_is_longer_than_any_in_the_text() {
        assert_eq!(fence("plain"), "````");
        assert_eq!(fence("a ````` b"), "``````");
    }
}
