//! C's types, as each part's `as_raw` has them: the way out to a verb that is not here.
//!
//! A pointer is valid while the part lives. What is done through it must not destroy the part, or take completions and
//! events that it waits for.

pub use crate::rdma_sys::{
    ibv_ah, ibv_comp_channel, ibv_context, ibv_cq, ibv_mr, ibv_mw, ibv_pd, ibv_qp, ibv_srq, rdma_cm_id,
    rdma_event_channel,
};
