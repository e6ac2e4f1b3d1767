//! Example 2, active side: a WRITE with immediate.
//!
//! The exchange (`rdma_server_imm` is the other side):
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
use rdma_lab::cli::{self, ClientArgs, Writing};
use rdma_lab::exchange::CLIENT_WRITE_IMM;
use rdma_lab::program::client::{self, Server};
use rdma_lab::report::ProgramOutcome;
use verbs::work_request::{RegionRange, SendRequest};

fn main() -> ExitCode {
    client::request(&cli::RDMA_CLIENT_IMM, write_with_imm)
}

fn write_with_imm(server: &mut Server, args: &ClientArgs<Writing>) -> Result<ProgramOutcome> {
    let payload = args.options.sized.payload(CLIENT_WRITE_IMM);
    let remote = server.region(args, payload.room_bytes(), payload.message_bytes())?;
    let imm = payload.message_bytes() as u32;

    let bytes = payload.to_bytes()?;
    let source = server.endpoint.register_source(&bytes)?;
    let writes = payload.messages().map(|place| {
        let local = RegionRange::new(&source, place.start, place.len())?;
        Ok(SendRequest::write_with_imm(local, &remote.at(place.start as u64), imm))
    });
    server.execute_all(writes, args)?;

    Ok(ProgramOutcome::ClientImm { written_bytes: bytes.len(), imm, pattern: payload.pattern_of(&bytes) })
}
