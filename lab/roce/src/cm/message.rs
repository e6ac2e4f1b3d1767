//! One connection management message, by its attribute id.
//!
//! In: attribute id and the bytes behind the MAD header. Out: the message's view. Ids after Linux `include/rdma/ibta_vol1_c12.h`.

use crate::cm::{Drep, Dreq, Mra, Rej, Rep, Req, Rtu};
use crate::wire::DecodeStop;

/// A connection management message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// ConnectRequest, from the active side.
    Req(Req<'a>),
    /// MsgRcptAck: the receiver needs more time.
    Mra(Mra<'a>),
    /// ConnectReject.
    Rej(Rej<'a>),
    /// ConnectReply, from the passive side.
    Rep(Rep<'a>),
    /// ReadyToUse, from the active side.
    Rtu(Rtu<'a>),
    /// DisconnectRequest.
    Dreq(Dreq<'a>),
    /// DisconnectReply.
    Drep(Drep<'a>),
    /// A message that this library does not know.
    Unknown {
        /// Attribute id.
        attribute_id: u16,
        /// Bytes behind the MAD header.
        data: &'a [u8],
    },
}

/// Gives the standard's short name of a connection management attribute.
pub fn attribute_name(attribute_id: u16) -> Option<&'static str> {
    Some(match attribute_id {
        0x10 => "REQ",
        0x11 => "MRA",
        0x12 => "REJ",
        0x13 => "REP",
        0x14 => "RTU",
        0x15 => "DREQ",
        0x16 => "DREP",
        0x17 => "SIDR REQ",
        0x18 => "SIDR REP",
        0x19 => "LAP",
        0x1a => "APR",
        _ => return None,
    })
}

impl<'a> Message<'a> {
    /// Views the message with `attribute_id`; `offset` is where `bytes` begin in the frame.
    ///
    /// # Errors
    /// [`DecodeStop::Length`] when the bytes are fewer than the message's 232.
    pub fn new(attribute_id: u16, bytes: &'a [u8], offset: usize) -> Result<Self, DecodeStop> {
        Ok(match attribute_id {
            0x10 => Self::Req(Req::new(bytes, offset)?),
            0x11 => Self::Mra(Mra::new(bytes, offset)?),
            0x12 => Self::Rej(Rej::new(bytes, offset)?),
            0x13 => Self::Rep(Rep::new(bytes, offset)?),
            0x14 => Self::Rtu(Rtu::new(bytes, offset)?),
            0x15 => Self::Dreq(Dreq::new(bytes, offset)?),
            0x16 => Self::Drep(Drep::new(bytes, offset)?),
            _ => Self::Unknown { attribute_id, data: bytes },
        })
    }

    /// The standard's short name of it; `None` for one that has none.
    pub fn name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Req(_) => "REQ",
            Self::Mra(_) => "MRA",
            Self::Rej(_) => "REJ",
            Self::Rep(_) => "REP",
            Self::Rtu(_) => "RTU",
            Self::Dreq(_) => "DREQ",
            Self::Drep(_) => "DREP",
            Self::Unknown { attribute_id, .. } => return attribute_name(*attribute_id),
        })
    }

    /// Queue pair number that a SIDR REP tells: 24 bits at 8 of its 232 bytes.
    pub(crate) fn sidr_rep_qpn(&self) -> Option<u32> {
        match self {
            Self::Unknown { attribute_id: 0x18, data } => match data.get(8..11)? {
                [high, middle, low] => Some(u32::from_be_bytes([0, *high, *middle, *low])),
                _ => None,
            },
            _ => None,
        }
    }

    /// Communication id of the sender, where the message has one.
    pub fn local_comm_id(&self) -> Option<u32> {
        Some(match self {
            Self::Req(message) => message.local_comm_id(),
            Self::Mra(message) => message.local_comm_id(),
            Self::Rej(message) => message.local_comm_id(),
            Self::Rep(message) => message.local_comm_id(),
            Self::Rtu(message) => message.local_comm_id(),
            Self::Dreq(message) => message.local_comm_id(),
            Self::Drep(message) => message.local_comm_id(),
            Self::Unknown { .. } => return None,
        })
    }

    /// Communication id of the receiver, where the message has one.
    pub fn remote_comm_id(&self) -> Option<u32> {
        Some(match self {
            Self::Mra(message) => message.remote_comm_id(),
            Self::Rej(message) => message.remote_comm_id(),
            Self::Rep(message) => message.remote_comm_id(),
            Self::Rtu(message) => message.remote_comm_id(),
            Self::Dreq(message) => message.remote_comm_id(),
            Self::Drep(message) => message.remote_comm_id(),
            Self::Req(_) | Self::Unknown { .. } => return None,
        })
    }

    /// Private data, as long as the message's field is; none for an unknown message.
    pub fn private_data(&self) -> &'a [u8] {
        match self {
            Self::Req(message) => message.private_data(),
            Self::Mra(message) => message.private_data(),
            Self::Rej(message) => message.private_data(),
            Self::Rep(message) => message.private_data(),
            Self::Rtu(message) => message.private_data(),
            Self::Dreq(message) => message.private_data(),
            Self::Drep(message) => message.private_data(),
            Self::Unknown { .. } => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_attribute_stays_visible() {
        assert_eq!(
            Message::new(0x20, &[1, 2], 0),
            Ok(Message::Unknown { attribute_id: 0x20, data: &[1, 2] })
        );
    }

    #[test]
    fn every_known_message_has_its_length_checked() {
        for attribute_id in 0x10..=0x16 {
            assert!(Message::new(attribute_id, &[0; 231], 0).is_err());
            let message = Message::new(attribute_id, &[0; 232], 0).unwrap();
            assert_eq!(message.local_comm_id(), Some(0));
            assert_eq!(message.name(), attribute_name(attribute_id));
            assert!(!message.private_data().is_empty());
        }
    }
}
