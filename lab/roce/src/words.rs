//! Numbers and text as a person reads them: in hexadecimal too where the decimal form hides something, and letters that nobody would see.

/// A message of as many bytes is a rare one.
const LONG_BYTES: u32 = 1 << 24;

/// A program's number; in hexadecimal too where its decimal form hides a small one in the other byte order, or fields.
pub(crate) fn number_words(number: u64, digits: usize) -> String {
    match number {
        0..=0xffff => number.to_string(),
        _ => format!("{number} ({number:#0width$x})", width = digits + 2),
    }
}

/// An immediate, in both forms where that tells more.
pub(crate) fn immediate_words(immediate: u32) -> String {
    format!("imm {}", number_words(immediate.into(), 8))
}

/// A length in bytes; in hexadecimal too where it is longer than the messages of programs are, as one in the other byte order is.
pub(crate) fn length_words(bytes: u32) -> String {
    if bytes < LONG_BYTES { bytes.to_string() } else { number_words(bytes.into(), 8) }
}

/// True if a reader would not see the character, or would see others elsewhere because of it: controls, marks of direction, spaces without a
/// width, and whatever else Unicode lets a renderer ignore. Source: `Default_Ignorable_Code_Point` of Unicode 16.
pub fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{fffe}' | '\u{ffff}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_number_in_the_other_byte_order_is_seen_as_one() {
        assert_eq!([7, 7u32.swap_bytes()].map(immediate_words), ["imm 7", "imm 117440512 (0x07000000)"]);
        assert_eq!([4096, 16u32.swap_bytes()].map(length_words), ["4096", "268435456 (0x10000000)"]);
        assert_eq!(number_words(1u64.swap_bytes(), 16), "72057594037927936 (0x0100000000000000)");
    }

    #[test]
    fn characters_that_hide_or_turn_others_are_unseen() {
        for character in [
            '\u{1b}',
            '\u{202e}',
            '\u{200f}',
            '\u{200b}',
            '\u{ad}',
            '\u{3164}',
            '\u{feff}',
            '\u{e0041}',
            '\u{ffff}',
        ] {
            assert!(is_unseen(character), "{character:?}");
        }
        for character in ['a', ' ', 'é', 'א', '服', '🚀', '…', '\u{a0}'] {
            assert!(!is_unseen(character), "{character:?}");
        }
    }
}
