//! Directions in which no ICRC is right: what was recorded is not what was sent, and is followed all the same.
#![cfg(feature = "synth")]

use roce::capture::Record;
use roce::synth::Pair;
use roce::{Analysis, Names, Report, Rule};

/// SENDs and their ACKs; the SEND of PSN `lost` is not there.
fn exchanges(pair: &Pair, lost: Option<u32>) -> Vec<Vec<u8>> {
    let exchange = |n| {
        let request = pair.request(0x04, n).ack_request().payload(&[n as u8; 32]).build();
        let answer = pair.response(0x11, n).aeth(0x1f, n + 1).build();
        [(lost != Some(n)).then_some(request), Some(answer)]
    };
    (0..10).flat_map(exchange).flatten().collect()
}

fn report(frames: &[Vec<u8>], comment: Option<&str>) -> Report {
    let mut analysis = Analysis::new(Names::new());
    for (number, frame) in (1..).zip(frames) {
        analysis.push(&Record { comment, ..Record::ethernet(number, number * 10_000, frame) });
    }
    analysis.finish()
}

fn rules(report: &Report) -> Vec<Rule> {
    report.findings.iter().map(|finding| finding.rule).collect()
}

fn without_icrc(frame: &mut [u8]) {
    let length = frame.len();
    frame[length - 4..].fill(0);
}

#[test]
fn directions_without_a_right_icrc_are_told_once_and_followed() {
    let pair = Pair::new(81);
    let mut frames = exchanges(&pair, None);
    frames.iter_mut().for_each(|frame| without_icrc(frame));
    let whole = report(&frames, None);
    assert_eq!((rules(&whole), whole.packets_rewritten), (vec![Rule::IcrcMismatch; 2], 18));
    assert_eq!(whole.messages.len(), 9, "but for the first");

    let mut lacking = exchanges(&pair, Some(5));
    lacking.iter_mut().for_each(|frame| without_icrc(frame));
    let expected = [Rule::IcrcMismatch, Rule::IcrcMismatch, Rule::CaptureLostPackets];
    assert_eq!(rules(&report(&lacking, None)), expected);
}

#[test]
fn wrong_icrcs_beside_right_ones_are_each_told() {
    let pair = Pair::new(82);
    for wrong in [[0, 8], [4, 8], [4, 18]] {
        let mut frames = exchanges(&pair, None);
        wrong.iter().for_each(|at| without_icrc(&mut frames[*at]));
        let report = report(&frames, None);
        assert_eq!((rules(&report), report.packets_rewritten), (vec![Rule::IcrcMismatch; 2], 0), "{wrong:?}");
    }
}

#[test]
fn fates_tell_that_each_wrong_icrc_came() {
    let mut frames = exchanges(&Pair::new(83), None);
    frames.iter_mut().for_each(|frame| without_icrc(frame));
    let report = report(&frames, Some("fate=forwarded"));
    assert_eq!((rules(&report), report.packets_rewritten), (vec![Rule::IcrcMismatch; 20], 0));
}
