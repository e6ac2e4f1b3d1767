//! Example 1, passive side: offers memory to one-sided WRITE and READ.
//!
//! The exchange (`rdma_client` is the other side):
//!
//! 1. server: registers 4096 bytes holding "server-initial", listens.
//! 2. client: connects (REQ); with `--size` it asks for room for `--count` messages of that length.
//! 3. server: accepts (REP); its private data is the address and rkey of the memory, and its length if that was asked for.
//! 4. client: confirms (RTU), WRITEs "client-wrote-this" to the address, or each message to its place, waits for the
//!    completions. The server notices nothing: a WRITE has no completion at its target.
//! 5. client: READs all 4096 bytes back, or each message, waits for the completions, verifies.
//! 6. client: disconnects (DREQ).
//! 7. server: sees DISCONNECTED and answers (DREP); only now it looks at its memory, and reports.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use rdma_lab::Result;
use rdma_lab::cli::{self, Memory, ServerArgs};
use rdma_lab::exchange::{self, SERVER_INITIAL};
use rdma_lab::program::server;
use rdma_lab::report::{Content, ProgramOutcome, Reporter};
use verbs::transport::ConnectRequest;

fn main() -> ExitCode {
    server::serve(&cli::RDMA_SERVER, serve_client)
}

fn serve_client(
    request: Box<dyn ConnectRequest>,
    args: &ServerArgs<Memory>,
    reporter: &Reporter,
) -> Result<ProgramOutcome> {
    let mut client = server::admit(request, args, reporter)?;
    let region = client.register(server::access(&args.options))?;
    if !client.sends_pattern() {
        region.copy_in(0, SERVER_INITIAL)?;
    }
    client.accept(Some(&region), args)?;
    client.endpoint.wait_disconnected(&args.common.deadline())?;

    let bytes = region.copy_out(0, client.room_bytes())?;
    if client.sends_pattern() {
        let content = Content::Pattern(exchange::verify_pattern(&bytes)?);
        return Ok(ProgramOutcome::Server { received_bytes: bytes.len(), content });
    }
    let received = exchange::received_since(SERVER_INITIAL, &bytes)?;
    let content = Content::Text { text: received.text };
    Ok(ProgramOutcome::Server { received_bytes: received.length_bytes, content })
}
