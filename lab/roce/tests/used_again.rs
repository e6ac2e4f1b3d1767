//! Queue pairs whose numbers are used again with other ones, where connection management is not in the capture or is written late.
#![cfg(feature = "synth")]

use std::net::IpAddr;

use roce::capture::Record;
use roce::synth::{Pair, PairEnd};
use roce::wire::Psn;
use roce::{Analysis, MessageOutcome, Names, Report, Rule, Severity};

/// Nanoseconds between a run and the next one.
const PAUSE_NS: u64 = 2_000_000_000;

/// Answered SENDs of one run of two programs.
const SENDS: u32 = 6;

fn run(pair: &Pair) -> Vec<Vec<u8>> {
    let exchange = |n| {
        let request = pair.request(0x04, n).ack_request().payload(&[7; 64]).build();
        [request, pair.response(0x11, n).aeth(0x1f, n + 1).build()]
    };
    (0..SENDS).flat_map(exchange).collect()
}

/// The report of runs with a pause between them.
fn report(runs: &[Vec<Vec<u8>>]) -> Report {
    let mut analysis = Analysis::new(Names::new());
    let (mut number, mut now_ns) = (0, 0);
    for frames in runs {
        now_ns += PAUSE_NS;
        for frame in frames {
            (number, now_ns) = (number + 1, now_ns + 10_000);
            analysis.push(&Record::ethernet(number, now_ns, frame));
        }
    }
    analysis.finish()
}

fn rules(report: &Report) -> Vec<Rule> {
    report.findings.iter().map(|finding| finding.rule).collect()
}

fn from(end: PairEnd, psn: u32) -> PairEnd {
    PairEnd { psn: Psn::new(psn), ..end }
}

/// A pair whose requests begin at a PSN.
fn first() -> Pair {
    let pair = Pair::new(61);
    Pair { active: from(pair.active, 1_000), ..pair }
}

fn acknowledged(report: &Report) -> usize {
    report.messages.iter().filter(|message| message.outcome == MessageOutcome::Acknowledged).count()
}

#[test]
fn number_that_is_used_again_with_another_one_is_of_another_connection() {
    let first = first();
    for psn in [10, 900, 1_007, 1_100, 9_000, 0x90_0000] {
        let passive = PairEnd { qpn: first.passive.qpn + 5, ..first.passive };
        let active = PairEnd { qpn: first.active.qpn + 5, ..first.active };
        let of_server = Pair { active: from(first.active, psn), passive, ..first };
        let of_client = Pair { active: from(active, psn), ..first };
        for second in [of_server, of_client] {
            let report = report(&[run(&first), run(&second)]);
            if psn.abs_diff(1_000) > 5_000 || second.passive.qpn != first.passive.qpn {
                assert_eq!(rules(&report), [], "from {psn}");
                assert_eq!((report.connections.len(), acknowledged(&report)), (2, 12), "from {psn}");
            }
            let is_error = |finding: &&roce::Finding| finding.severity == Severity::Error;
            assert_eq!(report.findings.iter().find(is_error), None, "from {psn}");
        }
    }
}

#[test]
fn lost_last_answer_of_a_run_makes_no_error_of_the_next() {
    let first = first();
    let passive = PairEnd { qpn: first.passive.qpn + 5, ..first.passive };
    let second = Pair { active: from(first.active, 9_000), passive, ..first };
    let mut lacking = run(&first);
    lacking.pop();
    assert_eq!(rules(&report(&[lacking, run(&second)])), []);
}

#[test]
fn run_with_another_path_mtu_is_of_another_connection_though_the_answers_before_are_lost() {
    let pair = first();
    let write = |pair: &Pair, mtu: usize| {
        let first = pair.request(0x06, 0).reth(0x5500_0000, 7, 2 * mtu as u32).payload(&vec![1; mtu]).build();
        let last = pair.request(0x08, 1).ack_request().payload(&vec![2; mtu]).build();
        vec![first, last, pair.response(0x11, 1).aeth(0x1f, 1).build()]
    };
    for (psn, mtu) in [(9_000, 2_048), (9_000, 256), (10, 4_096)] {
        let second = Pair { active: from(pair.active, psn), ..pair };
        let mut lacking = write(&pair, 1_024);
        lacking.pop();
        let report = report(&[lacking, write(&second, mtu)]);
        assert_eq!(rules(&report), [], "{mtu} from {psn}");
        assert_eq!((report.connections.len(), acknowledged(&report)), (2, 1), "{mtu} from {psn}");
    }
    // One that goes on where the other ended is the same requester's, which erred.
    let second = Pair { active: from(pair.active, 1_002), ..pair };
    let found = rules(&report(&[write(&pair, 1_024), write(&second, 512)]));
    assert!(found.contains(&Rule::PathMtuViolated), "{found:?}");
}

#[test]
fn queue_pair_that_another_node_talks_to_is_used_again() {
    let first = first();
    for psn in [1_000, 1_003, 9_000] {
        let address = IpAddr::from([198, 51, 100, 9]);
        let second = Pair { active: PairEnd { address, ..from(first.active, psn) }, ..first };
        let report = report(&[run(&first), run(&second)]);
        assert_eq!(rules(&report), [], "from {psn}");
        assert_eq!(report.retransmissions.total(), 0, "from {psn}");
        let others = report.messages.iter().filter(|message| message.requester == address);
        assert_eq!((others.count(), acknowledged(&report)), (6, 12), "from {psn}");
    }
}

#[test]
fn answers_of_a_second_run_under_the_same_psns_are_no_late_ones_of_the_first() {
    let pair = first();
    assert_eq!(rules(&report(&[run(&pair), run(&pair)])), []);
}

#[test]
fn run_without_management_behind_one_that_was_closed_is_of_another_connection() {
    let pair = first();
    let managed = [vec![pair.req(7471, &[]), pair.rep(&[]), pair.rtu()], run(&pair)].concat();
    let closed = [managed, vec![pair.dreq(), pair.drep()]].concat();
    let second = Pair { active: from(pair.active, 10), ..pair };
    let report = report(&[closed, run(&second)]);
    assert_eq!(rules(&report), []);
    assert_eq!((report.connections.len(), acknowledged(&report)), (2, 12));
}

#[test]
fn connection_whose_rep_is_late_or_lost_is_one_connection() {
    let pair = first();
    let all =
        [vec![pair.req(7471, &[]), pair.rep(&[]), pair.rtu()], run(&pair), vec![pair.dreq(), pair.drep()]];
    let mut frames = all.concat();
    let rep = frames.remove(1);
    for place in 2..frames.len() {
        let mut late = frames.clone();
        late.insert(place, rep.clone());
        let report = report(&[late]);
        let worst = report.findings.iter().map(|finding| finding.severity).max();
        assert!(worst.is_none_or(|worst| worst == Severity::Note), "at {place}: {:?}", rules(&report));
        assert_eq!((report.connections.len(), acknowledged(&report)), (1, 6), "at {place}");
    }
    let report = report(&[frames]);
    assert_eq!(rules(&report), [Rule::CmOutOfSequence]);
    assert_eq!((report.connections.len(), acknowledged(&report)), (1, 6));
}

#[test]
fn connections_whose_req_or_rep_is_lost_do_not_go_on_with_the_one_before() {
    let pair = first();
    let second = Pair { active: PairEnd { comm_id: 77, ..from(pair.active, 10) }, ..pair };
    let second = Pair { passive: PairEnd { comm_id: 78, ..from(pair.passive, 99) }, ..second };
    let open = |pair: &Pair| vec![pair.req(7471, &[]), pair.rep(&[]), pair.rtu()];
    for lost in [0, 1] {
        let mut lacking = open(&second);
        lacking.remove(lost);
        let report = report(&[[open(&pair), run(&pair)].concat(), [lacking, run(&second)].concat()]);
        let worst = report.findings.iter().map(|finding| finding.severity).max();
        assert!(worst.is_none_or(|worst| worst == Severity::Note), "{lost}: {:?}", rules(&report));
        assert_eq!(acknowledged(&report), 12, "{lost}");
    }
}

#[test]
fn port_of_both_directions_tells_connections_with_the_same_psns() {
    let pairs: Vec<Pair> = (0..4)
        .map(|at| {
            let pair = first();
            let active = PairEnd { qpn: 0x100 + at, ..pair.active };
            Pair { active, passive: PairEnd { qpn: 0x200 + at, ..pair.passive }, ..pair }
        })
        .collect();
    let port = |at: usize| 50_000 + at as u16;
    let mut frames = Vec::new();
    for n in 0..SENDS {
        for (at, pair) in pairs.iter().enumerate() {
            let request = pair.request(0x04, n).ack_request().payload(&[at as u8; 8]);
            frames.push(request.udp_source_port(port(at)).build());
        }
        for (at, pair) in pairs.iter().enumerate() {
            frames.push(pair.response(0x11, n).aeth(0x1f, n + 1).udp_source_port(port(at)).build());
        }
    }
    let report = report(&[frames]);
    assert_eq!(rules(&report), []);
    let numbers = |connection: &roce::Connection| (connection.active.qpn, connection.passive.qpn);
    let expected: Vec<_> = (0..4).map(|at| (Some(0x100 + at), Some(0x200 + at))).collect();
    assert_eq!(report.connections.iter().map(numbers).collect::<Vec<_>>(), expected);
}
