//! Keys and protection.

use lab::base::role::Role;
use roce::{MessageOutcome, Part};
use serde_json::Value;

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::Plot;
use crate::lesson::seen::Seen;
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// Attempts, in the order of the run.
const ATTEMPTS: [&str; 3] = ["a key that was never given", "one byte beyond the region", "as it was told"];

/// Statuses that the client's program told, a word each; "ok" of a success.
fn statuses(seen: &Seen) -> Result<Vec<String>, String> {
    let results = seen.run("attempts")?.results(Role::Client);
    let word = |result: &Value| match result["ok"] == true {
        true => "ok".to_owned(),
        false => result["status"].as_str().unwrap_or("?").to_owned(),
    };
    match results.len() {
        3 => Ok(results.iter().map(word).collect()),
        other => Err(format!("{other} results")),
    }
}

/// NAKs of each connection, and acknowledgements.
fn answers(seen: &Seen) -> Result<Vec<[usize; 2]>, String> {
    let connections = seen.run("attempts")?.connections(ATTEMPTS.len())?;
    let of = |packets: &Vec<&roce::PacketLine>, part: Part| {
        packets.iter().filter(|line| line.part == part).count()
    };
    Ok(connections.iter().map(|packets| [of(packets, Part::Refusal), of(packets, Part::Response)]).collect())
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "keys",
    title: "Keys and protection",
    question: "What keeps a peer from reading and writing wherever it likes?",
    before: &[
        "Memory is open to the network only where a program registers it, as a *memory region*, with the rights that it names: remote write, \
         remote read, atomics. Registration draws a *remote key*, rkey. Every WRITE, READ and atomic carries the rkey, and the \
         responder's device checks key, bounds and rights before it touches memory.",
        "Three clients, one after the other: the first flips one bit of the key, the second writes so that its last byte lies beyond the \
         region, the third does as it was told. The trace names each region by the key that was used, so a wrong key is a region that nobody \
         told of.",
    ],
    runs: &[LessonRun {
        name: "attempts",
        server: "rdma_server --json",
        client: "for wrong in rkey bounds; do rdma_client {server} --wrong $wrong --json; test $? = 3 || exit 1; done; \
                 rdma_client {server} --ack-timeout 19 --json",
        options: &[
            "--stop",
            "SIGTERM",
            "--finding",
            "RequestRefused",
            "--kernel-log",
            "client=make_send_cqe: non-flush error status = 10",
        ],
    }],
    ladder: LadderPart { run: "attempts", connection: 0, from: LadderStart::First, limit: 8 },
    figures: |seen| {
        let (statuses, answers) = (statuses(seen)?, answers(seen)?);
        let rows = ATTEMPTS.iter().enumerate().map(|(at, name)| {
            vec![
                (*name).to_owned(),
                answers[at][0].to_string(),
                answers[at][1].to_string(),
                format!("`{}`", statuses[at]),
            ]
        });
        let heads = ["attempt", "NAKs", "acknowledgements and responses", "told to the client's program"];
        let plot = Plot::bars(
            "Answers of the server's device",
            ["key", "bounds", "right"].map(str::to_owned),
            "packets",
        )
        .heights("NAK remote access error", answers.iter().map(|answer| answer[0] as f64))
        .heights("acknowledgements and READ responses", answers.iter().map(|answer| answer[1] as f64));
        Ok(LessonFigures::default().table(&heads, rows).plot(plot))
    },
    claims: &[
        LessonClaim {
            says: "A wrong key and a wrong address are each refused by one NAK and by nothing else; the right request is not.",
            check: |seen| {
                let answers = answers(seen)?;
                let holds = answers[0] == [1, 0] && answers[1] == [1, 0] && answers[2][0] == 0;
                rule(holds, format!("NAKs and other answers: {answers:?}"))
            },
        },
        LessonClaim {
            says: "The client's program is told REM_ACCESS_ERR: its request, and with it the connection, has failed.",
            check: |seen| {
                let statuses = statuses(seen)?;
                rule(statuses == ["REM_ACCESS_ERR", "REM_ACCESS_ERR", "ok"], statuses.join(", "))
            },
        },
        LessonClaim {
            says: "The wire says \"remote access error\" for both reasons alike: what was wrong the peer is not told.",
            check: |seen| {
                let refused: Vec<String> = seen
                    .run("attempts")?
                    .report
                    .messages
                    .iter()
                    .filter(|message| matches!(message.outcome, MessageOutcome::Refused(_)))
                    .map(|message| message.outcome.to_string())
                    .collect();
                let holds =
                    refused.len() == 2 && refused.iter().all(|words| words.contains("remote access error"));
                rule(holds, refused.join(", "))
            },
        },
        LessonClaim {
            says: "Nothing of a refused WRITE reaches the server's memory: its program finds no text there.",
            check: |seen| {
                let results = seen.run("attempts")?.results(Role::Server);
                let found: Vec<bool> = results.iter().map(|result| result["ok"] == true).collect();
                rule(found == [false, false, true], format!("the server found the text: {found:?}"))
            },
        },
    ],
    answer: &[
        "The device at the other end: it holds each request against the region that the key names. What does not fit touches no memory, is \
         answered by a fatal NAK, and ends the connection; a new one may be made. The server's program, which posted nothing, learns only that its client has \
         left.",
        "A key is a number of 32 bits that travels in the clear, and of which rxe draws eight bits anew. It protects against mistakes, not \
         against somebody who reads the wire or guesses. Keep regions small, give no more rights than are needed, and take keys back \
         (deregister, or invalidate) when they are no longer needed.",
    ],
};
