//! The terminal's width, and text that is broken for it between words.

use std::os::fd::AsFd;

use rustix::termios::{isatty, tcgetwinsize};

/// Narrowest terminal that text is broken for; in a narrower one nothing would be left of a line.
const NARROWEST: usize = 40;

/// The columns of the terminal that `stream` leads to; `None` if it leads to none, or to one without a size.
pub fn width(stream: impl AsFd) -> Option<usize> {
    let stream = stream.as_fd();
    if !isatty(stream) {
        return None;
    }
    tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns >= NARROWEST)
}

/// Breaks lines that are longer than `width` between words; what goes on stands below the text that it belongs to. Lines in which
/// places or signs mean something stay: tables, differences, commands and paths to copy, JSON.
pub fn wrapped(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let mut out = String::with_capacity(text.len() + 16);
    for (at, line) in text.split('\n').enumerate() {
        if at > 0 {
            out.push('\n');
        }
        match hanging(line, width) {
            Some(hanging) => break_line(&mut out, line, width, hanging),
            None => out.push_str(line),
        }
    }
    out
}

/// Labels of lines that are copied.
const COPIED: [&str; 6] = ["artifacts", "replay", "if meant", "results in", "command", "more:"];

/// The column at which a broken line goes on; `None` for one that stays as it is.
fn hanging(line: &str, width: usize) -> Option<usize> {
    let line = line.trim_end();
    if line.chars().count() <= width {
        return None;
    }
    let text = line.trim_start();
    let indent = line.chars().count() - text.chars().count();
    let is_kept = text.starts_with(['+', '-', '@', '{', '[', '|'])
        || COPIED.iter().any(|label| text.starts_with(label));
    if is_kept {
        return None;
    }
    let Some((label, rest)) = text.split_once("  ") else { return Some(indent + 2) };
    let value = rest.trim_start();
    if value.contains("  ") {
        return None;
    }
    let column = indent + label.chars().count() + 2 + rest.chars().count() - value.chars().count();
    Some(if column <= width / 2 { column } else { indent + 2 })
}

fn break_line(out: &mut String, line: &str, width: usize, hanging: usize) {
    let line = line.trim_end();
    let mut column = 0;
    // Spaces stay with the word behind them, so that the first line keeps its shape.
    let mut rest = line;
    while !rest.is_empty() {
        let spaces = rest.len() - rest.trim_start_matches(' ').len();
        let word = rest[spaces..].split(' ').next().unwrap_or_default();
        let length = word.chars().count();
        if column > hanging && column + spaces + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(hanging));
            column = hanging;
        } else {
            out.push_str(&rest[..spaces]);
            column += spaces;
        }
        out.push_str(word);
        column += length;
        rest = &rest[spaces + word.len()..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words_below_their_text() {
        let line = "cause_vlan    The two nodes are in different VLANs: nobody answers the question";
        assert_eq!(
            wrapped(line, Some(50)),
            "cause_vlan    The two nodes are in different\n              VLANs: nobody answers the question"
        );
        assert_eq!(wrapped(line, None), line);
        assert_eq!(wrapped(line, Some(80)), line);
        assert_eq!(
            wrapped("  a word and another and more of it here yes", Some(40)),
            "  a word and another and more of it here\n    yes"
        );
        // A word that is longer than a line is never broken.
        let long = "x".repeat(60);
        assert_eq!(wrapped(&format!("see {long} there"), Some(40)), format!("see\n  {long}\n  there"));
    }

    #[test]
    fn every_line_fits_and_no_word_is_lost() {
        let text = "  proven     both programs ended with 0; messages: 2, answered: 2; no rule broken; counters and kernel logs as expected";
        for width in NARROWEST..120 {
            let broken = wrapped(text, Some(width));
            assert!(broken.lines().all(|line| line.chars().count() <= width), "{broken}");
            assert!(broken.split_whitespace().eq(text.split_whitespace()));
        }
    }

    #[test]
    fn lines_in_which_places_count_stay() {
        for line in [
            "  replay     cargo xtask test-e2e write_read --with many --options that are copied",
            "             -   either side      DREQ, DREP and more of what the trace has in this line",
            "client.qp1 > server.qp1 RC RDMA WRITE Only      client+0     18   2  server.mr1+0 len 18",
            "{\"completion\": {\"side\": \"requester\", \"opcode\": \"RDMA_WRITE\", \"status\": 0}}",
        ] {
            assert_eq!(wrapped(line, Some(50)), line);
        }
    }

    #[test]
    fn file_has_no_width() {
        assert_eq!(width(tempfile::tempfile().unwrap()), None);
    }
}
