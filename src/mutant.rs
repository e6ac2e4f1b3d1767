//! Programs that do not do what they say: what a harness must not believe.
//!
//! With the feature `mutants`, which is built for `cargo xtask self-test` and deployed by nothing else, the environment
//! variable `RDMA_LAB_MUTANT` names what is done wrong to every WRITE. The device is told it; what is reported stays
//! what was asked for.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use verbs::completion::{Completion, CompletionSide, WrOpcode};
use verbs::work_request::SendRequest;

/// The requests that were asked for and have not completed, in their order. Mutants have one connection.
static ASKED: Mutex<VecDeque<SendRequest>> = Mutex::new(VecDeque::new());

/// Returns the request that is posted in the place of `request`, as the variable says.
pub(crate) fn spoil(request: SendRequest) -> SendRequest {
    ASKED.lock().unwrap_or_else(PoisonError::into_inner).push_back(request.clone());
    let mutant = std::env::var("RDMA_LAB_MUTANT").unwrap_or_default();
    let is_write = matches!(request.opcode(), WrOpcode::RdmaWrite | WrOpcode::RdmaWriteWithImm);
    let Some(remote) = request.remote().filter(|_| is_write) else { return request };
    let Some(local) = request.local().cloned() else { return request };
    match (mutant.as_str(), request.imm()) {
        ("opcode", imm) => SendRequest::send_with_imm(local, imm.unwrap_or_default()),
        ("no-immediate", _) => SendRequest::write(local, remote),
        ("length", imm) => {
            let shorter = local.first(local.length_bytes().saturating_sub(1));
            match imm {
                Some(imm) => SendRequest::write_with_imm(shorter, remote, imm),
                None => SendRequest::write(shorter, remote),
            }
        }
        _ => request,
    }
}

/// Makes a completion tell what was asked for, where it does not come from the device.
pub(crate) fn as_asked(completion: &Completion) -> Completion {
    let mut completion = completion.clone();
    if completion.side == CompletionSide::Requester
        && let Some(asked) = ASKED.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    {
        completion.posted = Some(asked.opcode());
        if completion.length_bytes > 0 {
            completion.length_bytes = asked.length_bytes();
            completion.imm = asked.imm();
        }
    }
    completion
}
