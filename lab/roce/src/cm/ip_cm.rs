//! The IP CM header that librdmacm puts at the head of a REQ's private data: which IP addresses want to talk.
//!
//! In: 36 bytes. Out: its fields. Layout after Linux `drivers/infiniband/core/cma.c`, `struct cma_hdr`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::header;

header! {
    /// View of an IP CM header.
    ///
    /// ```text
    /// +-------+-------+-------+-------+-------------------------------+
    /// | major | minor | IP v. |reserv.|          source port          |
    /// +-------+-------+-------+-------+-------------------------------+
    /// |      source address (128 bits, an IPv4 address last)          |
    /// +---------------------------------------------------------------+
    /// |    destination address (128 bits, an IPv4 address last)       |
    /// +---------------------------------------------------------------+
    /// ```
    IpCm, IpCmValues, "ip cm", 36 {
        /// Major version, 4 bits.
        major_version: u8 = 0..1 [4..8], Hex, "infiniband.cm.req.ip_cm.majv";
        /// Minor version, 4 bits.
        minor_version: u8 = 0..1 [0..4], Hex, "infiniband.cm.req.ip_cm.minv";
        /// IP version, 4 or 6.
        ip_version: u8 = 1..2 [4..8], Hex, "infiniband.cm.req.ip_cm.ipv";
        /// Source port of the active side, host order; random.
        source_port: u16 = 2..4, Hex, "infiniband.cm.req.ip_cm.sport";
        /// Address of the active side, an IPv4 address in the last four bytes.
        source_bytes: [u8; 16] = 4..20, Raw;
        /// Address of the passive side, an IPv4 address in the last four bytes.
        destination_bytes: [u8; 16] = 20..36, Raw;
    }
}

impl IpCm<'_> {
    /// Address of the active side; `None` for an unknown IP version.
    pub fn source(&self) -> Option<IpAddr> {
        self.address(self.source_bytes())
    }

    /// Address of the passive side; `None` for an unknown IP version.
    pub fn destination(&self) -> Option<IpAddr> {
        self.address(self.destination_bytes())
    }

    fn address(&self, bytes: &[u8; 16]) -> Option<IpAddr> {
        match self.ip_version() {
            4 => bytes.last_chunk().map(|v4: &[u8; 4]| IpAddr::V4(Ipv4Addr::from(*v4))),
            6 => Some(IpAddr::V6(Ipv6Addr::from(*bytes))),
            _ => None,
        }
    }
}

impl IpCmValues {
    /// Sets both addresses and the IP version; the source's counts.
    #[must_use]
    pub fn between(self, source: IpAddr, destination: IpAddr) -> Self {
        let bytes = |address| match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)).to_be_bytes(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let ip_version = if source.is_ipv4() { 4 } else { 6 };
        Self { ip_version, source_bytes: bytes(source), destination_bytes: bytes(destination), ..self }
    }
}

impl fmt::Display for IpCm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "IP CM version {}.{}, IPv{}, source port {}",
            self.major_version(),
            self.minor_version(),
            self.ip_version(),
            self.source_port()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{every_shorter_length_stops, table_holds};

    fn header() -> [u8; 36] {
        let mut bytes = [0; 36];
        bytes[1] = 0x40;
        bytes[2..4].copy_from_slice(&51_000u16.to_be_bytes());
        bytes[16..20].copy_from_slice(&[198, 51, 100, 2]);
        bytes[32..36].copy_from_slice(&[198, 51, 100, 1]);
        bytes
    }

    #[test]
    fn fields_are_where_the_kernel_puts_them() {
        let bytes = header();
        let ip_cm = IpCm::new(&bytes, 0).unwrap();
        assert_eq!(
            (ip_cm.major_version(), ip_cm.minor_version(), ip_cm.ip_version(), ip_cm.source_port()),
            (0, 0, 4, 51_000)
        );
        assert_eq!(ip_cm.source(), Some(IpAddr::from([198, 51, 100, 2])));
        assert_eq!(ip_cm.destination(), Some(IpAddr::from([198, 51, 100, 1])));
    }

    #[test]
    fn unknown_ip_version_has_no_address() {
        let mut bytes = header();
        bytes[1] = 0x70;
        assert_eq!(IpCm::new(&bytes, 0).unwrap().source(), None);
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&header(), IpCm::new);
    }

    #[test]
    fn table_of_fields_holds() {
        table_holds! { IpCm }
    }
}
