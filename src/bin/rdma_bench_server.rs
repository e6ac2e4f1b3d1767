//! The bench, answering side.
//!
//! The exchange (`rdma_bench_client` is the other side):
//!
//! 1. server: listens.
//! 2. client: connects (REQ), once for each queue pair; its private data is the plan: operation, size, depth, messages.
//! 3. server: registers memory, posts the RECVs that the plan needs, accepts (REP) and tells address, rkey and length.
//! 4. client: for the latency of WRITE alone, SENDs address and rkey of its own memory.
//! 5. client: does the plan's messages and measures; the server receives them, posts RECVs again or answers each.
//! 6. client: disconnects (DREQ), reports what it measured.
//! 7. server: sees DISCONNECTED and answers (DREP), reports.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    rdma_lab::program::bench::server::main()
}
