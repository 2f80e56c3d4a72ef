//! How a comment is judged: the rules. Pure: no I/O, no clock.

use icu_normalizer::ComposingNormalizerBorrowed;
use serde::{Deserialize, Serialize};
use shared::events::Status;
use shared::text::is_default_ignorable;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Reject,
    /// A person has to decide.
    Hold,
}

/// In place of a rule's id in a verdict by a person.
pub const PERSON: &str = "person";

/// A rule applies to every comment whose text or author's name contains one of its words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Appears in events and logs.
    pub id: String,
    /// Found anywhere, also within a word, in upper or lower case; invisible characters and compatible
    /// forms of a letter make no difference.
    pub words: Vec<String>,
    pub action: Action,
    /// Human-readable and public: it replaces the text of a rejected comment. (A rule that holds a comment needs one too,
    /// for whoever reads the rules.)
    pub reason: String,
}

/// In order of precedence: the first rule that applies decides. A comment without one is approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    pub rules: Vec<Rule>,
}

#[derive(Debug, thiserror::Error)]
pub enum BadRules {
    #[error("the rules are not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// A part is missing, or the rule would apply to no comment, or to all.
    #[error("rule {0:?} needs an id, a reason and at least one word, and no word may be empty")]
    Empty(String),
    #[error("the rule id {PERSON:?} is reserved for verdicts by a person: choose another id")]
    Reserved,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Verdict(Verdict),
    /// A person has to decide, because of the rule with this id.
    Hold(String),
}

/// A final decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Approved or rejected.
    pub status: Status,
    /// Why it was rejected. Public: it replaces the text of the comment.
    pub reason: Option<String>,
    /// The id of the rule that decided, or [`PERSON`].
    pub rule: Option<String>,
}

impl Default for Rules {
    /// The rule of the course.
    fn default() -> Self {
        let rule = Rule {
            id: "blocked-word".to_owned(),
            words: vec!["orange".to_owned()],
            action: Action::Reject,
            reason: "contains a blocked word".to_owned(),
        };
        Self { rules: vec![rule] }
    }
}

impl Rules {
    pub fn from_json(json: &str) -> Result<Self, BadRules> {
        let rules: Self = serde_json::from_str(json)?;
        let bad = |r: &&Rule| {
            r.id.is_empty()
                || r.reason.is_empty()
                || r.words.is_empty()
                || r.words.iter().any(|w| comparable(w).trim().is_empty())
        };
        match rules.rules.iter().find(bad) {
            Some(rule) => Err(BadRules::Empty(rule.id.clone())),
            None if rules.rules.iter().any(|r| r.id == PERSON) => Err(BadRules::Reserved),
            None => Ok(rules),
        }
    }

    /// Judges a comment by the name of its author and its text.
    pub fn judge(&self, author: &str, content: &str) -> Decision {
        let [author, content] = [author, content].map(comparable);
        let contains = |word: &String| {
            let word = comparable(word);
            author.contains(&word) || content.contains(&word)
        };
        let applies = |rule: &&Rule| rule.words.iter().any(contains);
        match self.rules.iter().find(applies) {
            None => Decision::Verdict(Verdict { status: Status::Approved, reason: None, rule: None }),
            Some(rule) if rule.action == Action::Hold => Decision::Hold(rule.id.clone()),
            Some(rule) => Decision::Verdict(Verdict {
                status: Status::Rejected,
                reason: Some(rule.reason.clone()),
                rule: Some(rule.id.clone()),
            }),
        }
    }
}

/// The text in a form in which two texts that look or read alike are equal: without invisible characters
/// (soft hyphen, zero-width space), compatible characters as one (full-width letters, ligatures), upper and lower case
/// alike.
///
/// For judging only: it changes texts in which a joiner or a variant has a meaning. Letters of different scripts that
/// look alike stay different.
fn comparable(text: &str) -> String {
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    let visible = nfkc.normalize_iter(text.chars()).filter(|c| !is_default_ignorable(*c));
    // Upper-case first: some letters only fold together that way ("ß" and "ss", both sigmas).
    let folded: String = visible.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    nfkc.normalize(&folded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn status(rules: &Rules, content: &str) -> Option<Status> {
        match rules.judge("", content) {
            Decision::Verdict(verdict) => Some(verdict.status),
            Decision::Hold(_) => None,
        }
    }

    #[test]
    fn the_courses_rule_rejects_orange_in_capitals_or_not() {
        let rules = Rules::default();
        for content in ["orange", "an ORANGE cat", "Oranges", "xorangex"] {
            assert_eq!(status(&rules, content), Some(Status::Rejected), "{content}");
        }
        for content in ["apple", "oran ge", ""] {
            assert_eq!(status(&rules, content), Some(Status::Approved), "{content}");
        }
    }

    #[test]
    fn a_word_is_found_in_whatever_form_it_is_written() {
        let rules = Rules::default();
        let written = [
            "o\u{ad}range",
            "or\u{200b}an\u{2060}ge",
            "\u{feff}oran\u{200d}ge",
            "o\u{fe0f}r\u{e0101}ange",
            "\u{ff4f}\u{ff32}ange",
            "𝐨𝓇𝖆𝚗ge",
            "ⓞrange",
            "o\u{61c}range",
            "o\u{34f}range",
        ];
        for content in written {
            assert_eq!(status(&rules, content), Some(Status::Rejected), "{content:?}");
        }
        let json = r#"{"rules":[{"id":"a","words":["Grüße","Ένας"],"action":"reject","reason":"r"}]}"#;
        let rules = Rules::from_json(json).unwrap();
        for content in ["gru\u{308}sse", "GRÜSSE", "ΈΝΑΣ", "έναςx"] {
            assert_eq!(status(&rules, content), Some(Status::Rejected), "{content:?}");
        }
    }

    #[test]
    fn the_name_of_the_author_is_judged_too() {
        let rules = Rules::default();
        assert!(
            matches!(rules.judge("Mr Orange", "hello"), Decision::Verdict(v) if v.status == Status::Rejected)
        );
        assert!(matches!(rules.judge("or", "ange"), Decision::Verdict(v) if v.status == Status::Approved));
    }

    #[test]
    fn the_first_rule_that_applies_decides() {
        let json = r#"{"rules":[
            {"id":"links","words":["http://","https://"],"action":"hold","reason":"has a link"},
            {"id":"spam","words":["buy now"],"action":"reject","reason":"looks like spam"}]}"#;
        let rules = Rules::from_json(json).unwrap();
        assert_eq!(rules.judge("", "see https://x and buy now"), Decision::Hold("links".into()));
        assert_eq!(status(&rules, "Buy Now"), Some(Status::Rejected));
        assert_eq!(status(&rules, "hello"), Some(Status::Approved));
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        for bad in [
            "",
            "[]",
            r#"{"rules":[{"id":"a","words":[],"action":"hold","reason":"r"}]}"#,
            r#"{"rules":[{"id":"a","words":[" "],"action":"hold","reason":"r"}]}"#,
            r#"{"rules":[{"id":"a","words":["\u00ad"],"action":"hold","reason":"r"}]}"#,
            r#"{"rules":[{"id":"person","words":["x"],"action":"hold","reason":"r"}]}"#,
            r#"{"rules":[{"id":"","words":["x"],"action":"hold","reason":"r"}]}"#,
            r#"{"rules":[{"id":"a","words":["x"],"action":"approve","reason":"r"}]}"#,
            r#"{"rules":[],"other":1}"#,
        ] {
            assert!(Rules::from_json(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_word_is_found_wherever_it_stands(before in "[ -~]{0,40}", after in "[ -~]{0,40}") {
            let content = format!("{before}orange{after}");
            prop_assert_eq!(status(&Rules::default(), &content), Some(Status::Rejected));
        }

        #[test]
        fn nothing_invisible_hides_a_word(hidden in "[\u{ad}\u{200b}-\u{200f}\u{2060}-\u{2064}\u{fe00}-\u{fe0f}]{1,4}", at in 0..=6_usize) {
            let content = format!("{}{hidden}{}", &"orange"[..at], &"orange"[at..]);
            prop_assert_eq!(status(&Rules::default(), &content), Some(Status::Rejected));
        }
    }
}
