//! Names of rdma-sys's types without rdma-sys, for rustdoc alone: what is documented is then the same on a computer
//! without rdma-core.
//!
//! rustdoc looks at items, not into functions, so the names are all that is needed.

#![allow(
    non_camel_case_types,
    dead_code,
    missing_docs,
    reason = "C's names, of which docs show but the name"
)]

macro_rules! names {
    ($($name:ident)+) => { $(#[doc = concat!("`", stringify!($name), "` of rdma-core.")] #[derive(Debug)] pub struct $name;)+ };
}

names! {
    atomic_t bind_mw_t ibv_device_attr_ex ibv_mw ibv_mw_bind ibv_mw_bind_info ibv_mw_type ibv_qp_ex ibv_qp_init_attr_ex verbs_context
    ibv_access_flags ibv_ah ibv_ah_attr ibv_comp_channel ibv_context ibv_cq ibv_device ibv_device_attr ibv_event_type ibv_gid ibv_mr
    ibv_pd ibv_port_attr ibv_qp ibv_qp_attr ibv_qp_attr_mask ibv_qp_cap ibv_qp_init_attr ibv_qp_state ibv_qp_type ibv_recv_wr
    ibv_send_flags ibv_send_wr ibv_sge ibv_srq ibv_srq_attr ibv_srq_init_attr ibv_wc ibv_wc_flags rdma_cm_event rdma_cm_id rdma_conn_param rdma_event_channel
    rdma_port_space rdma_t ud_t
}
