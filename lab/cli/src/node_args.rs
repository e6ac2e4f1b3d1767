//! Options of runs between more than two nodes: their number, their commands, and the switch's ports between them.

use lab::base::role::Role;
use lab::scenario::expect::ExpectPort;
use lab::scenario::port::LimitedPort;
use lab::scenario::{Count, Scenario};

use crate::programs::of_node;

/// Nodes beyond the usual two, and ports that carry less than comes.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// Number of nodes: a server, and clients `client`, `client2` and so on, which start together.
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u8).range(2..=8))]
    nodes: u8,
    /// The command on a further client, where it is another than that of --client: client3=./cli {server}
    #[arg(long, value_name = "NODE=COMMAND", value_parser = on)]
    on: Vec<(Role, String)>,
    /// A port of the switch that carries less than comes: to="server",kbit_per_s=8000,queue_frames=64,mark_above_bytes=8192
    #[arg(long, value_name = "PORT")]
    port: Vec<LimitedPort>,
    /// Number of frames at such a port that must be seen, by what became of them: server.marked=some; or frames, or dropped.
    #[arg(long, value_name = "PORT.WHAT=N", value_parser = port_count)]
    expect_port: Vec<(String, PortFate, Count)>,
    /// Number of congestion notifications (CNPs) that must be on the wire: a number, `some` or `any`.
    #[arg(long, value_name = "N")]
    cnps: Option<Count>,
}

impl NodeArgs {
    /// Sets what they say in a scenario.
    pub(crate) fn apply(&self, scenario: &mut Scenario) {
        scenario.nodes = usize::from(self.nodes);
        scenario.on = self.on.iter().cloned().collect();
        scenario.ports.clone_from(&self.port);
        scenario.expect.cnps = self.cnps;
        for (port, fate, count) in &self.expect_port {
            let port = scenario.expect.ports.entry(port.clone()).or_default();
            *fate.of(port) = Some(*count);
        }
    }
}

/// Fate of a frame at a limited port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortFate {
    Passed,
    Marked,
    Dropped,
}

impl PortFate {
    fn of(self, port: &mut ExpectPort) -> &mut Option<Count> {
        match self {
            Self::Passed => &mut port.frames,
            Self::Marked => &mut port.marked,
            Self::Dropped => &mut port.dropped,
        }
    }
}

/// Reads `client3=./cli {server}`.
fn on(text: &str) -> Result<(Role, String), String> {
    of_node(text, "client3=./cli {server}")
}

/// Reads `server.marked=some`, `client3+client4.dropped=0`.
fn port_count(text: &str) -> Result<(String, PortFate, Count), String> {
    let shape = || "write it as in server.marked=some; there are frames, marked, dropped".to_owned();
    let (port, count) = text.split_once('=').ok_or_else(shape)?;
    let (port, fate) = port.rsplit_once('.').ok_or_else(shape)?;
    let fate = match fate {
        "frames" => PortFate::Passed,
        "marked" => PortFate::Marked,
        "dropped" => PortFate::Dropped,
        _ => return Err(shape()),
    };
    Ok((port.to_owned(), fate, count.parse().map_err(|_| shape())?))
}
