//! Pages of real and hostile captures, taken apart again.

use std::path::Path;

use roce::capture::{Reader, Record};
use roce::{Analysis, Names};
use roce_page::{Capture, Collector, Page};

/// A file of the workspace's fixtures.
fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)).unwrap()
}

fn of_file(bytes: &[u8], name: &str) -> Capture {
    let mut reader = Reader::new(bytes).unwrap();
    let (mut analysis, mut collector) = (Analysis::new(Names::new()), Collector::new());
    while let Some(record) = reader.next().unwrap() {
        let frame = record.frame();
        collector.push(&record, &frame);
        analysis.push_frame(&record, &frame);
    }
    collector.finish(name, analysis.finish())
}

#[test]
fn write_pages_for_eyes() {
    let Some(directory) = std::env::var_os("ROCE_PAGE_OUT") else { return };
    for name in ["write_read", "write_with_imm", "send_bw_1024"] {
        let capture = of_file(&fixture(&format!("{name}.pcapng")), name);
        std::fs::write(
            Path::new(&directory).join(format!("{name}.html")),
            Page::new(name, &capture).to_html(),
        )
        .unwrap();
    }
    let _ = Record::ethernet(1, 0, &[]);
}
