//! The least that RDMA does: a WRITE and a READ.

use lab::base::role::Role;
use roce::Part;

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::Plot;
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

pub(crate) const LESSON: Lesson = Lesson {
    name: "minimal_flow",
    title: "The minimal flow",
    question: "What does a program do, and what crosses the network, when one computer writes into another's memory?",
    before: &[
        "RDMA is remote direct memory access: a program asks its network device to read or write memory of another computer, and no \
         program over there takes part in it. The asking side is the *requester*, the other the *responder*; on both a *queue pair* is \
         the end of the connection. This lab has no such device: SoftRoCE, the kernel's driver rxe, does its work in software.",
        "Here `rdma_server` registers 4,096 bytes of memory, so that its device may let others at it, and tells address and key of them \
         when a client connects. `rdma_client` writes 18 bytes there (RDMA WRITE) and reads 4,096 back (RDMA READ). Each is a *work \
         request* that the program posts to its queue pair; when it is done, the program is told by a *completion*.",
    ],
    runs: &[LessonRun {
        name: "write_read",
        server: "rdma_server --once --json -v",
        client: "rdma_client {server} --json -v",
        options: &["--completions"],
    }],
    ladder: LadderPart { run: "write_read", connection: 0, from: LadderStart::First, limit: 14 },
    figures: |seen| {
        let run = seen.run("write_read")?;
        let sides = ["client", "server"];
        let of = |part: Part| {
            sides.map(|node| {
                let is_own = |name: &str| name.starts_with(node);
                run.sent().filter(|line| line.part == part && is_own(&line.queue_pairs[0])).count() as f64
            })
        };
        let (management, requests, answers) = (of(Part::Management), of(Part::Request), of(Part::Response));
        let completions = [Role::Client, Role::Server].map(|role| run.completions(role).len());
        let rows = sides.iter().enumerate().map(|(at, node)| {
            let counts = [management[at], requests[at], answers[at]].map(|count| count.to_string());
            [&[(*node).to_owned()][..], &counts, &[completions[at].to_string()]].concat()
        });
        let plot = Plot::bars("Packets that each side sent", sides.map(str::to_owned), "packets")
            .heights("connection management", management)
            .heights("requests", requests)
            .heights("answers", answers);
        Ok(LessonFigures::default()
            .table(&["side", "management", "requests", "answers", "completions told to the program"], rows)
            .plot(plot))
    },
    claims: &[
        LessonClaim {
            says: "Writing 18 bytes takes one packet there and one back: an RDMA WRITE and its acknowledgement.",
            check: |seen| {
                let run = seen.run("write_read")?;
                let (writes, acks) = (run.count("RC RDMA WRITE Only"), run.count("RC Acknowledge"));
                rule((writes, acks) == (1, 1), format!("{writes} WRITE, {acks} acknowledgement"))
            },
        },
        LessonClaim {
            says: "Reading 4,096 bytes takes one packet there and four back, of 1,024 bytes each: the path MTU.",
            check: |seen| {
                let run = seen.run("write_read")?;
                let requests = run.count("RC RDMA READ Request");
                let is_response = |words: &str| words.starts_with("RC RDMA READ response");
                let bytes: Vec<usize> = run
                    .sent()
                    .filter(|line| is_response(&line.words))
                    .filter_map(|line| line.payload_bytes)
                    .collect();
                rule(
                    requests == 1 && bytes == [1024; 4],
                    format!("{requests} request, responses of {bytes:?} bytes"),
                )
            },
        },
        LessonClaim {
            says: "The client's program is told twice that a work request is done; the server's program is never told of either.",
            check: |seen| {
                let run = seen.run("write_read")?;
                let [client, server] = [Role::Client, Role::Server].map(|role| run.completions(role).len());
                rule(
                    (client, server) == (2, 0),
                    format!("{client} completions at the client, {server} at the server"),
                )
            },
        },
        LessonClaim {
            says: "The client reads back the very bytes that it wrote.",
            check: |seen| {
                let results = seen.run("write_read")?.results(Role::Client);
                let is_verified = results.iter().any(|result| result["verified"] == true);
                rule(is_verified, format!("verified: {is_verified}"))
            },
        },
        LessonClaim {
            says: "The connection costs five packets, three to make it (REQ, REP, RTU) and two to end it (DREQ, DREP).",
            check: |seen| {
                let run = seen.run("write_read")?;
                let counts =
                    ["CM REQ", "CM REP", "CM RTU", "CM DREQ", "CM DREP"].map(|words| run.count(words));
                rule(counts == [1; 5], format!("REQ, REP, RTU, DREQ, DREP: {counts:?}"))
            },
        },
    ],
    answer: &[
        "The program makes memory known (registers it), connects, posts a work request, waits for its completion. On the wire a WRITE \
         carries address, key and data, and a short acknowledgement comes back; a READ carries address, key and length, and the data \
         come back in pieces of the path MTU, which are the acknowledgement as well.",
        "No program of the server runs for either: its device checks the key and moves the bytes. A card does so without the \
         processor; SoftRoCE, which stands for the card here, is the kernel's code and runs on it. That is why the server must have \
         told address and key before, and why it does not know when its memory changed. The other lessons are about what that costs, \
         what it saves, and what happens when a packet is lost.",
    ],
};
