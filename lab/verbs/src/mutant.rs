//! Programs that do not do what they say: what a harness must not believe.
//!
//! With the feature `mutants`, which is built for `cargo xtask self-test` and deployed by nothing else, the environment
//! variable `RDMA_LAB_MUTANT` names what is done wrong to every WRITE. The device is told it; what is reported stays
//! what was asked for.

use rdma_sys::ibv_sge;

use crate::completion::WrOpcode;

/// Gives the opcode that is sent in the place of `opcode`, and shortens what is sent by a byte, as the variable says.
pub(crate) fn spoil(opcode: WrOpcode, sge: Option<&mut ibv_sge>) -> WrOpcode {
    let mutant = std::env::var("RDMA_LAB_MUTANT").unwrap_or_default();
    let is_write = matches!(opcode, WrOpcode::RdmaWrite | WrOpcode::RdmaWriteWithImm);
    match (mutant.as_str(), sge) {
        ("opcode", _) if is_write => WrOpcode::SendWithImm,
        ("no-immediate", _) if is_write => WrOpcode::RdmaWrite,
        ("length", Some(sge)) if is_write => {
            sge.length -= 1;
            opcode
        }
        _ => opcode,
    }
}
