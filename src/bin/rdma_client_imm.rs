//! Example 2, active side: a WRITE with immediate.
//!
//! The exchange (`rdma_server_imm` is the other side):
//!
//! 1. server: registers 4096 bytes, listens.
//! 2. client: connects (REQ).
//! 3. server: posts one RECV, then accepts (REP); its private data is the address and rkey of the memory.
//! 4. client: confirms (RTU), WRITEs "client-wrote-with-imm" to the address with its length as immediate, waits for the
//!    completion.
//! 5. server: waits for the completion of the RECV, which tells length and immediate; reads its memory.
//! 6. client: disconnects (DREQ), waits for DISCONNECTED, reports.
//! 7. server: sees DISCONNECTED and answers (DREP), reports.

use std::process::ExitCode;

use rdma_lab::Result;
use rdma_lab::builders::RegionRange;
use rdma_lab::cli::{self, ClientArgs};
use rdma_lab::exchange::CLIENT_WRITE_IMM;
use rdma_lab::mem::Access;
use rdma_lab::program;
use rdma_lab::report::{Outcome, Reporter};

fn main() -> ExitCode {
    program::request(&cli::RDMA_CLIENT_IMM, write_with_imm)
}

fn write_with_imm(args: &ClientArgs, reporter: &Reporter) -> Result<Outcome> {
    let (mut endpoint, remote) =
        program::connect(&cli::RDMA_CLIENT_IMM, args, reporter, &args.common.deadline())?;

    let source = endpoint.register(CLIENT_WRITE_IMM.len(), Access::SOURCE)?;
    source.copy_in(0, CLIENT_WRITE_IMM)?;
    let imm = CLIENT_WRITE_IMM.len() as u32;
    let range = RegionRange::whole(&source)?;
    endpoint.write_with_imm(range, &remote, imm, &args.common.deadline())?;

    endpoint.disconnect(&args.common.deadline())?;
    Ok(Outcome::ClientImm { written_bytes: CLIENT_WRITE_IMM.len(), imm })
}
