//! A header inside a frame whose kind is known and whose bytes are not read yet.

use crate::wire::{DecodeStop, Encapsulation, NotRoce};

/// Numbers by which a layer is known: ethertypes, also where GRE or Geneve has them.
pub(super) mod ether_type {
    pub(in crate::wire) const IPV4: u16 = 0x0800;
    /// Ethernet in GRE.
    pub(in crate::wire) const ETHERNET: u16 = 0x6558;
    pub(in crate::wire) const VLAN: u16 = 0x8100;
    pub(in crate::wire) const IPV6: u16 = 0x86dd;
    /// PPP in GRE.
    pub(in crate::wire) const PPP: u16 = 0x880b;
    pub(in crate::wire) const MPLS: u16 = 0x8847;
    pub(in crate::wire) const MPLS_MULTICAST: u16 = 0x8848;
    pub(in crate::wire) const PPPOE_SESSION: u16 = 0x8864;
    /// Provider's VLAN tag.
    pub(in crate::wire) const VLAN_PROVIDER: u16 = 0x88a8;
    /// ERSPAN types I and II in GRE.
    pub(in crate::wire) const ERSPAN: u16 = 0x88be;
    /// Provider's backbone: an Ethernet frame behind four bytes.
    pub(in crate::wire) const BACKBONE: u16 = 0x88e7;
    /// RoCE version 1.
    pub(in crate::wire) const GRH: u16 = 0x8915;
    /// Tag of Cisco's interface virtualisation.
    pub(in crate::wire) const VN_TAG: u16 = 0x8926;
    /// Tag of IEEE 802.1BR.
    pub(in crate::wire) const E_TAG: u16 = 0x893f;
    /// Tag of Cisco's metadata: a security group.
    pub(in crate::wire) const METADATA: u16 = 0x8909;
    /// Tag of high-availability seamless redundancy, IEC 62439-3.
    pub(in crate::wire) const HSR_TAG: u16 = 0x892f;
    /// Network service header.
    pub(in crate::wire) const NSH: u16 = 0x894f;
    /// Redundancy tag of IEEE 802.1CB.
    pub(in crate::wire) const R_TAG: u16 = 0xf1c1;
    /// ERSPAN type III in GRE.
    pub(in crate::wire) const ERSPAN_III: u16 = 0x22eb;
}

/// Next header of a frame, and the bytes from there on.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) ether_type: u16,
    /// Bytes from its header to where the headers around it say that it ends.
    pub(super) bytes: &'a [u8],
    /// Offset of the bytes in the frame.
    pub(super) offset: usize,
    /// The innermost tunnel around it.
    pub(super) around: Encapsulation,
}

impl<'a> Layer<'a> {
    /// The same without its first `length` bytes.
    #[inline]
    pub(super) fn skip(self, length: usize) -> Self {
        let bytes = self.bytes.get(length..).unwrap_or_default();
        Self { bytes, offset: self.offset + length, ..self }
    }

    /// The layer of that ethertype behind `length` bytes, which are a tunnel's.
    pub(super) fn inside(self, around: Encapsulation, ether_type: u16, length: usize) -> Self {
        Self { ether_type, around, ..self.skip(length) }
    }

    /// Says so when there are fewer than `need` bytes.
    pub(super) fn check(&self, name: &'static str, need: usize) -> Result<(), NotRoce> {
        if self.bytes.len() < need {
            return Err(too_short(name, need, self.offset, self.bytes.len()));
        }
        Ok(())
    }
}

pub(super) fn too_short(layer: &'static str, need: usize, offset: usize, got: usize) -> NotRoce {
    NotRoce::Stop(DecodeStop::Length { layer, need, offset, got })
}
