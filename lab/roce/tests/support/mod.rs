//! Steps of several tests: frames through writer, reader and analysis, the way a caller runs them.

use roce::capture::{Reader, Writer};
use roce::{Analysis, Names, Report};

/// The report of frames that the server's interface saw, each with its time in nanoseconds and its fate.
pub(crate) fn analyse<'a>(frames: impl IntoIterator<Item = (u64, &'a [u8], &'a str)>) -> Report {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &["server", "client"]).unwrap();
    for (timestamp_ns, frame, comment) in frames {
        writer.write(0, timestamp_ns, frame, comment).unwrap();
    }
    let names =
        Names::new().with([198, 51, 100, 1].into(), "server").with([198, 51, 100, 2].into(), "client");
    let mut reader = Reader::new(&bytes[..]).unwrap();
    let mut analysis = Analysis::new(names);
    while let Some(record) = reader.next().unwrap() {
        analysis.push(&record);
    }
    analysis.finish()
}
