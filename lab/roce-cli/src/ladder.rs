//! `roce ladder`: the packets between the nodes as a picture or a diagram.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::analyse::analyse;
use crate::input::{FileArg, Input};
use crate::output;
use crate::{Common, Error};
use roce::{Ladder, LadderOptions, Names};

/// The arguments of `ladder`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: FileArg,
    #[command(flatten)]
    common: Common,
    /// File to write; its extension tells what: `.svg`, `.png`, `.pdf`, `.html`, `.mmd` (Mermaid) or `.md` (Mermaid in Markdown). Standard output without, or
    /// for `-`, as SVG.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// A sequence diagram of Mermaid, which Markdown shows on GitHub and elsewhere, whatever the extension.
    #[arg(long)]
    mermaid: bool,
    /// Most packets to draw; the picture says how many more there are.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
    /// Draw only the packets with these numbers, as in `10..40`, `10..` or `12`.
    #[arg(long, value_name = "A..B", value_parser = parse_packets)]
    packets: Option<RangeInclusive<u64>>,
    /// Title of the picture [default: the capture's name].
    #[arg(long)]
    title: Option<String>,
}

/// Kinds of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LadderFormat {
    Svg,
    Html,
    Png,
    Pdf,
    Mermaid,
    Markdown,
}

impl LadderFormat {
    fn of(output: Option<&Path>, is_mermaid: bool) -> Result<Self, Error> {
        let extension =
            output.and_then(Path::extension).map(|extension| extension.to_string_lossy().to_lowercase());
        Ok(match extension.as_deref() {
            Some("md" | "markdown") => Self::Markdown,
            _ if is_mermaid => Self::Mermaid,
            None | Some("svg") => Self::Svg,
            Some("html" | "htm") => Self::Html,
            Some("png") => Self::Png,
            Some("pdf") => Self::Pdf,
            Some("mmd" | "mermaid") => Self::Mermaid,
            Some(other) => {
                return Err(Error::new(format!("no picture is written as .{other}"))
                    .next("end the file's name with .svg, .png, .pdf, .html, .mmd or .md"));
            }
        })
    }

    fn write(self, ladder: &Ladder) -> Result<Vec<u8>, Error> {
        Ok(match self {
            Self::Svg => ladder.to_svg().into_bytes(),
            Self::Html => format!(
                "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>RoCEv2</title></head>\n<body>\n{}</body></html>\n",
                ladder.to_svg()
            )
            .into_bytes(),
            Self::Mermaid => ladder.to_mermaid().into_bytes(),
            Self::Markdown => format!("```mermaid\n{}```\n", ladder.to_mermaid()).into_bytes(),
            #[cfg(feature = "pictures")]
            Self::Png => crate::picture::png(&ladder.to_svg())?,
            #[cfg(feature = "pictures")]
            Self::Pdf => crate::picture::pdf(&ladder.to_svg())?,
            #[cfg(not(feature = "pictures"))]
            Self::Png | Self::Pdf => {
                return Err(Error::new("this `roce` was built without PNG and PDF")
                    .next("write .svg, or install it with the feature `pictures`"));
            }
        })
    }
}

fn parse_packets(text: &str) -> Result<RangeInclusive<u64>, String> {
    let number = |part: &str| part.parse::<u64>().map_err(|error| format!("{part:?}: {error}"));
    let (first, last) = match text.split_once("..") {
        None => (number(text)?, number(text)?),
        Some((first, last)) => (
            if first.is_empty() { 1 } else { number(first)? },
            if last.is_empty() { u64::MAX } else { number(last)? },
        ),
    };
    if first > last { Err(format!("{first} is behind {last}")) } else { Ok(first..=last) }
}

impl Args {
    /// Draws the picture.
    ///
    /// # Errors
    /// The capture cannot be read, or the file cannot be written.
    pub fn run(&self, defaults: Names) -> Result<ExitCode, Error> {
        let format = LadderFormat::of(self.output.as_deref(), self.mermaid)?;
        let mut input = Input::open(&self.file.files, &self.common)?;
        let names = self.common.names(defaults, &self.file.files);
        let filter = self.common.filter(&self.file.files, &names)?;
        let (report, stopped) = analyse(&self.common, &mut input, names, &filter)?;
        let mut title = self.title.clone().unwrap_or_else(|| {
            let name = Path::new(&input.name).file_name();
            name.map_or_else(|| input.name.clone(), |name| name.to_string_lossy().into_owned())
        });
        if stopped.is_some() {
            title.push_str(" (only the part before a fault)");
        }
        let options = LadderOptions { title, limit: self.limit, packets: self.packets.clone() };
        let ladder = report.ladder(&options);
        output::write_to(self.output.as_deref(), &format.write(&ladder)?)?;
        output::remarks(&input.name, &report, stopped.is_none());
        if self.packets.is_some() && ladder.is_empty() && report.packets > 0 {
            let there = output::count(report.packets, "packet");
            output::note(&format!("--packets leaves none of {there} in {}", input.name));
        }
        output::note_in_vain(&filter, "packet", &input.name);
        stopped.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_packets_have_open_ends() {
        let parsed = ["3..5", "..5", "3..", "4"].map(|text| parse_packets(text).unwrap());
        assert_eq!(parsed, [3..=5, 1..=5, 3..=u64::MAX, 4..=4]);
        for bad in ["", "a..b", "5..3", "-1"] {
            assert!(parse_packets(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn extension_tells_the_format() {
        let of = |name: &str| LadderFormat::of(Some(Path::new(name)), false);
        assert_eq!(of("a.PNG").unwrap(), LadderFormat::Png);
        assert_eq!(of("a.md").unwrap(), LadderFormat::Markdown);
        assert_eq!(LadderFormat::of(Some(Path::new("a.txt")), true).unwrap(), LadderFormat::Mermaid);
        assert!(of("a.jpg").unwrap_err().to_string().contains(".svg, .png"));
    }
}
