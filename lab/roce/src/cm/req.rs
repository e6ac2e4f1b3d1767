//! REQ, the connection request: the active side's queue pair, first PSN, path and limits.
//!
//! In: the 232 bytes behind the MAD header. Out: its fields. Layout after Linux `include/rdma/ibta_vol1_c12.h`.

use std::fmt;
use std::net::IpAddr;

use crate::cm::IpCm;
use crate::wire::{Psn, header};

header! {
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
    Req, ReqValues, "cm req", 232 {
        /// Communication id of the active side.
        local_comm_id: u32 = 0..4, Hex, "infiniband.cm.req";
        /// Service id, 64 bits.
        service_id: u64 = 8..16, Hex, "infiniband.cm.req.serviceid";
        /// GUID of the active side's channel adapter.
        local_ca_guid: u64 = 16..24, Hex, "infiniband.cm.req.localcaguid";
        /// Queue key of the active side; datagrams only.
        local_q_key: u32 = 28..32, Hex, "infiniband.cm.req.localqkey";
        /// Queue pair number of the active side, 24 bits.
        local_qpn: u32 = 32..35, Hex, "infiniband.cm.req.localqpn";
        /// READs and atomics that the active side serves at once.
        responder_resources: u8 = 35..36, Hex, "infiniband.cm.req.responderres";
        /// End-to-end context of the active side, 24 bits.
        local_eecn: u32 = 36..39, Hex, "infiniband.cm.req.localeecn";
        /// READs and atomics that the active side has outstanding at once.
        initiator_depth: u8 = 39..40, Hex, "infiniband.cm.req.initdepth";
        /// End-to-end context of the passive side, 24 bits.
        remote_eecn: u32 = 40..43, Hex, "infiniband.cm.req.remoteeecn";
        /// Time code that the passive side has to answer, 5 bits.
        remote_response_timeout: u8 = 43..44 [3..8], Hex, "infiniband.cm.req.remoteresptout";
        /// Transport service type: 0 RC, 1 UC, 2 RD, 3 extended.
        transport_service: u8 = 43..44 [1..3], Hex, "infiniband.cm.req.transpsvctype";
        /// End-to-end flow control: the active side sends credits.
        flow_control: bool = 43..44 [0..1], Hex, "infiniband.cm.req.e2eflowctrl";
        /// First PSN that the active side wants to receive: the *passive* side's requests begin there. Observed: rxe 6.1.
        starting_psn: Psn = 44..47, Hex, "infiniband.cm.req.startpsn";
        /// Time code in which the active side answers, 5 bits.
        local_response_timeout: u8 = 47..48 [3..8], Hex, "infiniband.cm.req.localresptout";
        /// Retries after a timeout or a sequence NAK, 0 to 7.
        retry_count: u8 = 47..48 [0..3], Hex, "infiniband.cm.req.retrcount";
        /// Partition key.
        p_key: u16 = 48..50, Hex, "infiniband.cm.req.pkey";
        /// Path MTU code, 1 to 5; see [`path_mtu_bytes`].
        path_mtu_code: u8 = 50..51 [4..8], Hex, "infiniband.cm.req.pppmtu";
        /// RDC exists: reliable datagrams only.
        rdc_exists: bool = 50..51 [3..4], Hex, "infiniband.cm.req.rdcexist";
        /// Retries after an RNR NAK, 0 to 7; 7 is without end.
        rnr_retry_count: u8 = 50..51 [0..3], Hex, "infiniband.cm.req.rnrretrcount";
        /// Times that the connection manager sends again, 4 bits.
        max_cm_retries: u8 = 51..52 [4..8], Hex, "infiniband.cm.req.maxcmretr";
        /// True if the active side's queue pair takes from a shared receive queue.
        srq: bool = 51..52 [3..4], Hex, "infiniband.cm.req.srq";
        /// Extended transport type, 3 bits.
        extended_transport: u8 = 51..52 [0..3], Hex, "infiniband.cm.req.ext_transport";
        /// Local identifier of the active side's port; without meaning on Ethernet.
        primary_local_lid: u16 = 52..54, Dec, "infiniband.cm.req.prim_locallid";
        /// Local identifier of the passive side's port; without meaning on Ethernet.
        primary_remote_lid: u16 = 54..56, Dec, "infiniband.cm.req.prim_remotelid";
        /// GID of the active side's port, as an address.
        primary_local_gid: IpAddr = 56..72, Address;
        /// GID of the passive side's port, as an address.
        primary_remote_gid: IpAddr = 72..88, Address;
        /// Flow label of the primary path, 20 bits.
        primary_flow_label: u32 = 88..92 [12..32], Hex;
        /// Packet rate code of the primary path, 6 bits.
        primary_packet_rate: u8 = 88..92 [0..6], Hex;
        /// Traffic class of the primary path.
        primary_traffic_class: u8 = 92..93, Hex, "infiniband.cm.req.prim_tfcclass";
        /// Hop limit of the primary path.
        primary_hop_limit: u8 = 93..94, Hex, "infiniband.cm.req.prim_hoplim";
        /// Service level of the primary path, 4 bits.
        primary_sl: u8 = 94..95 [4..8], Hex, "infiniband.cm.req.prim_sl";
        /// True if the primary path stays in one subnet.
        primary_subnet_local: bool = 94..95 [3..4], Hex, "infiniband.cm.req.prim_subnetlocal";
        /// ACK timeout code of the primary path, 5 bits; see [`ack_timeout_ns`].
        primary_ack_timeout: u8 = 95..96 [3..8], Hex, "infiniband.cm.req.prim_localacktout";
        /// Alternate path, laid out as the primary one; zeros without one.
        alternate_path: [u8; 44] = 96..140, Raw;
        /// Private data, 92 bytes: the IP CM header and the consumer's 56 when librdmacm sent it.
        private_data: [u8; 92] = 140..232, Raw, "infiniband.cm.req.private";
    }
}

/// The port space of a service id that librdmacm made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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

impl PortSpace {
    /// Reads a service id.
    pub fn of(service_id: u64) -> Self {
        match service_id >> 16 {
            0x0106 => Self::Tcp(service_id as u16),
            0x0111 => Self::Udp(service_id as u16),
            0x013f => Self::Ib(service_id as u16),
            _ => Self::Unknown(service_id),
        }
    }

    /// Returns the service id.
    pub fn service_id(self) -> u64 {
        match self {
            Self::Tcp(port) => 0x0106 << 16 | u64::from(port),
            Self::Udp(port) => 0x0111 << 16 | u64::from(port),
            Self::Ib(port) => 0x013f << 16 | u64::from(port),
            Self::Unknown(id) => id,
        }
    }
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

/// Returns the bytes of a path MTU code: 1 to 5 are 256 to 4096.
pub fn path_mtu_bytes(code: u8) -> Option<u32> {
    (1..=5).contains(&code).then(|| 128 << code)
}

/// Returns the time of an ACK timeout code in nanoseconds: 4.096 µs times two to the code; 0 is no timeout.
pub fn ack_timeout_ns(code: u8) -> Option<u64> {
    (1..=31).contains(&code).then(|| 4_096 << code)
}

impl<'a> Req<'a> {
    /// Meaning of the service id to librdmacm.
    pub fn port_space(&self) -> PortSpace {
        PortSpace::of(self.service_id())
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
    use crate::wire::{every_shorter_length_stops, table_holds};

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

    #[test]
    fn table_of_fields_holds() {
        table_holds! { Req }
    }
}
