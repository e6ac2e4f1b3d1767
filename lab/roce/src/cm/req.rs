//! REQ, the connection request: the active side's queue pair, first PSN, path and limits.
//!
//! In: the 232 bytes behind the MAD header. Out: its fields. Layout after Linux `include/rdma/ibta_vol1_c12.h`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::cm::IpCm;
use crate::wire::{Psn, be_u8, be_u16, be_u32, be_u64, view};

view! {
    /// View of a connection request.
    ///
    /// ```text
    ///   0 local comm id      4   reserved            8   service id (64)
    ///  16 local CA GUID (64) 24  reserved            28  local Q_Key
    ///  32 local QPN (24)     35  responder resources 36  local EECN (24)
    ///  39 initiator depth    40  remote EECN (24)    43  response timeout 5, transport 2, flow control 1
    ///  44 starting PSN (24)  47  response timeout 5, retry count 3
    ///  48 P_Key              50  path MTU 4, RDC 1, RNR retry 3     51  max CM retries 4, SRQ 1, extended 3
    ///  52 primary path (44): LIDs, GIDs, flow label, traffic class, hop limit, SL, ACK timeout
    ///  96 alternate path (44), the same
    /// 140 private data (92)
    /// ```
    Req, "cm req", 232
}

mod field {
    use std::ops::Range;
    pub(super) const LOCAL_COMM_ID: Range<usize> = 0..4;
    pub(super) const SERVICE_ID: Range<usize> = 8..16;
    pub(super) const LOCAL_CA_GUID: Range<usize> = 16..24;
    pub(super) const LOCAL_Q_KEY: Range<usize> = 28..32;
    pub(super) const LOCAL_QPN: Range<usize> = 32..35;
    pub(super) const RESPONDER_RESOURCES: usize = 35;
    pub(super) const LOCAL_EECN: Range<usize> = 36..39;
    pub(super) const INITIATOR_DEPTH: usize = 39;
    pub(super) const REMOTE_EECN: Range<usize> = 40..43;
    pub(super) const REMOTE_TIMEOUT_AND_TRANSPORT: usize = 43;
    pub(super) const STARTING_PSN: Range<usize> = 44..47;
    pub(super) const LOCAL_TIMEOUT_AND_RETRY: usize = 47;
    pub(super) const P_KEY: Range<usize> = 48..50;
    pub(super) const MTU_AND_RNR_RETRY: usize = 50;
    pub(super) const CM_RETRIES: usize = 51;
    pub(super) const PRIMARY_LOCAL_LID: Range<usize> = 52..54;
    pub(super) const PRIMARY_REMOTE_LID: Range<usize> = 54..56;
    pub(super) const PRIMARY_LOCAL_GID: Range<usize> = 56..72;
    pub(super) const PRIMARY_REMOTE_GID: Range<usize> = 72..88;
    pub(super) const PRIMARY_FLOW_AND_RATE: Range<usize> = 88..92;
    pub(super) const PRIMARY_TRAFFIC_CLASS: usize = 92;
    pub(super) const PRIMARY_HOP_LIMIT: usize = 93;
    pub(super) const PRIMARY_SL: usize = 94;
    pub(super) const PRIMARY_ACK_TIMEOUT: usize = 95;
    pub(super) const PRIVATE_DATA: Range<usize> = 140..232;
}

/// The port space of a service id that librdmacm made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortSpace {
    /// RDMA_PS_TCP and its port: reliable connections.
    Tcp(u16),
    /// RDMA_PS_UDP and its port: datagrams.
    Udp(u16),
    /// RDMA_PS_IB and its port.
    Ib(u16),
    /// Another service id.
    Unknown(u64),
}

impl fmt::Display for PortSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "RDMA_PS_TCP port {port}"),
            Self::Udp(port) => write!(f, "RDMA_PS_UDP port {port}"),
            Self::Ib(port) => write!(f, "RDMA_PS_IB port {port}"),
            Self::Unknown(id) => write!(f, "service id {id:#018x}"),
        }
    }
}

/// Gives the bytes of a path MTU code: 1 to 5 are 256 to 4096.
pub fn path_mtu_bytes(code: u8) -> Option<u32> {
    (1..=5).contains(&code).then(|| 128 << code)
}

/// Gives the time of an ACK timeout code in nanoseconds: 4.096 µs times two to the code; 0 is no timeout.
pub fn ack_timeout_ns(code: u8) -> Option<u64> {
    (1..=31).contains(&code).then(|| 4_096 << code)
}

/// Reads a GID; one that maps an IPv4 address gives that.
fn gid(bytes: &[u8]) -> IpAddr {
    let bits = bytes.iter().fold(0u128, |bits, byte| (bits << 8) | u128::from(*byte));
    let address = Ipv6Addr::from_bits(bits);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), |v4: Ipv4Addr| IpAddr::V4(v4))
}

impl<'a> Req<'a> {
    /// Communication id of the active side.
    pub fn local_comm_id(&self) -> u32 {
        be_u32(self.bytes, field::LOCAL_COMM_ID)
    }

    /// Service id, 64 bits.
    pub fn service_id(&self) -> u64 {
        be_u64(self.bytes, field::SERVICE_ID)
    }

    /// What the service id means to librdmacm.
    pub fn port_space(&self) -> PortSpace {
        let id = self.service_id();
        match id >> 16 {
            0x0106 => PortSpace::Tcp(id as u16),
            0x0111 => PortSpace::Udp(id as u16),
            0x013f => PortSpace::Ib(id as u16),
            _ => PortSpace::Unknown(id),
        }
    }

    /// GUID of the active side's channel adapter.
    pub fn local_ca_guid(&self) -> u64 {
        be_u64(self.bytes, field::LOCAL_CA_GUID)
    }

    /// Queue key of the active side; datagrams only.
    pub fn local_q_key(&self) -> u32 {
        be_u32(self.bytes, field::LOCAL_Q_KEY)
    }

    /// Queue pair number of the active side, 24 bits.
    pub fn local_qpn(&self) -> u32 {
        be_u32(self.bytes, field::LOCAL_QPN)
    }

    /// READs and atomics that the active side serves at once.
    pub fn responder_resources(&self) -> u8 {
        be_u8(self.bytes, field::RESPONDER_RESOURCES)
    }

    /// End-to-end context of the active side, 24 bits.
    pub fn local_eecn(&self) -> u32 {
        be_u32(self.bytes, field::LOCAL_EECN)
    }

    /// READs and atomics that the active side has outstanding at once.
    pub fn initiator_depth(&self) -> u8 {
        be_u8(self.bytes, field::INITIATOR_DEPTH)
    }

    /// End-to-end context of the passive side, 24 bits.
    pub fn remote_eecn(&self) -> u32 {
        be_u32(self.bytes, field::REMOTE_EECN)
    }

    /// Time code that the passive side has to answer, 5 bits.
    pub fn remote_response_timeout(&self) -> u8 {
        be_u8(self.bytes, field::REMOTE_TIMEOUT_AND_TRANSPORT) >> 3
    }

    /// Transport service type: 0 RC, 1 UC, 2 RD, 3 extended.
    pub fn transport_service(&self) -> u8 {
        (be_u8(self.bytes, field::REMOTE_TIMEOUT_AND_TRANSPORT) >> 1) & 0x3
    }

    /// End-to-end flow control: the active side sends credits.
    pub fn flow_control(&self) -> bool {
        be_u8(self.bytes, field::REMOTE_TIMEOUT_AND_TRANSPORT) & 1 != 0
    }

    /// First PSN that the active side wants to receive: the *passive* side's requests begin there. Observed: rxe 6.1.
    pub fn starting_psn(&self) -> Psn {
        Psn::new(be_u32(self.bytes, field::STARTING_PSN))
    }

    /// Time code in which the active side answers, 5 bits.
    pub fn local_response_timeout(&self) -> u8 {
        be_u8(self.bytes, field::LOCAL_TIMEOUT_AND_RETRY) >> 3
    }

    /// Retries after a timeout or a sequence NAK, 0 to 7.
    pub fn retry_count(&self) -> u8 {
        be_u8(self.bytes, field::LOCAL_TIMEOUT_AND_RETRY) & 0x7
    }

    /// Partition key.
    pub fn p_key(&self) -> u16 {
        be_u16(self.bytes, field::P_KEY)
    }

    /// Path MTU code, 1 to 5; see [`path_mtu_bytes`].
    pub fn path_mtu_code(&self) -> u8 {
        be_u8(self.bytes, field::MTU_AND_RNR_RETRY) >> 4
    }

    /// RDC exists: reliable datagrams only.
    pub fn rdc_exists(&self) -> bool {
        be_u8(self.bytes, field::MTU_AND_RNR_RETRY) & 0x8 != 0
    }

    /// Retries after an RNR NAK, 0 to 7; 7 is without end.
    pub fn rnr_retry_count(&self) -> u8 {
        be_u8(self.bytes, field::MTU_AND_RNR_RETRY) & 0x7
    }

    /// Times that the connection manager sends again, 4 bits.
    pub fn max_cm_retries(&self) -> u8 {
        be_u8(self.bytes, field::CM_RETRIES) >> 4
    }

    /// Whether the active side's queue pair takes from a shared receive queue.
    pub fn srq(&self) -> bool {
        be_u8(self.bytes, field::CM_RETRIES) & 0x8 != 0
    }

    /// Extended transport type, 3 bits.
    pub fn extended_transport(&self) -> u8 {
        be_u8(self.bytes, field::CM_RETRIES) & 0x7
    }

    /// Local identifier of the active side's port; without meaning on Ethernet.
    pub fn primary_local_lid(&self) -> u16 {
        be_u16(self.bytes, field::PRIMARY_LOCAL_LID)
    }

    /// Local identifier of the passive side's port; without meaning on Ethernet.
    pub fn primary_remote_lid(&self) -> u16 {
        be_u16(self.bytes, field::PRIMARY_REMOTE_LID)
    }

    /// GID of the active side's port, as an address.
    pub fn primary_local_gid(&self) -> IpAddr {
        gid(self.bytes.get(field::PRIMARY_LOCAL_GID).unwrap_or_default())
    }

    /// GID of the passive side's port, as an address.
    pub fn primary_remote_gid(&self) -> IpAddr {
        gid(self.bytes.get(field::PRIMARY_REMOTE_GID).unwrap_or_default())
    }

    /// Flow label of the primary path, 20 bits.
    pub fn primary_flow_label(&self) -> u32 {
        be_u32(self.bytes, field::PRIMARY_FLOW_AND_RATE) >> 12
    }

    /// Packet rate code of the primary path, 6 bits.
    pub fn primary_packet_rate(&self) -> u8 {
        (be_u32(self.bytes, field::PRIMARY_FLOW_AND_RATE) & 0x3f) as u8
    }

    /// Traffic class of the primary path.
    pub fn primary_traffic_class(&self) -> u8 {
        be_u8(self.bytes, field::PRIMARY_TRAFFIC_CLASS)
    }

    /// Hop limit of the primary path.
    pub fn primary_hop_limit(&self) -> u8 {
        be_u8(self.bytes, field::PRIMARY_HOP_LIMIT)
    }

    /// Service level of the primary path, 4 bits.
    pub fn primary_sl(&self) -> u8 {
        be_u8(self.bytes, field::PRIMARY_SL) >> 4
    }

    /// Whether the primary path stays in one subnet.
    pub fn primary_subnet_local(&self) -> bool {
        be_u8(self.bytes, field::PRIMARY_SL) & 0x8 != 0
    }

    /// ACK timeout code of the primary path, 5 bits; see [`ack_timeout_ns`].
    pub fn primary_ack_timeout(&self) -> u8 {
        be_u8(self.bytes, field::PRIMARY_ACK_TIMEOUT) >> 3
    }

    /// Private data, 92 bytes: the IP CM header and the consumer's 56 when librdmacm sent it.
    pub fn private_data(&self) -> &'a [u8] {
        self.bytes.get(field::PRIVATE_DATA).unwrap_or_default()
    }

    /// The IP CM header, when the service id is librdmacm's.
    pub fn ip_cm(&self) -> Option<IpCm<'a>> {
        match self.port_space() {
            PortSpace::Unknown(_) => None,
            _ => IpCm::new(self.private_data(), 0).ok(),
        }
    }

    /// The consumer's private data: what follows the IP CM header, or everything without one.
    pub fn consumer_private_data(&self) -> &'a [u8] {
        match self.ip_cm() {
            Some(_) => self.private_data().get(IpCm::LENGTH..).unwrap_or_default(),
            None => self.private_data(),
        }
    }
}

impl fmt::Display for Req<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "REQ {}, QPN {:#08x}, PSN {}", self.port_space(), self.local_qpn(), self.starting_psn())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::every_shorter_length_stops;

    fn req() -> [u8; 232] {
        let mut bytes = [0; 232];
        bytes[3] = 9;
        bytes[8..16].copy_from_slice(&(0x0106_0000u64 | 7471).to_be_bytes());
        bytes[32..36].copy_from_slice(&[0, 0, 0x11, 16]);
        bytes[39] = 4;
        bytes[43] = 0xa0;
        bytes[44..48].copy_from_slice(&[1, 2, 3, 0xa7]);
        bytes[48..52].copy_from_slice(&[0xff, 0xff, 0x36, 0xf0]);
        bytes[66..72].copy_from_slice(&[0xff, 0xff, 198, 51, 100, 2]);
        bytes[88..92].copy_from_slice(&[0x12, 0x34, 0x50, 0x02]);
        bytes[95] = 19 << 3;
        bytes[140..144].copy_from_slice(&[0, 0x40, 0x12, 0x34]);
        bytes[176] = 0xee;
        bytes
    }

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        let bytes = req();
        let req = Req::new(&bytes, 0).unwrap();
        assert_eq!((req.local_comm_id(), req.port_space(), req.local_qpn()), (9, PortSpace::Tcp(7471), 0x11));
        assert_eq!(
            (req.responder_resources(), req.initiator_depth(), req.starting_psn()),
            (16, 4, Psn::new(0x01_0203))
        );
        assert_eq!(
            (req.remote_response_timeout(), req.local_response_timeout(), req.retry_count()),
            (20, 20, 7)
        );
        assert_eq!(
            (req.path_mtu_code(), req.rnr_retry_count(), req.p_key(), req.max_cm_retries()),
            (3, 6, 0xffff, 15)
        );
        assert_eq!(req.primary_local_gid(), IpAddr::from([198, 51, 100, 2]));
        assert_eq!(
            (req.primary_flow_label(), req.primary_packet_rate(), req.primary_ack_timeout()),
            (0x12345, 2, 19)
        );
        assert_eq!(req.ip_cm().unwrap().source_port(), 0x1234);
        assert_eq!((req.consumer_private_data().len(), req.consumer_private_data()[0]), (56, 0xee));
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&req(), Req::new);
    }

    #[test]
    fn codes_outside_the_standard_have_no_value() {
        assert_eq!([0, 1, 3, 5, 6].map(path_mtu_bytes), [None, Some(256), Some(1024), Some(4096), None]);
        assert_eq!([0, 1, 19, 32].map(ack_timeout_ns), [None, Some(8_192), Some(2_147_483_648), None]);
    }

    #[test]
    fn another_service_id_has_no_ip_cm_header() {
        let mut bytes = req();
        bytes[8] = 1;
        let req = Req::new(&bytes, 0).unwrap();
        assert!(matches!(req.port_space(), PortSpace::Unknown(_)) && req.ip_cm().is_none());
        assert_eq!(req.consumer_private_data().len(), 92);
    }
}
