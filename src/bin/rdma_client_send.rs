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
//!
//! With `--window` on both sides, as servers answer that write into their clients' memory:
//!
//! 1. server: posts a RECV, accepts.
//! 2. client: binds a memory window to 4096 bytes of its own, posts a RECV, SENDs address and rkey of the window.
//! 3. server: WRITEs "server-wrote-this" into it, SENDs "done" and makes the window invalid with that; with `--late` it
//!    WRITEs once more, which is refused.
//! 4. client: its RECV tells the rkey that is no more; it reads its memory.
//! 5. server: disconnects (DREQ). client: answers (DREP).

#![forbid(unsafe_code)]

use std::process::ExitCode;

use rdma_lab::cli::{self, ClientArgs, Sending};
use rdma_lab::exchange::{CLIENT_SEND, REGION_BYTES, ReceivedText};
use rdma_lab::private_data;
use rdma_lab::program::client::{self, Server};
use rdma_lab::report::ProgramOutcome;
use rdma_lab::{Error, Result};
use verbs::mr::Access;
use verbs::mw::{MemoryWindow, WindowType};
use verbs::remote_region::RemoteRegion;
use verbs::work_request::{RegionRange, SendRequest};

fn main() -> ExitCode {
    client::request(&cli::RDMA_CLIENT_SEND, send)
}

fn send(server: &mut Server, args: &ClientArgs<Sending>) -> Result<ProgramOutcome> {
    if args.options.window {
        return offer_window(server, args);
    }
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

/// Lets the server write through a memory window, until its answer has made that invalid.
fn offer_window(server: &mut Server, args: &ClientArgs<Sending>) -> Result<ProgramOutcome> {
    let deadline = args.common.deadline();
    let endpoint = &mut server.endpoint;
    let window = MemoryWindow::alloc(endpoint.qp().pd(), WindowType::Two)?;
    let region = endpoint.register(REGION_BYTES, Access::WINDOWS)?;
    let rights = Access { remote_write: true, ..Access::SOURCE };
    endpoint.execute(SendRequest::bind(&window, RegionRange::whole(&region)?, rights), &deadline)?;
    let told = RemoteRegion { length_bytes: None, ..window.announce() };

    let answer = endpoint.register(REGION_BYTES, Access::SINK)?;
    let recv = endpoint.post_recv(Some(RegionRange::whole(&answer)?))?;
    let source = endpoint.register_source(&private_data::region_bytes(&told))?;
    endpoint.execute(SendRequest::send(RegionRange::whole(&source)?), &deadline)?;
    let answered = endpoint.wait(recv, &deadline)?;
    if answered.invalidated_rkey != Some(told.rkey) {
        let expected = format!("RECV that makes rkey {:#x} invalid", told.rkey);
        return Err(Error::UnexpectedCompletion { expected, got: Box::new(answered) });
    }
    // The answer came behind what was written.
    let received = ReceivedText::parse(&region.copy_out(0, REGION_BYTES)?);
    match endpoint.linger(args.common.timeout()) {
        Err(verbs::Error::Disconnected { .. }) => {}
        Ok(()) => return Err(verbs::Error::timeout("the server to disconnect", &deadline).into()),
        Err(error) => return Err(error.into()),
    }
    let (received_bytes, text) = (received.length_bytes, received.text);
    Ok(ProgramOutcome::Window { received_bytes, text, invalidated: true })
}
