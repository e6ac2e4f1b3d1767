//! Atomics under contention.

use std::collections::BTreeSet;

use lab::base::role::Role;
use roce::PacketLine;

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::{Plot, Scale};
use crate::lesson::seen::{Seen, most_outstanding};
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// Clients that add at the same time.
const CLIENTS: usize = 4;

/// FetchAdds of each.
const ADDS: usize = 25;

/// Value of the counter before.
const FIRST: u64 = 100;

/// Value that an answer says was there before: the trace has it in its details.
fn original(line: &PacketLine) -> Option<u64> {
    let (_, words) = line.details.split_once("original ")?;
    let word = words.split([',', ' ']).next()?;
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

/// Values that each client was answered, in their order.
fn originals(seen: &Seen) -> Result<Vec<Vec<u64>>, String> {
    let connections = seen.run("four_clients")?.connections(CLIENTS)?;
    Ok(connections.iter().map(|packets| packets.iter().filter_map(|line| original(line)).collect()).collect())
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "atomics",
    title: "Atomics under contention",
    question: "Four programs add to one number of another computer at the same time: how does no addition get lost?",
    before: &[
        "To add to a number in another computer's memory one could READ it, add, and WRITE it back. If another does the same meanwhile, \
         both read the same value and one of the additions is lost. An *atomic* is one request that the responder's device does as a \
         whole: FetchAdd adds and answers what was there before; CmpSwap writes a value if the memory holds the one that is expected.",
        "Four clients add 1 to one counter, 25 times each and all at once. The counter begins at 100. Nobody locks anything.",
    ],
    runs: &[LessonRun {
        name: "four_clients",
        server: "rdma_server_atomic --clients 4 --shared --json",
        client: "rdma_client_atomic {server} --shared --count 25 --ack-timeout 19 --json",
        options: &[
            "--client",
            "rdma_client_atomic {server} --shared --count 25 --ack-timeout 19 --json",
            "--client",
            "rdma_client_atomic {server} --shared --count 25 --ack-timeout 19 --json",
            "--client",
            "rdma_client_atomic {server} --shared --count 25 --ack-timeout 19 --json",
        ],
    }],
    ladder: LadderPart {
        run: "four_clients",
        connection: 1,
        from: LadderStart::Named("RC FetchAdd"),
        limit: 8,
    },
    figures: |seen| {
        let run = seen.run("four_clients")?;
        let originals = originals(seen)?;
        let connections = run.connections(CLIENTS)?;
        let begun = connections.iter().flatten().map(|line| line.timestamp_ns).min().unwrap_or(0);
        let mut plot = Plot::lines(
            "Values that the four clients were answered",
            ("milliseconds", Scale::Linear),
            ("counter before the addition", Scale::Linear),
        );
        let mut rows = Vec::new();
        for (at, packets) in connections.iter().enumerate() {
            let points = packets
                .iter()
                .filter_map(|line| Some(((line.timestamp_ns - begun) as f64 / 1e6, original(line)? as f64)));
            plot = plot.series(format!("client {}", at + 1), points);
            let own = &originals[at];
            let [least, most] = [own.iter().min(), own.iter().max()].map(|value| value.copied().unwrap_or(0));
            rows.push(vec![
                format!("client {}", at + 1),
                own.len().to_string(),
                least.to_string(),
                most.to_string(),
            ]);
        }
        Ok(LessonFigures::default().table(&["client", "answers", "lowest", "highest"], rows).plot(plot))
    },
    claims: &[
        LessonClaim {
            says: "Each of the hundred additions finds another value: 100 to 199, and none twice.",
            check: |seen| {
                let all: Vec<u64> = originals(seen)?.concat();
                let distinct: BTreeSet<u64> = all.iter().copied().collect();
                let expected: BTreeSet<u64> = (FIRST..FIRST + (CLIENTS * ADDS) as u64).collect();
                let [least, most] =
                    [distinct.first(), distinct.last()].map(|value| value.copied().unwrap_or(0));
                rule(
                    distinct == expected && all.len() == expected.len(),
                    format!("{} answers, {} different values, {least} to {most}", all.len(), distinct.len()),
                )
            },
        },
        LessonClaim {
            says: "In the end the counter is 200: none of the additions is lost.",
            check: |seen| {
                let results = seen.run("four_clients")?.results(Role::Server);
                let values = results
                    .iter()
                    .flat_map(|result| result["clients"].as_array().cloned().unwrap_or_default());
                let most = values.filter_map(|client| client["value"].as_u64()).max();
                rule(most == Some(FIRST + (CLIENTS * ADDS) as u64), format!("counter {}", most.unwrap_or(0)))
            },
        },
        LessonClaim {
            says: "Each client sees the counter grow, whoever adds: its own answers rise.",
            check: |seen| {
                let originals = originals(seen)?;
                let rise = |own: &Vec<u64>| own.len() == ADDS && own.windows(2).all(|two| two[0] < two[1]);
                let ends = originals.iter().map(|own| match (own.first(), own.last()) {
                    (Some(first), Some(last)) => format!("{} answers from {first} to {last}", own.len()),
                    _ => "no answer".to_owned(),
                });
                rule(originals.iter().all(rise), ends.collect::<Vec<_>>().join("; "))
            },
        },
        LessonClaim {
            says: "No client has more than one addition under way, and none ever waits for a lock: one answer for each request.",
            check: |seen| {
                let run = seen.run("four_clients")?;
                let connections = run.connections(CLIENTS)?;
                let most = connections.iter().map(|packets| most_outstanding(packets)).max().unwrap_or(0);
                let (asked, answered) = (run.count("RC FetchAdd"), run.count("RC Atomic Acknowledge"));
                rule(
                    most == 1 && asked == 100 && answered == 100,
                    format!("{most} under way at most, {asked} requests, {answered} answers"),
                )
            },
        },
    ],
    answer: &[
        "The responder's device does each atomic alone, one after the other, whichever queue pair it comes by. So each client is told \
         another value, and the sum is right without a lock: a counter that hands out tickets. It does not protect against a plain WRITE: \
         who reads, adds and writes back overwrites a FetchAdd that came between, and that addition is lost.",
        "It works on eight bytes, aligned to eight, and for requests by RDMA; what the computer's own processor does to the same \
         bytes meanwhile is not part of it on most devices. A lock is made by CmpSwap: who finds 0 and puts 1 has it, and the others ask \
         again, which costs a round trip each time.",
    ],
};
