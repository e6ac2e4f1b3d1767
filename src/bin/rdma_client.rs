//! Example 1, active side: a one-sided WRITE, and a READ that verifies it.
//!
//! The exchange (`rdma_server` is the other side):
//!
//! 1. server: registers 4096 bytes holding "server-initial", listens.
//! 2. client: connects (REQ); with `--size` it asks for room for `--count` messages of that length.
//! 3. server: accepts (REP); its private data is the address and rkey of the memory, and its length if that was asked for.
//! 4. client: confirms (RTU), WRITEs "client-wrote-this" to the address, or each message to its place, waits for the
//!    completions; from one region, or with `--register` from one for each message; with `--atomic-write` the first 8 bytes
//!    are zeros and follow by an ATOMIC WRITE, and with `--flush` a FLUSH completes when all of it is there to be seen.
//! 5. client: READs all 4096 bytes back, or each message, waits for the completions, verifies.
//! 6. client: disconnects (DREQ), waits for DISCONNECTED, reports.
//! 7. server: sees DISCONNECTED and answers (DREP), reports what its memory holds.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rdma_lab::Result;
use rdma_lab::cli::{self, ClientArgs, ReadingBack, Registering};
use rdma_lab::exchange::{self, CLIENT_WRITE, Payload};
use rdma_lab::program::client::{self, Server};
use rdma_lab::report::{ProgramOutcome, Registrations};
use verbs::mr::Access;
use verbs::remote_region::RemoteRegion;
use verbs::work_request::{ATOMIC_BYTES, RegionRange, SendRequest};

fn main() -> ExitCode {
    client::request(&cli::RDMA_CLIENT, write_and_read_back)
}

fn write_and_read_back(server: &mut Server, args: &ClientArgs<ReadingBack>) -> Result<ProgramOutcome> {
    let payload = args.options.writing.sized.payload(CLIENT_WRITE);
    let remote = server.region(args, payload.room_bytes(), payload.message_bytes())?;

    let bytes = payload.to_bytes()?;
    let mut written = bytes.clone();
    let mut first = [0; ATOMIC_BYTES];
    if args.options.atomic_write {
        // The ATOMIC WRITE alone brings them.
        first.copy_from_slice(&bytes[..ATOMIC_BYTES]);
        written[..ATOMIC_BYTES].fill(0);
    }
    let registrations = match args.options.register {
        Registering::Once => {
            let source = server.endpoint.register_source(&written)?;
            let writes = payload.messages().map(|place| {
                let local = RegionRange::new(&source, place.start, place.len())?;
                Ok(SendRequest::write(local, &remote.at(place.start as u64)))
            });
            server.execute_all(writes, args)?;
            None
        }
        Registering::Each => Some(write_from_regions(server, args, &payload, &written, &remote, 0)?),
        Registering::Cached => Some(write_from_regions(server, args, &payload, &written, &remote, 1)?),
    };
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
        registrations,
    })
}

/// Writes each message from a region of its own, of which as many as `cached` stay registered for the messages to come.
fn write_from_regions(
    server: &mut Server,
    args: &ClientArgs<ReadingBack>,
    payload: &Payload,
    bytes: &[u8],
    remote: &RemoteRegion,
    cached: usize,
) -> Result<Registrations> {
    let (mut cache, mut registrations, mut spent) = (Vec::new(), 0, Duration::ZERO);
    for place in payload.messages() {
        let region = match cache.pop() {
            Some(region) => region,
            None => {
                let started = Instant::now();
                let region = server.endpoint.register(place.len().max(1), Access::SOURCE)?;
                spent += started.elapsed();
                registrations += 1;
                region
            }
        };
        region.copy_in(0, &bytes[place.clone()])?;
        let local = RegionRange::new(&region, 0, place.len())?;
        let write = SendRequest::write(local, &remote.at(place.start as u64));
        server.execute_all(std::iter::once(Ok(write)), args)?;
        if cache.len() < cached {
            cache.push(region);
        } else {
            let started = Instant::now();
            drop(region);
            spent += started.elapsed();
        }
    }
    let registering_ns = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
    Ok(Registrations { registrations, registering_ns })
}
