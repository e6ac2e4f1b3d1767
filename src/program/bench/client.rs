//! The bench's client: connects, posts what the plan says on each queue pair, and measures.

use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use verbs::cm_event::RejectReason;
use verbs::mr::Access;
use verbs::remote_region::RemoteRegion;
use verbs::transport::{ConnectParams, ConnectTarget};
use verbs::work_request::{RegionRange, SendRequest};

use super::connection::{BenchConnection, NOWHERE, check_limits};
use super::requester::{QueuePairTimes, run};
use crate::bench::measured::{BenchCarrier, Measured};
use crate::bench::plan::BenchPlan;
use crate::bench_tcp as tcp;
use crate::cli::{BenchClientArgs, RDMA_BENCH_CLIENT};
use crate::error::{Error, Result};
use crate::log;
use crate::lookup::lookup;
use crate::private_data;
use crate::program::{conclude, params, require_device, transport};
use crate::report::{ProgramOutcome, Reporter};

/// Time in which a peer that has ended is seen to leave, after it refused a request: its system tells it within milliseconds.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Parses the command line, measures, reports.
#[must_use]
pub fn main() -> ExitCode {
    let (args, plan) = match BenchClientArgs::parse_for(&RDMA_BENCH_CLIENT, std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    log::init(args.common.verbose);
    let reporter = Reporter::new(RDMA_BENCH_CLIENT.name, args.common.json);
    let measured = if args.tcp { over_tcp(&args, &plan) } else { over_rdma(&args, &plan) };
    conclude(&reporter, &[measured.map(|measured| ProgramOutcome::Measured(Box::new(measured)))])
}

fn over_tcp(args: &BenchClientArgs, plan: &BenchPlan) -> Result<Measured> {
    let deadline = args.common.deadline();
    let server = lookup(&args.server, args.port, None, &deadline)?;
    tcp::measure(server, plan, args.common.timeout(), args.histogram)
}

fn over_rdma(args: &BenchClientArgs, plan: &BenchPlan) -> Result<Measured> {
    require_device()?;
    let reads_at_once = check_limits(plan)?;
    let connections = (0..plan.queue_pairs).map(|_| connect(args, plan, reads_at_once));
    let mut connections = connections.collect::<Result<Vec<_>>>()?;
    // All begin together.
    let barrier = Barrier::new(connections.len());
    let times: Vec<Result<QueuePairTimes>> = match connections.as_mut_slice() {
        [(connection, remote)] => vec![measure(connection, remote, plan)],
        several => thread::scope(|scope| {
            let barrier = &barrier;
            let runs: Vec<_> = several
                .iter_mut()
                .map(|(connection, remote)| {
                    scope.spawn(move || {
                        barrier.wait();
                        measure(connection, remote, plan)
                    })
                })
                .collect();
            let join = |run: thread::ScopedJoinHandle<'_, _>| {
                run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            runs.into_iter().map(join).collect()
        }),
    };
    for ((connection, _), ended) in connections.iter_mut().zip(&times) {
        if ended.as_ref().err().is_none_or(Error::peer_answers) {
            connection.endpoint.disconnect(&args.common.deadline())?;
        }
    }
    let times = times.into_iter().collect::<Result<Vec<_>>>()?;
    let started = times.iter().map(|times| times.started).min();
    let ended = times.iter().map(|times| times.ended).max();
    let elapsed = started.zip(ended).map(|(started, ended)| ended - started).unwrap_or_default();
    let posts = times.iter().map(|times| times.posts).sum();
    let mut latencies = times.into_iter().filter_map(|times| times.latencies);
    let latency = latencies.next().map(|mut first| {
        latencies.for_each(|next| first.add(&next));
        first.percentiles(args.histogram)
    });
    Ok(Measured::new(BenchCarrier::Rdma, plan, elapsed, posts, latency))
}

/// Does the plan's part of one queue pair; a peer that ends in the middle is told as that.
fn measure(
    connection: &mut BenchConnection,
    remote: &RemoteRegion,
    plan: &BenchPlan,
) -> Result<QueuePairTimes> {
    let refused = match run(connection, remote, plan) {
        Err(Error::Verbs(verbs::Error::Completion(refused))) => refused,
        measured => return measured,
    };
    // A process that ends loses its memory first and its connection then: its last requests are refused.
    match connection.endpoint.linger(END_LIMIT) {
        Err(verbs::Error::Disconnected { .. }) => {
            let awaited = format!("completions, of which the last was {}", refused.status);
            Err(verbs::Error::Disconnected { awaited }.into())
        }
        _ => Err(verbs::Error::Completion(refused).into()),
    }
}

fn connect(
    args: &BenchClientArgs,
    plan: &BenchPlan,
    reads_at_once: u8,
) -> Result<(BenchConnection, RemoteRegion)> {
    let deadline = args.common.deadline();
    let server = lookup(&args.server, args.port, None, &deadline)?;
    let target = ConnectTarget { server, source: None };
    let params = ConnectParams {
        initiator_depth: reads_at_once,
        ..params(&args.common.connection, plan.to_bytes().to_vec())
    };
    let (endpoint, told) = transport(&args.common.connection)
        .connect(&target, &params, &BenchConnection::builder(plan), &mut |_| Ok(()), &deadline)
        .map_err(explain)?;
    tracing::info!("connected to {server}");
    let remote = match plan.operation.names_memory() {
        true => private_data::parse_region(&told)?,
        false => NOWHERE,
    };
    let access = if plan.polls_memory() { Access::REMOTE } else { Access::SINK };
    let mut connection = BenchConnection::new(endpoint, plan, access, args.common.timeout())?;
    connection.check_datagrams()?;
    if plan.polls_memory() {
        tell_region(&mut connection, args)?;
    }
    Ok((connection, remote))
}

/// Tells the server where to write its pongs: the queue pair, and so the key, was not there before the connection.
fn tell_region(connection: &mut BenchConnection, args: &BenchClientArgs) -> Result<()> {
    let told = private_data::region_bytes(&connection.region.announce(false));
    let source = connection.endpoint.register_source(&told)?;
    connection.endpoint.execute(SendRequest::send(RegionRange::whole(&source)?), &args.common.deadline())?;
    Ok(())
}

fn explain(error: verbs::Error) -> verbs::Error {
    match error {
        verbs::Error::Rejected { reason: RejectReason::InvalidServiceId, .. } => {
            error.or_hint(|| format!("start {} there", RDMA_BENCH_CLIENT.server))
        }
        error => error,
    }
}
