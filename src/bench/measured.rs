//! Result of a bench: bytes and messages a second, or percentiles of the latency. Integers with their units, for JSON.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::plan::{BenchOperation, BenchPlan, Quantity};

/// The connection that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BenchCarrier {
    /// Queue pairs.
    Rdma,
    /// Streams of TCP.
    Tcp,
}

/// Result of the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// The connection.
    pub carrier: BenchCarrier,
    /// The operation.
    pub operation: BenchOperation,
    /// The quantity.
    pub quantity: Quantity,
    /// Length of a message in bytes.
    pub size_bytes: u32,
    /// The most messages in flight on each queue pair.
    pub depth: u32,
    /// Queue pairs, or streams.
    pub queue_pairs: u8,
    /// Messages of all queue pairs, one way.
    pub messages: u64,
    /// Bytes of all messages, one way.
    pub bytes: u64,
    /// Time from the first post to the last completion, in nanoseconds.
    pub elapsed_ns: u64,
    /// Calls that posted them.
    pub posts: u64,
    /// Bytes a second.
    pub bytes_per_second: u64,
    /// Messages a second.
    pub messages_per_second: u64,
    /// Latency of a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyPercentiles>,
}

/// Latency of a message in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LatencyPercentiles {
    /// The shortest.
    pub min_ns: u64,
    /// The median, perftest's t_typical.
    pub p50_ns: u64,
    /// The mean.
    pub mean_ns: u64,
    /// 90 of 100 are not longer.
    pub p90_ns: u64,
    /// 99 of 100.
    pub p99_ns: u64,
    /// 999 of 1000.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Upper bound in nanoseconds and count of each step that is not empty, if they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub histogram: Vec<[u64; 2]>,
}

/// MessageTimes while they are measured. Takes no memory for a message.
#[derive(Clone, Debug)]
pub struct MessageTimes(Histogram<u64>);

impl Default for MessageTimes {
    fn default() -> Self {
        Self::new()
    }
}

impl MessageTimes {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        const LONGEST_NS: u64 = 60_000_000_000;
        // Three digits, 1 ns to a minute: cannot be refused.
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, 3);
        Self(histogram.unwrap_or_else(|_| unreachable!("valid bounds")))
    }

    /// Notes one; longer than a minute is a minute.
    pub fn note(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    /// Adds those of another queue pair.
    pub fn add(&mut self, other: &Self) {
        // Bounds are the same: cannot be refused.
        let added = self.0.add(&other.0);
        debug_assert!(added.is_ok());
    }

    /// The percentiles, and with `histogram` all steps.
    #[must_use]
    pub fn percentiles(&self, histogram: bool) -> LatencyPercentiles {
        let latencies = &self.0;
        let steps = latencies.iter_recorded().map(|step| [step.value_iterated_to(), step.count_at_value()]);
        LatencyPercentiles {
            min_ns: latencies.min(),
            p50_ns: latencies.value_at_quantile(0.5),
            mean_ns: latencies.mean().round() as u64,
            p90_ns: latencies.value_at_quantile(0.9),
            p99_ns: latencies.value_at_quantile(0.99),
            p999_ns: latencies.value_at_quantile(0.999),
            max_ns: latencies.max(),
            histogram: if histogram { steps.collect() } else { Vec::new() },
        }
    }
}

impl Measured {
    /// The result of a plan that took `elapsed` and `posts` calls.
    #[must_use]
    pub fn new(
        carrier: BenchCarrier,
        plan: &BenchPlan,
        elapsed: Duration,
        posts: u64,
        latency: Option<LatencyPercentiles>,
    ) -> Self {
        let messages = u64::from(plan.messages) * u64::from(plan.queue_pairs);
        let bytes = messages * u64::from(plan.size_bytes);
        let seconds = elapsed.as_secs_f64().max(1e-9);
        Self {
            carrier,
            operation: plan.operation,
            quantity: plan.quantity,
            size_bytes: plan.size_bytes,
            depth: plan.depth,
            queue_pairs: plan.queue_pairs,
            messages,
            bytes,
            elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            posts,
            bytes_per_second: (bytes as f64 / seconds).round() as u64,
            messages_per_second: (messages as f64 / seconds).round() as u64,
            latency,
        }
    }

    /// The result for people, units as perftest has them: MiB/s, microseconds.
    #[must_use]
    pub fn sentence(&self) -> String {
        let micros = |ns: u64| format!("{:.2}", ns as f64 / 1e3);
        let carrier = match self.carrier {
            BenchCarrier::Rdma => self.operation.name(),
            BenchCarrier::Tcp => "TCP",
        };
        let what = format!("{} messages of {} bytes, {carrier}", self.messages, self.size_bytes);
        match &self.latency {
            Some(latency) => format!(
                "{what}: latency in us: min {}, median {}, mean {}, 99 % {}, 99.9 % {}, max {}",
                micros(latency.min_ns),
                micros(latency.p50_ns),
                micros(latency.mean_ns),
                micros(latency.p99_ns),
                micros(latency.p999_ns),
                micros(latency.max_ns),
            ),
            None => format!(
                "{what}{}: {:.2} MiB/s, {} messages/s",
                match self.carrier {
                    BenchCarrier::Rdma => format!(", {} in flight", self.depth),
                    // The system's buffers decide.
                    BenchCarrier::Tcp => String::new(),
                },
                self.bytes_per_second as f64 / f64::from(1 << 20),
                self.messages_per_second,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::WaitStyle;

    const PLAN: BenchPlan = BenchPlan {
        operation: BenchOperation::Write,
        quantity: Quantity::Bandwidth,
        waiting: WaitStyle::Events,
        size_bytes: 1 << 20,
        messages: 10,
        depth: 8,
        queue_pairs: 2,
        signal_every: 1,
        post_list: 1,
        inline_bytes: 0,
        ranges: 1,
        service: crate::bench::plan::BenchService::Rc,
    };

    #[test]
    fn rates_are_of_all_queue_pairs() {
        let measured = Measured::new(BenchCarrier::Rdma, &PLAN, Duration::from_secs(2), 20, None);
        assert_eq!((measured.messages, measured.bytes), (20, 20 << 20));
        assert_eq!((measured.bytes_per_second, measured.messages_per_second), (10 << 20, 10));
        assert_eq!(
            measured.sentence(),
            "20 messages of 1048576 bytes, write, 8 in flight: 10.00 MiB/s, 10 messages/s"
        );
        let over_tcp = Measured { carrier: BenchCarrier::Tcp, ..measured };
        assert_eq!(over_tcp.sentence(), "20 messages of 1048576 bytes, TCP: 10.00 MiB/s, 10 messages/s");
    }

    #[test]
    fn percentiles_are_those_of_what_was_noted() {
        let mut latencies = MessageTimes::new();
        for micros in 1..=100 {
            latencies.note(Duration::from_micros(micros));
        }
        latencies.note(Duration::from_secs(3600));
        let told = latencies.percentiles(true);
        let near = |ns: u64, micros: u64| ns.abs_diff(micros * 1000) <= micros * 2;
        assert!(near(told.min_ns, 1) && near(told.p50_ns, 51) && near(told.p90_ns, 91), "{told:?}");
        assert!(told.max_ns >= 59_000_000_000 && told.histogram.len() == 101, "{told:?}");
        assert_eq!(told.histogram.iter().map(|step| step[1]).sum::<u64>(), 101);
        assert!(latencies.percentiles(false).histogram.is_empty());
    }
}
