//! `roce ladder`: the packets between the nodes as a picture.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::analyse::analyse;
use crate::input::{FileArg, Input};
use crate::output;
use crate::{Common, Error};
use roce::Names;

/// The arguments of `ladder`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: FileArg,
    #[command(flatten)]
    common: Common,
    /// File to write; `.html` makes a page of it. Standard output without.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Most packets to draw; the picture says how many more there are.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
}

impl Args {
    /// Draws the picture.
    ///
    /// # Errors
    /// The capture cannot be read, or the file cannot be written.
    pub fn run(&self, defaults: Names) -> Result<ExitCode, Error> {
        let mut input = Input::open(&self.file.files, &self.common)?;
        let names = self.common.names(defaults, &self.file.files);
        let filter = self.common.filter(&self.file.files, &names)?;
        let (report, stopped) = analyse(&self.common, &mut input, names, &filter)?;
        let mut picture = report.ladder(self.limit);
        match &self.output {
            None => output::print_with(|sink| sink.write_all(picture.as_bytes()))?,
            Some(path) => {
                if path.extension().is_some_and(|extension| extension == "html" || extension == "htm") {
                    picture = format!(
                        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>RoCEv2</title></head>\n<body>\n{picture}</body></html>\n"
                    );
                }
                fs::write(path, picture)
                    .map_err(|error| Error::new(format!("failed to write {}: {error}", path.display())))?;
            }
        }
        output::remarks(&input.name, &report, stopped.is_none());
        output::note_in_vain(&filter, "packet", &input.name);
        stopped.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}
