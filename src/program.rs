//! What the programs share: the accept loop of a server, the connection of a client, and the exit code.

use std::net::SocketAddr;
use std::process::ExitCode;

use crate::builders::QueuePairBuilder;
use crate::cli::{ClientArgs, Program, ServerArgs};
use crate::cm::{ConnectRequest, Listener};
use crate::connection::{self, ConnectParams, Target};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::exchange::REGION_BYTES;
use crate::lookup::lookup;
use crate::ops::Endpoint;
use crate::private_data::{self, RemoteRegion};
use crate::report::{Outcome, Reporter};
use crate::{device, log};

/// Parses the command line of a server, listens, and serves clients with `exchange`, one after the other.
///
/// Returns with `--once` after one client, otherwise only if listening itself fails: SIGINT and SIGTERM end the process,
/// and the kernel then disconnects whoever is connected.
pub fn serve(
    program: &Program,
    exchange: impl Fn(ConnectRequest, &ServerArgs, &Reporter) -> Result<Outcome>,
) -> ExitCode {
    let args = match ServerArgs::parse_for(program, std::env::args_os()) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    log::init(args.common.verbose);
    let reporter = Reporter::new(program.name, args.common.json);
    let listener = match listen(&args) {
        Ok(listener) => listener,
        Err(error) => return conclude(&reporter, Err(error)),
    };
    tracing::info!("listening on {}", listener.address());
    loop {
        let request = match listener.next_request(&args.listen_deadline()) {
            Ok(request) => request,
            Err(error) => return conclude(&reporter, Err(error)),
        };
        match request.peer() {
            Some(peer) => tracing::info!("client {peer} asks to connect"),
            None => tracing::info!("a client asks to connect"),
        }
        let exit_code = conclude(&reporter, exchange(request, &args, &reporter));
        if args.once {
            return exit_code;
        }
    }
}

/// Parses the command line of a client and runs `exchange`, once.
pub fn request(
    program: &Program,
    exchange: impl FnOnce(&ClientArgs, &Reporter) -> Result<Outcome>,
) -> ExitCode {
    let args = match ClientArgs::parse_for(program, std::env::args_os()) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    log::init(args.common.verbose);
    let reporter = Reporter::new(program.name, args.common.json);
    conclude(&reporter, exchange(&args, &reporter))
}

/// Builds the queue pairs of a program: completions go to its report.
#[must_use]
pub fn builder(reporter: &Reporter) -> QueuePairBuilder {
    let reporter = reporter.clone();
    QueuePairBuilder::new().observer(move |completion| reporter.completion(completion))
}

/// Connects a client to its server, and checks that the region announced there is large enough.
///
/// # Errors
///
/// Those of [`lookup`], [`device::names`] and [`connection::connect`]; [`Error::PrivateData`] if the server announces no
/// region, [`Error::RegionTooSmall`] if it says that it has less than this exchange needs.
pub fn connect(
    program: &Program,
    args: &ClientArgs,
    reporter: &Reporter,
    deadline: &Deadline,
) -> Result<(Endpoint, RemoteRegion)> {
    require_device()?;
    let server = lookup(&args.server, args.port, args.bind, deadline)?;
    let target = Target { server, source: args.bind, server_program: program.server.to_owned() };
    let params = ConnectParams::default();
    let (endpoint, private_data) =
        connection::connect(&target, &params, &builder(reporter), |_| Ok(()), deadline)?;
    tracing::info!("connected to {server}");
    let remote = RemoteRegion::parse(&private_data)?;
    tracing::debug!("the server's region: {remote}");
    let need = REGION_BYTES as u64;
    match remote.length_bytes {
        Some(have) if have < need => Err(Error::RegionTooSmall { have, need }),
        _ => Ok((endpoint, remote)),
    }
}

/// Decides whether a client may connect, by what its REQ asks for: nothing, or a region no larger than ours. Returns the
/// request, and whether the client wants to be told the length. A client that may not is rejected with the reason.
///
/// # Errors
///
/// [`Error::PrivateData`] for a request of an unknown kind, [`Error::RegionTooLarge`].
pub fn admit(request: ConnectRequest) -> Result<(ConnectRequest, bool)> {
    let limit = REGION_BYTES as u64;
    let refused = match private_data::parse_length_request(request.private_data()) {
        Ok(None) => return Ok((request, false)),
        Ok(Some(asked)) if asked <= limit => return Ok((request, true)),
        Ok(Some(asked)) => Error::RegionTooLarge { asked, limit },
        Err(error) => error.into(),
    };
    if let Err(error) = request.reject(&refused.to_string()) {
        tracing::warn!("{error}");
    }
    Err(refused)
}

fn listen(args: &ServerArgs) -> Result<Listener> {
    require_device()?;
    Listener::bind(SocketAddr::new(args.bind, args.port))
}

/// Fails early without a device: listening on every address would succeed, and wait for ever.
fn require_device() -> Result<()> {
    let names = device::names()?;
    tracing::debug!("ibv_get_device_list: {}", names.join(", "));
    Ok(())
}

fn conclude(reporter: &Reporter, result: Result<Outcome>) -> ExitCode {
    let reported = reporter.result(&result);
    if reported && result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
