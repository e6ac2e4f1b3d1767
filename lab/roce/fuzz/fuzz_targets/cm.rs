//! Arbitrary bytes as a datagram of connection management: by itself, and sealed into a conversation.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roce::capture::Record;
use roce::cm::Mad;
use roce::synth::{FrameBuilder, Pair};
use roce::wire::Opcode;
use roce::{Analysis, Names};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mad) = Mad::new(bytes, 0) else { return };
    assert!(!mad.to_string().is_empty());
    if let Ok(message) = mad.message() {
        assert!(message.private_data().len() <= bytes.len());
    }
    let pair = Pair::new(2);
    let datagram = FrameBuilder::new(pair.active.address, pair.passive.address, Opcode::UD_SEND_ONLY)
        .destination_qpn(1)
        .deth(0x8001_0000, 1)
        .payload(bytes)
        .build();
    let mut frames = pair.write_then_read();
    frames.insert(bytes.len() % frames.len(), datagram);
    let mut analysis = Analysis::new(Names::new());
    for (number, frame) in (1..).zip(&frames) {
        analysis.push(&Record::ethernet(number, number * 1_000, frame));
    }
    assert!(analysis.finish().trace().ends_with('\n'));
});
