//! The IP CM header that librdmacm puts at the head of a REQ's private data: which IP addresses want to talk.
//!
//! In: 36 bytes. Out: its fields. Layout after Linux `drivers/infiniband/core/cma.c`, `struct cma_hdr`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::{be_u8, be_u16, view};

view! {
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
    IpCm, "ip cm", 36
}

mod field {
    use std::ops::Range;
    pub(super) const VERSION: usize = 0;
    pub(super) const IP_VERSION: usize = 1;
    pub(super) const SOURCE_PORT: Range<usize> = 2..4;
    pub(super) const SOURCE: Range<usize> = 4..20;
    pub(super) const DESTINATION: Range<usize> = 20..36;
}

impl IpCm<'_> {
    /// Major version, 4 bits.
    pub fn major_version(&self) -> u8 {
        be_u8(self.bytes, field::VERSION) >> 4
    }

    /// Minor version, 4 bits.
    pub fn minor_version(&self) -> u8 {
        be_u8(self.bytes, field::VERSION) & 0xf
    }

    /// IP version, 4 or 6.
    pub fn ip_version(&self) -> u8 {
        be_u8(self.bytes, field::IP_VERSION) >> 4
    }

    /// Source port of the active side, host order; random.
    pub fn source_port(&self) -> u16 {
        be_u16(self.bytes, field::SOURCE_PORT)
    }

    /// Address of the active side; `None` for an unknown IP version.
    pub fn source(&self) -> Option<IpAddr> {
        self.address(self.bytes.get(field::SOURCE)?)
    }

    /// Address of the passive side; `None` for an unknown IP version.
    pub fn destination(&self) -> Option<IpAddr> {
        self.address(self.bytes.get(field::DESTINATION)?)
    }

    fn address(&self, bytes: &[u8]) -> Option<IpAddr> {
        match self.ip_version() {
            4 => bytes.last_chunk().map(|v4: &[u8; 4]| IpAddr::V4(Ipv4Addr::from(*v4))),
            6 => bytes.first_chunk().map(|v6: &[u8; 16]| IpAddr::V6(Ipv6Addr::from(*v6))),
            _ => None,
        }
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
    use crate::wire::every_shorter_length_stops;

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
    fn an_unknown_ip_version_has_no_address() {
        let mut bytes = header();
        bytes[1] = 0x70;
        assert_eq!(IpCm::new(&bytes, 0).unwrap().source(), None);
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&header(), IpCm::new);
    }
}
