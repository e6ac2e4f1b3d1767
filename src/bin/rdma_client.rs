//! Example 1, active side: a one-sided WRITE, and a READ that verifies it.
//!
//! The exchange (`rdma_server` is the other side):
//!
//! 1. server: registers 4096 bytes holding "server-initial", listens.
//! 2. client: connects (REQ).
//! 3. server: accepts (REP); its private data is the address and rkey of the memory.
//! 4. client: confirms (RTU), WRITEs "client-wrote-this" to the address, waits for the completion.
//! 5. client: READs all 4096 bytes back, waits for the completion, verifies.
//! 6. client: disconnects (DREQ), waits for DISCONNECTED, reports.
//! 7. server: sees DISCONNECTED and answers (DREP), reports what its memory holds.

use std::process::ExitCode;

use rdma_lab::Result;
use rdma_lab::builders::RegionRange;
use rdma_lab::cli::{self, ClientArgs};
use rdma_lab::exchange::{self, CLIENT_WRITE, REGION_BYTES};
use rdma_lab::mem::Access;
use rdma_lab::program;
use rdma_lab::report::{Outcome, Reporter};

fn main() -> ExitCode {
    program::request(&cli::RDMA_CLIENT, write_and_read_back)
}

fn write_and_read_back(args: &ClientArgs, reporter: &Reporter) -> Result<Outcome> {
    let (mut endpoint, remote) =
        program::connect(&cli::RDMA_CLIENT, args, reporter, &args.common.deadline())?;

    let source = endpoint.register(CLIENT_WRITE.len(), Access::SOURCE)?;
    source.copy_in(0, CLIENT_WRITE)?;
    endpoint.write(RegionRange::whole(&source)?, &remote, &args.common.deadline())?;

    let sink = endpoint.register(REGION_BYTES, Access::SINK)?;
    endpoint.read(RegionRange::whole(&sink)?, &remote, &args.common.deadline())?;
    let read = sink.copy_out(0, REGION_BYTES)?;
    let verified = exchange::verify_read_back(CLIENT_WRITE, &read);

    // Also when they differ: the server waits for it.
    endpoint.disconnect(&args.common.deadline())?;
    verified?;
    Ok(Outcome::Client { written_bytes: CLIENT_WRITE.len(), read_bytes: REGION_BYTES, verified: true })
}
