//! Atomics, active side: adds to the server's counter, and swaps it.
//!
//! The exchange (`rdma_server_atomic` is the other side):
//!
//! 1. server: registers 8 bytes, a counter of 100 in host order, listens.
//! 2. client: connects (REQ).
//! 3. server: accepts (REP); its private data is the address and rkey of the counter.
//! 4. client: confirms (RTU), adds `--add` to the counter `--count` times (FetchAdd), waits for each completion and checks
//!    that each found what the one before left; with `--shared` that or more, and goes on with 6.
//! 5. client: swaps 7 in if the counter is what it must be now (CmpSwap), and once more, in vain, since it is 7 already.
//! 6. client: disconnects (DREQ), waits for DISCONNECTED, reports.
//! 7. server: sees DISCONNECTED and answers (DREP), reports its counter.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use rdma_lab::cli::{self, ClientArgs, Counting};
use rdma_lab::exchange::{COUNTER_INITIAL, COUNTER_SWAPPED};
use rdma_lab::program::client::{self, Server};
use rdma_lab::report::ProgramOutcome;
use rdma_lab::{Error, Result};
use verbs::mr::Access;
use verbs::work_request::{ATOMIC_BYTES, RegionRange, SendRequest};

fn main() -> ExitCode {
    client::request(&cli::RDMA_CLIENT_ATOMIC, count_and_swap)
}

fn count_and_swap(server: &mut Server, args: &ClientArgs<Counting>) -> Result<ProgramOutcome> {
    let count = args.options.repeat.count;
    let add = args.options.add;
    let remote = server.region(args, ATOMIC_BYTES, ATOMIC_BYTES)?;

    let found = server.endpoint.register(count * ATOMIC_BYTES, Access::SINK)?;
    let place = |number: usize| RegionRange::new(&found, number * ATOMIC_BYTES, ATOMIC_BYTES);
    let adds = (0..count).map(|number| Ok(SendRequest::fetch_add(place(number)?, &remote, add)));
    server.execute_all(adds, args)?;
    if args.options.shared {
        let counters = (0..count).map(|number| found.number(number * ATOMIC_BYTES));
        return shared(&counters.collect::<verbs::Result<Vec<_>>>()?, add);
    }
    let mut value = COUNTER_INITIAL;
    for number in 0..count {
        check("FetchAdd", found.number(number * ATOMIC_BYTES)?, value)?;
        value = value.wrapping_add(add);
    }

    for holds in [value, COUNTER_SWAPPED] {
        let swap = SendRequest::cmp_swap(place(0)?, &remote, value, COUNTER_SWAPPED);
        server.endpoint.execute(swap, &args.common.deadline())?;
        check("CmpSwap", found.number(0)?, holds)?;
    }

    let counted = value.wrapping_sub(COUNTER_INITIAL);
    Ok(ProgramOutcome::Counter { fetch_adds: count, counted, swapped: COUNTER_SWAPPED, verified: true })
}

/// Judges the values that were found while others were adding too: each is what this side left before, or more.
fn shared(found: &[u64], add: u64) -> Result<ProgramOutcome> {
    for two in found.windows(2) {
        let (left, found) = (two[0].wrapping_add(add), two[1]);
        if found < left {
            return Err(Error::ValueDiffers { operation: "FetchAdd", found, expected: left });
        }
    }
    let added = add.wrapping_mul(found.len() as u64);
    Ok(ProgramOutcome::SharedCounter { fetch_adds: found.len(), added, verified: true })
}

fn check(operation: &'static str, found: u64, expected: u64) -> Result<()> {
    if found == expected { Ok(()) } else { Err(Error::ValueDiffers { operation, found, expected }) }
}
