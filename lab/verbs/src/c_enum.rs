//! Enums of C's numbers: numbers in, names out, and an unknown number stays visible.

/// Declares an enum of C values with their names in the standard's words, keeping unknown ones.
macro_rules! c_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $value:literal => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)+
            /// A value this library does not know.
            Unknown(u32),
        }

        impl $name {
            /// Converts C's number.
            #[must_use]
            pub fn from_raw(raw: u32) -> Self {
                match raw {
                    $($value => Self::$variant,)+
                    unknown => Self::Unknown(unknown),
                }
            }

            /// C's number.
            #[must_use]
            pub fn raw(self) -> u32 {
                match self {
                    $(Self::$variant => $value,)+
                    Self::Unknown(raw) => raw,
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($text),)+
                    Self::Unknown(raw) => write!(f, "UNKNOWN({raw:#x})"),
                }
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}
pub(crate) use c_enum;
