//! READs at once: what the connection allows.

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::{Plot, Scale};
use crate::lesson::seen::{Seen, most_outstanding};
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// Limits on READs at once, in the order of the sweep.
const LIMITS: [f64; 4] = [1.0, 2.0, 4.0, 8.0];

/// Delay of each request on the way, in seconds.
const DELAY_S: f64 = 0.02;

/// READs that the client of the other run posts at once.
const POSTED: usize = 32;

/// READs at once that this client agrees on, whatever it posts.
const AGREED: u8 = 16;

/// The most READs without an answer of each connection, and what both sides had agreed on.
fn outstanding(seen: &Seen, run: &str, count: usize) -> Result<Vec<(usize, u8)>, String> {
    let run = seen.run(run)?;
    let connections = run.connections(count)?;
    let agreed =
        run.report.connections.iter().map(|connection| connection.active.initiator_depth.unwrap_or(0));
    let reads = connections.iter().map(|packets| {
        let own: Vec<_> = packets.iter().copied().filter(|line| line.words.contains("READ")).collect();
        most_outstanding(&own)
    });
    Ok(reads.zip(agreed).collect())
}

fn rates(seen: &Seen) -> Result<Vec<f64>, String> {
    let rates = seen.run("sweep")?.numbers("messages_per_second")?;
    if rates.len() == LIMITS.len() { Ok(rates) } else { Err(format!("{} results", rates.len())) }
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "read_depth",
    title: "How many READs at once",
    question: "A program posts 32 READs at once: how many does its device ask for at a time?",
    before: &[
        "A READ needs something of the responder while it lasts: memory to remember it by, so that it can be answered again. Both sides \
         therefore agree on a number when they connect, the requester's *initiator depth* and the responder's *responder resources*; the \
         lesser counts, for READs and atomics together. Requests beyond it wait in the requester's send queue.",
        "The first run posts 32 WRITEs and then 32 READs of 64 bytes at once over a connection that agreed on 16. The second measures \
         READs with limits of 1, 2, 4 and 8. In both the switch holds each READ request for 20 ms.",
    ],
    runs: &[
        LessonRun {
            name: "all_at_once",
            server: "rdma_server --once --json",
            client: "rdma_client {server} --size 64 --count 32 --depth 32 --ack-timeout 19 --json",
            options: &["--fault", "action=\"delay\",ms=20,opcode=\"RC RDMA READ Request\",probability=1.0"],
        },
        LessonRun {
            name: "sweep",
            server: "rdma_bench_server --json",
            client: "for depth in 1 2 4 8; do rdma_bench_client {server} --op read --size 64 --iterations 32 --depth $depth --signal-every 1 \
                     --ack-timeout 19 --json || exit 1; done",
            options: &[
                "--stop",
                "SIGTERM",
                "--fault",
                "action=\"delay\",ms=20,opcode=\"RC RDMA READ Request\",probability=1.0",
            ],
        },
    ],
    ladder: LadderPart {
        run: "all_at_once",
        connection: 0,
        from: LadderStart::Named("RC RDMA READ Request"),
        limit: 36,
    },
    figures: |seen| {
        let all = outstanding(seen, "all_at_once", 1)?;
        let sweep = outstanding(seen, "sweep", LIMITS.len())?;
        let rates = rates(seen)?;
        let mut rows = vec![vec![
            POSTED.to_string(),
            all[0].1.to_string(),
            all[0].0.to_string(),
            "not measured".to_owned(),
        ]];
        rows.extend(sweep.iter().zip(&rates).map(|((most, agreed), rate)| {
            vec![agreed.to_string(), agreed.to_string(), most.to_string(), format!("{rate:.0}")]
        }));
        let heads = ["READs posted at once", "agreed on", "most under way on the wire", "READs a second"];
        let plot = Plot::lines(
            "READs a second, each 20 ms on its way",
            ("READs at once that are agreed on", Scale::Doubling),
            ("READs a second", Scale::Doubling),
        )
        .series("this run", LIMITS.into_iter().zip(rates.iter().copied()))
        .theory("limit / 20 ms: the most", LIMITS.map(|limit| (limit, limit / DELAY_S)));
        Ok(LessonFigures::default().table(&heads, rows).plot(plot))
    },
    claims: &[
        LessonClaim {
            says: "Of 32 READs posted at once no more than the 16 that were agreed on are ever under way.",
            check: |seen| {
                let (most, agreed) = outstanding(seen, "all_at_once", 1)?[0];
                rule(
                    agreed == AGREED && most <= usize::from(agreed) && most > 1,
                    format!("{POSTED} posted, {agreed} agreed on, {most} under way at most"),
                )
            },
        },
        LessonClaim {
            says: "With other limits, each set by the client's `--depth` and posted up to, the wire never shows more READs without an \
                   answer than were agreed on.",
            check: |seen| {
                let sweep = outstanding(seen, "sweep", LIMITS.len())?;
                let holds = sweep.iter().zip(LIMITS).all(|((most, agreed), limit)| {
                    f64::from(*agreed) == limit && *most <= usize::from(*agreed)
                });
                rule(holds, format!("most and agreed: {sweep:?}"))
            },
        },
        LessonClaim {
            says: "A limit of 8 carries at least twice as many READs a second as a limit of 1, and none more than limit / 20 ms.",
            check: |seen| {
                let rates = rates(seen)?;
                let within = rates.iter().zip(LIMITS).all(|(rate, limit)| *rate <= limit / DELAY_S);
                let (one, eight) = (rates[0], rates[LIMITS.len() - 1]);
                rule(within && eight >= 2.0 * one, format!("READs a second at 1, 2, 4, 8: {rates:?}"))
            },
        },
    ],
    answer: &[
        "As many as were agreed on when the connection was made, 16 here. The others wait, and everything posted behind them waits too: a \
         send queue is worked off in order.",
        "Where the way is long and the agreement small, READs are therefore slower than WRITEs can be, which this run does not show: a \
         WRITE may be followed by any number of others, a READ only by as many as the agreement has. `rdma_accept` and `rdma_connect` \
         have the numbers (`initiator_depth`, `responder_resources`), and \
         devices a limit, often 16.",
    ],
};
