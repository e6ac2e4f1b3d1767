//! Blocks of code in a page of the documentation, each with how its text came to be.
//!
//! The words behind a fence tell that, and no block is without:
//!
//! | words | the text is |
//! |--|--|
//! | `sh` | commands to type |
//! | `toml`, `yaml`, `python`, `rust`, `diagram` | a file or a part of one, a drawing |
//! | `console` | commands behind `$ `, each with its output, which is made anew |
//! | `text from COMMAND` | the command's output, which is made anew |
//! | `console seen 2026-11-30 on machines`, `text seen 2026-11-30 on machines by COMMAND` | an output of that day that needs machines: made anew with `--machines` and compared, but for its figures |
//! | `text seen 2026-11-30`, `console seen 2026-11-30` | an output of that day: of others' programs, of captures too large for a test |
//!
//! `json` does for `text`.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Languages of files.
const LANGUAGES: [&str; 5] = ["diagram", "toml", "yaml", "python", "rust"];

/// Languages of outputs.
const OUTPUTS: [&str; 3] = ["console", "text", "json"];

/// Words that an error has for a block without them.
const NEXT: &str = "write `sh`, `toml`, `yaml`, `python` or `rust` behind the fence, or how the output is made: `console` where `$ ` and the command are \
     in the block, `text from COMMAND`, `text seen YYYY-MM-DD on machines by COMMAND` where machines make it, or `text seen YYYY-MM-DD` where no test can";

/// Source of a block's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BlockOrigin {
    /// Commands to type, or a file: no output.
    Written,
    /// Commands, each with its output.
    Session,
    /// Output of this command.
    MadeBy(String),
    /// Output of a day that machines make: of this command, or of the commands in it.
    OnMachines(Option<String>),
    /// Output of a day; `true` where its commands are in it.
    Seen(bool),
}

/// A block of code in a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CodeBlock {
    /// Line of the page that it begins in, from 1.
    pub(super) line: usize,
    pub(super) origin: BlockOrigin,
    /// Lines of the block, each with its end, without the fences.
    pub(super) text: String,
    /// Bytes of the page that those lines are.
    pub(super) range: Range<usize>,
}

/// The code of a page.
#[derive(Debug, Default)]
pub(super) struct PageCode {
    pub(super) blocks: Vec<CodeBlock>,
    /// Code within sentences, with its line.
    pub(super) spans: Vec<(usize, String)>,
    /// Blocks that say nothing of their origin: the line, and what is wrong.
    pub(super) faults: Vec<(usize, String)>,
}

impl PageCode {
    /// Parses the Markdown of a page.
    pub(super) fn read(page: &str) -> PageCode {
        let mut code = PageCode::default();
        let line_of = |at: usize| page[..at].matches('\n').count() + 1;
        let mut events = Parser::new_ext(page, Options::ENABLE_TABLES).into_offset_iter();
        while let Some((event, range)) = events.next() {
            let (line, kind) = match event {
                Event::Start(Tag::CodeBlock(kind)) => (line_of(range.start), kind),
                Event::Code(span) => {
                    code.spans.push((line_of(range.start), span.into_string()));
                    continue;
                }
                _ => continue,
            };
            let texts = events.by_ref().take_while(|(event, _)| *event != Event::End(TagEnd::CodeBlock));
            let texts: Vec<(String, Range<usize>)> = texts
                .filter_map(|(event, range)| match event {
                    Event::Text(text) => Some((text.into_string(), range)),
                    _ => None,
                })
                .collect();
            let origin = match &kind {
                CodeBlockKind::Indented => Err(format!("a block without a fence: {NEXT}")),
                CodeBlockKind::Fenced(words) => origin(words),
            };
            match (origin, texts.first(), texts.last()) {
                (Ok(origin), Some((_, first)), Some((_, last))) => code.blocks.push(CodeBlock {
                    line,
                    origin,
                    text: texts.iter().map(|(text, _)| text.as_str()).collect(),
                    range: first.start..last.end,
                }),
                (Ok(_), ..) => code.faults.push((line, "an empty block".to_owned())),
                (Err(why), ..) => code.faults.push((line, why)),
            }
        }
        code
    }
}

/// Parses the words behind a fence.
fn origin(words: &str) -> Result<BlockOrigin, String> {
    let (language, how) = words.trim().split_once(' ').unwrap_or((words.trim(), ""));
    let unsaid = format!("`{}` does not say where the block's text is from: {NEXT}", words.trim());
    match how.trim().split_once(' ') {
        None if how.is_empty() && (language == "sh" || LANGUAGES.contains(&language)) => {
            Ok(BlockOrigin::Written)
        }
        None if how.is_empty() && language == "console" => Ok(BlockOrigin::Session),
        Some(("from", command)) if OUTPUTS[1..].contains(&language) => {
            Ok(BlockOrigin::MadeBy(command.trim().to_owned()))
        }
        Some(("seen", when)) if OUTPUTS.contains(&language) => seen(language, when).ok_or(unsaid),
        _ => Err(unsaid),
    }
}

/// Parses what stands behind `seen`: the day, and how machines make it.
fn seen(language: &str, when: &str) -> Option<BlockOrigin> {
    let (date, how) = when.split_once(' ').unwrap_or((when, ""));
    let has_commands = language == "console";
    let origin = match how.strip_prefix("on machines") {
        None if how.is_empty() => BlockOrigin::Seen(has_commands),
        Some("") if has_commands => BlockOrigin::OnMachines(None),
        Some(by) if !has_commands => BlockOrigin::OnMachines(Some(by.strip_prefix(" by ")?.to_owned())),
        _ => return None,
    };
    is_date(date).then_some(origin)
}

fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// Commands of a session, each with its output; a command that ends in `\` goes on in the next line.
pub(super) fn steps(session: &str) -> Result<Vec<(String, String)>, String> {
    let mut steps: Vec<(String, String)> = Vec::new();
    let mut goes_on = false;
    for line in session.split_inclusive('\n') {
        match steps.last_mut() {
            Some((command, _)) if goes_on => command.push_str(line),
            _ if line.starts_with("$ ") => steps.push((line[2..].to_owned(), String::new())),
            Some((_, output)) => output.push_str(line),
            None => {
                return Err(format!(
                    "a session begins with `$ ` and a command, and not with `{}`",
                    line.trim_end()
                ));
            }
        }
        goes_on = (goes_on || line.starts_with("$ ")) && line.trim_end().ends_with('\\');
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_says_where_its_text_is_from_or_is_a_fault() {
        let of = |words: &str| PageCode::read(&format!("# A\n\n```{words}\nx\n```\n"));
        let origins = [
            ("sh", BlockOrigin::Written),
            ("toml", BlockOrigin::Written),
            ("console", BlockOrigin::Session),
            (
                "text from roce trace a | head -n 3",
                BlockOrigin::MadeBy("roce trace a | head -n 3".to_owned()),
            ),
            ("json from roce messages a", BlockOrigin::MadeBy("roce messages a".to_owned())),
            ("text seen 2026-11-30", BlockOrigin::Seen(false)),
            ("console seen 2026-11-30", BlockOrigin::Seen(true)),
            ("console seen 2026-11-30 on machines", BlockOrigin::OnMachines(None)),
            ("text seen 2026-11-30 on machines by a b", BlockOrigin::OnMachines(Some("a b".to_owned()))),
        ];
        for (words, origin) in origins {
            let code = of(words);
            assert!(code.faults.is_empty(), "{words}: {:?}", code.faults);
            assert_eq!((&code.blocks[0].origin, code.blocks[0].line), (&origin, 3), "{words}");
        }
        for words in [
            "",
            "text",
            "json",
            "bash",
            "text seen",
            "text seen lately",
            "console from x",
            "sh seen 2026-11-30",
            "text seen 2026-11-30 on machines",
            "console seen 2026-11-30 on machines by a b",
            "console seen lately on machines",
            "console seen 2026-11-30 elsewhere",
            "toml x",
        ] {
            let code = of(words);
            assert!(code.blocks.is_empty() && code.faults[0].0 == 3, "`{words}` passes");
        }
        assert_eq!(PageCode::read("a\n\n    indented\n").faults.len(), 1);
    }

    #[test]
    fn lines_of_a_block_are_found_in_the_page() {
        let page = "`a b`\n\n```console\n$ one \\\n  two\nout\n$ three\n```\n";
        let code = PageCode::read(page);
        assert_eq!(code.spans, [(1, "a b".to_owned())]);
        let block = &code.blocks[0];
        assert_eq!(&page[block.range.clone()], block.text);
        let found = steps(&block.text).unwrap();
        assert_eq!(
            found,
            [("one \\\n  two\n".to_owned(), "out\n".to_owned()), ("three\n".to_owned(), String::new())]
        );
        assert!(steps("out\n$ one\n").is_err());
    }
}
