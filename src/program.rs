//! What the programs share: the accept loop of a server, the connections of a client, the options that are wrong on
//! purpose, and the exit code.

use std::net::SocketAddr;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::builders::{QueuePairBuilder, RegionRange};
use crate::cli::{
    ClientArgs, ClientOptions, Connection, Memory, Permission, Program, Receiving, ServerArgs, ServerOptions,
    Wrong,
};
use crate::completion::WcOpcode;
use crate::connection::{self, ConnectParams, Listener, Request, Target};
use crate::error::{Error, Result};
use crate::exchange::{self, REGION_BYTES};
use crate::lookup::lookup;
use crate::mem::{Access, MemoryRegion};
use crate::ops::{Endpoint, Pace};
use crate::private_data::{self, RemoteRegion};
use crate::report::{Content, Outcome, Reporter};
use crate::{cm, device, log, plain};

/// The exit code of a server that dies on purpose.
const DEAD: i32 = 9;
/// The most READs and atomics that a client asks to have outstanding: what hardware has.
const MOST_READS_AT_ONCE: usize = 16;

/// Parses the command line of a server, listens, and serves clients with `exchange`: one after the other, or with
/// `--clients` that many at once.
///
/// Returns with `--once` and `--clients` when all of them are served, otherwise only if listening itself fails: SIGINT and
/// SIGTERM end the process, and the kernel then disconnects whoever is connected.
pub fn serve<O: ServerOptions>(
    program: &Program,
    exchange: impl Fn(Request, &ServerArgs<O>, &Reporter) -> Result<Outcome> + Sync,
) -> ExitCode {
    let args = match ServerArgs::<O>::parse_for(program, std::env::args_os()) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    log::init(args.common.verbose);
    let reporter = Reporter::new(program.name, args.common.json);
    let listener = match listen(&args) {
        Ok(listener) => listener,
        Err(error) => return conclude(&reporter, &[Err(error)]),
    };
    tracing::info!("listening on {}", listener.address());
    let serve_one = || next_request(&listener, &args).and_then(|request| exchange(request, &args, &reporter));
    match args.client_limit() {
        Some(1) => conclude(&reporter, &[serve_one()]),
        Some(count) => conclude(&reporter, &serve_at_once(count, &listener, &args, &reporter, &exchange)),
        None => loop {
            let request = next_request(&listener, &args);
            // What one client did wrong does not end the service for the others.
            let is_over = request.as_ref().is_err_and(|error| !error.is_the_peer_s());
            let result = request.and_then(|request| exchange(request, &args, &reporter));
            let exit_code = conclude(&reporter, &[result]);
            if is_over {
                return exit_code;
            }
        },
    }
}

/// Serves `count` clients on a thread each; the results are in the order in which they came.
fn serve_at_once<O: ServerOptions>(
    count: u16,
    listener: &Listener,
    args: &ServerArgs<O>,
    reporter: &Reporter,
    exchange: &(impl Fn(Request, &ServerArgs<O>, &Reporter) -> Result<Outcome> + Sync),
) -> Vec<Result<Outcome>> {
    thread::scope(|scope| {
        let mut clients = Vec::new();
        let mut failed = None;
        for _ in 0..count {
            match next_request(listener, args) {
                Ok(request) => clients.push(scope.spawn(move || exchange(request, args, reporter))),
                Err(error) => {
                    failed = Some(Err(error));
                    break;
                }
            }
        }
        let results = clients.into_iter().map(|client| match client.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        results.chain(failed).collect()
    })
}

fn next_request<O: ServerOptions>(listener: &Listener, args: &ServerArgs<O>) -> Result<Request> {
    let request = listener.next_request(&args.listen_deadline())?;
    match request.peer() {
        Some(peer) => tracing::info!("client {peer} asks to connect"),
        None => tracing::info!("a client asks to connect"),
    }
    Ok(request)
}

/// Parses the command line of a client, connects, runs `exchange` on each connection, and disconnects.
pub fn request<O: ClientOptions>(
    program: &Program,
    exchange: impl Fn(&mut Server, &ClientArgs<O>) -> Result<Outcome>,
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
                if let (Some(Wrong::Region), Some(first)) = (args.options.wrong(), servers.first()) {
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
        let announced = RemoteRegion::parse(&self.private_data)?;
        tracing::debug!("the server's region: {announced}");
        // A server that does not tell the length is a C sample's.
        let (have, need) = (announced.length_bytes.unwrap_or(REGION_BYTES as u64), need_bytes as u64);
        if have < need {
            return Err(Error::RegionTooSmall { have, need });
        }
        Ok(match args.options.wrong() {
            Some(Wrong::Rkey) => RemoteRegion { rkey: announced.rkey ^ 1, ..announced },
            Some(Wrong::Bounds) => announced.at(have - message_bytes as u64 + 1),
            Some(Wrong::Region | Wrong::Version) | None => announced,
        })
    }
}

/// How fast a client's messages go.
pub fn pace<O: ClientOptions>(args: &ClientArgs<O>) -> Pace {
    let repeat = args.options.repeat();
    Pace { depth: repeat.depth, pause: Duration::from_millis(repeat.pause_ms), limit: args.common.timeout() }
}

fn connect<O: ClientOptions>(program: &Program, args: &ClientArgs<O>, reporter: &Reporter) -> Result<Server> {
    require_device()?;
    let deadline = args.common.deadline();
    let server = lookup(&args.server, args.port, args.bind, &deadline)?;
    let target = Target { server, source: args.bind, server_program: program.server.to_owned() };
    let (repeat, wrong) = (args.options.repeat(), args.options.wrong());
    let mut private_data = Vec::new();
    if let Some(size) = args.options.size() {
        let mut asks = private_data::length_request(size.saturating_mul(repeat.count) as u64);
        if wrong == Some(Wrong::Version) {
            asks[private_data::VERSION_AT] += 1;
        }
        private_data.extend(asks);
    }
    let reads_at_once = repeat.depth.min(MOST_READS_AT_ONCE) as u8;
    let params =
        ConnectParams { initiator_depth: reads_at_once, ..params(&args.common.connection, private_data) };
    let builder = builder(reporter).max_send_wr(repeat.depth as u32);
    let (endpoint, private_data) = if args.common.connection.no_cm {
        plain::connect(&target, &params, &builder, |_| Ok(()), &deadline)?
    } else {
        connection::connect(&target, &params, &builder, |_| Ok(()), &deadline)?
    };
    tracing::info!("connected to {server}");
    Ok(Server { endpoint, private_data })
}

/// A client that a server has let in, not accepted yet.
#[derive(Debug)]
pub struct Client {
    /// This end of the connection to it.
    pub endpoint: Endpoint,
    asked: Option<u64>,
    reads_at_once: u8,
}

/// Lets a client in, unless it asks for more than this server gives or every client is to be rejected; then it is told
/// the reason.
///
/// # Errors
///
/// [`Error::PrivateData`] for a request of an unknown kind, [`Error::RegionTooLarge`], [`Error::Refused`], and those of
/// [`Request::into_endpoint`].
pub fn admit<O: ServerOptions>(
    request: Request,
    args: &ServerArgs<O>,
    reporter: &Reporter,
) -> Result<Client> {
    match check_request(&request, args) {
        Ok(asked) => {
            let reads_at_once = request.reads_at_once().max(1);
            let recvs = args.options.recvs().max(1);
            let endpoint = request.into_endpoint(&builder(reporter).max_recv_wr(recvs as u32))?;
            Ok(Client { endpoint, asked, reads_at_once })
        }
        Err(refused) => {
            if let Err(error) = request.reject(&refused.to_string()) {
                tracing::warn!("{error}");
            }
            Err(refused)
        }
    }
}

/// The length that a client asks for, if it does and may have it.
fn check_request<O: ServerOptions>(request: &Request, args: &ServerArgs<O>) -> Result<Option<u64>> {
    if let Some(reason) = &args.reject {
        return Err(Error::Refused { reason: reason.clone() });
    }
    if args.no_length {
        return Ok(None);
    }
    let limit = args.max_size as u64;
    match private_data::parse_length_request(request.private_data())? {
        Some(asked) if asked > limit => Err(Error::RegionTooLarge { asked, limit }),
        asked => Ok(asked),
    }
}

impl Client {
    /// Whether the client sends a pattern, since it asked for a length, and no text.
    #[must_use]
    pub fn sends_pattern(&self) -> bool {
        self.asked.is_some()
    }

    /// How many bytes the client has to fill: what it asked for, or a sample's region.
    #[must_use]
    pub fn room_bytes(&self) -> usize {
        self.asked.map_or(REGION_BYTES, |asked| usize::try_from(asked).unwrap_or(usize::MAX))
    }

    /// Registers memory with that room; at least one byte, since no region is empty.
    ///
    /// # Errors
    ///
    /// Those of [`Endpoint::register`].
    pub fn register(&self, access: Access) -> Result<Arc<MemoryRegion>> {
        self.endpoint.register(self.room_bytes().max(1), access)
    }

    /// Accepts the client and tells it of `region`, if it is to access one.
    ///
    /// # Errors
    ///
    /// Those of [`Endpoint::accept`].
    pub fn accept<O: ServerOptions>(
        &mut self,
        region: Option<&MemoryRegion>,
        args: &ServerArgs<O>,
    ) -> Result<()> {
        let announced = region.map(|region| region.announce(self.asked.is_some()).to_bytes());
        let params = ConnectParams {
            responder_resources: self.reads_at_once,
            ..params(&args.common.connection, announced.unwrap_or_default())
        };
        self.endpoint.accept(&params, &args.common.deadline())?;
        die_after(0, args);
        Ok(())
    }

    /// Posts a RECV for each of `ranges` and accepts the client, in the order that `receiving` says; returns the
    /// identifiers of the RECVs.
    ///
    /// # Errors
    ///
    /// Those of [`Endpoint::post_recv`], [`Endpoint::accept`] and [`Endpoint::linger`].
    pub fn accept_to_receive<O: ServerOptions>(
        &mut self,
        ranges: Vec<RegionRange>,
        region: Option<&MemoryRegion>,
        receiving: &Receiving,
        args: &ServerArgs<O>,
    ) -> Result<Vec<u64>> {
        let post = |endpoint: &mut Endpoint| -> Result<Vec<u64>> {
            ranges.into_iter().map(|range| endpoint.post_recv(Some(range))).collect()
        };
        if receiving.no_recv {
            self.accept(region, args)?;
            return Ok(Vec::new());
        }
        let Some(after_ms) = receiving.recv_after_ms else {
            // Before accepting: a message that finds no RECV costs 655 ms a try.
            let recvs = post(&mut self.endpoint)?;
            self.accept(region, args)?;
            return Ok(recvs);
        };
        self.accept(region, args)?;
        self.endpoint.linger(Duration::from_millis(after_ms))?;
        post(&mut self.endpoint)
    }
}

/// What a server was told by the completions of its RECVs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received {
    /// Bytes of all messages.
    pub bytes: u64,
    /// The last immediate.
    pub imm: Option<u32>,
}

impl Client {
    /// Waits for the completion of each of `recvs`, all of the kind `expected`; an immediate must be its message's length.
    ///
    /// # Errors
    ///
    /// Those of [`Endpoint::wait`]; [`Error::ImmediateDiffers`], [`Error::UnexpectedCompletion`].
    pub fn receive<O: ServerOptions>(
        &mut self,
        recvs: Vec<u64>,
        expected: WcOpcode,
        args: &ServerArgs<O>,
    ) -> Result<Received> {
        let mut received = Received::default();
        for (number, recv) in recvs.into_iter().enumerate() {
            let completion = self.endpoint.wait(recv, &args.common.deadline())?;
            if completion.opcode != expected {
                let (expected, got) = (expected.to_string(), Box::new(completion));
                return Err(Error::UnexpectedCompletion { expected, got });
            }
            let length_bytes = completion.length_bytes;
            if let Some(imm) = completion.imm.filter(|&imm| imm != length_bytes) {
                return Err(Error::ImmediateDiffers { imm, length_bytes });
            }
            received.bytes += u64::from(length_bytes);
            received.imm = completion.imm;
            die_after(number + 1, args);
        }
        Ok(received)
    }

    /// What has arrived in `region`, of which `received_bytes` are.
    ///
    /// # Errors
    ///
    /// Those of [`exchange::verify_pattern`].
    pub fn content(&self, region: &MemoryRegion, received_bytes: u64) -> Result<Content> {
        let length = self.room_bytes().min(usize::try_from(received_bytes).unwrap_or(usize::MAX));
        let bytes = region.copy_out(0, length)?;
        Ok(if self.sends_pattern() {
            Content::Pattern(exchange::verify_pattern(&bytes)?)
        } else {
            Content::Text { text: exchange::Received::parse(&bytes).text }
        })
    }
}

/// Ends the process at once if that is to happen when `received` messages were received: the kernel cleans up.
pub fn die_after<O: ServerOptions>(received: usize, args: &ServerArgs<O>) {
    if args.die_after == Some(received) {
        tracing::warn!("dying after {received} messages, as told by --die-after");
        process::exit(DEAD);
    }
}

/// What the region of a server lets a client do.
#[must_use]
pub fn access(memory: &Memory) -> Access {
    let allows = |permission| memory.access.contains(&permission);
    Access { remote_write: allows(Permission::Write), remote_read: allows(Permission::Read), ..Access::SINK }
}

/// Builds the queue pairs of a program: completions go to its report.
fn builder(reporter: &Reporter) -> QueuePairBuilder {
    let reporter = reporter.clone();
    QueuePairBuilder::new().observer(move |completion| reporter.completion(completion))
}

fn params(connection: &Connection, private_data: Vec<u8>) -> ConnectParams {
    ConnectParams {
        private_data,
        retry_count: connection.retry_count,
        rnr_retry_count: connection.rnr_retry,
        ack_timeout: connection.ack_timeout,
        psn: connection.psn,
        path_mtu_bytes: connection.mtu,
        ..ConnectParams::default()
    }
}

fn listen<O: ServerOptions>(args: &ServerArgs<O>) -> Result<Listener> {
    require_device()?;
    let address = SocketAddr::new(args.bind, args.port);
    if args.common.connection.no_cm {
        plain::Listener::bind(address).map(Listener::Plain)
    } else {
        cm::Listener::bind(address).map(Listener::Cm)
    }
}

/// Fails early without a device: listening on every address would succeed, and wait for ever.
fn require_device() -> Result<()> {
    let names = device::names()?;
    tracing::debug!("ibv_get_device_list: {}", names.join(", "));
    Ok(())
}

/// Reports the results in one line; the first failure decides the exit code.
fn conclude(reporter: &Reporter, results: &[Result<Outcome>]) -> ExitCode {
    let reported = reporter.results(results);
    match results.iter().find_map(|result| result.as_ref().err()) {
        Some(error) => ExitCode::from(error.exit_code()),
        None if reported => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}
