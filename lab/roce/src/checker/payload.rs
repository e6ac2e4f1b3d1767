//! The payload of a request against the path MTU.

use crate::checker::asked::RequestPacket;
use crate::checker::sink::Sink;
use crate::flow::Connection;
use crate::rules::path_mtu_violated;
use crate::wire::is_of_path_mtu;

/// Payloads of First and Middle that were reported: the same wrong length again has the same cause.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PayloadRule {
    wrong_bytes: Option<u64>,
}

impl PayloadRule {
    /// Holds a payload against the path MTU; true if it is right.
    pub(super) fn judge(
        &mut self,
        connection: &Connection,
        asked: &RequestPacket,
        sink: &mut Sink<'_>,
    ) -> bool {
        let Some(mtu) = connection.path_mtu_bytes.map(u64::from) else {
            return true;
        };
        let got = asked.payload_bytes;
        let is_right = is_of_path_mtu(mtu, asked.opcode.place(), got);
        if !is_right && self.wrong_bytes != Some(got) {
            sink.report(path_mtu_violated::found(mtu, got));
            self.wrong_bytes = Some(got);
        }
        is_right
    }
}
