//! What becomes of a packet that a fault is about.

use std::fmt;

use roce::wire::{Aeth, AtomicEth, Bth, ImmDt, Reth};

/// Effect of a fault on a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Lost.
    Drop,
    /// Arrives twice.
    Duplicate,
    /// Arrives later.
    Delay {
        /// By how much, in milliseconds.
        ms: u64,
    },
    /// Arrives after packets that were sent behind it.
    Reorder {
        /// How many packets of the same direction overtake it.
        by: u32,
    },
    /// Arrives changed.
    Corrupt {
        /// Part that is changed.
        field: PacketField,
        /// New value of the field; `None` flips its lowest bit.
        value: Option<u64>,
        /// Whether the ICRC is made to fit again, so that the receiver cannot see the change by it.
        is_resealed: bool,
    },
    /// Only its first bytes arrive.
    Truncate {
        /// How many, counted from the Ethernet header on.
        bytes: usize,
    },
    /// Arrives marked "congestion experienced".
    MarkEcn,
    /// The link is cut from this packet on, in both directions.
    Cut {
        /// How many packets are lost until the link is back, this one included; `None` cuts it for good.
        packets: Option<u64>,
    },
    /// From this packet on its direction of the link carries no more than so much.
    Rate {
        /// In kilobits a second.
        kbit_per_s: u64,
    },
}

impl Action {
    /// The names in scenario files.
    pub const NAMES: [&str; 9] =
        ["drop", "duplicate", "delay", "reorder", "corrupt", "truncate", "mark-ecn", "cut", "rate"];

    /// Its name in scenario files.
    pub fn name(self) -> &'static str {
        match self {
            Action::Drop => "drop",
            Action::Duplicate => "duplicate",
            Action::Delay { .. } => "delay",
            Action::Reorder { .. } => "reorder",
            Action::Corrupt { .. } => "corrupt",
            Action::Truncate { .. } => "truncate",
            Action::MarkEcn => "mark-ecn",
            Action::Cut { .. } => "cut",
            Action::Rate { .. } => "rate",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Action::Delay { ms } => write!(f, " {ms} ms"),
            Action::Reorder { by } => write!(f, " by {by}"),
            Action::Corrupt { field, .. } => write!(f, " {}", field.name()),
            Action::Truncate { bytes } => write!(f, " to {bytes} bytes"),
            Action::Cut { packets: Some(packets) } => write!(f, " for {packets} packets"),
            Action::Rate { kbit_per_s } => write!(f, " {kbit_per_s} kbit/s"),
            _ => Ok(()),
        }
    }
}

/// A part of a packet that can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketField {
    /// The first byte of the payload.
    Payload,
    /// The invariant CRC.
    Icrc,
    /// BTH: the opcode.
    Opcode,
    /// BTH: the partition key.
    PKey,
    /// BTH: the receiver's queue pair number.
    DestinationQpn,
    /// BTH: the packet sequence number.
    Psn,
    /// RETH or AtomicETH: the virtual address.
    Va,
    /// RETH or AtomicETH: the remote key.
    Rkey,
    /// RETH: the length in bytes.
    DmaLength,
    /// AETH: the syndrome.
    Syndrome,
    /// AETH: the message sequence number.
    Msn,
    /// ImmDt: the immediate.
    Immediate,
}

impl PacketField {
    /// All of them.
    pub const ALL: [PacketField; 12] = [
        PacketField::Payload,
        PacketField::Icrc,
        PacketField::Opcode,
        PacketField::PKey,
        PacketField::DestinationQpn,
        PacketField::Psn,
        PacketField::Va,
        PacketField::Rkey,
        PacketField::DmaLength,
        PacketField::Syndrome,
        PacketField::Msn,
        PacketField::Immediate,
    ];

    /// Its name in scenario files.
    pub fn name(self) -> &'static str {
        match self {
            PacketField::Payload => "payload",
            PacketField::Icrc => "icrc",
            PacketField::Opcode => "opcode",
            PacketField::PKey => "p_key",
            PacketField::DestinationQpn => "destination_qpn",
            PacketField::Psn => "psn",
            PacketField::Va => "va",
            PacketField::Rkey => "rkey",
            PacketField::DmaLength => "dma_length",
            PacketField::Syndrome => "syndrome",
            PacketField::Msn => "msn",
            PacketField::Immediate => "immediate",
        }
    }

    /// The headers that may have it, and its name in their tables; `None` of what is in no header.
    pub(crate) fn place(self) -> Option<(&'static [&'static str], &'static str)> {
        Some(match self {
            PacketField::Payload | PacketField::Icrc => return None,
            PacketField::Opcode => (&[Bth::LAYER], "opcode"),
            PacketField::PKey => (&[Bth::LAYER], "p_key"),
            PacketField::DestinationQpn => (&[Bth::LAYER], "destination_qpn"),
            PacketField::Psn => (&[Bth::LAYER], "psn"),
            PacketField::Va => (&[Reth::LAYER, AtomicEth::LAYER], "va"),
            PacketField::Rkey => (&[Reth::LAYER, AtomicEth::LAYER], "rkey"),
            PacketField::DmaLength => (&[Reth::LAYER], "dma_length"),
            PacketField::Syndrome => (&[Aeth::LAYER], "syndrome"),
            PacketField::Msn => (&[Aeth::LAYER], "msn"),
            PacketField::Immediate => (&[ImmDt::LAYER], "value"),
        })
    }
}
