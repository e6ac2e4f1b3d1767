//! SEND, passive side: has room for messages before they come.
//!
//! The exchange (`rdma_client_send` is the other side):
//!
//! 1. server: listens.
//! 2. client: connects (REQ); with `--size` it asks for room for `--count` messages of that length.
//! 3. server: posts a RECV for each message, then accepts (REP). It tells no address: the RECVs say where messages go.
//! 4. client: confirms (RTU), SENDs "client-sent-this", or each message, with `--imm` with its length as immediate, waits
//!    for the completions.
//! 5. server: waits for the completions of the RECVs, which tell length and immediate; reads its memory.
//! 6. client: disconnects (DREQ).
//! 7. server: sees DISCONNECTED and answers (DREP), reports.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use rdma_lab::Result;
use rdma_lab::cli::{self, Receiving, ServerArgs};
use rdma_lab::program::server;
use rdma_lab::report::{ProgramOutcome, Reporter};
use verbs::completion::WcOpcode;
use verbs::mr::Access;
use verbs::transport::ConnectRequest;
use verbs::work_request::RegionRange;

fn main() -> ExitCode {
    server::serve(&cli::RDMA_SERVER_SEND, serve_client)
}

fn serve_client(
    request: Box<dyn ConnectRequest>,
    args: &ServerArgs<Receiving>,
    reporter: &Reporter,
) -> Result<ProgramOutcome> {
    let receiving = &args.options;
    let mut client = server::admit(request, args, reporter)?;
    let region = client.register(Access::SINK)?;
    // An equal share for each message.
    let share = client.room_bytes() / receiving.count;
    let places = (0..receiving.count).map(|number| RegionRange::new(&region, number * share, share));
    let recvs = places.collect::<verbs::Result<Vec<_>>>()?;
    let recvs = client.accept_to_receive(recvs, None, receiving, args)?;
    let received = client.receive(recvs, WcOpcode::Recv, args)?;
    // The completions are the synchronising events.
    let content = client.content(&region, received.bytes)?;
    client.endpoint.wait_disconnected(&args.common.deadline())?;
    if receiving.no_recv {
        return Ok(ProgramOutcome::NOTHING_POSTED);
    }
    Ok(ProgramOutcome::Receiver { received_bytes: received.bytes, imm: received.imm, content })
}
