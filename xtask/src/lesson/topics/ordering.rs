//! Order, and the meaning of a completion.

use lab::base::role::Role;
use roce::{Fate, MessageKind};

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::{Plot, Scale};
use crate::lesson::seen::{Seen, SeenRun, psn, requests, returns};
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// WRITEs, and READs behind them.
const MESSAGES: usize = 4;

/// Places of the completions at the client, as the numbers that their work requests were posted with.
fn completions(run: &SeenRun) -> Vec<u64> {
    run.completions(Role::Client).iter().filter_map(|completion| completion["wr_id"].as_u64()).collect()
}

/// Packets behind the one that was overtaken that had arrived before the requester went back, and were sent again.
fn in_vain(seen: &Seen) -> Result<usize, String> {
    let connections = seen.run("overtaken")?.connections(1)?;
    let requests = requests(&connections[0]);
    let late =
        requests.iter().position(|line| line.fate == Fate::Reordered).ok_or("no packet was overtaken")?;
    let back = returns(&requests).into_iter().find(|at| *at > late).ok_or("the requester did not go back")?;
    let missing = psn(requests[late]);
    let before: Vec<_> =
        requests[late + 1..back].iter().filter(|line| psn(line) > missing).map(|line| psn(line)).collect();
    Ok(before.iter().filter(|passed| requests[back..].iter().any(|line| psn(line) == **passed)).count())
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "ordering",
    title: "Order, and what a completion means",
    question: "Can a later message overtake an earlier one, and what is certain once a completion is there?",
    before: &[
        "The queue pairs here are *reliable connections* (RC). Their work requests are begun in the order in which they were posted, and \
         their completions come in that order. A completion of a WRITE says that the responder's device has acknowledged all of it.",
        "The client posts four WRITEs of 2,500 bytes at once, three packets each, then four READs of the same memory. On the way the \
         second packet of one WRITE is overtaken by the packet behind it. The responder answers the overtaker with a NAK, and the \
         requester goes back; while it does, packets of the first attempt and of the second are under way together, so a second NAK or a \
         wait for the ACK timeout may follow.",
    ],
    runs: &[LessonRun {
        name: "overtaken",
        server: "rdma_server --once --json -v",
        client: "rdma_client {server} --size 2500 --count 4 --depth 4 --ack-timeout 18 --json -v",
        options: &[
            "--completions",
            "--fault",
            "action=\"reorder\",opcode=\"RC RDMA WRITE Middle\",nth=2",
            "--finding",
            "RequestPsnGap",
            "--counter",
            "server.out_of_seq_request=some",
            "--counter",
            "server.duplicate_request=any",
            "--counter",
            "client.completer_retry_err=some",
            "--counter",
            "client.rcvd_seq_err=some",
        ],
    }],
    ladder: LadderPart {
        run: "overtaken",
        connection: 0,
        from: LadderStart::Named("RC RDMA WRITE First"),
        limit: 30,
    },
    figures: |seen| {
        let run = seen.run("overtaken")?;
        let connections = run.connections(1)?;
        let requests = requests(&connections[0]);
        let first = requests.first().map_or(0, |line| line.timestamp_ns);
        let points = requests
            .iter()
            .filter_map(|line| Some(((line.timestamp_ns - first) as f64 / 1e6, psn(line)? as f64)));
        let plot = Plot::lines(
            "Packets of the client: the line falls where it goes back",
            ("milliseconds since the first", Scale::Linear),
            ("PSN, from the first on", Scale::Linear),
        )
        .series("requests", points);
        let rows = run.report.messages.iter().map(|message| {
            let kind = message.kind.to_string();
            vec![
                kind,
                message.packet_first.to_string(),
                message.packet_last.to_string(),
                message.outcome.to_string(),
            ]
        });
        Ok(LessonFigures::default()
            .table(&["message", "first packet", "last packet", "outcome"], rows)
            .plot(plot))
    },
    claims: &[
        LessonClaim {
            says: "Completions come in the order in which the work requests were posted.",
            check: |seen| {
                let order = completions(seen.run("overtaken")?);
                let holds = order.len() == 2 * MESSAGES && order.windows(2).all(|two| two[0] < two[1]);
                rule(holds, format!("wr_id of the completions: {order:?}"))
            },
        },
        LessonClaim {
            says: "The responder takes nothing out of order: what overtook the late packet had arrived, and was sent again all the same.",
            check: |seen| {
                let in_vain = in_vain(seen)?;
                rule(
                    in_vain >= 1,
                    format!("{in_vain} packets had arrived behind the late one and were sent again"),
                )
            },
        },
        LessonClaim {
            says: "There are as many completions as messages whose answer is on the wire: none is told without.",
            check: |seen| {
                let run = seen.run("overtaken")?;
                let done = run.report.messages.iter().filter(|message| message.outcome.is_done()).count();
                let told = completions(run).len();
                rule(
                    done == told && done == 2 * MESSAGES,
                    format!("{told} completions, {done} messages answered"),
                )
            },
        },
        LessonClaim {
            says: "READs that follow the WRITEs find what these wrote: all four come back as they were written.",
            check: |seen| {
                let run = seen.run("overtaken")?;
                let reads =
                    run.report.messages.iter().filter(|message| message.kind == MessageKind::Read).count();
                let results = run.results(Role::Client);
                let is_verified = results.iter().any(|result| result["verified"] == true);
                rule(is_verified && reads == MESSAGES, format!("{reads} READs, verified: {is_verified}"))
            },
        },
    ],
    answer: &[
        "On one queue pair no request overtakes another: the responder takes packets in the order of their PSNs and discards what comes \
         too early. Packets may arrive out of order, but none is taken out of order. So a network that sends packets over several paths \
         costs retransmissions, not order.",
        "A successful completion of a WRITE says that the other device has accepted all of it and answers for it, and that the \
         requester may use its own buffer again. Whether the bytes are in the other memory by then or on the last stretch to it, it \
         does not say; what follows on the same connection finds them there. Nor does it say that the other program has looked. Between \
         two queue pairs there is no \
         order at all. And what a READ or atomic fetches may be under way still when the next request is sent: a WRITE or SEND of those \
         very bytes needs a *fence*, which makes it wait for them.",
    ],
};
