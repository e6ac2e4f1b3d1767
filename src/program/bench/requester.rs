//! The measuring side's part of one queue pair: many messages in flight, or one after the other with its time.

use std::time::Instant;

use verbs::batch::{AttachedRange, RequestList};
use verbs::remote_region::RemoteRegion;

use super::connection::BenchConnection;
use crate::bench::measured::MessageTimes;
use crate::bench::plan::{BenchPlan, Quantity};
use crate::error::Result;

/// Result of one queue pair.
#[derive(Debug)]
pub(super) struct QueuePairTimes {
    /// Before the first post.
    pub(super) started: Instant,
    /// After the last completion.
    pub(super) ended: Instant,
    /// Calls that posted.
    pub(super) posts: u64,
    /// Latency of each message, if that is measured.
    pub(super) latencies: Option<MessageTimes>,
}

/// Does what the plan says.
pub(super) fn run(
    connection: &mut BenchConnection,
    remote: &RemoteRegion,
    plan: &BenchPlan,
) -> Result<QueuePairTimes> {
    match plan.quantity {
        Quantity::Bandwidth => bandwidth(connection, remote, plan),
        Quantity::Latency => latency(connection, remote, plan),
    }
}

/// Keeps as many messages in flight as the plan says.
fn bandwidth(
    connection: &mut BenchConnection,
    remote: &RemoteRegion,
    plan: &BenchPlan,
) -> Result<QueuePairTimes> {
    let source = connection.source.clone();
    let bytes = vec![0; if plan.is_inline() { plan.size_bytes as usize } else { 0 }];
    let inline = plan.is_inline().then_some(bytes.as_slice());
    let message = connection.request(&source, inline, remote);
    let mut list = connection.endpoint.work().request_list();
    let (messages, depth, post_list) =
        (u64::from(plan.messages), u64::from(plan.depth), u64::from(plan.post_list));
    let mut listed = None;
    let (mut posted, mut posts) = (0, 0);
    let started = Instant::now();
    loop {
        loop {
            let room = depth - connection.endpoint.work().sends_in_flight();
            let count = post_list.min(messages - posted).min(room);
            if count == 0 {
                break;
            }
            // Of the same length, at the same place between two signals: the same list.
            let shape = (posted % u64::from(plan.signal_every), count, posted + count == messages);
            if listed != Some(shape) {
                list.clear();
                for number in posted..posted + count {
                    let is_signalled = is_signalled(plan, number);
                    list.push(if is_signalled { message } else { message.unsignalled() })?;
                }
                listed = Some(shape);
            }
            connection.endpoint.work_mut().post_send_list(&mut list)?;
            posted += count;
            posts += 1;
        }
        if connection.endpoint.work().sends_in_flight() == 0 {
            return Ok(QueuePairTimes { started, ended: Instant::now(), posts, latencies: None });
        }
        connection.wait()?;
    }
}

/// True if the plan signals its message `number`, counted from 0.
fn is_signalled(plan: &BenchPlan, number: u64) -> bool {
    (number + 1).is_multiple_of(u64::from(plan.signal_every)) || number + 1 == u64::from(plan.messages)
}

/// Sends one message, and notes how long it took until it was answered; half of that where the peer answers with a message.
fn latency(
    connection: &mut BenchConnection,
    remote: &RemoteRegion,
    plan: &BenchPlan,
) -> Result<QueuePairTimes> {
    let mut latencies = MessageTimes::new();
    let messages = Messages::new(connection, plan);
    let mut lists = messages.lists(connection, remote)?;
    let started = Instant::now();
    for number in 0..u64::from(plan.messages) {
        let before = Instant::now();
        post_one(connection, &mut lists, plan, number)?;
        if plan.operation.is_answered() {
            while connection.endpoint.work().sends_in_flight() > 0 {
                connection.wait()?;
            }
            latencies.note(before.elapsed());
            continue;
        }
        await_message(connection, plan, number)?;
        latencies.note(before.elapsed() / 2);
        if plan.operation.consumes_a_recv() {
            connection.post_recvs(1)?;
        }
    }
    while connection.endpoint.work().sends_in_flight() > 0 {
        connection.wait()?;
    }
    let posts = u64::from(plan.messages);
    Ok(QueuePairTimes { started, ended: Instant::now(), posts, latencies: Some(latencies) })
}

/// Waits for the peer's message `number`.
pub(super) fn await_message(connection: &mut BenchConnection, plan: &BenchPlan, number: u64) -> Result<()> {
    if plan.polls_memory() {
        connection.wait_for_byte(mark(number))?;
        // Completions of this side's own WRITEs.
        connection.look()?;
        return Ok(());
    }
    while connection.wait()?.recvs == 0 {}
    Ok(())
}

/// The last byte of message `number` of a WRITE ping-pong: never that of the one before, nor the zero that was there first.
fn mark(number: u64) -> u8 {
    (number % MARKS) as u8 + 1
}

/// Different last bytes of messages; the plan's signals are spread over them.
const MARKS: u64 = 254;

/// Bytes of the messages of a ping-pong, one after the other.
pub(super) struct Messages {
    inline: Vec<Vec<u8>>,
    source: Vec<AttachedRange>,
}

impl Messages {
    /// Makes them: those of a WRITE ping-pong differ, since arrival is seen by the last byte.
    pub(super) fn new(connection: &mut BenchConnection, plan: &BenchPlan) -> Self {
        let count = if plan.polls_memory() { MARKS } else { 1 };
        let message = |number| {
            let mut bytes = vec![0; plan.size_bytes as usize];
            if let Some(last) = bytes.last_mut() {
                *last = mark(number);
            }
            bytes
        };
        let inline = if plan.is_inline() { (0..count).map(message).collect() } else { Vec::new() };
        Self { inline, source: connection.source.clone() }
    }

    /// A list of one request for each, and for each whether it is signalled.
    pub(super) fn lists(&self, connection: &BenchConnection, remote: &RemoteRegion) -> Result<OneLists<'_>> {
        let count = self.inline.len().max(1);
        let lists = |is_signalled: bool| {
            let one = |number: usize| {
                let inline = self.inline.get(number).map(Vec::as_slice);
                let message = connection.request(&self.source, inline, remote);
                let mut list = connection.endpoint.work().request_list();
                list.push(if is_signalled { message } else { message.unsignalled() })?;
                Ok(list)
            };
            (0..count).map(one).collect::<Result<Vec<_>>>()
        };
        Ok(OneLists { signalled: lists(true)?, unsignalled: lists(false)? })
    }
}

/// Lists of one request.
pub(super) struct OneLists<'data> {
    signalled: Vec<RequestList<'data>>,
    unsignalled: Vec<RequestList<'data>>,
}

/// Posts message `number` of a ping-pong, or of READs and atomics one after the other, which are all signalled.
pub(super) fn post_one(
    connection: &mut BenchConnection,
    lists: &mut OneLists<'_>,
    plan: &BenchPlan,
    number: u64,
) -> Result<()> {
    if plan.polls_memory() && !plan.is_inline() {
        connection.set_last_byte(mark(number))?;
    }
    let is_signalled = plan.operation.is_answered() || is_signalled(plan, number);
    let lists = if is_signalled { &mut lists.signalled } else { &mut lists.unsignalled };
    let at = if lists.len() > 1 { (number % MARKS) as usize } else { 0 };
    connection.endpoint.work_mut().post_send_list(&mut lists[at])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_neighbours_differ_and_none_is_zero() {
        let marks: Vec<u8> = (0..1000).map(mark).collect();
        assert!(marks.windows(2).all(|two| two[0] != two[1]) && !marks.contains(&0));
        assert_eq!((mark(0), mark(253), mark(254)), (1, 254, 1));
    }
}
