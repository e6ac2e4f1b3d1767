//! Atomics, passive side: offers a counter to FetchAdd and CmpSwap.
//!
//! The exchange (`rdma_client_atomic` is the other side):
//!
//! 1. server: registers 8 bytes, a counter of 100 in host order, listens; with `--shared` one for all clients.
//! 2. client: connects (REQ).
//! 3. server: accepts (REP); its private data is the address and rkey of the counter.
//! 4. client: confirms (RTU), adds `--add` to the counter `--count` times (FetchAdd), waits for each completion and checks
//!    that each found what the one before left. The server notices nothing.
//! 5. client: swaps 7 in if the counter is what it must be now (CmpSwap), and once more, in vain, since it is 7 already.
//! 6. client: disconnects (DREQ).
//! 7. server: sees DISCONNECTED and answers (DREP); only now it looks at its counter, and reports.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use rdma_lab::Result;
use rdma_lab::cli::{self, CounterArgs, ServerArgs};
use rdma_lab::exchange::COUNTER_INITIAL;
use rdma_lab::program::server;
use rdma_lab::report::{ProgramOutcome, Reporter};
use verbs::endpoint::Endpoint;
use verbs::mr::{Access, MemoryRegion};
use verbs::pd::ProtectionDomain;
use verbs::transport::ConnectRequest;
use verbs::work_request::ATOMIC_BYTES;

fn main() -> ExitCode {
    let shared = Mutex::new(None);
    server::serve(&cli::RDMA_SERVER_ATOMIC, |request, args, reporter| {
        serve_client(request, args, reporter, &shared)
    })
}

/// A counter with the protection domain of its region.
type CounterRegion = (Arc<ProtectionDomain>, Arc<MemoryRegion>);

fn serve_client(
    request: Box<dyn ConnectRequest>,
    args: &ServerArgs<CounterArgs>,
    reporter: &Reporter,
    shared: &Mutex<Option<CounterRegion>>,
) -> Result<ProgramOutcome> {
    let (mut client, region) = if args.options.shared {
        // Held until the first client's counter is there for the second.
        let mut counter = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let domain = counter.as_ref().map(|(domain, _)| Arc::clone(domain));
        let client = server::admit_into(domain, request, args, reporter)?;
        let region = match &*counter {
            Some((_, region)) => Arc::clone(region),
            None => {
                let region = counter_region(&client.endpoint, args)?;
                *counter = Some((Arc::clone(client.endpoint.qp().pd()), Arc::clone(&region)));
                region
            }
        };
        (client, region)
    } else {
        let client = server::admit(request, args, reporter)?;
        let region = counter_region(&client.endpoint, args)?;
        (client, region)
    };

    client.accept(Some(&region), args)?;
    client.endpoint.wait_disconnected(&args.common.deadline())?;
    let note = args.options.no_access.then_some("no client could change it, as told by --no-access");
    Ok(ProgramOutcome::Value { value: region.number(0)?, note })
}

/// Registers a counter in the protection domain of `endpoint`.
fn counter_region(endpoint: &Endpoint, args: &ServerArgs<CounterArgs>) -> Result<Arc<MemoryRegion>> {
    let access = if args.options.no_access { Access::SINK } else { Access::ATOMIC };
    let region = endpoint.register(ATOMIC_BYTES, access)?;
    region.copy_in(0, &COUNTER_INITIAL.to_ne_bytes())?;
    Ok(region)
}
