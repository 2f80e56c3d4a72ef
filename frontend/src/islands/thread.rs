//! The comments of a post as one page shows them, and how news changes them.
//!
//! News comes from several sides (the page itself, the answer to a new comment, the live stream, a fresh look at
//! the whole), in any order and more than once. Taking it in gives the same thread whatever the order.

use shared::events::Status;
use shared::views::CommentView;

/// How settled a comment is: its version, and for those without one its status.
fn age(comment: &CommentView) -> (u32, bool) {
    (comment.version.unwrap_or_default(), comment.status != Status::Pending)
}

/// Takes in a comment as it is now. Says whether the reader's own comment has got its verdict by it.
pub(crate) fn take_in(thread: &mut Vec<CommentView>, news: CommentView) -> bool {
    let Some(known) = thread.iter_mut().find(|c| c.id == news.id) else {
        let place = |c: &CommentView| (c.created_at, c.id.clone());
        let at = thread.partition_point(|c| place(c) <= place(&news));
        thread.insert(at, news);
        return false;
    };
    // Public news does not say whose a comment is, and leaves out what only its writer may read.
    let mine = known.mine || news.mine;
    let mut decided = false;
    if age(&news) > age(known) {
        decided = mine && known.status != news.status;
        let author = std::mem::take(&mut known.author);
        let (content, created_at) = (std::mem::take(&mut known.content), known.created_at);
        *known = news;
        if known.status == Status::Pending && known.content.is_empty() {
            known.content = content;
        }
        if known.author.is_empty() {
            known.author = author;
        }
        known.created_at = known.created_at.or(created_at);
    } else if known.status == Status::Pending && known.content.is_empty() {
        known.content = news.content;
    }
    known.mine = mine;
    decided
}

/// How many comments everybody can read.
pub(crate) fn published(thread: &[CommentView]) -> usize {
    thread.iter().filter(|c| c.status == Status::Approved).count()
}

/// `1 comment`, `2 comments`.
pub(crate) fn count_in_words(count: usize) -> String {
    match count {
        0 => "No comments".to_owned(),
        1 => "1 comment".to_owned(),
        n => format!("{n} comments"),
    }
}

/// A sentence with the reason after it, if there is one.
pub(crate) fn rejected(sentence: &str, reason: Option<&str>) -> String {
    let reason = reason.map(|reason| reason.trim_end_matches('.')).filter(|reason| !reason.is_empty());
    reason.map_or_else(|| format!("{sentence}."), |reason| format!("{sentence}: {reason}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shared::Timestamp;

    fn comment(id: &str, status: Status, version: Option<u32>, content: &str) -> CommentView {
        CommentView {
            id: id.parse().unwrap(),
            content: content.into(),
            status,
            author: String::new(),
            reason: None,
            created_at: Some(Timestamp::from_unix_ms(i64::from(id.as_bytes()[0]))),
            version,
            mine: false,
        }
    }

    #[test]
    fn the_writer_keeps_the_text_until_the_verdict_and_hears_of_it_once() {
        let mine = CommentView { mine: true, ..comment("a", Status::Pending, Some(1), "hello") };
        let mut thread = vec![mine];
        assert!(!take_in(&mut thread, comment("a", Status::Pending, Some(1), "")));
        assert_eq!(thread[0].content, "hello");
        assert!(take_in(&mut thread, comment("a", Status::Approved, Some(2), "hello")));
        assert!(!take_in(&mut thread, comment("a", Status::Approved, Some(2), "hello")));
        assert!(thread[0].mine);
        assert_eq!(published(&thread), 1);
    }

    #[test]
    fn rejected_text_is_gone() {
        let mine = CommentView { mine: true, ..comment("a", Status::Pending, Some(1), "orange") };
        let mut thread = vec![mine];
        let verdict =
            CommentView { reason: Some("no".into()), ..comment("a", Status::Rejected, Some(2), "") };
        assert!(take_in(&mut thread, verdict));
        assert_eq!((thread[0].content.as_str(), thread[0].reason.as_deref()), ("", Some("no")));
        assert_eq!(published(&thread), 0);
    }

    #[test]
    fn the_answer_to_a_comment_may_come_after_its_verdict() {
        let mut thread = vec![];
        assert!(!take_in(&mut thread, comment("a", Status::Approved, Some(2), "hello")));
        let answer = CommentView { mine: true, ..comment("a", Status::Pending, Some(1), "hello") };
        assert!(!take_in(&mut thread, answer));
        assert_eq!((thread[0].status, thread[0].mine), (Status::Approved, true));
    }

    #[test]
    fn a_decided_comment_never_goes_back_without_versions_either() {
        let mut thread = vec![comment("a", Status::Approved, None, "hello")];
        take_in(&mut thread, comment("a", Status::Pending, None, ""));
        assert_eq!(thread[0].status, Status::Approved);
    }

    #[test]
    fn a_rejection_names_its_reason() {
        assert_eq!(rejected("Rejected", None), "Rejected.");
        assert_eq!(rejected("Rejected", Some("")), "Rejected.");
        assert_eq!(
            rejected("Rejected", Some("contains a blocked word")),
            "Rejected: contains a blocked word."
        );
        assert_eq!(rejected("Rejected", Some("It is spam.")), "Rejected: It is spam.");
    }

    #[test]
    fn counts_are_words() {
        assert_eq!([0, 1, 2].map(count_in_words), ["No comments", "1 comment", "2 comments"]);
    }

    proptest! {
        #[test]
        fn any_order_and_repetition_of_the_same_news_gives_the_same_thread(
            order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle(),
            again in prop::collection::vec(0..6_usize, 0..6),
        ) {
            let news = [
                comment("a", Status::Pending, Some(1), ""),
                comment("a", Status::Approved, Some(2), "first"),
                comment("b", Status::Pending, Some(1), ""),
                comment("b", Status::Rejected, Some(2), ""),
                comment("c", Status::Pending, Some(1), ""),
                CommentView { mine: true, ..comment("c", Status::Pending, Some(1), "mine") },
            ];
            let fold = |places: &[usize]| {
                let mut thread = Vec::new();
                for place in places {
                    take_in(&mut thread, news[*place].clone());
                }
                thread
            };
            let shuffled: Vec<usize> = order.iter().chain(&again).copied().collect();
            prop_assert_eq!(fold(&shuffled), fold(&[0, 1, 2, 3, 4, 5]));
        }
    }
}
