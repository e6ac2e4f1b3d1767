//! Text of strangers on its way into a page: what is unseen is shown, what is markup is escaped.

use std::fmt::Write as _;

use roce::is_unseen;
use serde_json::Value;

/// Shows what a reader would not see, or would see elsewhere: control characters, marks of direction, spaces without a width. Line ends and tabs stay.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => out.push(character),
            '\r' => {}
            _ if is_unseen(character) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out
}

/// Escapes text for HTML, in elements and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for character in visible(text).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(character),
        }
    }
    out
}

/// Writes JSON that may stand in a `script` element.
pub(crate) fn json_in_html(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// A number of things: `1 packet`, `2 packets`.
pub(crate) fn count(number: impl Into<u64>, thing: &str) -> String {
    let number = number.into();
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// HTML as the text of a link to a page, if there is one.
pub(crate) fn linked(html: String, page: Option<&str>) -> String {
    match page {
        Some(page) => format!("<a href=\"{}\">{html}</a>", escape(&path(page))),
        None => html,
    }
}

/// A relative path as a link, so that no part of it is taken for a scheme, a query or a fragment.
fn path(link: &str) -> String {
    let mut out = String::from("./");
    for byte in link.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text() {
        assert_eq!(escape("<b a='1' b=\"2\">&"), "&lt;b a=&#39;1&#39; b=&quot;2&quot;&gt;&amp;");
        let json = json_in_html(&Value::from("</script><!-- &"));
        assert_eq!(json, r#""\u003c/script\u003e\u003c!-- \u0026""#);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), "</script><!-- &");
    }

    #[test]
    fn unseen_characters_are_shown() {
        assert_eq!(visible("a\u{1b}[31m\u{202e}b\u{200b}\n\tc\r"), "a\\u{1b}[31m\\u{202e}b\\u{200b}\n\tc");
        assert_eq!(visible("Größe 8 µs → ok"), "Größe 8 µs → ok");
    }
}
