//! Packets and messages that are kept for the trace, up to the limits.

use super::*;

impl Analysis {
    /// Keeps the packet while there is room, and drops what belongs to none that is kept.
    pub(super) fn keep(
        &mut self,
        (number, timestamp_ns): (u64, u64),
        packet: &Packet<'_>,
        seen: Option<Seen>,
        fate: Fate,
    ) {
        if !self.untraced.is_hiding && !self.is_full() {
            self.keep_row((number, timestamp_ns), packet, seen, fate);
            return;
        }
        if !self.untraced.is_hiding {
            self.untraced.first.get_or_insert(number);
            self.untraced.packets += 1;
        }
        self.untraced.since_sweep += 1;
        if self.untraced.since_sweep == SWEEP {
            self.untraced.since_sweep = 0;
            for message in self.take_messages() {
                self.keep_message(message);
            }
        }
        self.bound_findings();
    }

    pub(super) fn keep_message(&mut self, message: Message) {
        let number = message.packet_first;
        let is_before = self.untraced.first.is_none_or(|first| number < first);
        let is_wanted =
            !self.untraced.is_selective || self.rows.binary_search_by_key(&number, |row| row.number).is_ok();
        if is_before && is_wanted {
            self.kept.push(message);
        } else {
            self.untraced.messages += u64::from(is_wanted);
        }
    }

    pub(super) fn bound_findings(&mut self) {
        self.untraced.findings += self.findings.len().saturating_sub(self.limits.findings) as u64;
        self.findings.truncate(self.limits.findings);
    }

    pub(super) fn keep_row(
        &mut self,
        (number, timestamp_ns): (u64, u64),
        packet: &Packet<'_>,
        seen: Option<Seen>,
        fate: Fate,
    ) {
        if let Some(Ok(mad)) = packet.mad()
            && mad.is_cm()
        {
            let message = mad.message().ok();
            let flow = message.and_then(|message: CmMessage<'_>| {
                self.tracker.of_connection_management(packet.source, packet.destination, &message)
            });
            self.cm_rows.push(CmRow::new(number, packet, flow, fate));
            return;
        }
        let flow = seen.map(|seen| (seen.flow, seen.sender));
        self.rows.push(Row::new(number, timestamp_ns, packet, flow, seen.and_then(|seen| seen.again), fate));
    }
}
