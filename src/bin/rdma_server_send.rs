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

use rdma_lab::Result;
use rdma_lab::cli::{self, ReceivingSends, ServerArgs};
use rdma_lab::exchange::{SERVER_DONE, SERVER_WRITE};
use rdma_lab::private_data;
use rdma_lab::program::server::{self, AdmittedClient};
use rdma_lab::report::{ProgramOutcome, Reporter};
use verbs::completion::WcOpcode;
use verbs::mr::{Access, MemoryRegion};
use verbs::transport::ConnectRequest;
use verbs::work_request::{RegionRange, SendRequest};

fn main() -> ExitCode {
    server::serve(&cli::RDMA_SERVER_SEND, serve_client)
}

fn serve_client(
    request: Box<dyn ConnectRequest>,
    args: &ServerArgs<ReceivingSends>,
    reporter: &Reporter,
) -> Result<ProgramOutcome> {
    let receiving = &args.options.receiving;
    let mut client = server::admit(request, args, reporter)?;
    let region = client.register(Access::SINK)?;
    // An equal share for each message.
    let share = client.room_bytes() / receiving.count;
    let places = (0..receiving.count).map(|number| RegionRange::new(&region, number * share, share));
    let recvs = places.collect::<verbs::Result<Vec<_>>>()?;
    let recvs = client.accept_to_receive(recvs, None, receiving, args)?;
    let received = client.receive(recvs, WcOpcode::Recv, args)?;
    if args.options.window {
        return use_window(&mut client, &region, args);
    }
    // The completions are the synchronising events.
    let content = client.content(&region, received.bytes)?;
    client.endpoint.wait_disconnected(&args.common.deadline())?;
    if receiving.no_recv {
        return Ok(ProgramOutcome::NOTHING_POSTED);
    }
    Ok(ProgramOutcome::Receiver { received_bytes: received.bytes, imm: received.imm, content })
}

/// Writes into the window that the message in `region` tells of, and makes it invalid with the answer.
fn use_window(
    client: &mut AdmittedClient,
    region: &MemoryRegion,
    args: &ServerArgs<ReceivingSends>,
) -> Result<ProgramOutcome> {
    let deadline = args.common.deadline();
    let window = private_data::parse_region(&region.copy_out(0, private_data::REGION_BYTES)?)?;
    let endpoint = &mut client.endpoint;
    let text = endpoint.register_source(SERVER_WRITE)?;
    let write = || Ok::<_, verbs::Error>(SendRequest::write(RegionRange::whole(&text)?, &window));
    endpoint.execute(write()?, &deadline)?;
    let done = endpoint.register_source(SERVER_DONE)?;
    let answer = SendRequest::send_with_invalidate(RegionRange::whole(&done)?, window.rkey);
    endpoint.execute(answer, &deadline)?;
    if args.options.late {
        endpoint.execute(write()?, &deadline)?;
    }
    endpoint.disconnect(&deadline)?;
    Ok(ProgramOutcome::WindowWriter { written_bytes: SERVER_WRITE.len() })
}
