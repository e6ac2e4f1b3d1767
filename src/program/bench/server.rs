//! The bench's server: takes a client's plan and does its part, one bench after the other.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use verbs::deadline::Deadline;
use verbs::mr::Access;
use verbs::remote_region::RemoteRegion;
use verbs::transport::{ConnectParams, ConnectRequest, Listener};
use verbs::work_request::RegionRange;

use super::connection::{BenchConnection, check_limits};
use super::responder;
use crate::bench::plan::BenchPlan;
use crate::bench_tcp as tcp;
use crate::cli::{BenchServerArgs, RDMA_BENCH_SERVER};
use crate::error::{Error, Result};
use crate::log;
use crate::private_data;
use crate::program::{conclude, params, require_device, transport};
use crate::report::{ProgramOutcome, Reporter};

/// The longest that a client may take for a bench of which this side sees nothing: WRITEs, READs, atomics.
const UNSEEN_LIMIT: Duration = Duration::from_secs(3600);

/// Bytes of a client's region, as it is told: address and key.
const REGION_BYTES: usize = 12;

/// Parses the command line, listens, serves benches.
///
/// Returns with `--once`, otherwise only if listening itself fails.
#[must_use]
pub fn main() -> ExitCode {
    let args = match BenchServerArgs::parse_for(&RDMA_BENCH_SERVER, std::env::args_os()) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    log::init(args.common.verbose);
    let reporter = Reporter::new(RDMA_BENCH_SERVER.name, args.common.json);
    let address = SocketAddr::new(args.bind, args.port);
    let serve = || -> Result<ExitCode> {
        if args.tcp {
            let listener = tcp::listen(address)?;
            tracing::info!("listening on {address} (TCP)");
            return serve_each(&args, &reporter, || {
                tcp::serve(&listener, args.max_size, args.common.timeout(), listen_limit(&args))
            });
        }
        require_device()?;
        let listener = transport(&args.common.connection).listen(address)?;
        tracing::info!("listening on {}", listener.address());
        serve_each(&args, &reporter, || serve_one(&*listener, &args))
    };
    serve().unwrap_or_else(|error| conclude(&reporter, &[Err(error)]))
}

/// Serves one bench after the other, or one; an error that is no client's ends it.
fn serve_each(
    args: &BenchServerArgs,
    reporter: &Reporter,
    mut serve_one: impl FnMut() -> Result<ProgramOutcome>,
) -> Result<ExitCode> {
    loop {
        let result = serve_one();
        let is_over = args.once || result.as_ref().err().is_some_and(|error| !is_of_one_client(error));
        let exit_code = conclude(reporter, &[result]);
        if is_over {
            return Ok(exit_code);
        }
    }
}

/// True if the next client may fare better.
fn is_of_one_client(error: &Error) -> bool {
    error.is_the_peer_s()
        || matches!(error, Error::BeyondLimit { .. } | Error::Verbs(verbs::Error::Completion(_)))
}

/// The limit of waiting for a client: none, unless there is to be one client and a limit was asked for.
fn listen_limit(args: &BenchServerArgs) -> Option<Duration> {
    args.common.asked_timeout().filter(|_| args.once)
}

fn serve_one(listener: &dyn Listener, args: &BenchServerArgs) -> Result<ProgramOutcome> {
    let deadline = listen_limit(args).map_or_else(Deadline::never, Deadline::after);
    let first = listener.next_request(&deadline)?;
    let plan = refuse_or(first, |request| check(request.private_data(), args))?;
    let (plan, first) = plan;
    let mut connections = vec![accept(first, &plan, args)?];
    while connections.len() < usize::from(plan.queue_pairs) {
        let request = listener.next_request(&args.common.deadline())?;
        let (_, request) =
            refuse_or(request, |request| match check(request.private_data(), args)? == plan {
                true => Ok(()),
                false => Err(Error::Refused { reason: "another bench is running: try again later".into() }),
            })?;
        connections.push(accept(request, &plan, args)?);
    }
    let answer = |(connection, pongs): &mut (BenchConnection, Option<RemoteRegion>)| {
        let received = responder::run(connection, pongs.as_ref(), &plan)?;
        let limit = if received.is_some() { args.common.timeout() } else { UNSEEN_LIMIT };
        connection.endpoint.wait_disconnected(&Deadline::after(limit))?;
        Ok(received)
    };
    let answered: Vec<Result<Option<u64>>> = match connections.as_mut_slice() {
        [one] => vec![answer(one)],
        several => thread::scope(|scope| {
            let answer = &answer;
            let runs: Vec<_> = several.iter_mut().map(|one| scope.spawn(move || answer(one))).collect();
            let join = |run: thread::ScopedJoinHandle<'_, _>| {
                run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            runs.into_iter().map(join).collect()
        }),
    };
    let received = answered.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(ProgramOutcome::Answered {
        operation: plan.operation,
        quantity: plan.quantity,
        size_bytes: plan.size_bytes,
        received_messages: received.into_iter().sum(),
    })
}

/// Checks a request, and tells its client why if it is refused.
fn refuse_or<T>(
    request: Box<dyn ConnectRequest>,
    check: impl FnOnce(&dyn ConnectRequest) -> Result<T>,
) -> Result<(T, Box<dyn ConnectRequest>)> {
    match check(&*request) {
        Ok(checked) => Ok((checked, request)),
        Err(refused) => {
            if let Err(error) = request.reject(&refused.to_string()) {
                tracing::warn!("{error}");
            }
            Err(refused)
        }
    }
}

/// Reads a plan, and checks it against the limits of this side.
fn check(private_data: &[u8], args: &BenchServerArgs) -> Result<BenchPlan> {
    let plan = BenchPlan::from_bytes(private_data)?;
    tcp::check_size(&plan, args.max_size)?;
    check_limits(&plan)?;
    Ok(plan)
}

/// Accepts a client with memory and RECVs ready; with the client's region, if this side writes to it.
fn accept(
    request: Box<dyn ConnectRequest>,
    plan: &BenchPlan,
    args: &BenchServerArgs,
) -> Result<(BenchConnection, Option<RemoteRegion>)> {
    let reads_at_once = request.reads_at_once().max(1);
    let endpoint = request.into_endpoint(&BenchConnection::builder(plan))?;
    let access = Access { remote_atomic: plan.operation.is_atomic(), ..Access::REMOTE };
    let mut connection = BenchConnection::new(endpoint, plan, access, args.common.timeout())?;
    let told = match plan.polls_memory() {
        true => {
            let memory = connection.endpoint.register(REGION_BYTES, Access::SINK)?;
            let recv = connection.endpoint.post_recv(Some(RegionRange::whole(&memory)?))?;
            Some((memory, recv))
        }
        false => None,
    };
    let region = match plan.operation.names_memory() {
        true => private_data::region_bytes(&connection.region.announce(true)),
        false => Vec::new(),
    };
    let params =
        ConnectParams { responder_resources: reads_at_once, ..params(&args.common.connection, region) };
    let deadline = args.common.deadline();
    connection.endpoint.accept(&params, &deadline)?;
    let Some((memory, recv)) = told else { return Ok((connection, None)) };
    connection.endpoint.wait(recv, &deadline)?;
    let pongs = private_data::parse_region(&memory.copy_out(0, REGION_BYTES)?)?;
    Ok((connection, Some(pongs)))
}
