//! One RoCE frame, built.
//!
//! In: addresses, BTH, extended headers, payload. Out: an Ethernet frame of version 2 or 1, padded, with a valid ICRC.

use std::net::IpAddr;

use etherparse::{EtherType, IpNumber, SingleVlanHeader, VlanId};

use super::network;
use crate::wire::{
    AethValues, AtomicEthValues, BthValues, DethValues, Grh, GrhValues, Opcode, Psn, RethValues, Syndrome,
    UDP_PORT, icrc, icrc_of_grh,
};

/// Ethertype of RoCE version 1.
const ROCE_1: EtherType = EtherType(0x8915);

/// Length of the ICRC in bytes.
const ICRC_LENGTH: usize = 4;

/// Builds one RoCEv2 frame.
///
/// # Example
/// ```
/// use roce::synth::FrameBuilder;
/// use roce::wire::{Frame, ImmDtValues, LinkType, Opcode};
///
/// let frame = FrameBuilder::new([198, 51, 100, 2].into(), [198, 51, 100, 1].into(), Opcode(0x05))
///     .bth(|bth| bth.becn = true)
///     .header(&ImmDtValues { value: 22 }.emit())
///     .payload(b"three")
///     .build();
/// let Frame::Roce(packet) = Frame::decode(LinkType::ETHERNET, &frame) else { panic!("RoCE") };
/// assert_eq!(packet.bth.map(|bth| (bth.becn(), bth.pad_count())), Some((true, 3)));
/// assert_eq!(packet.immdt.map(|immdt| immdt.value()), Some(22));
/// ```
#[derive(Clone, Debug)]
pub struct FrameBuilder {
    source: IpAddr,
    destination: IpAddr,
    udp_source_port: u16,
    bth: BthValues,
    pad_count: Option<u8>,
    extended: Vec<u8>,
    payload: Vec<u8>,
    vlan: Option<u16>,
}

fn mac(address: IpAddr) -> [u8; 6] {
    let last = match address {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    };
    [0x02, 0, 0, 0, 0, last]
}

impl FrameBuilder {
    /// Begins a frame from `source` to `destination`; both of one IP version, else the source's version with a zero destination.
    pub fn new(source: IpAddr, destination: IpAddr, opcode: Opcode) -> Self {
        Self {
            source,
            destination,
            udp_source_port: 49_152,
            bth: BthValues { opcode, p_key: 0xffff, ..BthValues::default() },
            pad_count: None,
            extended: Vec::new(),
            payload: Vec::new(),
            vlan: None,
        }
    }

    /// Sets the UDP source port.
    #[must_use]
    pub fn udp_source_port(mut self, port: u16) -> Self {
        self.udp_source_port = port;
        self
    }

    /// Sets fields of the BTH; the pad count is set by [`pad_count`](Self::pad_count).
    #[must_use]
    pub fn bth(mut self, set: impl FnOnce(&mut BthValues)) -> Self {
        set(&mut self.bth);
        self
    }

    /// Sets the destination queue pair number, 24 bits.
    #[must_use]
    pub fn destination_qpn(self, qpn: u32) -> Self {
        self.bth(|bth| bth.destination_qpn = qpn)
    }

    /// Sets the packet sequence number.
    #[must_use]
    pub fn psn(self, psn: Psn) -> Self {
        self.bth(|bth| bth.psn = psn)
    }

    /// Sets AckReq.
    #[must_use]
    pub fn ack_request(self) -> Self {
        self.bth(|bth| bth.ack_request = true)
    }

    /// Sets the pad count, 0 to 3, and appends no pad: the payload's last bytes are it.
    #[must_use]
    pub fn pad_count(mut self, pad_count: u8) -> Self {
        self.pad_count = Some(pad_count);
        self
    }

    /// Puts an 802.1Q tag before the IP header; of `id` the low 12 bits count.
    #[must_use]
    pub fn vlan(mut self, id: u16) -> Self {
        self.vlan = Some(id);
        self
    }

    /// Appends an RETH: address, key, length in bytes.
    #[must_use]
    pub fn reth(self, va: u64, rkey: u32, dma_length: u32) -> Self {
        self.header(&RethValues { va, rkey, dma_length }.emit())
    }

    /// Appends an AtomicETH: address, key, swap or add data, compare data.
    #[must_use]
    pub fn atomic_eth(self, va: u64, rkey: u32, swap_or_add: u64, compare: u64) -> Self {
        self.header(&AtomicEthValues { va, rkey, swap_or_add, compare }.emit())
    }

    /// Appends an AETH: syndrome byte and 24-bit MSN.
    #[must_use]
    pub fn aeth(self, syndrome: u8, msn: u32) -> Self {
        self.header(&AethValues { syndrome: Syndrome::from_byte(syndrome), msn }.emit())
    }

    /// Appends a DETH: queue key and 24-bit source queue pair number.
    #[must_use]
    pub fn deth(self, q_key: u32, source_qpn: u32) -> Self {
        self.header(&DethValues { q_key, source_qpn }.emit())
    }

    /// Appends the bytes of any extended header: `ImmDtValues { value: 22 }.emit()`.
    #[must_use]
    pub fn header(mut self, bytes: &[u8]) -> Self {
        self.extended.extend(bytes);
        self
    }

    /// Sets the payload.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The packet from the BTH to the pad.
    fn transport(&self) -> Vec<u8> {
        let pad_length = if self.pad_count.is_some() { 0 } else { self.payload.len().wrapping_neg() % 4 };
        let pad_count = self.pad_count.unwrap_or(pad_length as u8);
        let bth = BthValues { pad_count, ..self.bth }.emit();
        [&bth[..], &self.extended, &self.payload, &vec![0; pad_length]].concat()
    }

    /// Builds the Ethernet frame of RoCE version 1, with a GRH, pad and ICRC; an IPv4 address becomes the GID that maps it.
    pub fn build_version_1(&self) -> Vec<u8> {
        let rest = self.transport();
        let gid = |address: IpAddr| match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let grh = GrhValues {
            version: 6,
            payload_length: (rest.len() + ICRC_LENGTH) as u16,
            next_header: Grh::NEXT_HEADER_BTH,
            hop_limit: 64,
            source_gid: gid(self.source),
            destination_gid: gid(self.destination),
            ..GrhValues::default()
        }
        .emit();
        let crc = icrc_of_grh(&grh, &rest).unwrap_or_default();
        let link = network::ethernet(mac(self.destination), mac(self.source), ROCE_1);
        [&link[..], &grh, &rest, &crc.to_le_bytes()].concat()
    }

    /// Builds the Ethernet frame, with pad and ICRC.
    pub fn build(&self) -> Vec<u8> {
        let transport = self.transport();
        let length = transport.len() + ICRC_LENGTH;
        let udp = network::udp(self.udp_source_port, UDP_PORT, length);
        let rest = [&udp[..], &transport].concat();
        let ip = network::ip(self.source, self.destination, IpNumber::UDP, udp.len() + length);
        let crc = icrc(&ip, &rest).unwrap_or_default();
        [&self.link()[..], &ip, &rest, &crc.to_le_bytes()].concat()
    }

    /// The Ethernet header, and the tag.
    fn link(&self) -> Vec<u8> {
        let ether_type = network::ether_type_of(self.source);
        let ethernet = |ether_type| network::ethernet(mac(self.destination), mac(self.source), ether_type);
        let Some(id) = self.vlan else { return ethernet(ether_type).to_vec() };
        let vlan_id = VlanId::try_new(id & VlanId::MAX_U16).unwrap_or_default();
        let tag = SingleVlanHeader { vlan_id, ether_type, ..SingleVlanHeader::default() };
        [&ethernet(network::ether_type::VLAN_TAGGED_FRAME)[..], &tag.to_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Frame, Icrc, LinkType};

    fn builder(address: &str) -> FrameBuilder {
        let address = address.parse().unwrap();
        FrameBuilder::new(address, address, Opcode(0x04)).destination_qpn(7).psn(Psn::new(9))
    }

    #[test]
    fn frame_decodes_with_a_good_icrc() {
        for address in ["198.51.100.7", "2001:db8::7"] {
            for length in 0..9 {
                let builder = builder(address).payload(&vec![1; length]);
                for frame in [builder.build(), builder.clone().vlan(5).build(), builder.build_version_1()] {
                    let Frame::Roce(packet) = Frame::decode(LinkType::ETHERNET, &frame) else {
                        panic!("must be RoCE")
                    };
                    assert_eq!((packet.icrc, packet.stop, packet.payload.len()), (Icrc::Good, None, length));
                    assert_eq!(
                        (packet.source.to_string().as_str(), packet.pad.len(), packet.is_cut),
                        (address, (4 - length % 4) % 4, false)
                    );
                }
            }
        }
    }

    #[test]
    fn pad_count_that_is_set_takes_the_payloads_last_bytes() {
        let frame = builder("198.51.100.7").pad_count(1).payload(b"odd!").build();
        let Frame::Roce(packet) = Frame::decode(LinkType::ETHERNET, &frame) else { panic!("must be RoCE") };
        assert_eq!((packet.payload, packet.pad, packet.icrc), (&b"odd"[..], &b"!"[..], Icrc::Good));
    }
}
