//! Queue depth and throughput.

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::{Plot, Scale};
use crate::lesson::seen::{Seen, most_outstanding};
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// Depths, in the order of the run.
const DEPTHS: [f64; 5] = [1.0, 2.0, 4.0, 8.0, 16.0];

/// Delay of each request on the way, in seconds.
const DELAY_S: f64 = 0.02;

/// Messages a second at each depth.
fn rates(seen: &Seen) -> Result<Vec<f64>, String> {
    let rates = seen.run("sweep")?.numbers("messages_per_second")?;
    if rates.len() == DEPTHS.len() { Ok(rates) } else { Err(format!("{} results", rates.len())) }
}

/// The most messages under way at each depth, as the wire shows.
fn outstanding(seen: &Seen) -> Result<Vec<usize>, String> {
    let connections = seen.run("sweep")?.connections(DEPTHS.len())?;
    Ok(connections.iter().map(|packets| most_outstanding(packets)).collect())
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "queue_depth",
    title: "Queue depth and throughput",
    question: "Why keep several messages in flight, and how many?",
    before: &[
        "A requester that waits for each message before it posts the next one spends its time waiting: one message a round trip. With a \
         *depth* of n it keeps n under way. Little's law says what that is worth: messages a second are at most the depth divided by the \
         time that one takes, from its post to its completion.",
        "So that this time is known to be no less, the lab's switch holds each request for 20 ms; what the two computers take comes on \
         top. Then 40 messages of 64 bytes go at depths of 1, 2, 4, 8 and \
         16.",
    ],
    runs: &[LessonRun {
        name: "sweep",
        server: "rdma_bench_server --json",
        client: "for depth in 1 2 4 8 16; do rdma_bench_client {server} --size 64 --iterations 40 --depth $depth --signal-every 1 \
                 --ack-timeout 19 --json || exit 1; done",
        options: &[
            "--stop",
            "SIGTERM",
            "--fault",
            "action=\"delay\",ms=20,opcode=\"RC RDMA WRITE Only\",probability=1.0",
        ],
    }],
    ladder: LadderPart { run: "sweep", connection: 2, from: LadderStart::Named("RC RDMA WRITE"), limit: 18 },
    figures: |seen| {
        let (rates, outstanding) = (rates(seen)?, outstanding(seen)?);
        let rows = DEPTHS.iter().enumerate().map(|(at, depth)| {
            vec![
                depth.to_string(),
                format!("{:.0}", rates[at]),
                format!("{:.0}", depth / DELAY_S),
                outstanding[at].to_string(),
            ]
        });
        let heads = ["depth", "messages a second", "at most, by Little's law", "most under way on the wire"];
        let plot = Plot::lines(
            "Messages a second, each 20 ms on its way",
            ("depth", Scale::Doubling),
            ("messages a second", Scale::Doubling),
        )
        .series("this run", DEPTHS.into_iter().zip(rates.iter().copied()))
        .theory("depth / 20 ms: the most", DEPTHS.map(|depth| (depth, depth / DELAY_S)));
        Ok(LessonFigures::default().table(&heads, rows).plot(plot))
    },
    claims: &[
        LessonClaim {
            says: "No depth gives more messages a second than the depth divided by the 20 ms of the way.",
            check: |seen| {
                let rates = rates(seen)?;
                let holds = rates.iter().zip(DEPTHS).all(|(rate, depth)| *rate <= depth / DELAY_S);
                let values = rates
                    .iter()
                    .zip(DEPTHS)
                    .map(|(rate, depth)| format!("{depth}: {rate} of at most {:.0}", depth / DELAY_S));
                rule(holds, values.collect::<Vec<_>>().join("; "))
            },
        },
        LessonClaim {
            says: "A depth of 16 carries at least three times as many messages a second as a depth of 1.",
            check: |seen| {
                let rates = rates(seen)?;
                let (one, sixteen) = (rates[0], rates[DEPTHS.len() - 1]);
                rule(
                    sixteen >= 3.0 * one,
                    format!("{one} and {sixteen} messages a second, {:.1} times", sixteen / one),
                )
            },
        },
        LessonClaim {
            says: "The wire never shows more messages without an acknowledgement than the depth.",
            check: |seen| {
                let outstanding = outstanding(seen)?;
                let holds = outstanding.iter().zip(DEPTHS).all(|(most, depth)| *most as f64 <= depth);
                rule(holds, format!("the most at depths {DEPTHS:?}: {outstanding:?}"))
            },
        },
    ],
    answer: &[
        "Because a message that is on its way takes no time of the requester's. The rate grows with the depth until something else is \
         full: the processor, the device, the link. From there on more depth only makes each message wait longer.",
        "Enough is what fills the way: rate wanted times time of one message. 100 Gbit/s with messages of 4 KiB are 3 million a second; at \
         10 us a message 30 have to be under way.",
    ],
};
