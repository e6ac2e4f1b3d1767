//! RDMA against TCP: calls, bytes, processor.

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::Plot;
use crate::lesson::seen::{Seen, SeenRun, first_requests};
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// Carriers, in the order of the run.
const CARRIERS: [&str; 2] = ["RDMA", "TCP"];

/// Bytes that each carries: 64 messages of 64 KiB.
const PAYLOAD: f64 = 4_194_304.0;

fn run(seen: &Seen) -> Result<&SeenRun, String> {
    seen.run("both")
}

/// A number that both clients told.
fn both(seen: &Seen, key: &str) -> Result<[f64; 2], String> {
    let numbers = run(seen)?.numbers(key)?;
    numbers.try_into().map_err(|numbers| format!("results of two clients: {numbers:?}"))
}

/// Bytes on the wire of each, both directions, the connection's own left out.
fn on_the_wire(seen: &Seen) -> Result<[f64; 2], String> {
    let run = run(seen)?;
    let connections = run.connections(1)?;
    let rdma: u64 = connections[0].iter().map(|line| run.length(line)).sum();
    Ok([rdma as f64, run.tcp().1 as f64])
}

/// Frames on the wire of each, both directions.
fn frames(seen: &Seen) -> Result<[f64; 2], String> {
    let run = run(seen)?;
    Ok([run.connections(1)?[0].len() as f64, run.tcp().0 as f64])
}

/// Processor time in seconds that each client's program took, user's and system's.
fn processor(seen: &Seen) -> Result<[f64; 2], String> {
    match run(seen)?.processor_seconds()[..] {
        [rdma, both] => Ok([rdma, both - rdma]),
        ref other => Err(format!("the shell told {other:?}")),
    }
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "zero_copy",
    title: "Copies and zero copies: RDMA against TCP",
    question: "The same bytes over RDMA and over TCP: what does each cost?",
    before: &[
        "With TCP each message passes through the kernel: the program calls it to send, the kernel copies the bytes into buffers of its \
         own and cuts them into segments; on the other side it copies them out again when the program calls to receive. With RDMA the \
         device takes the bytes from the program's registered memory and puts them into the peer's: *zero copy*. The program hands \
         requests over in a queue that it shares with the device; with a card the kernel has no part in that.",
        "SoftRoCE has no such device: kernel threads do its work, and copy; each post calls the kernel, to wake them. So the number of \
         posts and the bytes are those of RDMA here, and processor time is not. The bench posts a quarter of its depth by one call: with \
         `--depth 16` four messages. 64 messages of 64 KiB go over an RDMA connection, then over a TCP stream, by the same two programs.",
    ],
    runs: &[LessonRun {
        name: "both",
        server: "rdma_bench_server 7476 --tcp --json & rdma_bench_server --once --json; wait",
        client: "rdma_bench_client {server} --size 64KiB --iterations 64 --depth 16 --ack-timeout 19 --json && times && \
                 rdma_bench_client {server} 7476 --tcp --size 64KiB --iterations 64 --json && times",
        options: &["--ready", "port:7475", "--stop", "SIGTERM"],
    }],
    ladder: LadderPart {
        run: "both",
        connection: 0,
        from: LadderStart::Named("RC RDMA WRITE First"),
        limit: 6,
    },
    figures: |seen| {
        let (posts, wire, frames) = (both(seen, "posts")?, on_the_wire(seen)?, frames(seen)?);
        let (elapsed, processor) = (both(seen, "elapsed_ns")?, processor(seen)?);
        let rows = (0..CARRIERS.len()).map(|at| {
            vec![
                CARRIERS[at].to_owned(),
                posts[at].to_string(),
                frames[at].to_string(),
                format!("{:.1} %", (wire[at] / PAYLOAD - 1.0) * 100.0),
                format!("{:.2} s", elapsed[at] / 1e9),
                format!("{:.2} s", processor[at]),
            ]
        });
        let heads = [
            "carrier",
            "calls that gave messages away",
            "frames, both ways",
            "bytes beside the payload",
            "time",
            "processor time of the sending program",
        ];
        let calls =
            Plot::bars("Calls for 64 messages", CARRIERS.map(str::to_owned), "calls").heights("", posts);
        let extra = wire.map(|bytes| (bytes / PAYLOAD - 1.0) * 100.0);
        let bytes = Plot::bars(
            "Bytes beside the payload, both ways",
            CARRIERS.map(str::to_owned),
            "% of the payload",
        )
        .heights("", extra);
        Ok(LessonFigures::default().table(&heads, rows).plot(calls).plot(bytes))
    },
    claims: &[
        LessonClaim {
            says: "Over RDMA a list of messages is one call; over TCP each message is a call at least.",
            check: |seen| {
                let [rdma, tcp] = both(seen, "posts")?;
                rule(rdma <= 16.0 && tcp >= 64.0, format!("{rdma} calls and {tcp}"))
            },
        },
        LessonClaim {
            says: "Each carrier sends less than 15 % beside the payload: headers and acknowledgements are no reason to choose one.",
            check: |seen| {
                let wire = on_the_wire(seen)?;
                let extra = wire.map(|bytes| (bytes / PAYLOAD - 1.0) * 100.0);
                let holds = extra.iter().all(|extra| *extra > 0.0 && *extra < 15.0);
                rule(holds, format!("RDMA {:.1} %, TCP {:.1} %", extra[0], extra[1]))
            },
        },
        LessonClaim {
            says: "RDMA names the memory once a message: one packet in 64 has address and key, the others follow it there.",
            check: |seen| {
                let connections = run(seen)?.connections(1)?;
                let own = first_requests(&connections[0]);
                let naming = own.iter().filter(|line| line.details.contains("server.mr")).count();
                rule(naming == 64 && own.len() == 64 * 64, format!("{naming} of {} packets", own.len()))
            },
        },
        LessonClaim {
            says: "Both carry the same 4 MiB.",
            check: |seen| {
                let bytes = both(seen, "bytes")?;
                rule(bytes == [PAYLOAD; 2], format!("{bytes:?} bytes"))
            },
        },
    ],
    answer: &[
        "On the wire they cost much the same. What RDMA saves is on the computers. With a card there is no call of the kernel for a \
         message, and no copy on either side; for a WRITE or a READ no program runs on the other side. Of that this run shows the calls \
         alone: SoftRoCE learns of posts by a system call; here one call posts four, so 16 calls in place of 64. TCP may hand over more \
         in one call as well; a card is not called at all.",
        "On SoftRoCE the kernel's threads do what the card would, copy and compute a checksum over each packet. Times and processor time \
         above are theirs, so they say nothing of cards; the calls and the bytes do.",
    ],
};
