//! A queue pair's attributes in C's layout, to be filled.

use std::mem;

use crate::rdma_sys::ibv_qp_attr;

/// Attributes that are all zero.
pub(crate) fn no_attributes() -> ibv_qp_attr {
    // SAFETY: the structure is integers, and a union of bytes and integers, for which all zeros is a valid value.
    unsafe { mem::zeroed::<ibv_qp_attr>() }
}
