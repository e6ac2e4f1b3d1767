//! JSON laid out as Multipass does: four spaces a level, and empty lists and objects over two lines.

use serde_json::Value;

/// The text of a value, with a newline at its end.
pub fn text(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text.push('\n');
    text
}

fn write(value: &Value, depth: usize, text: &mut String) {
    let (open, close, parts): (char, char, Vec<(Option<&String>, &Value)>) = match value {
        Value::Array(values) => ('[', ']', values.iter().map(|value| (None, value)).collect()),
        Value::Object(fields) => ('{', '}', fields.iter().map(|(key, value)| (Some(key), value)).collect()),
        other => {
            text.push_str(&other.to_string());
            return;
        }
    };
    text.push(open);
    let count = parts.len();
    for (index, (key, value)) in parts.into_iter().enumerate() {
        line(depth + 1, text);
        if let Some(key) = key {
            text.push_str(&format!("{}: ", Value::from(key.as_str())));
        }
        write(value, depth + 1, text);
        if index + 1 < count {
            text.push(',');
        }
    }
    line(depth, text);
    text.push(close);
}

fn line(depth: usize, text: &mut String) {
    text.push('\n');
    text.push_str(&"    ".repeat(depth));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn empty_ones_span_lines() {
        assert_eq!(
            text(&json!({"errors": [], "info": {}})),
            "{\n    \"errors\": [\n    ],\n    \"info\": {\n    }\n}\n"
        );
    }
}
