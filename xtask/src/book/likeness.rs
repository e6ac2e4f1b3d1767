//! Likeness of an output of another day: its lines, but for their figures.
//!
//! Machines are never equally fast, and number their processes, queue pairs and keys as they like: a word of digits stands for
//! any, and so does one of hexadecimal digits. `…` stands for any text within a line, or for any lines. What was printed may have
//! more lines than are shown, and two that run side by side may say theirs in either order.

/// Finds the first line of `shown` that `printed` has not, or has less often.
pub(super) fn missing<'a>(shown: &'a str, printed: &str) -> Option<&'a str> {
    let mut printed: Vec<String> = printed.lines().map(plain).collect();
    shown.lines().filter(|line| line.trim() != "…").find(|line| {
        let shape = plain(line);
        let at = printed.iter().position(|printed| is_like(&shape, printed));
        at.map(|at| printed.swap_remove(at)).is_none()
    })
}

/// A line with `#` for each figure, and one space for any number of them.
fn plain(line: &str) -> String {
    let words: Vec<String> = line.split_whitespace().map(word).collect();
    words.join(" ")
}

/// A word with `#` for each run of digits; a run of hexadecimal ones with a digit among them is one.
fn word(word: &str) -> String {
    let mut text = String::new();
    for part in word.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric()) {
        let end = part.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
        let digits = end.strip_prefix("0x").unwrap_or(end);
        let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hexadecimal && digits.bytes().any(|byte| byte.is_ascii_digit()) {
            text.push('#');
        } else {
            let mut letters = end.chars().peekable();
            while let Some(letter) = letters.next() {
                text.push(if letter.is_ascii_digit() { '#' } else { letter });
                while letter.is_ascii_digit() && letters.next_if(char::is_ascii_digit).is_some() {}
            }
        }
        text.push_str(&part[end.len()..]);
    }
    text
}

/// True if `line` is `shape`, in which `…` stands for any text.
fn is_like(shape: &str, line: &str) -> bool {
    let Some((begin, rest)) = shape.split_once('…') else { return shape == line };
    let Some(mut line) = line.strip_prefix(begin) else { return false };
    let mut parts: Vec<&str> = rest.split('…').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, behind)) = line.split_once(part) else { return false };
        line = behind;
    }
    line.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_differ_and_words_do_not() {
        let printed =
            "run a ...\nrun a (8.4 s)\n[1.015930] qp 18, rkey 0x59e, job 1a2284da6a9-4771\na    10.4\na 3";
        let alike = [
            "run a (12.1 s)",
            "[0.2] qp 7, rkey 0xff01, job 77-1",
            "a  1.0",
            "a 1\n…\nrun a (1.0 s)",
            "run … (…)",
            "…",
            "",
        ];
        for shown in alike {
            assert_eq!(missing(shown, printed), None, "{shown}");
        }
        for (shown, first) in [
            ("run b (8.4 s)", "run b (8.4 s)"),
            ("run a (8.4 s)\nrun a (8.4 s)", "run a (8.4 s)"),
            ("a 3\na 3.1\na", "a"),
            ("run … x", "run … x"),
            ("… qp 18, … 1-1 …", "… qp 18, … 1-1 …"),
        ] {
            assert_eq!(missing(shown, printed), Some(first), "{shown}");
        }
    }

    #[test]
    fn word_keeps_its_letters_and_marks() {
        for (told, plain) in [
            ("20261130T052429Z-20372:", "#T#Z-#:"),
            ("6.12.117+deb13-amd64", "#.#.#+#-amd#"),
            ("client.qp1", "client.qp#"),
            ("write_with_imm", "write_with_imm"),
            ("dead", "dead"),
            ("(…)", "(…)"),
        ] {
            assert_eq!(word(told), plain, "{told}");
        }
    }
}
