//! Prints the trace of a capture: `cargo run -p roce --example trace -- FILE [ADDRESS=NAME]...`
//!
//! Exits 1 when the capture cannot be read to its end; what came before is printed all the same.

use std::error::Error;
use std::fs::File;
use std::process::ExitCode;

use roce::capture::Reader;
use roce::{Analysis, Names};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: trace FILE [ADDRESS=NAME]...")?;
    let mut names = Names::new();
    for argument in arguments {
        let (address, name) = argument.split_once('=').ok_or("a name is given as ADDRESS=NAME")?;
        names = names.with(address.parse()?, name);
    }
    let mut reader =
        Reader::new(File::open(&path).map_err(|error| format!("failed to open {path}: {error}"))?)?;
    let mut analysis = Analysis::new(names);
    let end = loop {
        match reader.next() {
            Ok(Some(record)) => analysis.push(&record),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let report = analysis.finish();
    print!("{}", report.trace());
    for (what, count) in &report.not_roce {
        eprintln!("not RoCEv2: {count} {what}");
    }
    Ok(match end {
        Some(error) => {
            eprintln!("error: {path}: {error}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    })
}
