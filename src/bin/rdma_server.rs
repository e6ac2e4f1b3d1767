//! Example 1, passive side: offers memory to one-sided WRITE and READ.
//!
//! The exchange (`rdma_client` is the other side):
//!
//! 1. server: registers 4096 bytes holding "server-initial", listens.
//! 2. client: connects (REQ).
//! 3. server: accepts (REP); its private data is the address and rkey of the memory.
//! 4. client: confirms (RTU), WRITEs "client-wrote-this" to the address, waits for the completion. The server notices
//!    nothing: a WRITE has no completion at its target.
//! 5. client: READs all 4096 bytes back, waits for the completion, verifies.
//! 6. client: disconnects (DREQ).
//! 7. server: sees DISCONNECTED and answers (DREP); only now it looks at its memory, and reports.

use std::process::ExitCode;

use rdma_lab::Result;
use rdma_lab::cli::{self, ServerArgs};
use rdma_lab::cm::ConnectRequest;
use rdma_lab::connection::ConnectParams;
use rdma_lab::exchange::{self, REGION_BYTES, SERVER_INITIAL};
use rdma_lab::mem::Access;
use rdma_lab::program;
use rdma_lab::report::{Outcome, Reporter};

fn main() -> ExitCode {
    program::serve(&cli::RDMA_SERVER, serve_client)
}

fn serve_client(request: ConnectRequest, args: &ServerArgs, reporter: &Reporter) -> Result<Outcome> {
    let (request, with_length) = program::admit(request)?;
    let mut endpoint = request.into_endpoint(&program::builder(reporter))?;
    let region = endpoint.register(REGION_BYTES, Access::REMOTE)?;
    region.copy_in(0, SERVER_INITIAL)?;

    let announced = region.announce(with_length).to_bytes();
    endpoint.accept(&ConnectParams::with_private_data(announced), &args.common.deadline())?;
    endpoint.wait_disconnected(&args.common.deadline())?;

    let bytes = region.copy_out(0, REGION_BYTES)?;
    let received = exchange::received_since(SERVER_INITIAL, &bytes)?;
    Ok(Outcome::Server { received_bytes: received.length_bytes, text: received.text })
}
