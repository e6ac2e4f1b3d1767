//! Atomics, passive side: offers a counter to FetchAdd and CmpSwap.
//!
//! The exchange (`rdma_client_atomic` is the other side):
//!
//! 1. server: registers 8 bytes, a counter of 100 in host order, listens.
//! 2. client: connects (REQ).
//! 3. server: accepts (REP); its private data is the address and rkey of the counter.
//! 4. client: confirms (RTU), adds `--add` to the counter `--count` times (FetchAdd), waits for each completion and checks
//!    that each found what the one before left. The server notices nothing.
//! 5. client: swaps 7 in if the counter is what it must be now (CmpSwap), and once more, in vain, since it is 7 already.
//! 6. client: disconnects (DREQ).
//! 7. server: sees DISCONNECTED and answers (DREP); only now it looks at its counter, and reports.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use rdma_lab::Result;
use rdma_lab::cli::{self, CounterArgs, ServerArgs};
use rdma_lab::exchange::COUNTER_INITIAL;
use rdma_lab::program::server;
use rdma_lab::report::{ProgramOutcome, Reporter};
use verbs::mr::Access;
use verbs::transport::ConnectRequest;
use verbs::work_request::ATOMIC_BYTES;

fn main() -> ExitCode {
    server::serve(&cli::RDMA_SERVER_ATOMIC, serve_client)
}

fn serve_client(
    request: Box<dyn ConnectRequest>,
    args: &ServerArgs<CounterArgs>,
    reporter: &Reporter,
) -> Result<ProgramOutcome> {
    let mut client = server::admit(request, args, reporter)?;
    let access = if args.options.no_access { Access::SINK } else { Access::ATOMIC };
    let region = client.endpoint.register(ATOMIC_BYTES, access)?;
    region.copy_in(0, &COUNTER_INITIAL.to_ne_bytes())?;

    client.accept(Some(&region), args)?;
    client.endpoint.wait_disconnected(&args.common.deadline())?;
    let note = args.options.no_access.then_some("no client could change it, as told by --no-access");
    Ok(ProgramOutcome::Value { value: region.number(0)?, note })
}
