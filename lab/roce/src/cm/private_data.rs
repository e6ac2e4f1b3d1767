//! Private data of a message, as programs write it.
//!
//! In: a private data field. Out: nothing, the samples' advertisement, a text, or bytes. The samples' REP carries 12 bytes: the remote virtual address as a
//! 64-bit and its rkey as a 32-bit big-endian number; the rest of the field is zero.

/// A memory region that a program offers to its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Virtual address at the node that sends it.
    pub va: u64,
    /// Remote key.
    pub rkey: u32,
}

impl Advert {
    /// Length on the wire in bytes.
    pub const LENGTH: usize = 12;

    /// Reads the first 12 bytes of `bytes`; `None` when they are fewer, or address or key is zero.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let (va, rest) = bytes.split_first_chunk()?;
        let (va, rkey) = (u64::from_be_bytes(*va), u32::from_be_bytes(*rest.first_chunk()?));
        (va != 0 && rkey != 0).then_some(Self { va, rkey })
    }

    /// Emits the 12 bytes.
    pub fn emit(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let (va, rkey) = bytes.split_at_mut(size_of_val(&self.va));
        va.copy_from_slice(&self.va.to_be_bytes());
        rkey.copy_from_slice(&self.rkey.to_be_bytes());
        bytes
    }
}

/// The meaning of a private data field; zeros at its end do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrivateData<'a> {
    /// All zero.
    None,
    /// The samples' advertisement and nothing else.
    Advert(Advert),
    /// Printable ASCII.
    Text(&'a str),
    /// Anything else.
    Bytes(&'a [u8]),
}

impl<'a> PrivateData<'a> {
    /// Says what the field holds. Only a REP is looked at for an advertisement: pass `is_rep`.
    pub fn new(field: &'a [u8], is_rep: bool) -> Self {
        let used = field.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let bytes = field.get(..used).unwrap_or_default();
        if bytes.is_empty() {
            return Self::None;
        }
        if bytes.len() >= 4
            && let Ok(text) = std::str::from_utf8(bytes)
            && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            return Self::Text(text);
        }
        match Advert::new(field) {
            Some(advert) if is_rep && used <= Advert::LENGTH => Self::Advert(advert),
            _ => Self::Bytes(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADVERT: [u8; 12] = [0, 0, 0x55, 0xaa, 0, 0, 0x10, 0, 0, 0, 0x12, 0x00];

    fn padded(bytes: &[u8]) -> Vec<u8> {
        let mut field = bytes.to_vec();
        field.resize(196, 0);
        field
    }

    #[test]
    fn samples_twelve_bytes_are_an_advertisement() {
        let advert = Advert { va: 0x55aa_0000_1000, rkey: 0x1200 };
        assert_eq!(PrivateData::new(&padded(&ADVERT), true), PrivateData::Advert(advert));
        assert_eq!(advert.emit(), ADVERT);
        assert!(matches!(PrivateData::new(&padded(&ADVERT), false), PrivateData::Bytes(_)));
    }

    #[test]
    fn thirteenth_byte_makes_it_something_else() {
        let mut field = padded(&ADVERT);
        field[12] = 1;
        assert!(matches!(PrivateData::new(&field, true), PrivateData::Bytes(bytes) if bytes.len() == 13));
    }

    #[test]
    fn zeros_are_nothing_and_words_are_text() {
        assert_eq!(PrivateData::new(&[0; 56], true), PrivateData::None);
        assert_eq!(PrivateData::new(&padded(b"size too large"), true), PrivateData::Text("size too large"));
        assert_eq!(Advert::new(&ADVERT[..11]), None);
    }
}
