//! One-sided against two-sided operations.

use lab::base::role::Role;

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::Plot;
use crate::lesson::seen::{Seen, SeenRun, first_requests};
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// Operations, in the order of the run.
const OPERATIONS: [&str; 4] = ["write", "read", "send", "write-imm"];

/// Messages of each.
const MESSAGES: u64 = 8;

/// Messages of each operation that the server's program was told of; 0 if it is told nothing.
fn told(run: &SeenRun) -> Result<Vec<u64>, String> {
    let results = run.results(Role::Server);
    match results.len() {
        4 => Ok(results.iter().map(|result| result["received_messages"].as_u64().unwrap_or(0)).collect()),
        other => Err(format!("the server told {other} results")),
    }
}

/// Request packets of each operation.
fn asked(run: &SeenRun) -> Result<Vec<u64>, String> {
    Ok(run
        .connections(OPERATIONS.len())?
        .iter()
        .map(|packets| first_requests(packets).len() as u64)
        .collect())
}

/// Length of the first request of each operation.
fn lengths(run: &SeenRun) -> Result<Vec<u64>, String> {
    let first = |packets: &Vec<_>| first_requests(packets).first().map_or(0, |line| run.length(line));
    Ok(run.connections(OPERATIONS.len())?.iter().map(first).collect())
}

fn run(seen: &Seen) -> Result<&SeenRun, String> {
    seen.run("four")
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "one_sided",
    title: "One-sided and two-sided",
    question: "Who has to do something for a message: only the side that asks, or both?",
    before: &[
        "WRITE and READ are *one-sided*: the requester names the responder's memory by address and key. SEND is *two-sided*: it names \
         no memory, so the receiver's program must have posted a RECV, which says where the next message may go. WRITE with immediate is \
         half of each: it names memory, and takes up a RECV to tell the other program.",
        "Four times eight messages of 1,000 bytes, one operation after the other, each over a connection of its own.",
    ],
    runs: &[LessonRun {
        name: "four",
        server: "rdma_bench_server --json",
        client: "for op in write read send write-imm; do rdma_bench_client {server} --op $op --size 1000 --iterations 8 --depth 1 \
                 --ack-timeout 19 --json || exit 1; done",
        options: &["--stop", "SIGTERM"],
    }],
    ladder: LadderPart { run: "four", connection: 2, from: LadderStart::Named("RC SEND Only"), limit: 8 },
    figures: |seen| {
        let run = run(seen)?;
        let (told, asked, lengths) = (told(run)?, asked(run)?, lengths(run)?);
        let rows = OPERATIONS.iter().enumerate().map(|(at, name)| {
            vec![
                (*name).to_owned(),
                MESSAGES.to_string(),
                asked[at].to_string(),
                format!("{} B", lengths[at]),
                told[at].to_string(),
            ]
        });
        let heads = [
            "operation",
            "messages",
            "request packets",
            "length of a request",
            "messages that the server's program was told of",
        ];
        let plot = Plot::bars("Completions for eight messages", OPERATIONS.map(str::to_owned), "completions")
            .heights("at the client", [MESSAGES as f64; 4])
            .heights("at the server", told.iter().map(|count| *count as f64));
        Ok(LessonFigures::default().table(&heads, rows).plot(plot))
    },
    claims: &[
        LessonClaim {
            says: "The server's program is told of no WRITE and no READ, and of every SEND and every WRITE with immediate.",
            check: |seen| {
                let told = told(run(seen)?)?;
                rule(told == [0, 0, MESSAGES, MESSAGES], format!("write, read, send, write-imm: {told:?}"))
            },
        },
        LessonClaim {
            says: "The wire carries as many requests for one as for the other: one packet a message of this length.",
            check: |seen| {
                let asked = asked(run(seen)?)?;
                rule(asked == [MESSAGES; 4], format!("write, read, send, write-imm: {asked:?}"))
            },
        },
        LessonClaim {
            says: "A WRITE's packet is 16 bytes longer than a SEND's: address, key and length of the memory that it names.",
            check: |seen| {
                let lengths = lengths(run(seen)?)?;
                rule(
                    lengths[0] == lengths[2] + 16,
                    format!("WRITE {} bytes, SEND {} bytes", lengths[0], lengths[2]),
                )
            },
        },
        LessonClaim {
            says: "Only what names memory says so on the wire: every WRITE and READ goes to a region of the server, no SEND does.",
            check: |seen| {
                let connections = run(seen)?.connections(OPERATIONS.len())?;
                let names: Vec<usize> = connections
                    .iter()
                    .map(|packets| {
                        first_requests(packets)
                            .iter()
                            .filter(|line| line.details.contains("server.mr"))
                            .count()
                    })
                    .collect();
                rule(names == [8, 8, 0, 8], format!("requests that name a region: {names:?}"))
            },
        },
    ],
    answer: &[
        "With WRITE and READ only the requester works: the other side's device serves them, and its program learns nothing, not even \
         that its memory changed. With SEND both work: each message costs the receiver a RECV posted before and a completion after.",
        "So one-sided operations suit data that is fetched or placed without a word, two-sided ones suit requests that somebody has to \
         act on. A WRITE followed by a SEND, or a WRITE with immediate, does both.",
    ],
};
