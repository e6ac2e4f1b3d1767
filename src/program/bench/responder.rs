//! The answering side's part of one queue pair: memory, RECVs that are posted again, or pongs.

use verbs::remote_region::RemoteRegion;

use super::connection::{BenchConnection, NOWHERE};
use super::requester::{Messages, await_message, post_one};
use crate::bench::plan::{BenchPlan, Quantity};
use crate::error::{Error, Result};

/// Does what the plan says; returns how many messages came, if this side is told of them.
pub(super) fn run(
    connection: &mut BenchConnection,
    pongs: Option<&RemoteRegion>,
    plan: &BenchPlan,
) -> Result<Option<u64>> {
    match plan.quantity {
        Quantity::Latency if plan.is_ping_pong() => pong(connection, pongs, plan).map(Some),
        Quantity::Bandwidth if plan.operation.consumes_a_recv() => receive(connection, plan).map(Some),
        _ => Ok(None),
    }
}

/// Receives all messages, and posts RECVs again a quarter at a time.
fn receive(connection: &mut BenchConnection, plan: &BenchPlan) -> Result<u64> {
    let (messages, quarter) = (u64::from(plan.messages), u64::from(plan.recvs() / 4).max(1));
    let (mut received, mut consumed) = (0, 0);
    while received < messages {
        let taken = match connection.wait() {
            Ok(taken) => taken.recvs,
            // What an unreliable service loses does not come any more.
            Err(Error::Verbs(verbs::Error::Disconnected { .. })) if plan.service.is_unreliable() => {
                return Ok(received);
            }
            Err(error) => return Err(error),
        };
        received += taken;
        consumed += taken;
        if consumed >= quarter {
            connection.post_recvs(consumed)?;
            consumed = 0;
        }
    }
    Ok(received)
}

/// Answers each message with one of the same length.
fn pong(connection: &mut BenchConnection, pongs: Option<&RemoteRegion>, plan: &BenchPlan) -> Result<u64> {
    let messages = Messages::new(connection, plan);
    let mut lists = messages.lists(connection, pongs.unwrap_or(&NOWHERE))?;
    for number in 0..u64::from(plan.messages) {
        await_message(connection, plan, number)?;
        if plan.operation.consumes_a_recv() {
            connection.post_recvs(1)?;
        }
        post_one(connection, &mut lists, plan, number)?;
    }
    Ok(u64::from(plan.messages))
}
