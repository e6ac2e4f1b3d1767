//! Example 1, active side: a one-sided WRITE, and a READ that verifies it.
//!
//! The exchange (`rdma_server` is the other side):
//!
//! 1. server: registers 4096 bytes holding "server-initial", listens.
//! 2. client: connects (REQ); with `--size` it asks for room for `--count` messages of that length.
//! 3. server: accepts (REP); its private data is the address and rkey of the memory, and its length if that was asked for.
//! 4. client: confirms (RTU), WRITEs "client-wrote-this" to the address, or each message to its place, waits for the
//!    completions; with `--atomic-write` the first 8 bytes are zeros and follow by an ATOMIC WRITE, and with `--flush` a
//!    FLUSH completes when all of it is there to be seen.
//! 5. client: READs all 4096 bytes back, or each message, waits for the completions, verifies.
//! 6. client: disconnects (DREQ), waits for DISCONNECTED, reports.
//! 7. server: sees DISCONNECTED and answers (DREP), reports what its memory holds.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use rdma_lab::Result;
use rdma_lab::cli::{self, ClientArgs, ReadingBack};
use rdma_lab::exchange::{self, CLIENT_WRITE};
use rdma_lab::program::client::{self, Server};
use rdma_lab::report::ProgramOutcome;
use verbs::mr::Access;
use verbs::work_request::{ATOMIC_BYTES, RegionRange, SendRequest};

fn main() -> ExitCode {
    client::request(&cli::RDMA_CLIENT, write_and_read_back)
}

fn write_and_read_back(server: &mut Server, args: &ClientArgs<ReadingBack>) -> Result<ProgramOutcome> {
    let payload = args.options.writing.sized.payload(CLIENT_WRITE);
    let remote = server.region(args, payload.room_bytes(), payload.message_bytes())?;

    let bytes = payload.to_bytes()?;
    let source = server.endpoint.register_source(&bytes)?;
    let mut first = [0; ATOMIC_BYTES];
    if args.options.atomic_write {
        // The ATOMIC WRITE alone brings them.
        source.copy_in(0, &[0; ATOMIC_BYTES])?;
        first.copy_from_slice(&bytes[..ATOMIC_BYTES]);
    }
    let writes = payload.messages().map(|place| {
        let local = RegionRange::new(&source, place.start, place.len())?;
        Ok(SendRequest::write(local, &remote.at(place.start as u64)))
    });
    server.execute_all(writes, args)?;
    server.finish_writes(args, &remote, first, bytes.len())?;

    let sink = server.endpoint.register(payload.room_bytes().max(1), Access::SINK)?;
    let reads = payload.reads().map(|place| {
        let local = RegionRange::new(&sink, place.start, place.len())?;
        Ok(SendRequest::read(local, &remote.at(place.start as u64)))
    });
    server.execute_all(reads, args)?;
    let read = sink.copy_out(0, payload.room_bytes())?;
    exchange::verify_read_back(&bytes, &read)?;

    Ok(ProgramOutcome::Client {
        written_bytes: bytes.len(),
        read_bytes: read.len(),
        verified: true,
        pattern: payload.pattern_of(&bytes),
    })
}
