//! Example 2, passive side: a WRITE with immediate, which its target notices.
//!
//! The exchange (`rdma_client_imm` is the other side):
//!
//! 1. server: registers 4096 bytes, listens.
//! 2. client: connects (REQ).
//! 3. server: posts one RECV, then accepts (REP); its private data is the address and rkey of the memory.
//! 4. client: confirms (RTU), WRITEs "client-wrote-with-imm" to the address with its length as immediate, waits for the
//!    completion.
//! 5. server: waits for the completion of the RECV, which tells length and immediate; reads its memory.
//! 6. client: disconnects (DREQ).
//! 7. server: sees DISCONNECTED and answers (DREP), reports.

use std::process::ExitCode;

use rdma_lab::builders::RegionRange;
use rdma_lab::cli::{self, ServerArgs};
use rdma_lab::cm::ConnectRequest;
use rdma_lab::completion::{Completion, WcOpcode};
use rdma_lab::connection::ConnectParams;
use rdma_lab::exchange::{REGION_BYTES, Received};
use rdma_lab::mem::Access;
use rdma_lab::program;
use rdma_lab::report::{Outcome, Reporter};
use rdma_lab::{Error, Result};

fn main() -> ExitCode {
    program::serve(&cli::RDMA_SERVER_IMM, serve_client)
}

fn serve_client(request: ConnectRequest, args: &ServerArgs, reporter: &Reporter) -> Result<Outcome> {
    let (request, with_length) = program::admit(request)?;
    let mut endpoint = request.into_endpoint(&program::builder(reporter))?;
    let region = endpoint.register(REGION_BYTES, Access::REMOTE)?;
    // Before accepting: a WRITE that finds no RECV costs 655 ms a try. The WRITE itself needs no memory here; a peer that
    // sends a SEND instead is told apart by its completion only if the RECV has some.
    let recv = endpoint.post_recv(Some(RegionRange::whole(&region)?))?;

    let announced = region.announce(with_length).to_bytes();
    endpoint.accept(&ConnectParams::with_private_data(announced), &args.common.deadline())?;
    let completion = endpoint.wait(recv, &args.common.deadline())?;
    let (received_bytes, imm) = check(&completion)?;
    // The completion is the synchronising event.
    let bytes = region.copy_out(0, REGION_BYTES.min(received_bytes as usize))?;
    endpoint.wait_disconnected(&args.common.deadline())?;

    Ok(Outcome::ServerImm { received_bytes, imm, text: Received::parse(&bytes).text })
}

/// Checks that it was a WRITE with immediate; returns length and immediate.
fn check(completion: &Completion) -> Result<(u32, u32)> {
    match (completion.opcode, completion.imm) {
        (WcOpcode::RecvRdmaWithImm, Some(imm)) if imm == completion.length_bytes => {
            Ok((completion.length_bytes, imm))
        }
        (WcOpcode::RecvRdmaWithImm, Some(imm)) => {
            Err(Error::ImmediateDiffers { imm, length_bytes: completion.length_bytes })
        }
        _ => Err(Error::UnexpectedCompletion {
            expected: WcOpcode::RecvRdmaWithImm.to_string(),
            got: Box::new(completion.clone()),
        }),
    }
}
