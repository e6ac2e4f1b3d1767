//! Registration: its cost, and a cache of memory regions.

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::{Plot, Scale, number};
use crate::lesson::seen::{Seen, first_requests};
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// Sizes of a message in bytes, in the order of the run.
const SIZES: [f64; 3] = [4096.0, 32768.0, 262_144.0];

/// Messages of each size, in each way.
const MESSAGES: f64 = 16.0;

/// A number of all clients: for each size that with a region each, then that with the cache.
fn told(seen: &Seen, key: &str) -> Result<Vec<[f64; 2]>, String> {
    let numbers = seen.run("sizes")?.numbers(key)?;
    match numbers.len() == 2 * SIZES.len() {
        true => Ok(numbers.chunks(2).map(|two| [two[0], two[1]]).collect()),
        false => Err(format!("{} results", numbers.len())),
    }
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "registration",
    title: "Registration and a cache of regions",
    question: "What does it cost to make memory known to the device, and why do programs keep it registered?",
    before: &[
        "Before a device may touch memory a program *registers* it (`ibv_reg_mr`): the kernel looks up each page, pins it so that it stays \
         where it is, and tells the device. The result is a memory region with two keys, lkey for the program's own requests and rkey for \
         peers. Deregistering takes all of that back.",
        "A program that sends from whatever buffer it has registers for each message. One that keeps a *cache* of regions takes a registered \
         buffer from it and gives it back. The client writes 16 messages each of 4 KiB, 32 KiB and 256 KiB, and reads each back, one at a time: first with a \
         region made for each (`--register each`), then with a cache (`--register cached`). It measures the time in registering and \
         deregistering.",
    ],
    runs: &[LessonRun {
        name: "sizes",
        server: "rdma_server --json",
        client: "for size in 4KiB 32KiB 256KiB; do for way in each cached; do rdma_client {server} --size $size --count 16 --register $way \
                 --ack-timeout 19 --json || exit 1; done; done",
        options: &["--stop", "SIGTERM", "--timeout", "120"],
    }],
    ladder: LadderPart { run: "sizes", connection: 0, from: LadderStart::Named("RC RDMA WRITE"), limit: 6 },
    figures: |seen| {
        let (count, time) = (told(seen, "registrations")?, told(seen, "registering_ns")?);
        let rows = SIZES.iter().enumerate().map(|(at, size)| {
            let each = time[at][0] / MESSAGES / 1e3;
            vec![
                format!("{} KiB", size / 1024.0),
                format!("{} and {}", count[at][0], count[at][1]),
                format!("{} us", number(time[at][0] / 1e3)),
                format!("{} us", number(time[at][1] / 1e3)),
                format!("{} us", number(each)),
            ]
        });
        let heads = [
            "size of a message",
            "registrations: each, cached",
            "time in them: each",
            "cached",
            "one of them",
        ];
        let per = |way: usize| SIZES.into_iter().zip(time.iter().map(move |time| time[way] / MESSAGES / 1e3));
        let plot = Plot::lines(
            "Registering, a message",
            ("bytes of a message", Scale::Doubling),
            ("microseconds", Scale::Doubling),
        )
        .series("a region for each message", per(0))
        .series("a cache of regions", per(1));
        Ok(LessonFigures::default().table(&heads, rows).plot(plot))
    },
    claims: &[
        LessonClaim {
            says: "With a region for each message there are 16 registrations, with the cache one.",
            check: |seen| {
                let count = told(seen, "registrations")?;
                rule(
                    count.iter().all(|count| *count == [MESSAGES, 1.0]),
                    format!("each and cached: {count:?}"),
                )
            },
        },
        LessonClaim {
            // One size alone may meet an interruption of the emulated processor.
            says: "The cache saves at least three quarters of the time spent registering, all sizes together.",
            check: |seen| {
                let time = told(seen, "registering_ns")?;
                let total = |way: usize| time.iter().map(|time| time[way]).sum::<f64>();
                let (each, cached) = (total(0), total(1));
                rule(each >= 4.0 * cached, format!("{} and {} us", number(each / 1e3), number(cached / 1e3)))
            },
        },
        LessonClaim {
            says: "The wire shows nothing of either: registering is between program, kernel and device.",
            check: |seen| {
                let connections = seen.run("sizes")?.connections(2 * SIZES.len())?;
                let count = |packets: &Vec<_>| first_requests(packets).len();
                let counts: Vec<usize> = connections.iter().map(count).collect();
                let holds = counts.chunks(2).all(|two| two[0] == two[1]);
                rule(holds, format!("requests of each connection: {counts:?}"))
            },
        },
    ],
    answer: &[
        "A system call, work for each page, and more of both to take it back: for every message, unless the region is kept. How much \
         each takes depends on the machine. The table has both together: many pages cost more than few, few are far from free, and in \
         an emulated machine the first call of a size may be the dearest. So programs register once and use the memory again: pools of \
         registered buffers, or a cache that finds the region of a buffer by its address.",
        "A cache has a price: pinned pages cannot be swapped, the limit of locked memory (`ulimit -l`) bounds them, and a buffer that was freed \
         and mapped anew is not the memory that was registered, so a cache must be told of it. Small messages are copied into a registered \
         buffer instead, or sent inline.",
    ],
};
