//! The same bench over TCP: streams that carry messages of the plan's length one way, or there and back.
//!
//! The client's first bytes are the plan. A stream has no depth, signals or operations: the system's buffers hold messages in
//! flight. Bandwidth ends with one byte of the server's, when all has come.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::measured::{BenchCarrier, Measured, MessageTimes};
use crate::bench::plan::{BenchPlan, PLAN_BYTES, Quantity};
use crate::error::{Error, Result};
use crate::report::ProgramOutcome;

/// Interval at which a server without a client looks whether its limit is reached.
const LOOK: Duration = Duration::from_millis(20);

/// Checks the length of a plan's messages against a server's own limit.
///
/// # Errors
///
/// [`Error::BeyondLimit`].
pub fn check_size(plan: &BenchPlan, max_size: usize) -> Result<()> {
    let (asked, limit) = (u64::from(plan.size_bytes), max_size as u64);
    match asked > limit {
        true => {
            Err(Error::BeyondLimit { what: "--size", asked, who: "the server (--max-size)".into(), limit })
        }
        false => Ok(()),
    }
}

/// Listens on `address`.
///
/// # Errors
///
/// [`verbs::Error::Tcp`]: EADDRINUSE, EADDRNOTAVAIL.
pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| failed(&format!("listen on {address}"), error, Duration::ZERO))
}

/// Serves one bench.
///
/// # Errors
///
/// [`Error::Plan`], [`Error::BeyondLimit`], [`verbs::Error::Timeout`] after `limit` without progress, or `listen_limit`
/// without a client, [`verbs::Error::Disconnected`] if the client leaves before the end, [`verbs::Error::Tcp`].
pub fn serve(
    listener: &TcpListener,
    max_size: usize,
    limit: Duration,
    listen_limit: Option<Duration>,
) -> Result<ProgramOutcome> {
    let mut first = accept(listener, limit, listen_limit)?;
    let plan = read_plan(&mut first, limit)?;
    check_size(&plan, max_size)?;
    let mut streams = vec![first];
    while streams.len() < usize::from(plan.queue_pairs) {
        let mut next = accept(listener, limit, Some(limit))?;
        if read_plan(&mut next, limit)? == plan {
            streams.push(next);
        }
    }
    let answered = on_each(&mut streams, |stream| answer(stream, &plan, limit));
    answered.into_iter().collect::<Result<Vec<()>>>()?;
    Ok(ProgramOutcome::Answered {
        operation: plan.operation,
        quantity: plan.quantity,
        size_bytes: plan.size_bytes,
        received_messages: Some(u64::from(plan.messages) * u64::from(plan.queue_pairs)),
    })
}

/// Measures against a server at `server`.
///
/// # Errors
///
/// As of [`serve`].
pub fn measure(server: SocketAddr, plan: &BenchPlan, limit: Duration, histogram: bool) -> Result<Measured> {
    let connect = |_| -> Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&server, limit)
            .map_err(|error| failed(&format!("connect to {server}"), error, limit))?;
        prepare(&stream, limit)?;
        stream.write_all(&plan.to_bytes()).map_err(|error| failed("tell the plan", error, limit))?;
        Ok(stream)
    };
    let mut streams = (0..plan.queue_pairs).map(connect).collect::<Result<Vec<_>>>()?;
    let times = on_each(&mut streams, |stream| {
        let (started, mut latencies) = (Instant::now(), MessageTimes::new());
        let posts = request(stream, plan, limit, &mut latencies)?;
        Ok((started, Instant::now(), posts, latencies))
    });
    let times = times.into_iter().collect::<Result<Vec<_>>>()?;
    let started = times.iter().map(|(started, ..)| *started).min();
    let ended = times.iter().map(|(_, ended, ..)| *ended).max();
    let elapsed = started.zip(ended).map(|(started, ended)| ended - started).unwrap_or_default();
    let posts = times.iter().map(|(_, _, posts, _)| posts).sum();
    let mut all = MessageTimes::new();
    times.iter().for_each(|(.., latencies)| all.add(latencies));
    let latency = (plan.quantity == Quantity::Latency).then(|| all.percentiles(histogram));
    Ok(Measured::new(BenchCarrier::Tcp, plan, elapsed, posts, latency))
}

/// Runs `part` on each stream at once.
fn on_each<T: Send>(
    streams: &mut [TcpStream],
    part: impl Fn(&mut TcpStream) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    let barrier = Barrier::new(streams.len());
    let (barrier, part) = (&barrier, &part);
    thread::scope(|scope| {
        let begin = |stream| {
            scope.spawn(move || {
                barrier.wait();
                part(stream)
            })
        };
        let runs: Vec<_> = streams.iter_mut().map(begin).collect();
        let join = |run: thread::ScopedJoinHandle<'_, _>| {
            run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        runs.into_iter().map(join).collect()
    })
}

/// The client's part of a stream; returns its calls.
fn request(
    stream: &mut TcpStream,
    plan: &BenchPlan,
    limit: Duration,
    latencies: &mut MessageTimes,
) -> Result<u64> {
    let mut message = vec![0; plan.size_bytes as usize];
    let send = |stream: &mut TcpStream, message: &[u8]| {
        stream.write_all(message).map_err(|error| failed("send a message", error, limit))
    };
    for _ in 0..plan.messages {
        let before = Instant::now();
        send(stream, &message)?;
        if plan.quantity == Quantity::Latency {
            receive(stream, &mut message, limit)?;
            latencies.note(before.elapsed() / 2);
        }
    }
    if plan.quantity == Quantity::Bandwidth {
        receive(stream, &mut [0], limit)?;
    }
    Ok(u64::from(plan.messages))
}

/// The server's part of a stream.
fn answer(stream: &mut TcpStream, plan: &BenchPlan, limit: Duration) -> Result<()> {
    let mut message = vec![0; plan.size_bytes as usize];
    for _ in 0..plan.messages {
        receive(stream, &mut message, limit)?;
        if plan.quantity == Quantity::Latency {
            stream.write_all(&message).map_err(|error| failed("send a message", error, limit))?;
        }
    }
    if plan.quantity == Quantity::Bandwidth {
        stream.write_all(&[1]).map_err(|error| failed("say that all has come", error, limit))?;
    }
    Ok(())
}

fn receive(stream: &mut TcpStream, message: &mut [u8], limit: Duration) -> Result<()> {
    stream.read_exact(message).map_err(|error| failed("receive a message", error, limit))
}

fn read_plan(stream: &mut TcpStream, limit: Duration) -> Result<BenchPlan> {
    let mut bytes = [0; PLAN_BYTES];
    receive(stream, &mut bytes, limit)?;
    Ok(BenchPlan::from_bytes(&bytes)?)
}

fn accept(listener: &TcpListener, limit: Duration, listen_limit: Option<Duration>) -> Result<TcpStream> {
    let failed = |error| failed("take a client", error, listen_limit.unwrap_or_default());
    let Some(listen_limit) = listen_limit else {
        listener.set_nonblocking(false).map_err(failed)?;
        let (stream, _) = listener.accept().map_err(failed)?;
        return prepare(&stream, limit).map(|()| stream);
    };
    // A listener has no limit of its own.
    listener.set_nonblocking(true).map_err(failed)?;
    let started = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(failed)?;
                return prepare(&stream, limit).map(|()| stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && started.elapsed() < listen_limit => {
                thread::sleep(LOOK);
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

fn prepare(stream: &TcpStream, limit: Duration) -> Result<()> {
    let set = || {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))
    };
    set().map_err(|error| failed("prepare the stream", error, limit))
}

/// An error of a stream: the peer has gone, the limit was reached, or the system refused.
fn failed(action: &str, error: io::Error, limit: Duration) -> Error {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
    let awaited = action.to_owned();
    match error.kind() {
        WouldBlock | TimedOut => verbs::Error::Timeout { awaited, limit, hint: None }.into(),
        BrokenPipe | ConnectionReset | UnexpectedEof => verbs::Error::Disconnected { awaited }.into(),
        _ => verbs::Error::tcp(action, error).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::{BenchOperation, WaitStyle};

    const LIMIT: Duration = Duration::from_secs(20);

    const PLAN: BenchPlan = BenchPlan {
        operation: BenchOperation::Write,
        quantity: Quantity::Bandwidth,
        waiting: WaitStyle::Yield,
        size_bytes: 4096,
        messages: 50,
        depth: 16,
        queue_pairs: 3,
        signal_every: 4,
        post_list: 4,
        inline_bytes: 0,
        ranges: 1,
        service: crate::bench::plan::BenchService::Rc,
    };

    fn both(plan: &BenchPlan, max_size: usize) -> (Result<ProgramOutcome>, Result<Measured>) {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                let served = serve(&listener, max_size, LIMIT, Some(LIMIT));
                drop(listener);
                served
            });
            let measured = measure(address, plan, LIMIT, false);
            (server.join().unwrap(), measured)
        })
    }

    #[test]
    fn both_quantities_are_measured_on_all_streams() {
        for quantity in [Quantity::Bandwidth, Quantity::Latency] {
            let plan = BenchPlan { quantity, ..PLAN };
            let (served, measured) = both(&plan, 4096);
            let (served, measured) = (served.unwrap(), measured.unwrap());
            assert!(
                matches!(served, ProgramOutcome::Answered { received_messages: Some(150), .. }),
                "{served:?}"
            );
            assert_eq!((measured.carrier, measured.messages), (BenchCarrier::Tcp, 150));
            assert_eq!(measured.latency.is_some(), quantity == Quantity::Latency);
            assert!(measured.elapsed_ns > 0 && measured.bytes_per_second > 0);
        }
    }

    #[test]
    fn message_beyond_the_server_s_limit_is_refused_with_both_numbers() {
        let (served, measured) = both(&BenchPlan { queue_pairs: 1, ..PLAN }, 4095);
        let text = served.unwrap_err().to_string();
        assert!(text.contains("--size 4096") && text.contains("4095"), "{text}");
        assert!(matches!(measured, Err(Error::Verbs(verbs::Error::Disconnected { .. }))), "{measured:?}");
    }

    #[test]
    fn client_that_leaves_in_the_middle_is_told() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.write_all(&BenchPlan { queue_pairs: 1, ..PLAN }.to_bytes()).unwrap();
        stream.write_all(&[0; 5000]).unwrap();
        drop(stream);
        let error = serve(&listener, 4096, LIMIT, Some(LIMIT)).unwrap_err();
        assert!(matches!(error, Error::Verbs(verbs::Error::Disconnected { .. })), "{error}");
        let error = serve(&listener, 4096, LIMIT, Some(Duration::from_millis(50))).unwrap_err();
        assert!(matches!(error, Error::Verbs(verbs::Error::Timeout { .. })), "{error}");
    }
}
