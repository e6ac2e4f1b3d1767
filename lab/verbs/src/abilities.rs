//! Abilities that a device may lack: memory windows, invalidation, FLUSH, ATOMIC WRITE, on-demand paging.
//!
//! Source: `ibv_query_device_ex(3)`, `infiniband/verbs.h` and `ib_user_verbs.h` of rdma-core 56.

use crate::error::{Error, Result};

/// Abilities of a device beyond those that each has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceAbilities {
    /// Memory windows of type 1, bound by a call.
    pub windows_type_1: bool,
    /// Memory windows of type 2, bound by a work request and invalidated by either side.
    pub windows_type_2: bool,
    /// SEND with Invalidate and local invalidation.
    pub invalidation: bool,
    /// FLUSH that makes data visible to all of the peer.
    pub flush_global: bool,
    /// FLUSH that makes data survive a loss of power, of persistent memory.
    pub flush_persistent: bool,
    /// ATOMIC WRITE.
    pub atomic_write: bool,
    /// On-demand paging of memory regions, of reliable connections.
    pub on_demand_paging: bool,
}

/// Bits of `device_cap_flags` and, above the 32nd, of `device_cap_flags_ex`.
mod bit {
    pub(super) const MEM_WINDOW: u64 = 1 << 17;
    pub(super) const MEM_MGT_EXTENSIONS: u64 = 1 << 21;
    pub(super) const MEM_WINDOW_TYPE_2A: u64 = 1 << 23;
    pub(super) const MEM_WINDOW_TYPE_2B: u64 = 1 << 24;
    pub(super) const FLUSH_GLOBAL: u64 = 1 << 38;
    pub(super) const FLUSH_PERSISTENT: u64 = 1 << 39;
    pub(super) const ATOMIC_WRITE: u64 = 1 << 40;
    /// Of `odp_caps.general_caps`.
    pub(super) const ODP_SUPPORT: u64 = 1;
}

impl DeviceAbilities {
    /// Reads what C's flags say: those of the device, of which the low 32 bits are the classic ones, and the general ones
    /// of on-demand paging.
    pub(crate) fn of_flags(flags: u64, odp: u64) -> Self {
        let has = |bits: u64| flags & bits != 0;
        Self {
            windows_type_1: has(bit::MEM_WINDOW),
            windows_type_2: has(bit::MEM_WINDOW_TYPE_2A | bit::MEM_WINDOW_TYPE_2B),
            invalidation: has(bit::MEM_MGT_EXTENSIONS),
            flush_global: has(bit::FLUSH_GLOBAL),
            flush_persistent: has(bit::FLUSH_PERSISTENT),
            atomic_write: has(bit::ATOMIC_WRITE),
            on_demand_paging: odp & bit::ODP_SUPPORT != 0,
        }
    }

    /// Demands an ability of `device`.
    pub(crate) fn demand(has: bool, device: String, ability: &'static str, rxe_since: &str) -> Result<()> {
        match has {
            true => Ok(()),
            false => {
                let hint = Some(format!("rdma_rxe has it from Linux {rxe_since} on"));
                Err(Error::NotOffered { device, ability, hint })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_told_apart() {
        assert_eq!(DeviceAbilities::of_flags(0, 0), DeviceAbilities::default());
        assert!(DeviceAbilities::of_flags(1 << 24, 0).windows_type_2);
        assert!(!DeviceAbilities::of_flags(1 << 24, 0).windows_type_1);
        let all = DeviceAbilities::of_flags(u64::MAX, 1);
        assert!(all.flush_global && all.flush_persistent && all.atomic_write && all.on_demand_paging);
        assert!(!DeviceAbilities::of_flags(u64::from(u32::MAX), 0).atomic_write);
    }

    #[test]
    fn missing_ability_names_device_and_kernel() {
        let error = DeviceAbilities::demand(false, "rxe0".into(), "FLUSH", "6.2").unwrap_err();
        assert_eq!(error.to_string(), "rxe0 does not offer FLUSH; rdma_rxe has it from Linux 6.2 on");
    }

    #[cfg(feature = "rdma-core")]
    #[test]
    fn bits_are_the_header_s() {
        use rdma_sys::ibv_device_cap_flags;
        assert_eq!(bit::MEM_WINDOW, u64::from(ibv_device_cap_flags::IBV_DEVICE_MEM_WINDOW.0));
        assert_eq!(bit::MEM_MGT_EXTENSIONS, u64::from(ibv_device_cap_flags::IBV_DEVICE_MEM_MGT_EXTENSIONS.0));
        assert_eq!(bit::MEM_WINDOW_TYPE_2B, u64::from(ibv_device_cap_flags::IBV_DEVICE_MEM_WINDOW_TYPE_2B.0));
    }
}
