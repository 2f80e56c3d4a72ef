//! Invisible characters.

/// Unicode's `Default_Ignorable_Code_Point` property, as of Unicode 17: soft hyphen, zero-width characters, fillers,
/// variation selectors, tags. The property is stable: unassigned code points are reserved in these ranges already.
///
/// A table of our own, because the browser's WebAssembly contains it; a test compares it with `icu_properties`.
const DEFAULT_IGNORABLE: [(u32, u32); 17] = [
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x061C, 0x061C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0x1_BCA0, 0x1_BCA3),
    (0x1_D173, 0x1_D17A),
    (0xE_0000, 0xE_0FFF),
];

/// Whether a program that has no glyph for this character shows nothing.
pub fn is_default_ignorable(c: char) -> bool {
    DEFAULT_IGNORABLE.iter().any(|(first, last)| (*first..=*last).contains(&u32::from(c)))
}

/// Whether a text of nothing but such characters looks empty: white space, the ignorable ones, and the few others
/// whose glyph is blank (Braille blank, null notehead, Egyptian blanks).
pub fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || is_default_ignorable(c)
        || matches!(c, '\u{2800}' | '\u{1D159}' | '\u{13441}' | '\u{13442}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use icu_properties::{CodePointSetData, props::DefaultIgnorableCodePoint};

    #[test]
    fn the_table_is_unicodes() {
        let unicode = CodePointSetData::new::<DefaultIgnorableCodePoint>();
        for c in '\0'..=char::MAX {
            assert_eq!(is_default_ignorable(c), unicode.contains(c), "{c:?}");
        }
    }
}
