//! The limits of what people write, and their validation.

mod invisible;

use invisible::is_blank;
pub use invisible::is_default_ignorable;

use crate::problem::FieldError;

/// What one text field accepts. Lengths are in characters (code points), after trimming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The field's name in JSON and in forms.
    pub field: &'static str,
    /// The least number of characters; 0 for an optional field.
    pub min: usize,
    /// The greatest number of characters.
    pub max: usize,
    /// Whether line breaks and tabs are allowed.
    pub multiline: bool,
}

/// A post's title.
pub const TITLE: Limits = Limits { field: "title", min: 1, max: 200, multiline: false };
/// A post's body, in Markdown.
pub const BODY: Limits = Limits { field: "body", min: 0, max: 50_000, multiline: true };
/// A comment's text.
pub const CONTENT: Limits = Limits { field: "content", min: 1, max: 4_000, multiline: true };
/// The name that the author of a post or comment enters.
pub const AUTHOR: Limits = Limits { field: "author", min: 0, max: 80, multiline: false };
/// Why a moderator rejected a comment; everybody may read it.
pub const REASON: Limits = Limits { field: "reason", min: 0, max: 200, multiline: false };

/// The largest body of `POST /posts/create`, in bytes: 50,000 characters may take four bytes each.
pub const CREATE_POST_BYTES: usize = 256 * 1024;
/// The largest body of every other public route, in bytes.
pub const PUBLIC_BYTES: usize = 64 * 1024;
/// The longest `Idempotency-Key`, in characters.
pub const IDEMPOTENCY_KEY_CHARS: usize = 255;

impl Limits {
    /// Trims the text, converts line ends to `\n` and, with the feature `normalize`, brings it to Unicode's form NFC;
    /// then checks it. The error is a human-readable message.
    pub fn check(&self, text: &str) -> Result<String, FieldError> {
        let text = normalized(text.replace("\r\n", "\n").trim());
        let refuse = |detail: String| Err(FieldError::new(self.field, detail));
        if let Some(c) = text.chars().find(|c| !self.allows(*c)) {
            return refuse(format!("must not contain the control character U+{:04X}", u32::from(c)));
        }
        let len = text.chars().count();
        if text.chars().all(is_blank) && (self.min > 0 || len > 0) {
            return refuse(if self.min > 0 { "must not be empty" } else { "must not be blank" }.to_owned());
        }
        if len < self.min {
            return refuse(format!("must have at least {} characters", self.min));
        }
        if len > self.max {
            return refuse(format!("must have at most {} characters; this has {len}", self.max));
        }
        Ok(text)
    }

    fn allows(&self, c: char) -> bool {
        let line = matches!(c, '\n' | '\t');
        if line {
            return self.multiline;
        }
        !c.is_control() && !is_bidi_control(c)
    }
}

#[cfg(feature = "normalize")]
fn normalized(text: &str) -> String {
    icu_normalizer::ComposingNormalizerBorrowed::new_nfc().normalize(text).into_owned()
}

#[cfg(not(feature = "normalize"))]
fn normalized(text: &str) -> String {
    text.to_owned()
}

/// Characters that change the direction of the text around them, and so can make it read as something else.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn says(limits: Limits, text: &str) -> String {
        limits.check(text).unwrap_err().detail
    }

    #[test]
    fn every_limit_holds_just_inside_and_fails_just_outside() {
        for limits in [TITLE, BODY, CONTENT, AUTHOR] {
            let most = "ä".repeat(limits.max);
            assert_eq!(limits.check(&most).as_deref(), Ok(most.as_str()), "{}", limits.field);
            let over = format!("{most}ä");
            assert!(says(limits, &over).starts_with("must have at most"), "{}", limits.field);
            let fewest = "x".repeat(limits.min);
            assert_eq!(limits.check(&fewest), Ok(fewest), "{}", limits.field);
            if limits.min == 1 {
                assert_eq!(says(limits, ""), "must not be empty");
                assert_eq!(says(limits, " \n\t "), "must not be empty");
                assert_eq!(says(limits, "\u{200B}\u{200D}\u{2800} \u{FE0F}"), "must not be empty");
            } else {
                assert_eq!(limits.check(" \n "), Ok(String::new()));
                assert_eq!(says(limits, "\u{2800} \u{FE0F}"), "must not be blank");
            }
        }
    }

    #[test]
    fn text_is_trimmed_before_it_is_counted() {
        assert_eq!(TITLE.check(&format!("  {} \n", "x".repeat(200))), Ok("x".repeat(200)));
    }

    #[test]
    fn line_ends_are_brought_to_one_form_and_only_where_lines_are_text() {
        assert_eq!(CONTENT.check("a\r\nb\n\tc"), Ok("a\nb\n\tc".to_owned()));
        assert_eq!(says(TITLE, "a\nb"), "must not contain the control character U+000A");
        assert_eq!(says(AUTHOR, "a\tb"), "must not contain the control character U+0009");
        assert_eq!(says(CONTENT, "a\rb"), "must not contain the control character U+000D");
    }

    #[test]
    fn control_and_bidirectional_characters_are_refused() {
        for c in ['\0', '\u{7}', '\u{1B}', '\u{7F}', '\u{85}', '\u{61C}', '\u{202E}', '\u{2066}', '\u{2069}']
        {
            for limits in [TITLE, BODY, CONTENT, AUTHOR] {
                assert!(limits.check(&format!("a{c}b")).is_err(), "{c:?} in {}", limits.field);
            }
        }
        // People who write from right to left need these two, and emoji need the joiner.
        assert!(CONTENT.check("שלום\u{200F} ok \u{200E}").is_ok());
        assert!(CONTENT.check("👩\u{200D}💻").is_ok());
    }

    proptest! {
        #[test]
        fn what_was_accepted_is_accepted_again_unchanged(text in ".{0,60}") {
            if let Ok(once) = CONTENT.check(&text) {
                prop_assert_eq!(CONTENT.check(&once), Ok(once));
            }
        }
    }
}
