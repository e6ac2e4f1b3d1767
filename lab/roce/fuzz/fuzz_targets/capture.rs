//! Arbitrary bytes as a capture, read and analysed to its end, as a whole and as a stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roce::capture::Reader;
use roce::{Analysis, Names};

fuzz_target!(|bytes: &[u8]| {
    for is_streaming in [false, true] {
        let Ok(mut reader) = Reader::new(bytes) else { return };
        let mut analysis =
            if is_streaming { Analysis::streaming(Names::new()) } else { Analysis::new(Names::new()) };
        let mut records = 0;
        while let Ok(Some(record)) = reader.next() {
            records += 1;
            analysis.push(&record);
            let _ = analysis.take_messages();
        }
        let report = analysis.finish();
        assert_eq!(report.records, records);
        assert!(is_streaming || report.trace().ends_with('\n'));
    }
});
