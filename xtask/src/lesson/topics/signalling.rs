//! Signalling, lists, and ways to wait.

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::{Plot, number};
use crate::lesson::seen::{Seen, first_requests};
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// Messages of each connection.
const MESSAGES: f64 = 64.0;

/// Requests that one post and one signal cover, in the order of the run.
const EVERY: [f64; 3] = [1.0, 4.0, 16.0];

/// Ways to wait, in the order of the run.
const WAYS: [&str; 2] = ["events", "poll"];

/// Calls that posted, of each connection.
fn posts(seen: &Seen) -> Result<Vec<f64>, String> {
    let posts = seen.run("signals")?.numbers("posts")?;
    if posts.len() == EVERY.len() { Ok(posts) } else { Err(format!("{} results", posts.len())) }
}

/// Processor time in seconds, user's and system's, that the program took with each way to wait.
fn processor(seen: &Seen) -> Result<Vec<f64>, String> {
    let run = seen.run("waits")?;
    let sums = run.processor_seconds();
    let used: Vec<f64> = std::iter::once(0.0)
        .chain(sums.iter().copied())
        .zip(&sums)
        .map(|(before, now)| now - before)
        .collect();
    if used.len() == WAYS.len() {
        Ok(used)
    } else {
        Err(format!("the shell told its times {} times", used.len()))
    }
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "signalling",
    title: "Signals, lists, polling and events",
    question: "How much of a message's cost is the program's own, and how is it saved?",
    before: &[
        "The program posts work requests, by a call each or several in a list by one call. A request may be *signalled*, then it makes a \
         completion; the completion of one says that all before it are done too, so it is enough to signal each n-th. And there are two \
         ways to wait for completions: *poll* the completion queue again and again, or sleep until an *event* says that there is \
         something.",
        "The first run sends 64 messages three times, with a post and a signal for each 1, 4 and 16 of them. The second sends 150, one at \
         a time, by events and then by polling, while the switch holds each message for 20 ms; the shell tells how much processor time \
         each of the two took.",
    ],
    runs: &[
        LessonRun {
            name: "signals",
            server: "rdma_bench_server --json",
            client: "for every in 1 4 16; do rdma_bench_client {server} --size 64 --iterations 64 --depth 16 --signal-every $every \
                     --ack-timeout 19 --json || exit 1; done",
            options: &["--stop", "SIGTERM"],
        },
        LessonRun {
            name: "waits",
            server: "rdma_bench_server --json",
            client: "for wait in events poll; do rdma_bench_client {server} --size 64 --iterations 150 --depth 1 --wait $wait \
                     --ack-timeout 19 --json || exit 1; times; done",
            options: &[
                "--stop",
                "SIGTERM",
                "--fault",
                "action=\"delay\",ms=20,opcode=\"RC RDMA WRITE Only\",probability=1.0",
            ],
        },
    ],
    ladder: LadderPart {
        run: "signals",
        connection: 2,
        from: LadderStart::Named("RC RDMA WRITE"),
        limit: 20,
    },
    figures: |seen| {
        let posts = posts(seen)?;
        let rates = seen.run("signals")?.numbers("messages_per_second")?;
        let rows = (0..EVERY.len()).map(|at| {
            vec![
                EVERY[at].to_string(),
                number(posts[at]),
                number(MESSAGES / EVERY[at]),
                format!("{:.0}", rates[at]),
            ]
        });
        let heads = ["requests a post and a signal", "posts", "completions", "messages a second"];
        let used = processor(seen)?;
        let elapsed = seen.run("waits")?.numbers("elapsed_ns")?;
        let waits = WAYS.iter().enumerate().map(|(at, way)| {
            vec![(*way).to_owned(), format!("{:.2} s", elapsed[at] / 1e9), format!("{:.2} s", used[at])]
        });
        let names = EVERY.map(|every| format!("{every} a post"));
        Ok(LessonFigures::default()
            .table(&heads, rows)
            .plot(Plot::bars("Calls for 64 messages", names, "calls").heights("posts", posts.iter().copied()))
            .table(&["way to wait", "time of 150 messages", "processor time of the program"], waits)
            .plot(
                Plot::bars("Processor time of the program", WAYS.map(str::to_owned), "seconds")
                    .heights("", used),
            ))
    },
    claims: &[
        LessonClaim {
            says: "Lists of n need one call for each n messages: 64, 16 and 4 calls for 64 messages.",
            check: |seen| {
                let posts = posts(seen)?;
                let holds = posts.iter().zip(EVERY).all(|(posts, every)| *posts == MESSAGES / every);
                rule(holds, format!("{posts:?}"))
            },
        },
        LessonClaim {
            says: "The wire knows nothing of it: 64 requests each time.",
            check: |seen| {
                let connections = seen.run("signals")?.connections(EVERY.len())?;
                let first = |packets: &Vec<_>| first_requests(packets).len();
                let counts: Vec<usize> = connections.iter().map(first).collect();
                rule(counts == [MESSAGES as usize; 3], format!("{counts:?}"))
            },
        },
        LessonClaim {
            says: "Polling takes at least 1.5 times the processor time of events, when there is something to wait for.",
            check: |seen| {
                let used = processor(seen)?;
                rule(used[1] >= 1.5 * used[0], format!("events {:.2} s, polling {:.2} s", used[0], used[1]))
            },
        },
    ],
    answer: &[
        "On SoftRoCE each post is a system call, on a card a write to the device's memory; in both cases lists and rare signals divide \
         that cost by their length, and the wire shows no difference. The rate rises by it only as long as the calls are what takes the \
         time. Until a signalled request behind it has completed, nobody knows that an unsignalled one is done, and its buffer must be \
         left alone. At least one request in a queue's length must be signalled, or the queue fills and nothing ever tells that there is \
         room.",
        "Polling sees a completion at once and burns a processor while it looks; events cost a wake-up each and leave the processor to \
         others. Programs that must be fast poll while they are busy and sleep when they are not.",
    ],
};
