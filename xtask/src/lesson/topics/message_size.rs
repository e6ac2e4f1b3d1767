//! Message size: packets, headers, throughput.

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::{Plot, Scale, number};
use crate::lesson::seen::{Seen, first_requests};
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// Sizes in bytes, in the order of the run; all are whole words of four bytes, so nothing is padded.
const SIZES: [u64; 6] = [64, 256, 1024, 4096, 16384, 65536];

/// Messages of each size.
const MESSAGES: u64 = 40;

/// Path MTU in bytes.
const MTU: u64 = 1024;

/// Ethernet 14, IPv4 20, UDP 8, BTH 12, ICRC 4.
const HEADERS: u64 = 58;

/// Address, key and length in the first packet of a WRITE.
const RETH: u64 = 16;

/// Packets that a message of `size` bytes takes.
fn packets(size: u64) -> u64 {
    size.div_ceil(MTU)
}

/// Bytes of a message on the wire.
fn on_the_wire(size: u64) -> u64 {
    size + packets(size) * HEADERS + RETH
}

/// Requests of each size that were sent for the first time, and their bytes on the wire.
fn sent(seen: &Seen) -> Result<Vec<(u64, u64)>, String> {
    let run = seen.run("sweep")?;
    let connections = run.connections(SIZES.len())?;
    let of = |packets: &Vec<_>| {
        let requests = first_requests(packets);
        (requests.len() as u64, requests.iter().map(|line| run.length(line)).sum())
    };
    Ok(connections.iter().map(of).collect())
}

/// Bytes a second at each size.
fn rates(seen: &Seen) -> Result<Vec<f64>, String> {
    let rates = seen.run("sweep")?.numbers("bytes_per_second")?;
    if rates.len() == SIZES.len() { Ok(rates) } else { Err(format!("{} results", rates.len())) }
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "message_size",
    title: "Message size",
    question: "Why are few large messages so much cheaper than many small ones?",
    before: &[
        "Each message costs something whatever its length: a work request, a completion, an acknowledgement, headers. On the wire a \
         message is cut into packets of the path MTU, 1,024 bytes here, and each packet has 58 bytes of headers: Ethernet 14, IP 20, UDP \
         8, BTH 12, ICRC 4. The first of a WRITE has 16 more. A message of one packet is called Only; a longer one is a First, as many \
         Middles as it takes, and a Last. That is so of a SEND as of a WRITE, and one acknowledgement, asked for by the last packet, \
         stands for all of them.",
        "40 WRITEs each of 64 bytes to 64 KiB, eight in flight. The first sizes meet programs that have just begun, so their messages \
         a second may be fewer than those of the next: compare the bytes on the wire.",
    ],
    runs: &[LessonRun {
        name: "sweep",
        server: "rdma_bench_server --json",
        client: "for size in 64 256 1024 4096 16384 65536; do rdma_bench_client {server} --size $size --iterations 40 --depth 8 \
                 --ack-timeout 19 --json || exit 1; done",
        options: &["--stop", "SIGTERM"],
    }],
    ladder: LadderPart { run: "sweep", connection: 3, from: LadderStart::Named("RC RDMA WRITE"), limit: 10 },
    figures: |seen| {
        let (sent, rates) = (sent(seen)?, rates(seen)?);
        let share = |at: usize| (MESSAGES * SIZES[at]) as f64 / sent[at].1 as f64 * 100.0;
        let rows = (0..SIZES.len()).map(|at| {
            vec![
                format!("{} B", SIZES[at]),
                (sent[at].0 / MESSAGES).to_string(),
                format!("{:.1} %", share(at)),
                format!("{:.0}", rates[at] / SIZES[at] as f64),
                format!("{}B/s", number(rates[at])),
            ]
        });
        let heads = [
            "size",
            "packets a message",
            "payload of the bytes sent",
            "messages a second",
            "payload a second",
        ];
        let sizes = || SIZES.map(|size| size as f64).into_iter();
        let rate = Plot::lines(
            "Payload a second by message size",
            ("bytes of a message", Scale::Doubling),
            ("bytes a second", Scale::Doubling),
        )
        .series("this run", sizes().zip(rates.iter().copied()));
        let theory = SIZES.map(|size| (size as f64, size as f64 / on_the_wire(size) as f64 * 100.0));
        let payload = Plot::lines(
            "Payload among the bytes of the requests",
            ("bytes of a message", Scale::Doubling),
            ("%", Scale::Linear),
        )
        .series("this run", sizes().zip((0..SIZES.len()).map(share)))
        .theory("size / (size + 58 a packet + 16)", theory);
        Ok(LessonFigures::default().table(&heads, rows).plot(rate).plot(payload))
    },
    claims: &[
        LessonClaim {
            says: "A message takes as many packets as its size divided by the path MTU, rounded up.",
            check: |seen| {
                let sent = sent(seen)?;
                let holds = sent.iter().zip(SIZES).all(|(sent, size)| sent.0 == MESSAGES * packets(size));
                let values = sent
                    .iter()
                    .zip(SIZES)
                    .map(|(sent, size)| format!("{size} B: {}", sent.0 as f64 / MESSAGES as f64));
                rule(holds, values.collect::<Vec<_>>().join(", "))
            },
        },
        LessonClaim {
            says: "Its bytes on the wire are its own, 58 for each packet, and 16: to the byte.",
            check: |seen| {
                let sent = sent(seen)?;
                let holds = sent.iter().zip(SIZES).all(|(sent, size)| sent.1 == MESSAGES * on_the_wire(size));
                let values = sent
                    .iter()
                    .zip(SIZES)
                    .map(|(sent, size)| format!("{size} B: {} of {}", sent.1, MESSAGES * on_the_wire(size)));
                rule(holds, values.collect::<Vec<_>>().join(", "))
            },
        },
        LessonClaim {
            says: "Messages of 64 KiB carry at least four times as many bytes a second as messages of 64 bytes.",
            check: |seen| {
                let rates = rates(seen)?;
                let (small, large) = (rates[0], rates[SIZES.len() - 1]);
                rule(
                    large >= 4.0 * small,
                    format!("{}B/s and {}B/s, {:.0} times", number(small), number(large), large / small),
                )
            },
        },
    ],
    answer: &[
        "The cost of a message is shared by its bytes. At 64 bytes less than half of what is sent is payload, and every message is a work \
         request to be posted and acknowledged; from 1 KiB on more than nine bytes in ten are payload, and what is left to save on the \
         wire is the headers of each packet. That the rate goes on rising in the table is the work for each message, which is large in \
         software and shared by more bytes.",
        "These headers are 5 % here. With a path MTU of 4,096 bytes in place of 1,024 there are a quarter as many packets, and a \
         quarter of the headers. Where messages must be small, \
         post many by one call, let only every n-th make a completion (*signal* few, a lesson of its own), and send them *inline*: the \
         program's bytes are copied into the request itself, so that no memory has to be registered for them.",
    ],
};
