//! The mutations, each with the whole set of reasons that it must give.

use std::collections::BTreeSet;

use crate::judge::verdict::Reason::{self, Agreement, App, Boot, Capture, Dmesg, Rule, Wire};
use crate::self_test::capture::{self, Alter};
use crate::self_test::environment::{self, Tamper};

/// One thing that is made wrong.
#[derive(Debug)]
pub struct Mutation {
    /// Its name, also of its artifacts.
    pub name: &'static str,
    /// The scenario of the catalogue that it is applied to.
    pub scenario: &'static str,
    /// Its effect.
    pub act: Act,
    /// The reasons that it must give, all of them and no other; none for what must stay green.
    pub expected: &'static [Reason],
}

/// Its effect.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// The client's command is another; `{client}` stands for the scenario's.
    Program {
        /// The command.
        client: &'static str,
    },
    /// The capture of a green run is altered, and judged again.
    Capture(Alter),
    /// The machines are tampered with when the capture has begun.
    Environment(Tamper),
}

impl Mutation {
    /// The expected reasons, in order.
    pub fn reasons(&self) -> BTreeSet<Reason> {
        self.expected.iter().copied().collect()
    }
}

const IMM: &str = "write_with_imm";
const READ: &str = "write_read";

const fn program(
    name: &'static str,
    scenario: &'static str,
    client: &'static str,
    expected: &'static [Reason],
) -> Mutation {
    Mutation { name, scenario, act: Act::Program { client }, expected }
}

const fn altered(
    name: &'static str,
    scenario: &'static str,
    alter: Alter,
    expected: &'static [Reason],
) -> Mutation {
    Mutation { name, scenario, act: Act::Capture(alter), expected }
}

const fn tampered(name: &'static str, tamper: Tamper, expected: &'static [Reason]) -> Mutation {
    Mutation { name, scenario: IMM, act: Act::Environment(tamper), expected }
}

/// All of them.
pub const MUTATIONS: &[Mutation] = &[
    program("program_as_it_is", IMM, "{client}", &[]),
    program("another_opcode", IMM, "RDMA_LAB_MUTANT=opcode {client}", &[Wire, App, Agreement]),
    program("no_immediate", IMM, "RDMA_LAB_MUTANT=no-immediate {client}", &[Wire, App, Agreement]),
    program("wrong_length", IMM, "RDMA_LAB_MUTANT=length {client}", &[Wire, App, Agreement]),
    program("wrong_length_one_sided", READ, "RDMA_LAB_MUTANT=length {client}", &[Wire, Agreement]),
    program("wrong_exit_code", IMM, "{client}; exit 3", &[App]),
    program("no_result", IMM, "{client} | grep -v result", &[App]),
    program("no_completions", IMM, "{client} | grep -v completion", &[Agreement]),
    altered("capture_as_it_is", IMM, capture::nothing, &[]),
    altered("write_dropped", IMM, capture::drop_write, &[Capture, Wire, Rule, Agreement]),
    altered("acknowledge_dropped", IMM, capture::drop_acknowledge, &[Capture, Wire, Rule, Agreement]),
    altered("read_response_dropped", READ, capture::drop_read_response, &[Capture, Wire, Rule, Agreement]),
    // A packet with a bad ICRC never counts as received.
    altered("payload_bit_flipped", IMM, capture::flip_payload_bit, &[Capture, Wire, Rule, Agreement]),
    altered("file_cut", IMM, capture::cut, &[Capture]),
    altered("file_empty", IMM, capture::empty, &[Capture]),
    altered("file_absent", IMM, capture::remove, &[Capture]),
    tampered("environment_as_it_is", environment::nothing, &[]),
    tampered("kernel_log_dirty", environment::dirty_kernel_log, &[Dmesg]),
    tampered("device_taken_away", environment::take_device_away, &[Capture, Wire, App, Agreement]),
    tampered("node_killed", environment::kill_node, &[Boot, Capture, Wire, App]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_every_kind_has_a_green_neighbour() {
        let names: BTreeSet<_> = MUTATIONS.iter().map(|mutation| mutation.name).collect();
        assert_eq!(names.len(), MUTATIONS.len());
        let greens = MUTATIONS.iter().filter(|mutation| mutation.expected.is_empty());
        let kinds: Vec<u8> = greens
            .map(|mutation| match mutation.act {
                Act::Program { .. } => 0,
                Act::Capture(_) => 1,
                Act::Environment(_) => 2,
            })
            .collect();
        assert_eq!(kinds, [0, 1, 2]);
    }
}
