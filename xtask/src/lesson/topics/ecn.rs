//! Congestion marks.

use roce::{Fate, PacketLine};

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::Plot;
use crate::lesson::seen::{Seen, requests};
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// Counts of a connection.
struct Marked {
    requests: usize,
    marked: usize,
    again: usize,
    notifications: usize,
}

/// Both connections: without marks, and with.
fn both(seen: &Seen) -> Result<[Marked; 2], String> {
    let connections = seen.run("marked")?.connections(2)?;
    let of = |packets: &Vec<&PacketLine>| {
        let requests = requests(packets);
        Marked {
            requests: requests.iter().filter(|line| line.words != "CNP").count(),
            marked: requests.iter().filter(|line| line.fate == Fate::EcnMarked).count(),
            again: requests.iter().filter(|line| line.again.is_some()).count(),
            notifications: packets.iter().filter(|line| line.words == "CNP").count(),
        }
    };
    Ok([of(&connections[0]), of(&connections[1])])
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "ecn",
    title: "Congestion marks",
    question: "A switch marks packets because its queue grows: what do the marks lead to?",
    before: &[
        "Two bits of the IP header are for *explicit congestion notification*, ECN. A switch whose queue grows sets both, \"congestion \
         experienced\", rather than drop the packet. A receiver that sees it answers with a CNP, a congestion notification packet, and the \
         sender slows down: DCQCN, the algorithm of most cards, cuts its rate by up to a half at a CNP and raises it again step by step.",
        "Two connections write 64 KiB each. The lab's switch marks every data packet of the second. In the trace a packet is \"ECN \
         marked\" where the switch alters it, and \"congestion experienced\" as it goes on.",
    ],
    runs: &[LessonRun {
        name: "marked",
        server: "rdma_bench_server --json",
        client: "for marks in no yes; do rdma_bench_client {server} --size 8KiB --iterations 8 --depth 4 --ack-timeout 19 --json || exit 1; done",
        options: &["--stop", "SIGTERM", "--fault", "action=\"mark-ecn\",to=\"server.qp2\",probability=1.0"],
    }],
    ladder: LadderPart { run: "marked", connection: 1, from: LadderStart::Named("RC RDMA WRITE"), limit: 14 },
    figures: |seen| {
        let both = both(seen)?;
        let rows = both.iter().zip(["without marks", "marked"]).map(|(one, name)| {
            let counts = [one.requests, one.marked, one.notifications, one.again];
            [&[name.to_owned()][..], &counts.map(|count| count.to_string())].concat()
        });
        let heads = ["connection", "data packets", "marked", "CNPs", "sent again"];
        let plot = Plot::bars(
            "Packets of both connections",
            ["without marks", "marked"].map(str::to_owned),
            "packets",
        )
        .heights("data packets", both.iter().map(|one| one.requests as f64))
        .heights("marked by the switch", both.iter().map(|one| one.marked as f64))
        .heights("CNPs", both.iter().map(|one| one.notifications as f64));
        Ok(LessonFigures::default().table(&heads, rows).plot(plot))
    },
    claims: &[
        LessonClaim {
            says: "Every data packet of the second connection arrives marked, none of the first.",
            check: |seen| {
                let [plain, marked] = both(seen)?;
                let holds = plain.marked == 0 && marked.marked == marked.requests && marked.requests > 0;
                rule(
                    holds,
                    format!(
                        "{} of {}, {} of {}",
                        plain.marked, plain.requests, marked.marked, marked.requests
                    ),
                )
            },
        },
        LessonClaim {
            says: "A mark costs no packet: both connections need as many for the same messages.",
            check: |seen| {
                let [plain, marked] = both(seen)?;
                let needed = [plain.requests - plain.again, marked.requests - marked.again];
                rule(needed[0] == needed[1], format!("{} and {} packets", needed[0], needed[1]))
            },
        },
        LessonClaim {
            says: "SoftRoCE answers no mark: there is no CNP, so its sender does not slow down.",
            check: |seen| {
                let notifications = seen.run("marked")?.count("CNP");
                rule(notifications == 0, format!("{notifications} CNPs"))
            },
        },
        LessonClaim {
            says: "All messages arrive with marks as without.",
            check: |seen| {
                let messages = seen.run("marked")?.numbers("messages")?;
                rule(messages == [8.0, 8.0], format!("{messages:?}"))
            },
        },
    ],
    answer: &[
        "By themselves to nothing: a mark only asks the sender to slow down. It takes a receiver that turns it into a CNP and a sender \
         that slows down, and both are the network cards' part. SoftRoCE does neither, as this run shows; with two cards the same run \
         would have CNPs and a pause behind each.",
        "For a program nothing changes but the rate. Whether marks are heeded is seen on the wire (CNPs) and in the cards' counters \
         (`np_ecn_marked_roce_packets`, `np_cnp_sent`, `rp_cnp_handled`), and it decides whether a full queue ends in slower senders or in \
         lost packets and go-back-N.",
    ],
};
