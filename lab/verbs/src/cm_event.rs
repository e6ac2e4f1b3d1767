//! Names of CM's events and of its reasons to reject.
//!
//! Source: `rdma_get_cm_event(3)`, `rdma/rdma_cma.h` of rdma-core 44, `enum ib_cm_rej_reason` of Linux 6.1.

use crate::c_enum::c_enum;

c_enum! {
    /// `enum rdma_cm_event_type`.
    CmEventKind {
        /// `rdma_resolve_addr` succeeded.
        AddrResolved = 0 => "ADDR_RESOLVED",
        /// `rdma_resolve_addr` failed.
        AddrError = 1 => "ADDR_ERROR",
        /// `rdma_resolve_route` succeeded.
        RouteResolved = 2 => "ROUTE_RESOLVED",
        /// `rdma_resolve_route` failed.
        RouteError = 3 => "ROUTE_ERROR",
        /// Passive side: a REQ arrived.
        ConnectRequest = 4 => "CONNECT_REQUEST",
        /// Active side without a queue pair: a REP arrived.
        ConnectResponse = 5 => "CONNECT_RESPONSE",
        /// Connecting failed.
        ConnectError = 6 => "CONNECT_ERROR",
        /// The peer does not answer.
        Unreachable = 7 => "UNREACHABLE",
        /// A REJ arrived.
        Rejected = 8 => "REJECTED",
        /// The connection stands.
        Established = 9 => "ESTABLISHED",
        /// The connection ended.
        Disconnected = 10 => "DISCONNECTED",
        /// The device went away.
        DeviceRemoval = 11 => "DEVICE_REMOVAL",
        /// Of multicast.
        MulticastJoin = 12 => "MULTICAST_JOIN",
        /// Of multicast.
        MulticastError = 13 => "MULTICAST_ERROR",
        /// The address moved to another device.
        AddrChange = 14 => "ADDR_CHANGE",
        /// The queue pair number may be used again.
        TimewaitExit = 15 => "TIMEWAIT_EXIT",
    }
}

c_enum! {
    /// Reason that CM rejected a connection: the status of REJECTED. Those that a user meets; the others keep their number.
    RejectReason {
        /// No listener at this service identifier.
        InvalidServiceId = 8 => "invalid service ID",
        /// The peer still knows an earlier connection with our numbers.
        StaleConnection = 10 => "stale connection",
        /// The program on the other side said no.
        ConsumerDefined = 28 => "consumer defined",
    }
}

#[cfg(all(test, feature = "rdma-core"))]
mod tests {
    use super::*;

    #[test]
    fn numbers_equal_the_header_s() {
        use rdma_sys::rdma_cm_event_type;
        assert_eq!(CmEventKind::Established.raw(), rdma_cm_event_type::RDMA_CM_EVENT_ESTABLISHED);
        assert_eq!(CmEventKind::TimewaitExit.raw(), rdma_cm_event_type::RDMA_CM_EVENT_TIMEWAIT_EXIT);
    }
}
