//! Shared parts of servers: the accept loop, the client that is let in, RECVs, and the options that are wrong on purpose.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use super::{builder, conclude, params, require_device, transport};
use crate::cli::{Memory, Permission, ProgramSpec, Receiving, ServerArgs, ServerOptions};
use crate::error::{Error, Result};
use crate::exchange::{self, REGION_BYTES};
use crate::private_data;
use crate::report::{Content, ProgramOutcome, Reporter};
use verbs::completion::WcOpcode;
use verbs::deadline::Deadline;
use verbs::endpoint::{Endpoint, EndpointBuilder};
use verbs::mr::{Access, MemoryRegion};
use verbs::pd::ProtectionDomain;
use verbs::transport::{ConnectParams, ConnectRequest, Listener};
use verbs::work_request::RegionRange;

use crate::log;

/// Time that a server which is done gives its client to leave first: a client whose last acknowledgement was lost sends its request again
/// after an ACK timeout, half a second or two, and only a queue pair that is still there acknowledges it once more.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// The exit code of a server that dies on purpose.
const DEAD: i32 = 9;

/// The most clients that a server without end serves at once; others wait to be taken.
const MOST_AT_ONCE: usize = 64;

/// Parses the command line of a server, listens, and serves clients with `exchange`, as they come or as many as
/// `--clients` says.
///
/// Returns with `--once` and `--clients` when all of them are served, otherwise only if listening itself fails: SIGINT and
/// SIGTERM end the process, and the kernel then disconnects whoever is connected.
pub fn serve<O: ServerOptions>(
    program: &ProgramSpec,
    exchange: impl Fn(Box<dyn ConnectRequest>, &ServerArgs<O>, &Reporter) -> Result<ProgramOutcome> + Sync,
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
    let serve_one =
        || next_request(&*listener, &args).and_then(|request| exchange(request, &args, &reporter));
    match args.client_limit() {
        Some(1) => conclude(&reporter, &[serve_one()]),
        Some(count) => conclude(&reporter, &serve_at_once(count, &*listener, &args, &reporter, &exchange)),
        None => serve_as_they_come(
            || next_request(&*listener, &args),
            |request| exchange(request, &args, &reporter),
            |result| conclude(&reporter, &[result]),
        ),
    }
}

/// Serves each client that `next` brings on a thread of its own: one that is silent keeps nobody waiting.
///
/// Returns what `report` says of the failure that ends the service; what one client does wrong does not.
fn serve_as_they_come<R: Send>(
    next: impl Fn() -> Result<R>,
    exchange: impl Fn(R) -> Result<ProgramOutcome> + Sync,
    report: impl Fn(Result<ProgramOutcome>) -> ExitCode + Sync,
) -> ExitCode {
    let (exchange, report) = (&exchange, &report);
    thread::scope(|scope| {
        let mut clients = VecDeque::new();
        loop {
            clients.retain(|client: &ScopedJoinHandle<'_, ExitCode>| !client.is_finished());
            if clients.len() >= MOST_AT_ONCE {
                // Every wait of an exchange has a limit, and the oldest is the nearest to it.
                clients.pop_front().map(join);
            }
            match next() {
                Ok(request) => clients.push_back(scope.spawn(move || report(exchange(request)))),
                Err(error) => {
                    let is_over = !error.is_the_peer_s();
                    let exit_code = report(Err(error));
                    if is_over {
                        return exit_code;
                    }
                }
            }
        }
    })
}

/// Serves `count` clients on a thread each; the results are in the order in which they came, those of clients that did
/// not ask last.
fn serve_at_once<O: ServerOptions>(
    count: u16,
    listener: &dyn Listener,
    args: &ServerArgs<O>,
    reporter: &Reporter,
    exchange: &(impl Fn(Box<dyn ConnectRequest>, &ServerArgs<O>, &Reporter) -> Result<ProgramOutcome> + Sync),
) -> Vec<Result<ProgramOutcome>> {
    thread::scope(|scope| {
        let mut clients = Vec::new();
        let mut failed = Vec::new();
        for _ in 0..count {
            match next_request(listener, args) {
                Ok(request) => clients.push(scope.spawn(move || exchange(request, args, reporter))),
                Err(error) => {
                    // What one client did wrong, leaving or speaking otherwise, is its own result.
                    let is_over = !matches!(
                        error,
                        Error::Verbs(verbs::Error::Disconnected { .. } | verbs::Error::Parameters(_))
                    );
                    failed.push(Err(error));
                    if is_over {
                        break;
                    }
                }
            }
        }
        clients.into_iter().map(join).chain(failed).collect()
    })
}

/// Result of a client's thread; a panic is passed on.
fn join<T>(client: ScopedJoinHandle<'_, T>) -> T {
    client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn next_request<O: ServerOptions>(
    listener: &dyn Listener,
    args: &ServerArgs<O>,
) -> Result<Box<dyn ConnectRequest>> {
    let request = listener.next_request(&args.listen_deadline())?;
    match request.peer() {
        Some(peer) => tracing::info!("client {peer} asks to connect"),
        None => tracing::info!("a client asks to connect"),
    }
    Ok(request)
}

fn listen<O: ServerOptions>(args: &ServerArgs<O>) -> Result<Box<dyn Listener>> {
    require_device()?;
    let address = SocketAddr::new(args.bind, args.port);
    Ok(transport(&args.common.connection).listen(address)?)
}

/// Sums over the completions of a server's RECVs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received {
    /// Bytes of all messages.
    pub bytes: u64,
    /// The last immediate.
    pub imm: Option<u32>,
}

/// A client that a server has let in, not accepted yet.
#[derive(Debug)]
pub struct AdmittedClient {
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
/// [`ConnectRequest::into_endpoint`].
pub fn admit<O: ServerOptions>(
    request: Box<dyn ConnectRequest>,
    args: &ServerArgs<O>,
    reporter: &Reporter,
) -> Result<AdmittedClient> {
    admit_into(None, request, args, reporter)
}

/// The same with a queue pair in `domain`, if there is one, so that it may use memory that is registered there.
///
/// # Errors
///
/// As [`admit`].
pub fn admit_into<O: ServerOptions>(
    domain: Option<Arc<ProtectionDomain>>,
    request: Box<dyn ConnectRequest>,
    args: &ServerArgs<O>,
    reporter: &Reporter,
) -> Result<AdmittedClient> {
    match check_request(&*request, args) {
        Ok(asked) => {
            let reads_at_once = request.reads_at_once().max(1);
            let recvs = args.options.recvs().max(1);
            let builder = builder(reporter).max_recv_wr(recvs as u32);
            let builder = domain.into_iter().fold(builder, EndpointBuilder::domain);
            let endpoint = request.into_endpoint(&builder)?;
            Ok(AdmittedClient { endpoint, asked, reads_at_once })
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
fn check_request<O: ServerOptions>(
    request: &dyn ConnectRequest,
    args: &ServerArgs<O>,
) -> Result<Option<u64>> {
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

impl AdmittedClient {
    /// True if the client sends a pattern, since it asked for a length, and no text.
    #[must_use]
    pub fn sends_pattern(&self) -> bool {
        self.asked.is_some()
    }

    /// Number of bytes that the client has to fill: the length that it asked for, or a sample's region.
    #[must_use]
    pub fn room_bytes(&self) -> usize {
        self.asked.map_or(REGION_BYTES, |asked| usize::try_from(asked).unwrap_or(usize::MAX))
    }

    /// Registers memory with that room; at least one byte, since no region is empty.
    ///
    /// # Errors
    ///
    /// Errors of [`Endpoint::register`].
    pub fn register(&self, access: Access) -> Result<Arc<MemoryRegion>> {
        Ok(self.endpoint.register(self.room_bytes().max(1), access)?)
    }

    /// Accepts the client and tells it of `region`, if it is to access one.
    ///
    /// # Errors
    ///
    /// Errors of [`Endpoint::accept`].
    pub fn accept<O: ServerOptions>(
        &mut self,
        region: Option<&MemoryRegion>,
        args: &ServerArgs<O>,
    ) -> Result<()> {
        let announced =
            region.map(|region| private_data::region_bytes(&region.announce(self.asked.is_some())));
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
    /// Errors of [`Endpoint::post_recv`], [`Endpoint::accept`] and [`Endpoint::linger`].
    pub fn accept_to_receive<O: ServerOptions>(
        &mut self,
        ranges: Vec<RegionRange>,
        region: Option<&MemoryRegion>,
        receiving: &Receiving,
        args: &ServerArgs<O>,
    ) -> Result<Vec<u64>> {
        let post = |endpoint: &mut Endpoint| -> Result<Vec<u64>> {
            Ok(ranges
                .into_iter()
                .map(|range| endpoint.post_recv(Some(range)))
                .collect::<verbs::Result<_>>()?)
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

    /// Waits for the completion of each of `recvs`, all of the kind `expected`; an immediate must be its message's length.
    ///
    /// # Errors
    ///
    /// Errors of [`Endpoint::wait`]; [`Error::ImmediateDiffers`], [`Error::UnexpectedCompletion`].
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

    /// Ends the connection once the client has left, which it does when all of its requests are acknowledged; one that stays is
    /// disconnected.
    ///
    /// # Errors
    ///
    /// Errors of [`Endpoint::wait_disconnected`] and [`Endpoint::disconnect`].
    pub fn leave_last<O: ServerOptions>(&mut self, args: &ServerArgs<O>) -> Result<()> {
        let limit = Deadline::after(LEAVE_LIMIT.min(args.common.timeout()));
        match self.endpoint.wait_disconnected(&limit) {
            Err(verbs::Error::Timeout { .. }) => {
                tracing::debug!("the client stays: disconnecting it");
                Ok(self.endpoint.disconnect(&args.common.deadline())?)
            }
            ended => Ok(ended?),
        }
    }

    /// Content of `region`, of which `received_bytes` have arrived.
    ///
    /// # Errors
    ///
    /// Errors of [`exchange::verify_pattern`].
    pub fn content(&self, region: &MemoryRegion, received_bytes: u64) -> Result<Content> {
        let length = self.room_bytes().min(usize::try_from(received_bytes).unwrap_or(usize::MAX));
        let bytes = region.copy_out(0, length)?;
        Ok(if self.sends_pattern() {
            Content::Pattern(exchange::verify_pattern(&bytes)?)
        } else {
            Content::Text { text: exchange::ReceivedText::parse(&bytes).text }
        })
    }
}

/// Ends the process at once if that is to happen when `received` messages were received: the kernel cleans up.
fn die_after<O: ServerOptions>(received: usize, args: &ServerArgs<O>) {
    if args.die_after == Some(received) {
        tracing::warn!("dying after {received} messages, as told by --die-after");
        process::exit(DEAD);
    }
}

/// Access of a client to a server's region.
#[must_use]
pub fn access(memory: &Memory) -> Access {
    let allows = |permission| memory.access.contains(&permission);
    Access {
        remote_write: allows(Permission::Write),
        remote_read: allows(Permission::Read),
        flush_global: allows(Permission::Flush),
        ..Access::SINK
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;

    use super::*;
    use verbs::deadline::Deadline;

    #[test]
    fn five_clients_that_never_finish_do_not_keep_the_sixth_waiting() {
        let numbers = Mutex::new(1..=6);
        let (served, seen) = mpsc::channel();
        let seen = Mutex::new(seen);
        let results = Mutex::new(Vec::new());
        let exit_code = serve_as_they_come(
            || numbers.lock().unwrap().next().ok_or(Error::Verbs(verbs::Error::NoDevice)),
            |number| {
                if number == 6 {
                    (0..5).for_each(|_| served.send(()).unwrap());
                    return Ok(ProgramOutcome::Value { value: number, note: None });
                }
                // As if half-open: it ends when the sixth was served, or at its limit.
                let limit = Duration::from_secs(5);
                match seen.lock().unwrap().recv_timeout(limit) {
                    Ok(()) => Err(verbs::Error::Disconnected { awaited: "it".into() }.into()),
                    Err(_) => Err(verbs::Error::timeout("the sixth client", &Deadline::after(limit)).into()),
                }
            },
            |result| {
                results.lock().unwrap().push(result);
                ExitCode::from(3)
            },
        );
        assert_eq!(exit_code, ExitCode::from(3));
        let results = results.into_inner().unwrap();
        let count = |code: u8| {
            results
                .iter()
                .filter(|result| result.as_ref().map_or_else(Error::exit_code, |_| 0) == code)
                .count()
        };
        // The last is the failure that ends the service.
        assert_eq!((results.len(), count(0), count(4), count(1)), (7, 1, 5, 1), "{results:?}");
    }

    #[test]
    fn what_one_client_did_wrong_does_not_end_the_service() {
        let errors =
            Mutex::new(vec![verbs::Error::NoDevice.into(), verbs::Error::Parameters("none".into()).into()]);
        let reported = Mutex::new(0);
        let exit_code = serve_as_they_come(
            || Err::<(), _>(errors.lock().unwrap().pop().unwrap()),
            |()| unreachable!("nobody asks"),
            |result| {
                *reported.lock().unwrap() += 1;
                ExitCode::from(result.unwrap_err().exit_code())
            },
        );
        assert_eq!((exit_code, reported.into_inner().unwrap()), (ExitCode::from(1), 2));
    }
}
