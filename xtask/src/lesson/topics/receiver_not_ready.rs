//! RNR NAKs and their timers.

use lab::base::role::Role;
use roce::Part;

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::Plot;
use crate::lesson::seen::{Seen, requests};
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// Time that an RNR NAK asks for, in milliseconds: by RDMA CM, and by hand.
const TIMERS_MS: [f64; 2] = [655.36, 0.64];

/// Runs, in the order of the timers.
const RUNS: [&str; 2] = ["by_cm", "by_hand"];

/// Number of RNR NAKs in a run.
fn refusals(seen: &Seen, run: &str) -> Result<u64, String> {
    Ok(seen.run(run)?.count_part(Part::NotReady))
}

/// Times in milliseconds from an RNR NAK to the request that comes again.
fn pauses(seen: &Seen, run: &str) -> Result<Vec<f64>, String> {
    let connections = seen.run(run)?.connections(1)?;
    let pauses = connections[0].windows(2).filter_map(|two| {
        let is_again = two[0].part == Part::NotReady && two[1].part == Part::Request;
        is_again.then(|| two[1].timestamp_ns.saturating_sub(two[0].timestamp_ns) as f64 / 1e6)
    });
    Ok(pauses.collect())
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::MAX, f64::min)
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "receiver_not_ready",
    title: "Receiver not ready",
    question: "What happens when a SEND arrives and no RECV is posted, and who decides how long to wait?",
    before: &[
        "A SEND takes up a RECV. If there is none the responder answers with an RNR NAK, receiver not ready, and discards the message. The \
         NAK carries a time: the requester waits at least so long and sends the message again. How often it may do so the responder's side \
         says when the connection is made, 0 to 7 times, and 7 means without end.",
        "The time is an attribute of the *responder's* queue pair. Connections by RDMA CM have 655.36 ms on this kernel, for which the NAK \
         carries the code 0; those that `--no-cm` makes by hand ask for 0.64 ms. rxe counts in ticks of the kernel's clock, 4 ms, and \
         rounds this time up. In both runs the server posts its RECV 300 ms late, and the client may come again without end.",
    ],
    runs: &[
        LessonRun {
            name: "by_cm",
            server: "rdma_server_send --once --recv-after-ms 300 --json -v",
            client: "rdma_client_send {server} --json -v",
            options: &[
                "--counter",
                "server.send_rnr_err=some",
                "--counter",
                "client.completer_retry_err=any",
                "--counter",
                "client.rcvd_rnr_err=some",
            ],
        },
        LessonRun {
            name: "by_hand",
            server: "rdma_server_send --once --no-cm --recv-after-ms 300 --json -v",
            client: "rdma_client_send {server} --no-cm --json -v",
            options: &[
                "--counter",
                "server.send_rnr_err=some",
                "--counter",
                "client.completer_retry_err=any",
                "--counter",
                "client.rcvd_rnr_err=some",
            ],
        },
    ],
    ladder: LadderPart { run: "by_cm", connection: 0, from: LadderStart::Named("RC SEND"), limit: 4 },
    figures: |seen| {
        let mut rows = Vec::new();
        let (mut counts, mut waits) = (Vec::new(), Vec::new());
        for (name, timer) in RUNS.into_iter().zip(TIMERS_MS) {
            let (refusals, pauses) = (refusals(seen, name)?, pauses(seen, name)?);
            let requests = requests(&seen.run(name)?.connections(1)?[0]).len();
            rows.push(vec![
                name.replace('_', " "),
                format!("{timer} ms"),
                refusals.to_string(),
                requests.to_string(),
                format!("{:.2} ms", least(&pauses)),
            ]);
            counts.push(refusals as f64);
            waits.push(least(&pauses));
        }
        let heads = [
            "connection",
            "time that the NAK asks for",
            "RNR NAKs",
            "times the SEND was sent",
            "shortest pause",
        ];
        let names = || RUNS.map(|name| name.replace('_', " "));
        Ok(LessonFigures::default().table(&heads, rows).plot(
            Plot::bars("RNR NAKs until the RECV was posted, 300 ms late", names(), "RNR NAKs")
                .heights("", counts),
        ))
    },
    claims: &[
        LessonClaim {
            says: "The requester waits at least as long as the NAK asks for, with either time.",
            check: |seen| {
                let shortest = [least(&pauses(seen, RUNS[0])?), least(&pauses(seen, RUNS[1])?)];
                let holds =
                    shortest.iter().zip(TIMERS_MS).all(|(pause, timer)| *pause < f64::MAX && *pause >= timer);
                rule(holds, format!("{:.2} ms of 655.36 ms, {:.2} ms of 0.64 ms", shortest[0], shortest[1]))
            },
        },
        LessonClaim {
            says: "A long time costs delay, a short one packets: one NAK is enough with 655.36 ms, with 0.64 ms there are several.",
            check: |seen| {
                let counts = [refusals(seen, RUNS[0])?, refusals(seen, RUNS[1])?];
                rule(
                    counts[0] >= 1 && counts[1] > counts[0],
                    format!("{} NAK, {} NAKs", counts[0], counts[1]),
                )
            },
        },
        LessonClaim {
            says: "Every refused SEND comes again whole, and the last one arrives: as many NAKs as there are SENDs but one.",
            check: |seen| {
                let mut values = Vec::new();
                let mut holds = true;
                for name in RUNS {
                    let sends = requests(&seen.run(name)?.connections(1)?[0]).len() as u64;
                    let refusals = refusals(seen, name)?;
                    holds &= sends == refusals + 1;
                    values.push(format!("{sends} SENDs, {refusals} NAKs"));
                }
                rule(holds, values.join("; "))
            },
        },
        LessonClaim {
            says: "Neither program is told of any of it: the client has one completion, and it is a success.",
            check: |seen| {
                let mut told = Vec::new();
                for name in RUNS {
                    let completions = seen.run(name)?.completions(Role::Client);
                    told.extend(completions.iter().map(|completion| completion["status"].to_string()));
                }
                rule(told == ["\"SUCCESS\"", "\"SUCCESS\""], told.join(", "))
            },
        },
    ],
    answer: &[
        "The message waits at the requester. The responder's time decides how often it knocks: too long and a RECV that was a moment late \
         costs half a second, too short and the wire fills with messages that are discarded.",
        "RNR NAKs are a sign that a receiver posts its RECVs too late or too few of them. Nobody but the counters says so \
         (`send_rnr_err`, `rcvd_rnr_err`), as long as the retries suffice.",
    ],
};
