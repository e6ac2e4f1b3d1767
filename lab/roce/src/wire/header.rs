//! The shape that every header view shares.
//!
//! `view!` makes a struct over a fixed number of borrowed bytes, its length check and its constructor. The bytes are an array reference, so a getter
//! cannot go outside.

/// Makes a header view: `view! { /// doc Name, "layer", length }`.
macro_rules! view {
    ($(#[$meta:meta])* $name:ident, $layer:literal, $length:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $name<'a> {
            bytes: &'a [u8; $length],
        }

        impl<'a> $name<'a> {
            /// Length of the header in bytes.
            pub const LENGTH: usize = $length;
            /// Name of the header in a [`DecodeStop`](crate::wire::DecodeStop).
            pub const LAYER: &'static str = $layer;

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

            /// The header's bytes as they are on the wire.
            pub fn bytes(&self) -> &'a [u8; $length] {
                self.bytes
            }
        }

        impl std::fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

pub(crate) use view;

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
