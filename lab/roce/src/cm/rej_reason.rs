//! Reasons of a REJ.
//!
//! In: the 16-bit reason of a REJ. Out: its words. Codes after Linux `include/rdma/ib_cm.h`, `enum ib_cm_rej_reason`.

use std::fmt;

use crate::wire::{Field, FieldValue};

/// Reason code of a REJ; one without a name is shown as `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RejReason(
    /// The code.
    pub u16,
);

impl RejReason {
    /// Nobody listens on the service id.
    pub const INVALID_SERVICE_ID: Self = Self(8);
    /// The program said no; its private data may say why.
    pub const CONSUMER: Self = Self(28);
}

impl FieldValue for RejReason {
    fn read(field: &Field, header: &[u8]) -> Self {
        Self(u16::read(field, header))
    }

    fn write(self, field: &Field, header: &mut [u8]) {
        self.0.write(field, header);
    }
}

impl fmt::Display for RejReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "no queue pair",
            2 => "no EE context",
            3 => "no resources",
            4 => "timeout",
            5 => "unsupported request",
            6 => "invalid communication id",
            7 => "invalid communication instance",
            8 => "invalid service id",
            9 => "invalid transport service type",
            10 => "stale connection",
            11 => "RDC does not exist",
            12 => "invalid GID",
            13 => "invalid LID",
            14 => "invalid service level",
            15 => "invalid traffic class",
            16 => "invalid hop limit",
            17 => "invalid packet rate",
            18 => "invalid alternate GID",
            19 => "invalid alternate LID",
            20 => "invalid alternate service level",
            21 => "invalid alternate traffic class",
            22 => "invalid alternate hop limit",
            23 => "invalid alternate packet rate",
            24 => "port and CM redirection",
            25 => "port redirection",
            26 => "invalid path MTU",
            27 => "insufficient responder resources",
            28 => "consumer reject",
            29 => "invalid RNR retry count",
            30 => "duplicate local communication id",
            31 => "invalid class version",
            32 => "invalid flow label",
            33 => "invalid alternate flow label",
            35 => "vendor option not supported",
            code => return write!(f, "Unknown({code})"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_without_a_name_stays_visible() {
        assert_eq!(RejReason::INVALID_SERVICE_ID.to_string(), "invalid service id");
        assert_eq!(RejReason(999).to_string(), "Unknown(999)");
    }
}
