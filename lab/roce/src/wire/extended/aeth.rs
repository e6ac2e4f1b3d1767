//! AETH, the acknowledge extended transport header: ACK, RNR NAK or NAK, and the message sequence number.
//!
//! In: 4 bytes. Out: its fields and the meaning of the syndrome. Codes after Linux `drivers/infiniband/sw/rxe/rxe_hdr.h` and `rxe_comp.c`.

use std::fmt;

use crate::wire::{Field, FieldValue, header};

header! {
    /// View of an acknowledge extended transport header.
    ///
    /// ```text
    ///  0 1 2 3 4 5 6 7 8
    /// +-+---+---------+-----------------------------------------------+
    /// |0|cls| value   |                     MSN                       |
    /// +-+---+---------+-----------------------------------------------+
    /// ```
    Aeth, AethValues, "aeth", 4 {
        /// Syndrome: ACK, RNR NAK or NAK, and its code.
        syndrome: Syndrome = 0..1, Dec, "infiniband.aeth.syndrome";
        /// Message sequence number: request messages that the responder has completed, 24 bits.
        msn: u32 = 1..4, Dec, "infiniband.aeth.msn";
    }
}

/// The meaning of an AETH's syndrome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syndrome {
    /// Everything up to the PSN is acknowledged; `credits` is the 5-bit credit code, `None` for 0x1f (no end-to-end credits).
    Ack {
        /// Credit code, 0 to 30.
        credits: Option<u8>,
    },
    /// Receiver not ready: send again after the time of this 5-bit code, see [`rnr_timer_us`].
    RnrNak {
        /// Timer code, 0 to 31.
        timer: u8,
    },
    /// Negative acknowledgement.
    Nak(NakCode),
    /// A syndrome without meaning in the standard, as it is on the wire.
    Unknown(u8),
}

/// Reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NakCode {
    /// 0x60: the packet's PSN is not the expected one, which the NAK carries.
    PsnSequenceError,
    /// 0x61: the request is malformed or not supported.
    InvalidRequest,
    /// 0x62: address, key or permission is wrong.
    RemoteAccessError,
    /// 0x63: the responder failed.
    RemoteOperationalError,
    /// 0x64: reliable datagram only.
    InvalidRdRequest,
    /// A code without a name, 0 to 31.
    Unknown(u8),
}

impl NakCode {
    /// Reads a code of five bits.
    fn of(code: u8) -> Self {
        match code {
            0 => Self::PsnSequenceError,
            1 => Self::InvalidRequest,
            2 => Self::RemoteAccessError,
            3 => Self::RemoteOperationalError,
            4 => Self::InvalidRdRequest,
            code => Self::Unknown(code),
        }
    }

    /// Returns the code, 0 to 31.
    fn code(self) -> u8 {
        match self {
            Self::PsnSequenceError => 0,
            Self::InvalidRequest => 1,
            Self::RemoteAccessError => 2,
            Self::RemoteOperationalError => 3,
            Self::InvalidRdRequest => 4,
            Self::Unknown(code) => code & 0x1f,
        }
    }
}

impl fmt::Display for NakCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PsnSequenceError => f.write_str("PSN sequence error"),
            Self::InvalidRequest => f.write_str("invalid request"),
            Self::RemoteAccessError => f.write_str("remote access error"),
            Self::RemoteOperationalError => f.write_str("remote operational error"),
            Self::InvalidRdRequest => f.write_str("invalid RD request"),
            Self::Unknown(code) => write!(f, "Unknown({code:#04x})"),
        }
    }
}

/// The RNR timer codes in microseconds; code 0 is the longest.
const RNR_TIMER_US: [u32; 32] = [
    655_360, 10, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640, 960, 1_280, 1_920, 2_560, 3_840, 5_120,
    7_680, 10_240, 15_360, 20_480, 30_720, 40_960, 61_440, 81_920, 122_880, 163_840, 245_760, 327_680,
    491_520,
];

/// Returns the least waiting time of an RNR NAK's timer code in microseconds; only the low 5 bits of `code` count.
pub fn rnr_timer_us(code: u8) -> u32 {
    RNR_TIMER_US[usize::from(code & 0x1f)]
}

impl Aeth<'_> {
    /// Syndrome as it is on the wire.
    pub fn syndrome_byte(&self) -> u8 {
        self.syndrome().byte()
    }
}

impl Syndrome {
    /// Reads a syndrome byte.
    pub fn from_byte(byte: u8) -> Self {
        let value = byte & 0x1f;
        match byte >> 5 {
            0 => Self::Ack { credits: (value != 0x1f).then_some(value) },
            1 => Self::RnrNak { timer: value },
            3 => Self::Nak(NakCode::of(value)),
            _ => Self::Unknown(byte),
        }
    }

    /// Returns the syndrome byte. Only the low five bits of a code count.
    pub fn byte(self) -> u8 {
        match self {
            Self::Ack { credits } => credits.unwrap_or(0x1f) & 0x1f,
            Self::RnrNak { timer } => 1 << 5 | timer & 0x1f,
            Self::Nak(code) => 3 << 5 | code.code(),
            Self::Unknown(byte) => byte,
        }
    }
}

impl FieldValue for Syndrome {
    #[inline]
    fn read(field: &Field, header: &[u8]) -> Self {
        Self::from_byte(u8::read(field, header))
    }

    fn write(self, field: &Field, header: &mut [u8]) {
        self.byte().write(field, header);
    }
}

impl fmt::Display for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ack { credits: None } => f.write_str("ACK"),
            Self::Ack { credits: Some(code) } => write!(f, "ACK credits {code}"),
            Self::RnrNak { timer } => {
                let timer_us = rnr_timer_us(*timer);
                write!(f, "RNR NAK {}.{:02} ms", timer_us / 1000, timer_us % 1000 / 10)
            }
            Self::Nak(code) => write!(f, "NAK {code}"),
            Self::Unknown(byte) => write!(f, "Unknown({byte:#04x})"),
        }
    }
}

impl fmt::Display for Aeth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, MSN {}", self.syndrome(), self.msn())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{every_shorter_length_stops, table_holds};

    #[test]
    fn each_class_of_syndrome_has_its_words() {
        let words = |byte: u8| Aeth::new(&[byte, 0, 1, 2], 0).unwrap().to_string();
        assert_eq!(words(0x1f), "ACK, MSN 258");
        assert_eq!(words(0x05), "ACK credits 5, MSN 258");
        assert_eq!(words(0x20), "RNR NAK 655.36 ms, MSN 258");
        assert_eq!(words(0x2e), "RNR NAK 1.28 ms, MSN 258");
        assert_eq!(words(0x21), "RNR NAK 0.01 ms, MSN 258");
        assert_eq!(words(0x60), "NAK PSN sequence error, MSN 258");
        assert_eq!(words(0x62), "NAK remote access error, MSN 258");
        assert_eq!(words(0x7f), "NAK Unknown(0x1f), MSN 258");
        assert_eq!(words(0x9f), "Unknown(0x9f), MSN 258");
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&[0x1f, 0, 0, 1], Aeth::new);
    }

    #[test]
    fn table_of_fields_holds() {
        table_holds! { Aeth }
    }

    #[test]
    fn every_syndrome_is_written_as_it_was_read() {
        for byte in 0..=u8::MAX {
            assert_eq!(Syndrome::from_byte(byte).byte(), byte, "{byte:#04x}");
        }
    }
}
