//! Example 2, passive side: a WRITE with immediate, which its target notices.
//!
//! The exchange (`rdma_client_imm` is the other side):
//!
//! 1. server: registers 4096 bytes, listens.
//! 2. client: connects (REQ); with `--size` it asks for room for `--count` messages of that length.
//! 3. server: posts a RECV for each message, then accepts (REP); its private data is the address and rkey of the memory,
//!    and its length if that was asked for.
//! 4. client: confirms (RTU), WRITEs "client-wrote-with-imm" to the address, or each message to its place, with its length
//!    as immediate, waits for the completions.
//! 5. server: waits for the completions of the RECVs, which tell length and immediate; reads its memory.
//! 6. client: disconnects (DREQ), waits for DISCONNECTED, reports.
//! 7. server: answers (DREP), reports. A client that stays it disconnects itself after 5 s, as the classic sample does at once: then
//!    nobody would be left to acknowledge once more what was acknowledged in vain.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use rdma_lab::Result;
use rdma_lab::cli::{self, MemoryAndReceiving, ServerArgs};
use rdma_lab::program::server;
use rdma_lab::report::{ProgramOutcome, Reporter};
use verbs::completion::WcOpcode;
use verbs::transport::ConnectRequest;
use verbs::work_request::RegionRange;

fn main() -> ExitCode {
    server::serve(&cli::RDMA_SERVER_IMM, serve_client)
}

fn serve_client(
    request: Box<dyn ConnectRequest>,
    args: &ServerArgs<MemoryAndReceiving>,
    reporter: &Reporter,
) -> Result<ProgramOutcome> {
    let receiving = &args.options.receiving;
    let mut client = server::admit(request, args, reporter)?;
    let region = client.register(server::access(&args.options.memory))?;
    // The WRITEs need no memory in their RECVs; a peer that sends a SEND instead is told apart by its completion only if
    // the RECV has some.
    let everywhere = RegionRange::whole(&region)?;
    let recvs = vec![everywhere; receiving.count];
    let recvs = client.accept_to_receive(recvs, Some(&region), receiving, args)?;
    if receiving.no_recv {
        // Nothing tells when the client is done but its leave.
        client.endpoint.wait_disconnected(&args.common.deadline())?;
        return Ok(ProgramOutcome::NOTHING_POSTED);
    }
    let received = client.receive(recvs, WcOpcode::RecvRdmaWithImm, args)?;
    // The completions are the synchronising events.
    let content = client.content(&region, received.bytes)?;
    client.leave_last(args)?;
    Ok(ProgramOutcome::Receiver { received_bytes: received.bytes, imm: received.imm, content })
}
