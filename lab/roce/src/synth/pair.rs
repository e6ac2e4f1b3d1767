//! Two nodes and a connection between them: their requests, responses and connection management.

use std::net::IpAddr;

use crate::cm::{
    Advert, Drep, DrepValues, Dreq, DreqValues, IpCm, IpCmValues, Mad, MadHeaderValues, PortSpace, Rej,
    RejReason, RejValues, Rep, RepValues, Req, ReqValues, Rtu, RtuValues,
};
use crate::synth::FrameBuilder;
use crate::wire::{ImmDtValues, Opcode, Psn};

/// One node's end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct PairEnd {
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
    pub active: PairEnd,
    /// The side that sends the REP; the samples' server.
    pub passive: PairEnd,
    /// Transaction id of the REQ, and what else varies between runs.
    pub salt: u64,
}

/// Queue key of queue pair 1.
const GSI_Q_KEY: u32 = 0x8001_0000;

/// Copies as many bytes as fit into a field, behind `from`.
fn filled<const N: usize>(from: usize, bytes: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    field.iter_mut().skip(from).zip(bytes).for_each(|(to, byte)| *to = *byte);
    field
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
        let mut side = |last: u8| PairEnd {
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

    /// Builds a datagram of connection management from `from` to `to`.
    fn cm(
        &self,
        from: &PairEnd,
        to: &PairEnd,
        attribute_id: u16,
        n: u32,
        message: &[u8; Req::LENGTH],
    ) -> Vec<u8> {
        let header = MadHeaderValues {
            base_version: 1,
            class: Mad::CLASS_CM,
            class_version: 2,
            method: 3,
            transaction_id: self.salt,
            attribute_id,
            ..MadHeaderValues::default()
        };
        FrameBuilder::new(from.address, to.address, Opcode::UD_SEND_ONLY)
            .destination_qpn(1)
            .psn(Psn::new(self.salt as u32).plus(n))
            .ack_request()
            .deth(GSI_Q_KEY, 1)
            .payload(&[&header.emit()[..], message].concat())
            .build()
    }

    /// The REQ for RDMA_PS_TCP `port`, with the IP CM header and `private_data` of at most 56 bytes; more is cut.
    pub fn req(&self, port: u16, private_data: &[u8]) -> Vec<u8> {
        let (from, to) = (&self.active, &self.passive);
        let ip_cm = IpCmValues { source_port: self.salt as u16, ..IpCmValues::default() };
        let mut private_data = filled(IpCm::LENGTH, private_data);
        for (to, byte) in private_data.iter_mut().zip(ip_cm.between(from.address, to.address).emit()) {
            *to = byte;
        }
        let req = ReqValues {
            local_comm_id: from.comm_id,
            service_id: PortSpace::Tcp(port).service_id(),
            local_ca_guid: self.salt,
            local_qpn: from.qpn,
            responder_resources: 1,
            initiator_depth: 1,
            remote_response_timeout: 20,
            flow_control: false,
            starting_psn: to.psn,
            local_response_timeout: 20,
            retry_count: 7,
            p_key: 0xffff,
            path_mtu_code: 3,
            rnr_retry_count: 7,
            max_cm_retries: 15,
            primary_local_lid: 0xffff,
            primary_remote_lid: 0xffff,
            primary_local_gid: from.address,
            primary_remote_gid: to.address,
            primary_hop_limit: 64,
            primary_ack_timeout: 19,
            private_data,
            ..ReqValues::default()
        };
        self.cm(from, to, Req::ATTRIBUTE_ID, 0, &req.emit())
    }

    /// The REP with `private_data` of at most 196 bytes; more is cut.
    pub fn rep(&self, private_data: &[u8]) -> Vec<u8> {
        let (from, to) = (&self.passive, &self.active);
        let rep = RepValues {
            local_comm_id: from.comm_id,
            remote_comm_id: to.comm_id,
            local_qpn: from.qpn,
            starting_psn: to.psn,
            responder_resources: 1,
            initiator_depth: 1,
            target_ack_delay: 15,
            flow_control: false,
            rnr_retry_count: 7,
            local_ca_guid: self.salt,
            private_data: filled(0, private_data),
            ..RepValues::default()
        };
        self.cm(from, to, Rep::ATTRIBUTE_ID, 0, &rep.emit())
    }

    /// The samples' advertisement of the passive side's memory region: 12 bytes.
    pub fn advert(&self) -> [u8; Advert::LENGTH] {
        Advert { va: self.passive.va, rkey: self.passive.rkey }.emit()
    }

    /// The RTU.
    pub fn rtu(&self) -> Vec<u8> {
        let (from, to) = (&self.active, &self.passive);
        let (local_comm_id, remote_comm_id) = (from.comm_id, to.comm_id);
        let rtu = RtuValues { local_comm_id, remote_comm_id, ..RtuValues::default() };
        self.cm(from, to, Rtu::ATTRIBUTE_ID, 1, &rtu.emit())
    }

    /// The REJ of the REQ, with reason and `private_data` of at most 148 bytes; more is cut.
    pub fn rej(&self, reason: u16, private_data: &[u8]) -> Vec<u8> {
        let (from, to) = (&self.passive, &self.active);
        let rej = RejValues {
            local_comm_id: from.comm_id,
            remote_comm_id: to.comm_id,
            reason: RejReason(reason),
            private_data: filled(0, private_data),
            ..RejValues::default()
        };
        self.cm(from, to, Rej::ATTRIBUTE_ID, 0, &rej.emit())
    }

    /// The DREQ, from the active side.
    pub fn dreq(&self) -> Vec<u8> {
        let (from, to) = (&self.active, &self.passive);
        let dreq = DreqValues {
            local_comm_id: from.comm_id,
            remote_comm_id: to.comm_id,
            remote_qpn: to.qpn,
            ..DreqValues::default()
        };
        self.cm(from, to, Dreq::ATTRIBUTE_ID, 2, &dreq.emit())
    }

    /// The DREP, from the passive side.
    pub fn drep(&self) -> Vec<u8> {
        let (from, to) = (&self.passive, &self.active);
        let (local_comm_id, remote_comm_id) = (from.comm_id, to.comm_id);
        let drep = DrepValues { local_comm_id, remote_comm_id, ..DrepValues::default() };
        self.cm(from, to, Drep::ATTRIBUTE_ID, 1, &drep.emit())
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
        let write = self
            .request(0x0b, 0)
            .ack_request()
            .reth(peer.va, peer.rkey, 22)
            .header(&ImmDtValues { value: 22 }.emit());
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
    use crate::wire::{Frame, LinkType};

    #[test]
    fn samples_have_their_packets() {
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
