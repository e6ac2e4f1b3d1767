//! One connection management message, by its attribute id.
//!
//! In: attribute id and the bytes behind the MAD header. Out: the message's view. Ids after Linux `include/rdma/ibta_vol1_c12.h`.

use crate::cm::{Drep, Dreq, Mra, Rej, Rep, Req, Rtu, SidrRep};
use crate::wire::{DecodeStop, PlacedHeader};

/// Makes the enumeration of the messages that have a layout here, with what all of them have.
macro_rules! messages {
    ($($(#[$meta:meta])* $name:ident = $attribute_id:literal $words:literal,)*) => {
        /// A connection management message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Message<'a> {
            $($(#[$meta])* $name($name<'a>),)*
            /// A message that this library does not know.
            Unknown {
                /// Attribute id.
                attribute_id: u16,
                /// Bytes behind the MAD header.
                data: &'a [u8],
            },
        }

        $(impl $name<'_> {
            /// Attribute id of the message in its MAD header.
            pub const ATTRIBUTE_ID: u16 = $attribute_id;
        })*

        /// Returns the standard's short name of a connection management attribute.
        pub fn attribute_name(attribute_id: u16) -> Option<&'static str> {
            match attribute_id {
                $($attribute_id => Some($words),)*
                _ => NAMES_ONLY.iter().find(|(id, _)| *id == attribute_id).map(|(_, words)| *words),
            }
        }

        impl<'a> Message<'a> {
            /// Views the message with `attribute_id`; `offset` is where `bytes` begin in the frame.
            ///
            /// # Errors
            /// [`DecodeStop::Length`] when the bytes are fewer than the message's 232.
            pub fn new(attribute_id: u16, bytes: &'a [u8], offset: usize) -> Result<Self, DecodeStop> {
                Ok(match attribute_id {
                    $($attribute_id => Self::$name($name::new(bytes, offset)?),)*
                    _ => Self::Unknown { attribute_id, data: bytes },
                })
            }

            /// Attribute id of the message in its MAD header.
            pub fn attribute_id(&self) -> u16 {
                match self {
                    $(Self::$name(_) => $attribute_id,)*
                    Self::Unknown { attribute_id, .. } => *attribute_id,
                }
            }

            /// Places the message at `offset` in its frame; `None` for an unknown one.
            pub fn placed(&self, offset: usize) -> Option<PlacedHeader<'a>> {
                match self {
                    $(Self::$name(message) => Some(message.placed(offset)),)*
                    Self::Unknown { .. } => None,
                }
            }

            /// Communication id of the sender, where the message has one.
            pub fn local_comm_id(&self) -> Option<u32> {
                match self {
                    $(Self::$name(message) => Some(message.local_comm_id()),)*
                    Self::Unknown { .. } => None,
                }
            }

            /// Private data, as long as the message's field is; empty for an unknown message.
            pub fn private_data(&self) -> &'a [u8] {
                match self {
                    $(Self::$name(message) => message.private_data(),)*
                    Self::Unknown { .. } => &[],
                }
            }
        }
    };
}

messages! {
    /// ConnectRequest, from the active side.
    Req = 0x10 "REQ",
    /// MsgRcptAck: the receiver needs more time.
    Mra = 0x11 "MRA",
    /// ConnectReject.
    Rej = 0x12 "REJ",
    /// ConnectReply, from the passive side.
    Rep = 0x13 "REP",
    /// ReadyToUse, from the active side.
    Rtu = 0x14 "RTU",
    /// DisconnectRequest.
    Dreq = 0x15 "DREQ",
    /// DisconnectReply.
    Drep = 0x16 "DREP",
}

const SIDR_REP: u16 = 0x18;

/// Attributes whose messages are shown by name alone.
const NAMES_ONLY: [(u16, &str); 4] =
    [(0x17, "SIDR REQ"), (SIDR_REP, "SIDR REP"), (0x19, "LAP"), (0x1a, "APR")];

impl Message<'_> {
    /// The standard's short name of it; `None` for one that has none.
    pub fn name(&self) -> Option<&'static str> {
        attribute_name(self.attribute_id())
    }

    /// Head of a SIDR REP: queue pair number and Q_Key of a service.
    pub(crate) fn sidr_rep(&self) -> Option<SidrRep<'_>> {
        match self {
            Self::Unknown { attribute_id: SIDR_REP, data } => SidrRep::new(data, 0).ok(),
            _ => None,
        }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_attribute_stays_visible() {
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
