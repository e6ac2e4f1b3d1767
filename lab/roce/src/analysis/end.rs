//! End of a connection or of the capture: findings that waited for it.

use super::*;

impl Analysis {
    /// Takes the oldest connection out when there are too many, and tells what was held back of it.
    #[inline]
    pub(super) fn make_room(&mut self) {
        while let Some(oldest) = self.tracker.in_excess() {
            self.end_flow(oldest);
            self.judge_end(oldest);
            self.settle(oldest);
            let has_ended = self.conversations.drop_oldest().is_none_or(|gone| gone.has_ended());
            if let Some(connection) = self.tracker.drop_oldest() {
                self.forgotten += u64::from(!has_ended);
                self.dropped += connection.retransmissions;
            }
        }
    }

    /// Returns to the budget what a connection took, and counts its retransmissions.
    pub(super) fn settle(&mut self, index: ConnectionId) {
        if let (Some(connection), Some(conversation)) =
            (self.tracker.connection_mut(index), self.conversations.get_mut(index))
        {
            let ends = [connection.active.address, connection.passive.address];
            let is_recorders =
                |source, destination| self.copies.is_recorders(source, destination, &self.paths);
            let counts_copies = !is_recorders(ends[0], ends[1]) && !is_recorders(ends[1], ends[0]);
            connection.retransmissions = conversation.settle(&mut self.ledger.budget, counts_copies);
        }
    }

    /// Tells what was held back of a connection until now.
    pub(super) fn end_flow(&mut self, index: ConnectionId) {
        for side in [Side::Active, Side::Passive] {
            let last_ns = self.last_ns;
            let Some(conversation) = self.conversations.get_mut(index) else { return };
            let has_ended = conversation.has_ended();
            let stream = conversation.stream(side);
            let mut sink = self.ledger.lend(0, index, side);
            stream.end(side, last_ns, has_ended, &mut sink);
            stream.end_repeated(last_ns, &mut sink);
            for mut broken in std::mem::take(&mut self.ledger.broken) {
                if let Evidence::Refusal(refusal) = &mut broken.evidence
                    && let (Some(va), Some(rkey)) = (refusal.va, refusal.rkey)
                    && let Some(connection) = self.connection(index)
                {
                    let responder = connection.endpoint(side.other()).address;
                    refusal.difference = self.ledger.adverts.difference(responder, va, rkey);
                }
                if broken.rule == Rule::RequestPsnGap {
                    // Nothing refuses it where nothing of the other side is in the capture.
                    broken = broken.note_unless(self.is_told || self.is_answered(index, side));
                }
                if let Some(at) = broken.at {
                    self.find_at(broken, at, StreamId { connection: index, requester: side });
                    self.hold_of_order();
                }
            }
        }
    }

    /// True if something comes back from the node that a side of a connection sends to.
    fn is_answered(&self, index: ConnectionId, side: Side) -> bool {
        self.connection(index).is_none_or(|connection| {
            self.paths.has(connection.endpoint(side.other()).address, connection.endpoint(side).address)
        })
    }

    /// Tells what the capture lacks, doubles or has in another order, each once.
    pub(super) fn judge_capture(&mut self) {
        for finding in std::mem::take(&mut self.held.of_management) {
            if self.paths.has(finding.destination, finding.source) {
                self.findings.push(finding);
            }
        }
        self.findings.append(&mut self.held.of_cuts);
        self.judge_order();
        self.judge_copies();
        self.judge_directions();
        self.judge_datagram_receivers();
        // Fates tell of a copy by themselves.
        let of_refusals = self.ledger.capture.copies().filter(|_| !self.is_told);
        let doubled = self.copies.finding(&self.paths).or(of_refusals);
        let found: Vec<_> = self.ledger.capture.findings(self.packets).chain(doubled).collect();
        for (broken, at, stream) in found {
            self.find_at(broken, at, stream);
        }
    }

    /// Tells of queue pairs that get datagrams and that nothing shows to be there.
    fn judge_datagram_receivers(&mut self) {
        let untold = self.datagram_receivers.untold(
            |(node, qpn)| self.ledger.adverts.has_told(node, qpn),
            |key| self.tracker.datagrams().sends(key) || self.tracker.find(key.0, key.1).is_some(),
        );
        self.findings.extend(untold.into_iter().map(|(broken, first, destination)| Finding {
            rule: broken.rule,
            severity: broken.severity,
            packet: first.number,
            source: first.source,
            destination,
            stream: None,
            psn: Some(first.psn),
            message: None,
            evidence: broken.evidence,
        }));
    }

    /// Tells once that nothing of one direction is in the capture. A node that is asked again and again, and answers nothing, is told of already.
    pub(super) fn judge_directions(&mut self) {
        if self.is_told {
            return;
        }
        let is_dead = |source, destination| {
            self.findings.iter().any(|finding| {
                (finding.source, finding.destination) == (source, destination)
                    && matches!(finding.evidence, Evidence::Unanswered { .. })
            })
        };
        let mut found = None;
        let mut count = 0;
        for (number, source, destination) in self.paths.one_sided() {
            if is_dead(source, destination) {
                continue;
            }
            count += 1;
            found.get_or_insert((number, source, destination));
        }
        if let Some((packet, source, destination)) = found {
            let broken = capture_one_direction::found(count);
            self.findings.push(Finding {
                rule: broken.rule,
                severity: broken.severity,
                packet,
                source,
                destination,
                stream: None,
                psn: None,
                message: None,
                evidence: broken.evidence,
            });
        }
    }

    /// Names the request that a connection left without an answer.
    pub(super) fn judge_end(&mut self, index: ConnectionId) {
        for side in Side::BOTH {
            let Some(conversation) = self.conversations.get_mut(index).filter(|one| one.has_ended()) else {
                return;
            };
            let Some(connection) = self.tracker.connection(index) else { return };
            let stream = conversation.stream(side);
            let Some((number, psn, count)) = stream.unanswered() else { continue };
            let is_discarded = |discarded: &DiscardedPacket| {
                discarded.psn.is_none_or(|discarded| (0..count as i32).contains(&discarded.distance(psn)))
            };
            let is_excused = self.ledger.discarded.iter().any(is_discarded);
            let (source, destination) =
                (connection.endpoint(side).address, connection.endpoint(side.other()).address);
            let message = stream.message_at(psn).map(MessageId::number);
            stream.release(&mut self.ledger.budget);
            if is_excused || !self.is_told && !self.paths.has(destination, source) {
                continue;
            }
            // It was not repeated, so its answer may have come; or nobody waited for it.
            let broken = request_not_answered::found().note_unless(self.is_told);
            self.findings.push(Finding {
                rule: broken.rule,
                severity: broken.severity,
                packet: number,
                source,
                destination,
                stream: Some(StreamId { connection: index, requester: side }),
                psn: Some(psn),
                message,
                evidence: broken.evidence,
            });
            self.hold_of_order();
        }
    }
}
