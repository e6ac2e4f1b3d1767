//! Shapes of requests that can still come again, to compare a retransmission with.

use std::collections::VecDeque;

use crate::checker::sink::{Arrival, Budget};
use crate::wire::{Operation, Psn};

/// Requests that are remembered after their acknowledgement, which the requester may not have got.
const ACKNOWLEDGED: usize = 64;

/// Requests of one stream that are remembered without an acknowledgement.
const SHAPES_MAX: usize = 8_192;

/// RequestShape of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestShape {
    psn: Psn,
    /// PSNs that it takes.
    count: u32,
    length: u16,
    opcode: u8,
}

/// Knowledge of the PSN of a request that comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShapeMatch {
    /// Nothing.
    No,
    /// The request that was sent.
    Same,
    /// Another request was sent under it.
    Other,
    /// Among the answers of a READ, and no READ itself.
    InsideRead,
    /// A READ of the rest of a READ.
    RestOfRead,
}

impl RequestShape {
    pub(super) fn new(arrival: &Arrival<'_>, count: Option<u32>) -> Self {
        Self {
            psn: arrival.bth.psn(),
            count: count.unwrap_or(1),
            length: arrival.packet.payload_length_bytes as u16,
            opcode: arrival.bth.opcode().0,
        }
    }

    fn is_read(self) -> bool {
        crate::wire::Opcode(self.opcode).operation() == Operation::ReadRequest
    }
}

/// Requests in the order of their PSNs.
#[derive(Debug, Default)]
pub(super) struct Shapes(VecDeque<RequestShape>);

impl Shapes {
    /// Adds the newest request, and forgets what cannot come again.
    #[inline]
    pub(super) fn push(&mut self, shape: RequestShape, acknowledged: Option<Psn>, budget: &mut Budget) {
        while self.0.len() >= ACKNOWLEDGED
            && let Some(front) = self.0.front()
            && (acknowledged.is_some_and(|end| front.psn.plus(front.count).distance(end) <= 0)
                || budget.left == 0
                || self.0.len() >= SHAPES_MAX)
        {
            self.0.pop_front();
            if self.0.len() >= ACKNOWLEDGED {
                budget.left += 1;
            }
        }
        if self.0.len() >= ACKNOWLEDGED {
            budget.left = budget.left.saturating_sub(1);
        }
        self.0.push_back(shape);
    }

    fn at(&self, psn: Psn) -> Option<usize> {
        self.0.partition_point(|shape| shape.psn.distance(psn) <= 0).checked_sub(1)
    }

    /// Compares a request with the one that was sent under its PSN.
    pub(super) fn compare(&self, new: RequestShape) -> ShapeMatch {
        let Some(known) = self.at(new.psn).and_then(|at| self.0.get(at)) else { return ShapeMatch::No };
        let index = new.psn.distance(known.psn) as u32;
        if index == 0 {
            let is_same = known.opcode == new.opcode && known.length == new.length;
            return if is_same { ShapeMatch::Same } else { ShapeMatch::Other };
        }
        match (index < known.count, new.is_read()) {
            (true, true) if index + new.count == known.count => ShapeMatch::RestOfRead,
            (true, false) if known.is_read() => ShapeMatch::InsideRead,
            _ => ShapeMatch::No,
        }
    }

    /// Puts a request in that others had overtaken, or in the place of the one with its PSN.
    pub(super) fn insert(&mut self, shape: RequestShape) {
        match self.at(shape.psn) {
            Some(at) if self.0.get(at).is_some_and(|known| known.psn == shape.psn) => {
                if let Some(known) = self.0.get_mut(at) {
                    *known = shape;
                }
            }
            Some(at) if self.0.len() < ACKNOWLEDGED => self.0.insert(at + 1, shape),
            None if self.0.len() < ACKNOWLEDGED => self.0.push_front(shape),
            _ => {}
        }
    }

    /// Returns to the budget what it took.
    pub(super) fn clear(&mut self, budget: &mut Budget) {
        budget.left += self.0.len().saturating_sub(ACKNOWLEDGED);
        self.0 = VecDeque::new();
    }
}
