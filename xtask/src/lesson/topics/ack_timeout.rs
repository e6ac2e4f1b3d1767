//! The ACK timeout, and what ends a connection.

use lab::base::role::Role;
use roce::PacketLine;

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::{Plot, Scale};
use crate::lesson::seen::{Seen, quiet_ms, requests};
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// Exponents of the run.
const EXPONENTS: [u32; 4] = [15, 16, 17, 18];

/// Transmissions of a request with `--retry-count 2`.
const TRANSMISSIONS: usize = 3;

/// Tick of the kernel's clock in milliseconds, in which rxe counts and rounds down (rxe_qp.c, `nsecs_to_jiffies`; Debian's kernels: `CONFIG_HZ=250`).
const TICK_MS: f64 = 4.0;

/// Timeout in milliseconds: 4.096 us times two to the power.
fn timeout_ms(exponent: u32) -> f64 {
    0.004_096 * f64::from(exponent).exp2()
}

/// Time in milliseconds until the lost WRITE of each connection was sent again.
fn pauses(seen: &Seen) -> Result<Vec<f64>, String> {
    let connections = seen.run("lost")?.connections(EXPONENTS.len())?;
    let pause = |packets: &Vec<&PacketLine>| {
        let first = quiet_ms(&requests(packets)).first().copied();
        first.ok_or_else(|| "a lost WRITE was not sent again".to_owned())
    };
    connections.iter().map(pause).collect()
}

/// Transmissions of the first packet that was cut off.
fn transmissions(seen: &Seen) -> Result<usize, String> {
    let connections = seen.run("cut")?.connections(1)?;
    let requests = requests(&connections[0]);
    let cut = requests.iter().find(|line| line.fate == roce::Fate::LinkCut).ok_or("nothing was cut off")?;
    Ok(requests.iter().filter(|line| line.psn == cut.psn).count())
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "ack_timeout",
    title: "The ACK timeout",
    question: "What if nothing answers at all: how long does a requester wait, and when does it give up?",
    before: &[
        "A NAK tells of a missing packet only if a later packet shows the gap. When the last one is lost, or the answer, there is silence. \
         The requester then waits for its *ACK timeout*, 4.096 us times two to the power of an exponent that the connection was made with, \
         and sends again; after `--retry-count` times in vain it gives up.",
        "In the first run the switch drops the only packet of a WRITE, once on each of four connections with exponents 15, 16, 17 and 18. \
         In the second the link is cut for good in the middle of a WRITE, with two retries and exponent 14.",
    ],
    runs: &[
        LessonRun {
            name: "lost",
            server: "rdma_server --json",
            client: "for e in 15 16 17 18; do rdma_client {server} --ack-timeout $e --json || exit 1; done",
            options: &[
                "--stop",
                "SIGTERM",
                "--fault",
                "action=\"drop\",opcode=\"RC RDMA WRITE Only\",nth=1",
                "--counter",
                "client.completer_retry_err=some",
                "--counter",
                "server.duplicate_request=any",
            ],
        },
        LessonRun {
            name: "cut",
            server: "rdma_server --once --timeout 6 --json -v",
            client: "rdma_client {server} --size 4096 --ack-timeout 14 --retry-count 2 --timeout 5 --json -v",
            options: &[
                "--fault",
                "action=\"cut\",opcode=\"RC RDMA WRITE Middle\",nth=2",
                "--server-exit",
                "6",
                "--client-exit",
                "3",
                "--finding",
                "RequestNotAnswered",
                "--counter",
                "client.completer_retry_err=some",
                "--counter",
                "client.retry_exceeded_err=1",
                "--kernel-log",
                "client=make_send_cqe: non-flush error status = 12",
            ],
        },
    ],
    ladder: LadderPart { run: "lost", connection: 1, from: LadderStart::Named("RC RDMA WRITE"), limit: 5 },
    figures: |seen| {
        let pauses = pauses(seen)?;
        let rows = EXPONENTS.iter().zip(&pauses).map(|(exponent, pause)| {
            vec![exponent.to_string(), format!("{:.1} ms", timeout_ms(*exponent)), format!("{pause:.1} ms")]
        });
        let points = || EXPONENTS.iter().map(|exponent| f64::from(*exponent));
        let plot = Plot::lines(
            "Silence until a lost WRITE was sent again",
            ("exponent of the ACK timeout", Scale::Linear),
            ("milliseconds", Scale::Doubling),
        )
        .series("this run", points().zip(pauses.iter().copied()))
        .theory("4.096 us times 2 to the exponent", points().zip(EXPONENTS.map(timeout_ms)));
        Ok(LessonFigures::default().table(&["exponent", "timeout", "silence seen"], rows).plot(plot))
    },
    claims: &[
        LessonClaim {
            says: "The lost WRITE is sent again, after no less than 4.096 us times two to the exponent, but for one tick of the kernel's \
                   clock (4 ms): rxe counts in ticks and rounds this time down.",
            check: |seen| {
                let pauses = pauses(seen)?;
                let holds = pauses
                    .iter()
                    .zip(EXPONENTS)
                    .all(|(pause, exponent)| *pause >= timeout_ms(exponent) - TICK_MS);
                let values = pauses.iter().zip(EXPONENTS).map(|(pause, exponent)| {
                    format!("{exponent}: {pause:.1} ms for {:.1} ms", timeout_ms(exponent))
                });
                rule(holds, values.collect::<Vec<_>>().join("; "))
            },
        },
        LessonClaim {
            says: "Nothing but silence tells of this loss: the server sends no NAK.",
            check: |seen| {
                let run = seen.run("lost")?;
                let naks = run.count_part(roce::Part::Refusal);
                rule(naks == 0, format!("{naks} NAKs"))
            },
        },
        LessonClaim {
            says: "With two retries and no answer ever a packet is sent three times, and the request ends with RETRY_EXC_ERR.",
            check: |seen| {
                let sent = transmissions(seen)?;
                let results = seen.run("cut")?.results(Role::Client);
                let status = results.first().map_or_else(String::new, |result| result["status"].to_string());
                rule(
                    sent == TRANSMISSIONS && status == "\"RETRY_EXC_ERR\"",
                    format!("sent {sent} times, status {status}"),
                )
            },
        },
    ],
    answer: &[
        "It waits for the ACK timeout, 4.096 us times two to the exponent, sends again, and gives up after the retry count: the work \
         request completes with RETRY_EXC_ERR, and the queue pair is in the error state. So a dead link is noticed after (retries + 1) \
         times the timeout: with exponent 14 and two retries after three times 67 ms, a fifth of a second.",
        "The timeout is a floor, give or take the device's own clock: rxe counts ticks of 4 ms, network cards have a few steps of their \
         own, and a busy computer is later still. Too short a timeout makes requesters repeat what is merely late; too long a one leaves a \
         lost last packet unnoticed. The usual 14 to 18 are 67 ms to 1 s: for ever, beside a round trip of microseconds. That is why it is \
         so costly to lose the last packet, or an answer.",
    ],
};
