//! Synthetic packets with a valid ICRC: for tests, examples and benchmarks, without a network.
//!
//! In: addresses, numbers and payload. Out: Ethernet frames. [`Pair`] is two nodes and a connection between them, and knows the packets of the two samples.

mod samples;
mod workload;
mod wrap;

pub use samples::{conversation, sample};
pub use workload::{Workload, Written};
pub use wrap::{Tunnel, fragments, with_extensions};

use std::net::IpAddr;

use crate::cm::Mad;
use crate::wire::{Grh, Opcode, Psn, UDP_PORT, icrc, icrc_of_grh};

/// Builds one RoCEv2 frame.
#[derive(Clone, Debug)]
pub struct FrameBuilder {
    source: IpAddr,
    destination: IpAddr,
    udp_source_port: u16,
    opcode: Opcode,
    destination_qpn: u32,
    psn: Psn,
    ack_request: bool,
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

fn internet_checksum(header: &[u8]) -> u16 {
    let mut sum = header
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
        .sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

impl FrameBuilder {
    /// Begins a frame from `source` to `destination`; both of one IP version, else the source's version with a zero destination.
    pub fn new(source: IpAddr, destination: IpAddr, opcode: Opcode) -> Self {
        Self {
            source,
            destination,
            udp_source_port: 49_152,
            opcode,
            destination_qpn: 0,
            psn: Psn::new(0),
            ack_request: false,
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

    /// Sets the destination queue pair number, 24 bits.
    #[must_use]
    pub fn destination_qpn(mut self, qpn: u32) -> Self {
        self.destination_qpn = qpn & 0xff_ffff;
        self
    }

    /// Sets the packet sequence number.
    #[must_use]
    pub fn psn(mut self, psn: Psn) -> Self {
        self.psn = psn;
        self
    }

    /// Sets AckReq.
    #[must_use]
    pub fn ack_request(mut self) -> Self {
        self.ack_request = true;
        self
    }

    /// Puts an 802.1Q tag before the IP header.
    #[must_use]
    pub fn vlan(mut self, id: u16) -> Self {
        self.vlan = Some(id);
        self
    }

    /// Appends an RETH: address, key, length in bytes.
    #[must_use]
    pub fn reth(mut self, va: u64, rkey: u32, dma_length: u32) -> Self {
        self.extended.extend(va.to_be_bytes());
        self.extended.extend(rkey.to_be_bytes());
        self.extended.extend(dma_length.to_be_bytes());
        self
    }

    /// Appends an AtomicETH: address, key, swap or add data, compare data.
    #[must_use]
    pub fn atomic_eth(mut self, va: u64, rkey: u32, swap_or_add: u64, compare: u64) -> Self {
        self.extended.extend(va.to_be_bytes());
        self.extended.extend(rkey.to_be_bytes());
        self.extended.extend(swap_or_add.to_be_bytes());
        self.extended.extend(compare.to_be_bytes());
        self
    }

    /// Appends an AETH: syndrome byte and 24-bit MSN.
    #[must_use]
    pub fn aeth(mut self, syndrome: u8, msn: u32) -> Self {
        self.extended.extend((u32::from(syndrome) << 24 | msn & 0xff_ffff).to_be_bytes());
        self
    }

    /// Appends a DETH: queue key and 24-bit source queue pair number.
    #[must_use]
    pub fn deth(mut self, q_key: u32, source_qpn: u32) -> Self {
        self.extended.extend(q_key.to_be_bytes());
        self.extended.extend((source_qpn & 0xff_ffff).to_be_bytes());
        self
    }

    /// Appends four or eight bytes of any other extended header, such as ImmDt.
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
        let pad_count = (4 - self.payload.len() % 4) % 4;
        let mut rest = vec![self.opcode.0, (pad_count as u8) << 4, 0xff, 0xff];
        rest.extend(self.destination_qpn.to_be_bytes());
        rest.extend((u32::from(self.ack_request) << 31 | self.psn.value()).to_be_bytes());
        rest.extend(&self.extended);
        rest.extend(&self.payload);
        rest.resize(rest.len() + pad_count, 0);
        rest
    }

    /// Builds the Ethernet frame of RoCE version 1, with a GRH, pad and ICRC; an IPv4 address becomes the GID that maps it.
    pub fn build_version_1(&self) -> Vec<u8> {
        let rest = self.transport();
        let gid = |address: IpAddr| match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let length = (rest.len() as u16 + 4).to_be_bytes();
        let head = [0x60, 0, 0, 0, length[0], length[1], Grh::NEXT_HEADER_BTH, 64];
        let grh = [&head[..], &gid(self.source), &gid(self.destination)].concat();
        let crc = icrc_of_grh(&grh, &rest).unwrap_or_default();
        let link = [&mac(self.destination)[..], &mac(self.source), &[0x89, 0x15]].concat();
        [link, grh, rest, crc.to_le_bytes().to_vec()].concat()
    }

    /// Builds the Ethernet frame, with pad and ICRC.
    pub fn build(&self) -> Vec<u8> {
        let transport = self.transport();
        let segment_length = 8 + transport.len() + 4;
        let mut rest = Vec::with_capacity(segment_length);
        for half in [self.udp_source_port, UDP_PORT, segment_length as u16, 0] {
            rest.extend(half.to_be_bytes());
        }
        rest.extend(transport);
        let ip = self.ip_header(segment_length);
        let crc = icrc(&ip, &rest).unwrap_or_default();
        let mut frame = Vec::with_capacity(18 + ip.len() + rest.len() + 4);
        frame.extend(mac(self.destination));
        frame.extend(mac(self.source));
        if let Some(id) = self.vlan {
            frame.extend([0x81, 0x00]);
            frame.extend(id.to_be_bytes());
        }
        frame.extend(if self.source.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
        frame.extend(ip);
        frame.extend(rest);
        frame.extend(crc.to_le_bytes());
        frame
    }

    fn ip_header(&self, segment_length: usize) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), destination) => {
                let total = (20 + segment_length) as u16;
                let mut header = vec![0x45, 0];
                header.extend(total.to_be_bytes());
                header.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
                header.extend(source.octets());
                header.extend(match destination {
                    IpAddr::V4(v4) => v4.octets(),
                    IpAddr::V6(_) => [0; 4],
                });
                let checksum = internet_checksum(&header).to_be_bytes();
                if let Some(field) = header.get_mut(10..12) {
                    field.copy_from_slice(&checksum);
                }
                header
            }
            (IpAddr::V6(source), destination) => {
                let mut header = vec![0x60, 0, 0, 0];
                header.extend((segment_length as u16).to_be_bytes());
                header.extend([17, 64]);
                header.extend(source.octets());
                header.extend(match destination {
                    IpAddr::V6(v6) => v6.octets(),
                    IpAddr::V4(_) => [0; 16],
                });
                header
            }
        }
    }
}

/// One node's end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// IP address.
    pub address: IpAddr,
    /// Queue pair number, 24 bits.
    pub qpn: u32,
    /// First PSN of its requests.
    pub psn: Psn,
    /// Communication id.
    pub comm_id: u32,
    /// Virtual address of its memory region.
    pub va: u64,
    /// Remote key of its memory region.
    pub rkey: u32,
}

/// Two nodes and a connection between them; path MTU 1024.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// The side that sends the REQ; the samples' client.
    pub active: Side,
    /// The side that sends the REP; the samples' server.
    pub passive: Side,
    /// Transaction id of the REQ, and what else varies between runs.
    pub salt: u64,
}

impl Pair {
    /// Makes a pair whose numbers depend on `seed` alone; the client is 198.51.100.2, the server 198.51.100.1.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut random = || {
            // splitmix64: enough for numbers that only have to differ.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut side = |last: u8| Side {
            address: IpAddr::from([198, 51, 100, last]),
            qpn: 0x11 + (random() % 0x1000) as u32,
            psn: Psn::new(random() as u32 & 0x7f_ffff),
            comm_id: random() as u32,
            va: 0x5500_0000_0000 | (random() & 0xff_ffff_f000),
            rkey: random() as u32 | 1,
        };
        Self { active: side(2), passive: side(1), salt: seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1 }
    }

    /// Begins a frame from the active to the passive queue pair; `n` counts from its first PSN.
    pub fn request(&self, opcode: u8, n: u32) -> FrameBuilder {
        FrameBuilder::new(self.active.address, self.passive.address, Opcode(opcode))
            .destination_qpn(self.passive.qpn)
            .psn(self.active.psn.plus(n))
            .udp_source_port(self.salt as u16)
    }

    /// Begins a frame from the passive to the active queue pair that answers request PSN `n`.
    pub fn response(&self, opcode: u8, n: u32) -> FrameBuilder {
        FrameBuilder::new(self.passive.address, self.active.address, Opcode(opcode))
            .destination_qpn(self.active.qpn)
            .psn(self.active.psn.plus(n))
            .udp_source_port((self.salt >> 16) as u16)
    }

    fn cm(&self, from_active: bool, attribute_id: u16, n: u32, data: &[u8; 232]) -> Vec<u8> {
        let (from, to) =
            if from_active { (&self.active, &self.passive) } else { (&self.passive, &self.active) };
        let mut mad = vec![1, Mad::CLASS_CM, 2, 3, 0, 0, 0, 0];
        mad.extend(self.salt.to_be_bytes());
        mad.extend(attribute_id.to_be_bytes());
        mad.extend([0; 6]);
        mad.extend(data);
        FrameBuilder::new(from.address, to.address, Opcode::UD_SEND_ONLY)
            .destination_qpn(1)
            .psn(Psn::new(self.salt as u32).plus(n))
            .ack_request()
            .deth(0x8001_0000, 1)
            .payload(&mad)
            .build()
    }

    fn comm_ids(&self, from_active: bool) -> [u8; 232] {
        let (from, to) =
            if from_active { (&self.active, &self.passive) } else { (&self.passive, &self.active) };
        let mut data = [0; 232];
        data[0..4].copy_from_slice(&from.comm_id.to_be_bytes());
        data[4..8].copy_from_slice(&to.comm_id.to_be_bytes());
        data
    }

    /// The REQ for RDMA_PS_TCP `port`, IPv4, with the IP CM header and `private_data` of at most 56 bytes; more is cut.
    pub fn req(&self, port: u16, private_data: &[u8]) -> Vec<u8> {
        let mut data = [0; 232];
        data[0..4].copy_from_slice(&self.active.comm_id.to_be_bytes());
        data[8..16].copy_from_slice(&(0x0106_0000 | u64::from(port)).to_be_bytes());
        data[16..24].copy_from_slice(&self.salt.to_be_bytes());
        data[32..36].copy_from_slice(&(self.active.qpn << 8 | 1).to_be_bytes());
        data[39] = 1;
        data[43] = 20 << 3 | 1;
        data[44..48].copy_from_slice(&(self.passive.psn.value() << 8 | 20 << 3 | 7).to_be_bytes());
        data[48..52].copy_from_slice(&[0xff, 0xff, 3 << 4 | 7, 15 << 4]);
        data[52..56].fill(0xff);
        for (at, address) in [(56, self.active.address), (72, self.passive.address)] {
            let octets = match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            data[at..at + 16].copy_from_slice(&octets);
        }
        data[93] = 64;
        data[95] = 19 << 3;
        data[141] = if self.active.address.is_ipv4() { 0x40 } else { 0x60 };
        data[142..144].copy_from_slice(&(self.salt as u16).to_be_bytes());
        for (at, address) in [(144, self.active.address), (160, self.passive.address)] {
            match address {
                IpAddr::V4(v4) => data[at + 12..at + 16].copy_from_slice(&v4.octets()),
                IpAddr::V6(v6) => data[at..at + 16].copy_from_slice(&v6.octets()),
            }
        }
        for (to, from) in data[176..].iter_mut().zip(private_data) {
            *to = *from;
        }
        self.cm(true, 0x10, 0, &data)
    }

    /// The REP with `private_data` of at most 196 bytes; more is cut.
    pub fn rep(&self, private_data: &[u8]) -> Vec<u8> {
        let mut data = self.comm_ids(false);
        data[12..16].copy_from_slice(&(self.passive.qpn << 8).to_be_bytes());
        data[20..24].copy_from_slice(&(self.active.psn.value() << 8).to_be_bytes());
        data[24..28].copy_from_slice(&[1, 1, 15 << 3 | 1, 7 << 5]);
        data[28..36].copy_from_slice(&self.salt.to_be_bytes());
        for (to, from) in data[36..].iter_mut().zip(private_data) {
            *to = *from;
        }
        self.cm(false, 0x13, 0, &data)
    }

    /// The samples' advertisement of the passive side's memory region: 12 bytes.
    pub fn advert(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.passive.va.to_be_bytes());
        bytes[8..].copy_from_slice(&self.passive.rkey.to_be_bytes());
        bytes
    }

    /// The RTU.
    pub fn rtu(&self) -> Vec<u8> {
        self.cm(true, 0x14, 1, &self.comm_ids(true))
    }

    /// The REJ of the REQ, with reason and `private_data` of at most 148 bytes; more is cut.
    pub fn rej(&self, reason: u16, private_data: &[u8]) -> Vec<u8> {
        let mut data = self.comm_ids(false);
        data[10..12].copy_from_slice(&reason.to_be_bytes());
        for (to, from) in data[84..].iter_mut().zip(private_data) {
            *to = *from;
        }
        self.cm(false, 0x12, 0, &data)
    }

    /// The DREQ, from the active side.
    pub fn dreq(&self) -> Vec<u8> {
        let mut data = self.comm_ids(true);
        data[8..12].copy_from_slice(&(self.passive.qpn << 8).to_be_bytes());
        self.cm(true, 0x15, 2, &data)
    }

    /// The DREP, from the passive side.
    pub fn drep(&self) -> Vec<u8> {
        self.cm(false, 0x16, 1, &self.comm_ids(false))
    }

    /// The 12 packets of the first sample: a WRITE of 18 bytes and a READ of 4096.
    pub fn write_then_read(&self) -> Vec<Vec<u8>> {
        let peer = &self.passive;
        let piece = [0x5a; 1024];
        vec![
            self.req(7471, &[]),
            self.rep(&self.advert()),
            self.rtu(),
            self.request(0x0a, 0)
                .ack_request()
                .reth(peer.va, peer.rkey, 18)
                .payload(b"client-wrote-this\0")
                .build(),
            self.response(0x11, 0).aeth(0x1f, 1).build(),
            self.request(0x0c, 1).ack_request().reth(peer.va, peer.rkey, 4096).build(),
            self.response(0x0d, 1).aeth(0x1f, 2).payload(&piece).build(),
            self.response(0x0e, 2).payload(&piece).build(),
            self.response(0x0e, 3).payload(&piece).build(),
            self.response(0x0f, 4).aeth(0x1f, 2).payload(&piece).build(),
            self.dreq(),
            self.drep(),
        ]
    }

    /// The 7 packets of the second sample: a WRITE of 22 bytes with immediate 22.
    pub fn write_with_immediate(&self) -> Vec<Vec<u8>> {
        let peer = &self.passive;
        let write =
            self.request(0x0b, 0).ack_request().reth(peer.va, peer.rkey, 22).header(&22u32.to_be_bytes());
        vec![
            self.req(7472, &[]),
            self.rep(&self.advert()),
            self.rtu(),
            write.payload(b"client-wrote-with-imm\0").build(),
            self.response(0x11, 0).aeth(0x1f, 1).build(),
            self.dreq(),
            self.drep(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Frame, Icrc, LinkType};

    #[test]
    fn what_is_built_decodes_with_a_good_icrc() {
        for address in ["198.51.100.7", "2001:db8::7"] {
            let address: IpAddr = address.parse().unwrap();
            for length in 0..9 {
                let builder = FrameBuilder::new(address, address, Opcode(0x04))
                    .destination_qpn(7)
                    .psn(Psn::new(9))
                    .payload(&vec![1; length]);
                for frame in [builder.build(), builder.clone().vlan(5).build()] {
                    let Frame::Roce(packet) = Frame::decode(LinkType::ETHERNET, &frame) else {
                        panic!("must be RoCEv2")
                    };
                    assert_eq!((packet.icrc, packet.stop, packet.payload.len()), (Icrc::Good, None, length));
                    assert_eq!(
                        (packet.source, packet.pad.len(), packet.is_cut),
                        (address, (4 - length % 4) % 4, false)
                    );
                }
            }
        }
    }

    #[test]
    fn the_samples_have_their_packets() {
        let opcodes = |frames: Vec<Vec<u8>>| -> Vec<u8> {
            frames
                .iter()
                .map(|frame| Frame::decode(LinkType::ETHERNET, frame).packet().unwrap().opcode().unwrap().0)
                .collect()
        };
        assert_eq!(
            opcodes(Pair::new(1).write_then_read()),
            [100, 100, 100, 10, 17, 12, 13, 14, 14, 15, 100, 100]
        );
        assert_eq!(opcodes(Pair::new(2).write_with_immediate()), [100, 100, 100, 11, 17, 100, 100]);
    }
}
