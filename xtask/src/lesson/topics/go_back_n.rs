//! Loss: go-back-N and goodput.

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::{Plot, Scale, number};
use crate::lesson::seen::{Seen, requests, returns};
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// Losses, in the order of the run.
const LOSSES: [f64; 4] = [0.0, 0.001, 0.01, 0.05];

/// Packets that may be under way: four messages of four packets.
const WINDOW: f64 = 16.0;

/// Distance from the theory that chance may make: the losses of a few thousand packets are not exactly the share that was asked for.
const CHANCE: f64 = 0.03;

/// A connection of the run.
struct Lossy {
    /// Packets that the messages take.
    needed: f64,
    /// Packets that were sent.
    sent: f64,
    /// Packets that were lost.
    lost: f64,
    /// Returns to an earlier packet.
    returns: f64,
    /// Bytes a second.
    rate: f64,
}

impl Lossy {
    /// Share of the packets sent that was needed.
    fn goodput(&self) -> f64 {
        self.needed / self.sent
    }
}

/// The four connections.
fn all(seen: &Seen) -> Result<Vec<Lossy>, String> {
    let run = seen.run("sweep")?;
    let rates = run.numbers("bytes_per_second")?;
    let connections = run.connections(LOSSES.len())?;
    if rates.len() != LOSSES.len() {
        return Err(format!("{} results", rates.len()));
    }
    let lossy = connections.iter().zip(rates).map(|(packets, rate)| {
        let requests = requests(packets);
        let first_time = requests.iter().filter(|line| line.again.is_none()).count();
        Lossy {
            needed: first_time as f64,
            sent: requests.len() as f64,
            lost: requests.iter().filter(|line| line.fate == roce::Fate::Dropped).count() as f64,
            returns: returns(&requests).len() as f64,
            rate,
        }
    });
    Ok(lossy.collect())
}

/// Goodput of go-back-N, as a share of what is sent: each loss costs `window` packets.
fn theory(loss: f64, window: f64) -> f64 {
    (1.0 - loss) / (1.0 - loss + loss * window)
}

/// Points of a theory over losses from 0 to 5.5 %.
fn curve(of: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    (0..=22).map(|step| f64::from(step) * 0.0025).map(|loss| (loss * 100.0, of(loss) * 100.0)).collect()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "go_back_n",
    title: "A lost packet: go-back-N",
    question: "What do 0.1, 1 and 5 % lost packets do to what gets through?",
    before: &[
        "A reliable connection (RC) numbers its packets: the packet sequence number, PSN. A responder takes them in this order and no \
         other. When one is missing it answers with a NAK \"PSN sequence error\" and discards everything that comes behind it, and the \
         requester goes back to the missing one and sends all from there on again: *go-back-N*.",
        "Here 600 WRITEs of 4,096 bytes go over each of four connections, four in flight at a time, which is at most 16 packets of 1,024 \
         bytes. The lab's switch loses none of the packets of the first connection, 0.1, 1 and 5 % of the others', as a seed decides.",
        "*Goodput* is here the share of the packets sent that was needed. At a loss of p a try gets through with probability 1 - p; where it does not, N packets are sent again, and that try \
         may fail as well. Each packet has p / (1 - p) such failures on average, so of 1 + N p / (1 - p) packets sent one was \
         needed: a share of (1 - p) / (1 - p + p N), for N = 16 and 5 % a little over a half. Two losses \
         within one window may cost one return. The two dashed lines are those for N = 1, where only the \
         lost packet would come again, and for N = 16, the whole window.",
    ],
    runs: &[LessonRun {
        name: "sweep",
        server: "rdma_bench_server --json",
        client: "for loss in 0 0.1 1 5; do rdma_bench_client {server} --size 4KiB --iterations 600 --depth 4 --signal-every 1 --ack-timeout 15 \
                 --json || exit 1; done",
        options: &[
            "--stop",
            "SIGTERM",
            "--timeout",
            "180",
            // Of 2,400 packets this seed loses two at 0.1 %.
            "--fault",
            "action=\"drop\",to=\"server.qp2\",probability=0.001,seed=4",
            "--fault",
            "action=\"drop\",to=\"server.qp3\",probability=0.01,seed=4",
            "--fault",
            "action=\"drop\",to=\"server.qp4\",probability=0.05,seed=4",
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
    ladder: LadderPart { run: "sweep", connection: 3, from: LadderStart::Lost, limit: 32 },
    figures: |seen| {
        let all = all(seen)?;
        let rows = all.iter().zip(LOSSES).map(|(lossy, loss)| {
            vec![
                percent(loss),
                number(lossy.needed),
                number(lossy.sent),
                number(lossy.lost),
                number(lossy.returns),
                percent(lossy.goodput()),
                format!("{:.2} MiB/s", lossy.rate / f64::from(1 << 20)),
            ]
        });
        let heads =
            ["loss", "packets needed", "sent", "lost", "times gone back", "goodput", "bytes a second"];
        let points = all.iter().zip(LOSSES).map(|(lossy, loss)| (loss * 100.0, lossy.goodput() * 100.0));
        let plot = Plot::lines(
            "Goodput under loss, and what theory says",
            ("lost packets, %", Scale::Linear),
            ("needed packets, % of those sent", Scale::Linear),
        )
        .series("this run", points)
        .theory("N = 1: only the lost packet again", curve(|loss| theory(loss, 1.0)))
        .theory("N = 16: the whole window again", curve(|loss| theory(loss, WINDOW)));
        Ok(LessonFigures::default().table(&heads, rows).plot(plot))
    },
    claims: &[
        LessonClaim {
            says: "Every lost packet comes again, and at most a window of 16 packets with it each time that the requester goes back.",
            check: |seen| {
                let all = all(seen)?;
                let holds = all.iter().all(|lossy| {
                    let again = lossy.sent - lossy.needed;
                    again >= lossy.lost && again <= WINDOW * lossy.returns
                });
                let values = all.iter().map(|lossy| {
                    format!(
                        "{} lost, {} again in {} returns",
                        lossy.lost,
                        lossy.sent - lossy.needed,
                        lossy.returns
                    )
                });
                rule(holds, values.collect::<Vec<_>>().join("; "))
            },
        },
        LessonClaim {
            says: "The goodput lies between the two theories, give or take 3 points for chance.",
            check: |seen| {
                let all = all(seen)?;
                let is_between = |(lossy, loss): (&Lossy, f64)| {
                    let goodput = lossy.goodput();
                    goodput >= theory(loss, WINDOW) - CHANCE && goodput <= theory(loss, 1.0) + CHANCE
                };
                let holds = all.iter().zip(LOSSES).all(is_between);
                let values = all.iter().zip(LOSSES).map(|(lossy, loss)| {
                    let (low, high) = (theory(loss, WINDOW), theory(loss, 1.0));
                    let goodput = percent(lossy.goodput());
                    format!("{}: {goodput} ({} to {})", percent(loss), percent(low), percent(high))
                });
                rule(holds, values.collect::<Vec<_>>().join("; "))
            },
        },
        LessonClaim {
            says: "5 % loss costs more than twice as many packets as were lost: what follows a lost packet is sent in vain.",
            check: |seen| {
                let all = all(seen)?;
                let last = all.last().ok_or("no connection")?;
                let again = last.sent - last.needed;
                rule(again > 2.0 * last.lost, format!("{} lost, {again} sent again", last.lost))
            },
        },
        LessonClaim {
            says: "Every message arrives all the same: 600 on each connection.",
            check: |seen| {
                let messages = seen.run("sweep")?.numbers("messages")?;
                rule(messages == [600.0; 4], format!("{messages:?}"))
            },
        },
    ],
    answer: &[
        "Nothing is lost for the program: each message arrives, in order and once. But each lost packet makes those behind it, which \
         had arrived, worthless, up to the whole window. So a network that loses one packet in twenty carries far less than 95 % of what \
         it could, and the more is in flight, the less.",
        "That is why RoCE networks are built to lose nothing (priority flow control) or next to nothing (congestion control by ECN), and \
         why newer devices repeat selectively. A loss at the very end of what is in flight is worse still: no later packet shows that it \
         is missing, and the requester waits for its ACK timeout.",
    ],
};
