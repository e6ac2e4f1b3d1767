//! Headers from tables: one table of fields makes a header's view, its values and the list of its fields.
//!
//! In: rows of `name: type = first byte..end byte [lowest bit..end bit], notation, "tshark's name";`, where bits and tshark's name may be left out. Out:
//!
//! - a view over a fixed number of borrowed bytes, with a length check and a getter for each row; the bytes are an array reference, so a getter cannot go
//!   outside
//! - a struct of all values, which reads a header, writes it, and writes it over another one
//! - `FIELDS`, the rows as data: name, place, text

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::field::Field;

/// Header at its place in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedHeader<'a> {
    /// Name of the header, as in a [`DecodeStop`](crate::wire::DecodeStop).
    pub layer: &'static str,
    /// Offset of its first byte in the frame.
    pub offset: usize,
    /// Bytes of it.
    pub bytes: &'a [u8],
    /// Fields of it, in the order of the wire.
    pub fields: &'static [Field],
}

/// Field of a header at its place in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedField<'a> {
    /// Header of the field.
    pub header: PlacedHeader<'a>,
    /// Row of the header's table.
    pub field: &'static Field,
}

impl<'a> PlacedHeader<'a> {
    /// Places each field, in the order of the wire.
    pub fn placed_fields(&self) -> impl Iterator<Item = PlacedField<'a>> + use<'a> {
        let header = *self;
        header.fields.iter().map(move |field| PlacedField { header, field })
    }

    /// Places the field with that name, if the header has one.
    pub fn field(&self, name: &str) -> Option<PlacedField<'a>> {
        self.placed_fields().find(|placed| placed.field.name() == name)
    }
}

impl<'a> PlacedField<'a> {
    /// Offset of the field's first byte in the frame; other fields may share the byte.
    pub fn offset(&self) -> usize {
        self.header.offset + self.field.bytes().start
    }

    /// Bytes that hold the field.
    pub fn bytes(&self) -> &'a [u8] {
        self.field.slice(self.header.bytes)
    }

    /// Value as a number; of a field of more than 64 bits the last ones.
    pub fn number(&self) -> u64 {
        self.field.get(self.header.bytes)
    }
}

/// Shows the value in the field's notation.
impl fmt::Display for PlacedField<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.field.show(self.header.bytes).fmt(f)
    }
}

/// Value of a field.
pub(crate) trait FieldValue {
    fn read(field: &Field, header: &[u8]) -> Self;
    fn write(self, field: &Field, header: &mut [u8]);
}

macro_rules! number {
    ($($ty:ty)*) => {$(
        impl FieldValue for $ty {
            #[inline(always)]
            fn read(field: &Field, header: &[u8]) -> Self {
                field.get(header) as Self
            }

            fn write(self, field: &Field, header: &mut [u8]) {
                field.set(header, self.into());
            }
        }
    )*};
}

number! { u8 u16 u32 u64 }

impl FieldValue for bool {
    #[inline(always)]
    fn read(field: &Field, header: &[u8]) -> Self {
        field.get(header) != 0
    }

    fn write(self, field: &Field, header: &mut [u8]) {
        field.set(header, self.into());
    }
}

impl<const N: usize> FieldValue for [u8; N] {
    fn read(field: &Field, header: &[u8]) -> Self {
        field.slice(header).first_chunk().copied().unwrap_or([0; N])
    }

    fn write(self, field: &Field, header: &mut [u8]) {
        header.iter_mut().skip(field.bytes().start).zip(self).for_each(|(to, from)| *to = from);
    }
}

impl FieldValue for Ipv6Addr {
    fn read(field: &Field, header: &[u8]) -> Self {
        <[u8; 16]>::read(field, header).into()
    }

    fn write(self, field: &Field, header: &mut [u8]) {
        self.octets().write(field, header);
    }
}

/// A GID that maps an IPv4 address is that address.
impl FieldValue for IpAddr {
    fn read(field: &Field, header: &[u8]) -> Self {
        Ipv6Addr::read(field, header).to_canonical()
    }

    fn write(self, field: &Field, header: &mut [u8]) {
        match self {
            Self::V4(address) => address.to_ipv6_mapped(),
            Self::V6(address) => address,
        }
        .write(field, header);
    }
}

/// Makes a header: `header! { /// doc View, Values, "layer", length { rows } }`.
macro_rules! header {
    (
        $(#[$meta:meta])*
        $name:ident, $values:ident, $layer:literal, $length:literal {
            $(
                $(#[$field_meta:meta])*
                $field:ident: $ty:tt = $first:literal .. $end:literal $([$low:literal .. $high:literal])?, $notation:ident $(, $tshark:literal)?;
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $name<'a> {
            bytes: &'a [u8; $length],
        }

        #[doc = concat!("Values of the fields of a [`", stringify!($name), "`]: by default those of a header of zeros.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $values {
            $($(#[$field_meta])* pub $field: $ty,)*
        }

        impl<'a> $name<'a> {
            /// Length of the header in bytes.
            pub const LENGTH: usize = $length;
            /// Name of the header in a [`DecodeStop`](crate::wire::DecodeStop).
            pub const LAYER: &'static str = $layer;
            /// Fields of the header, in the order of the wire.
            pub const FIELDS: &'static [crate::wire::Field] = &[$(
                crate::wire::header!(@row $field, $first, $end, $notation $(, bits($low, $high))? $(, tshark($tshark))?),
            )*];

            /// Checks that `bytes` hold the header; `offset` is where they begin in the frame.
            ///
            /// # Errors
            /// [`DecodeStop::Length`](crate::wire::DecodeStop::Length) when fewer than [`Self::LENGTH`] bytes are there.
            pub fn check_len(bytes: &'a [u8], offset: usize) -> Result<(), crate::wire::DecodeStop> {
                Self::new(bytes, offset).map(|_| ())
            }

            /// Views the first [`Self::LENGTH`] bytes of `bytes`; `offset` is where they begin in the frame.
            ///
            /// # Errors
            /// [`DecodeStop::Length`](crate::wire::DecodeStop::Length) when fewer than [`Self::LENGTH`] bytes are there.
            #[inline]
            pub fn new(bytes: &'a [u8], offset: usize) -> Result<Self, crate::wire::DecodeStop> {
                match bytes.first_chunk() {
                    Some(bytes) => Ok(Self { bytes }),
                    None => Err(crate::wire::DecodeStop::Length { layer: $layer, need: $length, offset, got: bytes.len() }),
                }
            }

            /// Bytes of the header as they are on the wire.
            pub fn bytes(&self) -> &'a [u8; $length] {
                self.bytes
            }

            /// Reads all fields.
            pub fn values(&self) -> $values {
                $values::of(self.bytes)
            }

            /// Places the header at `offset` in its frame, with the list of its fields.
            pub fn placed(&self, offset: usize) -> crate::wire::PlacedHeader<'a> {
                crate::wire::PlacedHeader { layer: $layer, offset, bytes: self.bytes, fields: Self::FIELDS }
            }

            $(
                crate::wire::header! {
                    @getter 'a, $ty, $(#[$field_meta])* $field,
                    crate::wire::header!(@row $field, $first, $end, $notation $(, bits($low, $high))? $(, tshark($tshark))?)
                }
            )*
        }

        impl $values {
            fn of(bytes: &[u8; $length]) -> Self {
                Self {$(
                    $field: {
                        const FIELD: crate::wire::Field =
                            crate::wire::header!(@row $field, $first, $end, $notation $(, bits($low, $high))? $(, tshark($tshark))?);
                        crate::wire::FieldValue::read(&FIELD, bytes)
                    },
                )*}
            }

            /// Writes all fields over a header; bits that belong to none stay.
            pub fn write(&self, bytes: &mut [u8; $length]) {
                $(
                    const { assert!($end <= $length) };
                    crate::wire::FieldValue::write(
                        self.$field,
                        &crate::wire::header!(@row $field, $first, $end, $notation $(, bits($low, $high))? $(, tshark($tshark))?),
                        bytes,
                    );
                )*
            }

            /// Emits the header; bits that belong to no field are zero.
            pub fn emit(&self) -> [u8; $length] {
                let mut bytes = [0; $length];
                self.write(&mut bytes);
                bytes
            }
        }

        impl Default for $values {
            fn default() -> Self {
                Self::of(&[0; $length])
            }
        }

        impl std::fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };

    (@row $field:ident, $first:literal, $end:literal, $notation:ident $(, $narrow:ident($($argument:literal),*))*) => {
        crate::wire::Field::new(stringify!($field), $first, $end, crate::wire::Notation::$notation)
            $(.$narrow($($argument),*))*
    };

    (@getter $a:lifetime, [u8; $n:literal], $(#[$meta:meta])* $field:ident, $row:expr) => {
        $(#[$meta])*
        pub fn $field(&self) -> &$a [u8; $n] {
            const FIELD: crate::wire::Field = $row;
            FIELD.slice(self.bytes).first_chunk().unwrap_or(&[0; $n])
        }
    };

    (@getter $a:lifetime, $ty:ty, $(#[$meta:meta])* $field:ident, $row:expr) => {
        $(#[$meta])*
        #[inline]
        pub fn $field(&self) -> $ty {
            const FIELD: crate::wire::Field = $row;
            crate::wire::FieldValue::read(&FIELD, self.bytes)
        }
    };
}

pub(crate) use header;

/// Asserts that every prefix of `good` stops with the bytes it has, and that `good` itself does not.
#[cfg(test)]
pub(crate) fn every_shorter_length_stops<'a, T>(
    good: &'a [u8],
    view: impl Fn(&'a [u8], usize) -> Result<T, crate::wire::DecodeStop>,
) {
    assert!(view(good, 0).is_ok());
    for length in 0..good.len() {
        match view(&good[..length], 42) {
            Err(crate::wire::DecodeStop::Length { need, offset, got, .. }) => {
                assert_eq!((need, offset, got), (good.len(), 42, length))
            }
            _ => panic!("{length} bytes must stop"),
        }
    }
}

/// Asserts of headers of arbitrary bytes that their values, written, read as the same values, that nothing but fields is written, and that no bit belongs to
/// two fields.
#[cfg(test)]
macro_rules! table_holds {
    ($($name:ident)*) => {$({
        let mut fields = [0u8; $name::LENGTH];
        for field in $name::FIELDS {
            assert!(!field.name().is_empty() && field.bytes().end <= $name::LENGTH, "{field:?}");
            let mut only = [0u8; $name::LENGTH];
            match field.width_bits() {
                ..=64 => field.set(&mut only, u64::MAX),
                _ => only[field.bytes()].fill(0xff),
            }
            for (seen, bits) in fields.iter_mut().zip(only) {
                assert_eq!(*seen & bits, 0, "{}: shares bits with a field before it", field.name());
                *seen |= bits;
            }
        }
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100 {
            let mut bytes = [0u8; $name::LENGTH];
            random.fill(&mut bytes);
            let values = $name::new(&bytes, 0).unwrap().values();
            let emitted = values.emit();
            assert_eq!($name::new(&emitted, 0).unwrap().values(), values);
            for (at, ((emitted, bytes), fields)) in emitted.iter().zip(bytes).zip(fields).enumerate() {
                assert_eq!(*emitted, bytes & fields, "byte {at}");
            }
            let mut over = bytes;
            values.write(&mut over);
            assert_eq!(over, bytes);
            for field in $name::FIELDS {
                let (value, was) = (random.u64(..) >> (64 - field.width_bits().min(64)), over);
                field.set(&mut over, value);
                assert_eq!(field.get(&over), value, "{}", field.name());
                field.set(&mut over, field.get(&was));
                assert_eq!(over, was, "{}: another field is changed", field.name());
            }
        }
    })*};
}

#[cfg(test)]
pub(crate) use table_holds;
