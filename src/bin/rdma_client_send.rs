//! SEND, active side: messages that the server has to have room for.
//!
//! The exchange (`rdma_server_send` is the other side):
//!
//! 1. server: listens.
//! 2. client: connects (REQ); with `--size` it asks for room for `--count` messages of that length.
//! 3. server: posts a RECV for each message, then accepts (REP). It tells no address: the RECVs say where messages go.
//! 4. client: confirms (RTU), SENDs "client-sent-this", or each message, with `--imm` with its length as immediate, waits
//!    for the completions.
//! 5. server: waits for the completions of the RECVs, which tell length and immediate; reads its memory.
//! 6. client: disconnects (DREQ), waits for DISCONNECTED, reports.
//! 7. server: sees DISCONNECTED and answers (DREP), reports.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use rdma_lab::Result;
use rdma_lab::cli::{self, ClientArgs, Sending};
use rdma_lab::exchange::CLIENT_SEND;
use rdma_lab::program::client::{self, Server};
use rdma_lab::report::ProgramOutcome;
use verbs::work_request::{RegionRange, SendRequest};

fn main() -> ExitCode {
    client::request(&cli::RDMA_CLIENT_SEND, send)
}

fn send(server: &mut Server, args: &ClientArgs<Sending>) -> Result<ProgramOutcome> {
    let payload = args.options.sized.payload(CLIENT_SEND);
    let imm = args.options.imm.then_some(payload.message_bytes() as u32);

    let bytes = payload.to_bytes()?;
    let source = server.endpoint.register_source(&bytes)?;
    let sends = payload.messages().map(|place| {
        let local = RegionRange::new(&source, place.start, place.len())?;
        Ok(match imm {
            Some(imm) => SendRequest::send_with_imm(local, imm),
            None => SendRequest::send(local),
        })
    });
    server.execute_all(sends, args)?;

    Ok(ProgramOutcome::Sender { sent_bytes: bytes.len(), imm, pattern: payload.pattern_of(&bytes) })
}
