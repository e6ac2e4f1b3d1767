//! One list of the extended headers, in the order of the wire: the enumeration, sets of them, and reading those of a packet.

/// Makes [`Header`](crate::wire::Header), [`Headers`](crate::wire::Headers) and [`Extended`](crate::wire::Extended) of rows `/// doc field: View,`.
macro_rules! extended_headers {
    ($($(#[$meta:meta])* $field:ident: $name:ident,)*) => {
        /// An extended header.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Header {
            $($(#[$meta])* $name,)*
        }

        impl Header {
            /// Each header, in the order of the wire.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Length of the header in bytes.
            pub const fn length_bytes(self) -> usize {
                match self {
                    $(Self::$name => $name::LENGTH,)*
                }
            }
        }

        /// A set of extended headers; on the wire they always stand in the order of [`Header`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        pub struct Headers(u16);

        impl Headers {
            pub(crate) const NONE: Self = Self(0);

            pub(crate) const fn with(self, header: Header) -> Self {
                Self(self.0 | 1 << header as u16)
            }

            /// True if `header` is in the set.
            #[inline]
            pub const fn contains(self, header: Header) -> bool {
                self.0 & (1 << header as u16) != 0
            }

            /// Length of all of them in bytes.
            pub const fn length_bytes(self) -> usize {
                let (mut length, mut at) = (0, 0);
                while at < Header::ALL.len() {
                    let header = Header::ALL[at];
                    length += if self.contains(header) { header.length_bytes() } else { 0 };
                    at += 1;
                }
                length
            }
        }

        /// Extended headers of a packet: each is `Some` when the opcode says that it follows and its bytes are there.
        #[derive(Clone, Copy, Debug, Default)]
        #[non_exhaustive]
        pub struct Extended<'a> {
            $($(#[$meta])* pub $field: Option<$name<'a>>,)*
        }

        impl<'a> Extended<'a> {
            /// Reads the headers of the set from `bytes`, which begin at `offset` in the frame, and moves both behind them.
            #[inline]
            pub(crate) fn read(
                &mut self,
                headers: Headers,
                bytes: &mut &'a [u8],
                offset: &mut usize,
            ) -> Result<(), crate::wire::DecodeStop> {
                $(
                    if headers.contains(Header::$name) {
                        self.$field = Some($name::new(bytes, *offset)?);
                        *bytes = bytes.get($name::LENGTH..).unwrap_or_default();
                        *offset += $name::LENGTH;
                    }
                )*
                Ok(())
            }

            /// Places the headers that are there; the first is at `offset` in the frame.
            pub(crate) fn placed(&self, mut offset: usize) -> impl Iterator<Item = crate::wire::PlacedHeader<'a>> + use<'a> {
                let views = [$(self.$field.map(|view| view.placed(0)),)*];
                views.into_iter().flatten().map(move |placed| {
                    let placed = crate::wire::PlacedHeader { offset, ..placed };
                    offset += placed.bytes.len();
                    placed
                })
            }
        }
    };
}

pub(super) use extended_headers;
