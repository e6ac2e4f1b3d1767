//! Shared parts of clients: their connections, the region that a server announces, and the options that are wrong on purpose.

use std::process::ExitCode;
use std::time::Duration;

use super::{builder, conclude, params, require_device, transport};
use crate::cli::{ClientArgs, ClientOptions, ProgramSpec, ReadingBack, WrongAccess};
use crate::error::{Error, Result};
use crate::exchange::REGION_BYTES;
use crate::lookup::lookup;
use crate::private_data;
use crate::report::{ProgramOutcome, Reporter};
use verbs::cm_event::RejectReason;
use verbs::endpoint::{Endpoint, Pace};
use verbs::extended::SendOperations;
use verbs::remote_region::RemoteRegion;
use verbs::transport::{ConnectParams, ConnectTarget};
use verbs::work_request::{ATOMIC_BYTES, FlushPart, FlushPlacement, SendRequest};

use crate::log;

/// The most READs and atomics that a client asks to have outstanding: what hardware has.
const MOST_READS_AT_ONCE: usize = 16;

/// Parses the command line of a client, connects, runs `exchange` on each connection, and disconnects.
pub fn request<O: ClientOptions>(
    program: &ProgramSpec,
    exchange: impl Fn(&mut Server, &ClientArgs<O>) -> Result<ProgramOutcome>,
) -> ExitCode {
    let args = match ClientArgs::<O>::parse_for(program, std::env::args_os()) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    log::init(args.common.verbose);
    let reporter = Reporter::new(program.name, args.common.json);
    let mut servers: Vec<Server> = Vec::new();
    for _ in 0..args.clients {
        match connect(program, &args, &reporter) {
            Ok(mut server) => {
                if let (Some(WrongAccess::Region), Some(first)) = (args.options.wrong(), servers.first()) {
                    server.private_data.clone_from(&first.private_data);
                }
                servers.push(server);
            }
            Err(error) => return conclude(&reporter, &[Err(error)]),
        }
    }
    let results: Vec<_> = servers.iter_mut().map(|server| exchange(server, &args)).collect();
    let ended = servers.iter_mut().zip(results).map(|(server, result)| {
        // Also after most errors: the server waits for it.
        if result.as_ref().err().is_none_or(Error::peer_answers) {
            server.endpoint.disconnect(&args.common.deadline())?;
        }
        result
    });
    conclude(&reporter, &ended.collect::<Vec<_>>())
}

/// A client's connection to its server.
#[derive(Debug)]
pub struct Server {
    /// This end of it.
    pub endpoint: Endpoint,
    private_data: Vec<u8>,
}

impl Server {
    /// Posts `requests` in their order, as many at a time as the command line says, and waits for their completions.
    ///
    /// # Errors
    ///
    /// Errors of [`Endpoint::execute_all`].
    pub fn execute_all<O: ClientOptions>(
        &mut self,
        requests: impl Iterator<Item = verbs::Result<SendRequest>>,
        args: &ClientArgs<O>,
    ) -> Result<()> {
        #[cfg(feature = "mutants")]
        let requests = requests.map(|request| request.map(crate::mutant::spoil));
        self.endpoint.execute_all(requests, &pace(args))?;
        Ok(())
    }

    /// Ends what was written to `remote` as the command line asks: by an ATOMIC WRITE of `first`, which was left out, and by
    /// a FLUSH of all `length_bytes` bytes.
    ///
    /// # Errors
    ///
    /// Errors of [`Endpoint::execute`].
    pub fn finish_writes(
        &mut self,
        args: &ClientArgs<ReadingBack>,
        remote: &RemoteRegion,
        first: [u8; ATOMIC_BYTES],
        length_bytes: usize,
    ) -> Result<()> {
        if args.options.atomic_write {
            let request = SendRequest::atomic_write(remote, u64::from_ne_bytes(first));
            self.endpoint.execute(request, &args.common.deadline())?;
        }
        if args.options.flush {
            let part = FlushPart::Range(length_bytes as u64);
            let request = SendRequest::flush(remote, FlushPlacement::Global, part);
            self.endpoint.execute(request, &args.common.deadline())?;
        }
        Ok(())
    }

    /// The region that the server announces, or with `--wrong` not quite that; `need_bytes` is what all messages take,
    /// `message_bytes` what each does.
    ///
    /// # Errors
    ///
    /// [`Error::PrivateData`] if the server announces no region, [`Error::RegionTooSmall`].
    pub fn region<O: ClientOptions>(
        &self,
        args: &ClientArgs<O>,
        need_bytes: usize,
        message_bytes: usize,
    ) -> Result<RemoteRegion> {
        let announced = private_data::parse_region(&self.private_data)?;
        tracing::debug!("the server's region: {announced}");
        // A server that does not tell the length is a C sample's.
        let (have, need) = (announced.length_bytes.unwrap_or(REGION_BYTES as u64), need_bytes as u64);
        if have < need {
            return Err(Error::RegionTooSmall { have, need });
        }
        Ok(match args.options.wrong() {
            Some(WrongAccess::Rkey) => RemoteRegion { rkey: announced.rkey ^ 1, ..announced },
            Some(WrongAccess::Bounds) => announced.at(have - message_bytes as u64 + 1),
            Some(WrongAccess::Region | WrongAccess::Version) | None => announced,
        })
    }
}

/// Pace of a client's messages.
fn pace<O: ClientOptions>(args: &ClientArgs<O>) -> Pace {
    let repeat = args.options.repeat();
    Pace { depth: repeat.depth, pause: Duration::from_millis(repeat.pause_ms), limit: args.common.timeout() }
}

/// Adds what to start where nobody listens.
fn explain(error: verbs::Error, program: &ProgramSpec) -> verbs::Error {
    match error {
        verbs::Error::Rejected { reason: RejectReason::InvalidServiceId, .. } => {
            error.or_hint(|| format!("start {} there", program.server))
        }
        error => error,
    }
}

fn connect<O: ClientOptions>(
    program: &ProgramSpec,
    args: &ClientArgs<O>,
    reporter: &Reporter,
) -> Result<Server> {
    require_device()?;
    let deadline = args.common.deadline();
    let server = lookup(&args.server, args.port, args.bind, &deadline)?;
    let target = ConnectTarget { server, source: args.bind };
    let (repeat, wrong) = (args.options.repeat(), args.options.wrong());
    let mut private_data = Vec::new();
    if let Some(size) = args.options.size() {
        let mut asks = private_data::length_request(size.saturating_mul(repeat.count) as u64);
        if wrong == Some(WrongAccess::Version) {
            asks[private_data::VERSION_AT] += 1;
        }
        private_data.extend(asks);
    }
    let reads_at_once = repeat.depth.min(MOST_READS_AT_ONCE) as u8;
    let params =
        ConnectParams { initiator_depth: reads_at_once, ..params(&args.common.connection, private_data) };
    // Queue pairs that need not be made for more are classic ones.
    let operations = match args.options.operations().as_slice() {
        [] => SendOperations::default(),
        beyond => SendOperations::RELIABLE.with(beyond),
    };
    let builder = builder(reporter).max_send_wr(repeat.depth as u32).operations(operations);
    let (endpoint, private_data) = transport(&args.common.connection)
        .connect(&target, &params, &builder, &mut |_| Ok(()), &deadline)
        .map_err(|error| explain(error, program))?;
    tracing::info!("connected to {server}");
    Ok(Server { endpoint, private_data })
}
