//! Shared parts of all programs; those of servers alone are in `server`, those of clients alone in `client`.

pub mod bench;
pub mod client;
pub mod server;

use std::process::ExitCode;

use crate::cli::ConnectionArgs;
use crate::error::Result;
use crate::report::{ProgramOutcome, Reporter};
use verbs::device;
use verbs::endpoint::EndpointBuilder;
use verbs::transport::{Cm, ConnectParams, Tcp, Transport};

/// Builds the queue pairs of a program: completions go to its report.
fn builder(reporter: &Reporter) -> EndpointBuilder {
    let reporter = reporter.clone();
    EndpointBuilder::new().observer(move |completion| {
        #[cfg(feature = "mutants")]
        let completion = &crate::mutant::as_asked(completion);
        reporter.completion(completion);
    })
}

/// Transport by which a program connects.
pub(crate) fn transport(connection: &ConnectionArgs) -> &'static dyn Transport {
    if connection.no_cm { &Tcp } else { &Cm }
}

/// Parameters of a connection, as the command line has them.
pub(crate) fn params(connection: &ConnectionArgs, private_data: Vec<u8>) -> ConnectParams {
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

/// Fails early without a device: listening on every address would succeed, and wait for ever.
pub(crate) fn require_device() -> Result<()> {
    let names = device::names()?;
    tracing::debug!("ibv_get_device_list: {}", names.join(", "));
    Ok(())
}

/// Reports the results in one line; the first failure decides the exit code.
pub(crate) fn conclude(reporter: &Reporter, results: &[Result<ProgramOutcome>]) -> ExitCode {
    let reported = reporter.results(results);
    match results.iter().find_map(|result| result.as_ref().err()) {
        Some(error) => ExitCode::from(error.exit_code()),
        None if reported => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}
