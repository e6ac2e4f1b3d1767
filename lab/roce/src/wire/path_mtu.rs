//! Path MTUs, and the payloads that they ask for.

use crate::wire::Place;

/// The path MTUs that there are, in bytes (Linux include/rdma/ib_verbs.h, enum ib_mtu).
pub(crate) const PATH_MTUS: [u64; 5] = [256, 512, 1_024, 2_048, 4_096];

/// True for a payload that a path MTU asks for at a place in a message.
#[inline]
pub(crate) fn is_of_path_mtu(mtu: u64, place: Place, payload_bytes: u64) -> bool {
    match place {
        Place::First | Place::Middle => payload_bytes == mtu,
        Place::Last => (1..=mtu).contains(&payload_bytes),
        Place::Only => payload_bytes <= mtu,
    }
}

/// True for a payload that some path MTU asks for at a place in a message.
pub(crate) fn is_of_some_path_mtu(place: Place, payload_bytes: u64) -> bool {
    PATH_MTUS.iter().any(|mtu| is_of_path_mtu(*mtu, place, payload_bytes))
}
