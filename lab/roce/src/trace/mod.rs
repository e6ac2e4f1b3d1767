//! The trace: a capture as text that a person reviews.
//!
//! In: a [`Report`](crate::Report). Out: text. The same meaning gives the same bytes on every machine and in every run: what is random is renamed, never
//! erased, and keeps its relations.
//!
//! The legend stands at [`Report::trace`](crate::Report::trace).

mod cm;
mod known;
mod labels;
mod ladder;
mod lines;
mod render;
mod summary;

pub use known::{Known, MessageNames};
pub use ladder::{Ladder, LadderOptions};
pub use lines::{FindingLine, MemoryLine, MessageLine, PacketLine, Part};

use crate::report::{PacketNames, Report};

impl Report {
    /// The trace: every packet, message and finding as text under names that are the same in every run. Ends with a newline.
    ///
    /// | in the trace | is |
    /// |--|--|
    /// | `client` | a node, by its IP address |
    /// | `client.qp1` | the first queue pair of that node, in the order in which packets name them; a REQ keeps a number for the queue pair of its REP |
    /// | `client.ud1` | its first for datagrams, which have no connection; `client.GSI` is queue pair 1 |
    /// | `client.0x77` | a queue pair number that packets are sent to and nothing in the capture explains: no packet of it, no word of its node |
    /// | `client+3` | a PSN: the third after the first of that `client` queue pair's requests; responses count in the requester's numbers |
    /// | `server.mr1+8` | rkey `server.mr1` and the address 8 bytes above the region's base: what its node advertised in a REP, else the lowest seen |
    /// | `<port>` | a random port |
    /// | `~` before a row | its receiver did not get the packet, or not here, or not as it is here |
    /// | `+` before a row | the switch put the packet there: a copy, an altered one, one that was held back |
    ///
    /// Left out are MAC addresses, UDP source ports, IP identification, times, flow labels, GUIDs, and transaction and communication ids that match.
    /// Connection management stands apart, because its order against data packets is not defined by the protocol; data packets are in the order of the wire.
    pub fn trace(&self) -> String {
        render::render(self)
    }

    /// The trace with the number of each packet before it, its time in seconds since the first and since the one before, and behind it why it came again, when
    /// it did.
    pub fn trace_with_times(&self) -> String {
        render::render_with(self, true)
    }

    /// The trace as what must hold whatever the timing: messages with their packets folded, what was acknowledged, lost and sent again, and the findings. Ends
    /// with a newline.
    ///
    /// The names are the trace's, but for the numbers of queue pairs where there are several connections: those are in the order of their text, and so are
    /// the numbers. What timing decides is left out: how acknowledgements coalesce, how directions and connections interleave, how far a
    /// requester got before a refusal reached it, how often it timed out. So of each kind of refusal, retransmission and finding only the first of a direction
    /// is there, a timeout only when nothing else made the requester send again.
    pub fn summary(&self) -> String {
        summary::summary(self)
    }

    /// The names under which the trace shows each data packet, in the order of the capture.
    pub fn packet_names(&self) -> Vec<PacketNames> {
        render::packet_names(self)
    }

    /// Each packet that the trace shows, connection management among them, under its names.
    pub fn packet_lines(&self) -> Vec<PacketLine> {
        lines::packets(self)
    }

    /// The queue pairs of each connection, the active one first: `client.qp1`.
    pub fn connection_names(&self) -> Vec<[String; 2]> {
        lines::connections(self)
    }

    /// The names of each of the report's messages.
    pub fn message_lines(&self) -> Vec<MessageLine> {
        lines::messages(self)
    }

    /// The memory regions, by name.
    pub fn memory_lines(&self) -> Vec<MemoryLine> {
        lines::memory(self)
    }

    /// The words of each of the report's findings.
    pub fn finding_lines(&self) -> Vec<FindingLine> {
        lines::findings(self)
    }

    /// The packets between the nodes as a picture, or as a diagram in Mermaid's words.
    pub fn ladder(&self, options: &LadderOptions) -> Ladder {
        Ladder::new(self, options)
    }
}
