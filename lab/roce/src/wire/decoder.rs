//! A decoder of the frames of one capture: what [`Frame::decode`](crate::wire::Frame::decode) cannot know of one frame alone.
//!
//! In: frames in the order of the capture. Out: each taken apart; the last fragment of an IP packet gives the whole packet. Memory is bounded by
//! [`Decoder::FRAGMENTS_MAX_BYTES`].

use super::fragments::Fragments;
use super::layer::{Layer, ether_type};
use super::walk::{FoundFrame, from, plain, walk};
use crate::wire::{DecodeStop, Encapsulation, Frame, Icrc, LinkType, NotRoce, Packet};

/// Most packets in fragments inside each other.
const DEPTH_MAX: usize = 4;

/// Takes the frames of one capture apart.
///
/// # Example
/// ```
/// use roce::capture::Reader;
/// use roce::wire::{Decoder, Frame};
///
/// # let capture = std::fs::read("fixtures/write_with_imm.pcapng")?;
/// let mut reader = Reader::new(&capture[..])?;
/// let mut decoder = Decoder::new().vxlan_ports(&[4_790, 50_000]);
/// let mut packets = 0;
/// while let Some(record) = reader.next()? {
///     packets += u64::from(matches!(decoder.decode(record.link_type, record.data), Frame::Roce(_)));
/// }
/// assert_eq!(packets, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Decoder {
    vxlan_ports: Vec<u16>,
    fragments: Fragments,
}

impl Decoder {
    /// Most bytes of fragments that wait for others; the oldest packet is given up for a new one.
    pub const FRAGMENTS_MAX_BYTES: usize = super::fragments::BYTES_MAX;

    /// Begins without fragments, and with the usual ports of VXLAN: 4789 and 8472.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes datagrams to these UDP ports for VXLAN too.
    #[must_use]
    pub fn vxlan_ports(mut self, ports: &[u16]) -> Self {
        self.vxlan_ports.extend(ports);
        self
    }

    /// Takes one frame apart; `data` is what the capture holds of it.
    #[inline]
    pub fn decode<'a>(&'a mut self, link_type: LinkType, data: &'a [u8]) -> Frame<'a> {
        match &plain(link_type, data) {
            Some(carrier) => {
                let mut frame = Frame::UNREAD;
                frame.read(carrier);
                frame
            }
            None => self.walk(link_type, data),
        }
    }

    /// The ports of VXLAN besides the usual ones.
    pub(crate) fn further_vxlan_ports(&self) -> &[u16] {
        &self.vxlan_ports
    }

    fn walk<'a>(&'a mut self, link_type: LinkType, data: &'a [u8]) -> Frame<'a> {
        let found = walk(&self.vxlan_ports, link_type, data);
        match &found {
            FoundFrame::Fragment(fragment) => match self.fragments.add(fragment, 1) {
                Some(frames) => self.whole(frames, fragment.around),
                None => Frame::NotRoce(NotRoce::Fragment),
            },
            found => Frame::of(found),
        }
    }

    /// Takes the packet apart that the last fragment completed, which came in `around`.
    #[cold]
    fn whole(&mut self, mut frames: u32, mut around: Encapsulation) -> Frame<'_> {
        for _ in 0..DEPTH_MAX {
            let bytes = self.fragments.take_whole();
            let FoundFrame::Fragment(inner) = from(layer(&bytes, around), &self.vxlan_ports, true) else {
                self.fragments.put_whole(bytes);
                break;
            };
            around = inner.around;
            match self.fragments.add(&inner, frames) {
                Some(all) => frames = all,
                None => return Frame::NotRoce(NotRoce::Fragment),
            }
        }
        let found = from(layer(self.fragments.whole(), around), &self.vxlan_ports, true);
        let is_own_header = matches!(&found, FoundFrame::Roce(carrier) if carrier.begins_at() == 0);
        match Frame::of(&found) {
            // Pieces of two packets: one was lost, and their identification is the same.
            Frame::Roce(Packet { stop: Some(DecodeStop::Value { layer: "udp", .. }), .. }) => {
                Frame::NotRoce(NotRoce::Fragment)
            }
            Frame::Roce(mut packet) => {
                packet.frames = frames;
                // Who fragments may have written another identification, which the ICRC counts.
                if is_own_header && matches!(packet.icrc, Icrc::Bad { .. }) {
                    packet.icrc = Icrc::Unverifiable;
                }
                Frame::Roce(packet)
            }
            Frame::NotRoce(what) if what.may_hold_roce() => Frame::NotRoce(what),
            Frame::NotRoce(_) => Frame::NotRoce(NotRoce::Reassembled { frames }),
        }
    }
}

/// A packet put together, which begins with its IP header.
fn layer(bytes: &[u8], around: Encapsulation) -> Layer<'_> {
    let is_version_4 = bytes.first().is_some_and(|byte| byte >> 4 == 4);
    let ether_type = if is_version_4 { ether_type::IPV4 } else { ether_type::IPV6 };
    Layer { ether_type, bytes, offset: 0, around }
}
