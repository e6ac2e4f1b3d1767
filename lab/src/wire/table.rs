//! The switch's table: behind which port each MAC is, learned from the frames that come in.
//!
//! In: frames and the port that each came from; out: the nodes that a frame goes to. It reads no clock. Between two nodes there
//! is nothing to look up: what one sends is for the other.

use std::collections::HashMap;

use crate::base::role::Role;

/// A MAC.
type Mac = [u8; 6];

/// Most MACs that are learned; the further ones are everywhere.
const MACS_MAX: usize = 1024;

/// A set of nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeSet(u8);

impl NodeSet {
    /// The set of one node.
    pub fn of(role: Role) -> NodeSet {
        NodeSet(1 << role.index())
    }

    /// Adds a node.
    pub fn insert(&mut self, role: Role) {
        self.0 |= NodeSet::of(role).0;
    }

    /// The same without a node.
    #[must_use]
    pub fn without(self, role: Role) -> NodeSet {
        self.minus(NodeSet::of(role))
    }

    /// The same without the nodes of another.
    #[must_use]
    pub fn minus(self, other: NodeSet) -> NodeSet {
        NodeSet(self.0 & !other.0)
    }

    /// True if a node is in it.
    pub fn contains(self, role: Role) -> bool {
        self.0 & NodeSet::of(role).0 != 0
    }

    /// Number of its nodes.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// True if no node is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its nodes, in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }

    /// Its node, if it has no other.
    pub fn single(self) -> Option<Role> {
        if self.len() == 1 { self.iter().next() } else { None }
    }
}

impl FromIterator<Role> for NodeSet {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> NodeSet {
        let mut set = NodeSet::default();
        roles.into_iter().for_each(|role| set.insert(role));
        set
    }
}

/// Ports of a switch, and what is behind each.
#[derive(Debug, Default)]
pub(super) struct MacTable {
    ports: NodeSet,
    learned: HashMap<Mac, Role>,
}

impl MacTable {
    /// Adds a port.
    pub(super) fn open(&mut self, role: Role) {
        self.ports.insert(role);
    }

    /// Its ports.
    pub(super) fn ports(&self) -> NodeSet {
        self.ports
    }

    /// Takes note of a frame's sender; returns the nodes that it goes to, never none.
    pub(super) fn look_up(&mut self, from: Role, frame: &[u8]) -> NodeSet {
        let others = self.ports.without(from);
        if others.len() <= 1 {
            return if others.is_empty() { NodeSet::of(from.peer()) } else { others };
        }
        let (Some(destination), Some(source)) = (mac(frame, 0), mac(frame, 6)) else { return others };
        let is_known = self.learned.contains_key(&source);
        if !is_group(source) && (is_known || self.learned.len() < MACS_MAX) {
            self.learned.insert(source, from);
        }
        match self.learned.get(&destination).filter(|_| !is_group(destination)) {
            Some(to) if *to != from => NodeSet::of(*to),
            _ => others,
        }
    }
}

fn mac(frame: &[u8], offset: usize) -> Option<Mac> {
    frame.get(offset..)?.first_chunk().copied()
}

/// True if a MAC is that of several: broadcast or multicast.
fn is_group(mac: Mac) -> bool {
    mac[0] & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(destination: u8, source: u8) -> Vec<u8> {
        let mac = |last| match last {
            0xff => [0xff; 6],
            last => [0x52, 0x54, 0, 0, 0, last],
        };
        [&mac(destination)[..], &mac(source), &[0; 48]].concat()
    }

    fn table(count: usize) -> MacTable {
        let mut table = MacTable::default();
        Role::first(count).iter().for_each(|role| table.open(*role));
        table
    }

    fn names(set: NodeSet) -> String {
        set.iter().map(Role::name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn between_two_nodes_every_frame_is_for_the_other() {
        let mut table = table(2);
        for bytes in [frame(9, 9), frame(0xff, 1), vec![7; 3], Vec::new()] {
            assert_eq!(names(table.look_up(Role::Client, &bytes)), "server");
            assert_eq!(names(table.look_up(Role::Server, &bytes)), "client");
        }
        assert!(table.learned.is_empty());
    }

    #[test]
    fn frame_goes_to_the_port_that_its_receiver_was_heard_from() {
        let mut table = table(4);
        assert_eq!(
            names(table.look_up(Role::Client2, &frame(1, 3))),
            "server client client3",
            "not yet known"
        );
        assert_eq!(names(table.look_up(Role::Server, &frame(3, 1))), "client2");
        assert_eq!(names(table.look_up(Role::Client2, &frame(1, 3))), "server");
        assert_eq!(names(table.look_up(Role::Server, &frame(0xff, 1))), "client client2 client3");
        // A machine that changes places is found at its new one.
        assert_eq!(names(table.look_up(Role::Client3, &frame(1, 3))), "server");
        assert_eq!(names(table.look_up(Role::Server, &frame(3, 1))), "client3");
        // A frame to the port that it came from reaches whoever is there: nobody knows who that is.
        assert_eq!(names(table.look_up(Role::Client3, &frame(3, 5))), "server client client2");
    }

    #[test]
    fn many_macs_behind_a_port_fill_no_memory() {
        let mut table = table(3);
        for number in 0..3000_u16 {
            let [high, low] = number.to_be_bytes();
            let bytes = [&[0x52, 0x54, 0, 0, 0, 1], &[2, 0, 0, 0, high, low][..], &[0; 48]].concat();
            table.look_up(Role::Client, &bytes);
        }
        assert_eq!(table.learned.len(), MACS_MAX);
    }
}
