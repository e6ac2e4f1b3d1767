//! Memory of the peer, as work requests name it.

use std::fmt;

/// A memory region of the peer, as the peer announced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteRegion {
    /// Virtual address in the peer's process.
    pub address: u64,
    /// Key that a WRITE, READ or atomic to it must carry.
    pub rkey: u32,
    /// Length in bytes, if the peer said it.
    pub length_bytes: Option<u64>,
}

impl RemoteRegion {
    /// Returns the part from `offset` on; past the end an empty one, at an address that is not the peer's to give.
    #[must_use]
    pub fn at(&self, offset: u64) -> Self {
        Self {
            address: self.address.wrapping_add(offset),
            rkey: self.rkey,
            length_bytes: self.length_bytes.map(|length| length.saturating_sub(offset)),
        }
    }
}

impl fmt::Display for RemoteRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address {:#x}, rkey {:#x}", self.address, self.rkey)?;
        match self.length_bytes {
            Some(length_bytes) => write!(f, ", {length_bytes} bytes"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_beyond_the_end_is_empty() {
        let region = RemoteRegion { address: 0x1000, rkey: 7, length_bytes: Some(16) };
        assert_eq!(region.at(4), RemoteRegion { address: 0x1004, rkey: 7, length_bytes: Some(12) });
        assert_eq!(region.at(17).length_bytes, Some(0));
        assert_eq!(region.at(16).to_string(), "address 0x1010, rkey 0x7, 0 bytes");
    }
}
