//! WRITE with immediate, and the RECV that it takes up.

use lab::base::role::Role;
use serde_json::Value;

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::Plot;
use crate::lesson::seen::Seen;
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// Completions of RECVs at the server, with this status.
fn recvs(seen: &Seen, run: &str, status: &str) -> Result<Vec<Value>, String> {
    let all = seen.run(run)?.completions(Role::Server);
    Ok(all.into_iter().filter(|completion| completion["status"] == status).collect())
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "immediate",
    title: "Immediate data and the RECV",
    question: "How does a receiver learn that a WRITE has arrived, and what must it have done before?",
    before: &[
        "An *immediate* is a number of 32 bits that rides in the last packet of a WRITE or SEND, whatever number the sender likes; this \
         client sends the length. A WRITE with immediate puts its data where it says, as every WRITE does, and then takes up one RECV of \
         the receiver, whose completion tells length and immediate. No data goes into the RECV's own buffer. If no RECV is there, the \
         responder puts nothing anywhere and answers \"receiver not ready\".",
        "The first run writes four times with an immediate to a server that posted four RECVs; the second once, to a server that posted \
         none and, when the connection was made, allowed one retry.",
    ],
    runs: &[
        LessonRun {
            name: "four_recvs",
            server: "rdma_server_imm --once --count 4 --json -v",
            client: "rdma_client_imm {server} --count 4 --ack-timeout 19 --json -v",
            options: &["--completions"],
        },
        LessonRun {
            name: "no_recv",
            server: "rdma_server_imm --once --no-recv --rnr-retry 1 --json -v",
            client: "rdma_client_imm {server} --json -v",
            options: &[
                "--client-exit",
                "3",
                "--finding",
                "RnrRetriesEnded",
                "--counter",
                "server.send_rnr_err=some",
                "--counter",
                "client.completer_retry_err=some",
                "--counter",
                "client.rcvd_rnr_err=some",
                "--counter",
                "client.retry_rnr_exceeded_err=1",
                "--kernel-log",
                "client=make_send_cqe: non-flush error status = 13",
            ],
        },
    ],
    ladder: LadderPart { run: "no_recv", connection: 0, from: LadderStart::Named("RC RDMA WRITE"), limit: 6 },
    figures: |seen| {
        let counts = ["four_recvs", "no_recv"].map(|name| -> Result<[u64; 3], String> {
            let run = seen.run(name)?;
            let writes = run.count("RC RDMA WRITE Only with Immediate");
            let refused = run.count_part(roce::Part::NotReady);
            Ok([writes, refused, recvs(seen, name, "SUCCESS")?.len() as u64])
        });
        let [posted, none] = counts;
        let (posted, none) = (posted?, none?);
        let row = |name: &str, counts: [u64; 3]| {
            [&[name.to_owned()][..], &counts.map(|count| count.to_string())].concat()
        };
        let heads = ["run", "WRITEs with immediate on the wire", "RNR NAKs", "RECVs completed"];
        let names = ["WRITEs with immediate", "RNR NAKs", "RECVs completed"].map(str::to_owned);
        let plot = Plot::bars("With four RECVs, and with none", names, "count")
            .heights("four RECVs posted", posted.map(|count| count as f64))
            .heights("none posted", none.map(|count| count as f64));
        let rows = [row("four RECVs posted, four WRITEs", posted), row("none posted, one WRITE", none)];
        Ok(LessonFigures::default().table(&heads, rows).plot(plot))
    },
    claims: &[
        LessonClaim {
            says: "Each WRITE with immediate takes up one RECV: four completions at the server for four WRITEs.",
            check: |seen| {
                let recvs = recvs(seen, "four_recvs", "SUCCESS")?.len();
                rule(recvs == 4, format!("{recvs} completions of RECVs"))
            },
        },
        LessonClaim {
            says: "The completion tells the immediate and the length of what was written.",
            check: |seen| {
                let told: Vec<String> = recvs(seen, "four_recvs", "SUCCESS")?
                    .iter()
                    .map(|recv| format!("{} bytes, immediate {}", recv["length_bytes"], recv["imm"]))
                    .collect();
                rule(told.iter().all(|told| told == "22 bytes, immediate 22"), told.join("; "))
            },
        },
        LessonClaim {
            says: "Without a RECV the device refuses the WRITE for now: an RNR NAK, receiver not ready, for every time that it comes.",
            check: |seen| {
                let run = seen.run("no_recv")?;
                let writes = run.count("RC RDMA WRITE Only with Immediate");
                let refused = run.count_part(roce::Part::NotReady);
                rule(writes == 2 && refused == 2, format!("sent {writes} times, {refused} RNR NAKs"))
            },
        },
        LessonClaim {
            says: "After the retries that the server allows, the client's request ends with RNR_RETRY_EXC_ERR.",
            check: |seen| {
                let results = seen.run("no_recv")?.results(Role::Client);
                let status = results.first().map_or(Value::Null, |result| result["status"].clone());
                rule(status == "RNR_RETRY_EXC_ERR", format!("status {status}"))
            },
        },
    ],
    answer: &[
        "A plain WRITE tells nobody. One with immediate makes a completion on the receiver's side, and for that the receiver must have a \
         RECV posted, one for each message that is to come, before it comes.",
        "If there is none, the message is refused and tried again after a pause; if there never is one, it fails and the connection with \
         it. Servers therefore post RECVs before they accept a connection, and post another for each that completes.",
    ],
};
