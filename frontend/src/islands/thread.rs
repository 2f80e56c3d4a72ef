//! The comments of a post as one page shows them, and how updates change them.
//!
//! Updates come from several sources (the page itself, the answer to a new comment, the stream, a reload), in any order
//! and more than once. Merging them yields the same comments in any order (but for new comments with equal times).

use super::responses::CommentUpdates;
use shared::CommentId;
use shared::events::Status;
use shared::views::CommentView;

/// The most comments of a page that stays open. The oldest leave first.
const MAX_SHOWN: usize = 200;

/// What the page shows, and what a screen reader announces.
#[derive(Default)]
pub(crate) struct Thread {
    /// Oldest first.
    pub comments: Vec<CommentView>,
    /// The number of approved comments, on all pages.
    pub count: usize,
    /// Whether there are older comments than these.
    pub has_earlier: bool,
    /// Where the comments after these begin, if there are any.
    pub later: Option<String>,
    /// About the reader's own comments only: nothing else is worth an interruption.
    pub announcement: String,
    /// Whether the oldest comment is no longer the one that the server has rendered.
    pub is_trimmed: bool,
}

impl Thread {
    /// Merges what has changed. Announces the verdict on the reader's own comment.
    pub(crate) fn merge(&mut self, updates: CommentUpdates) {
        if let Some(count) = updates.comment_count {
            self.count = count;
        }
        if let Some(comment) = updates.comment.filter(|comment| self.has_place_for(comment)) {
            self.merge_comment(comment);
        }
    }

    /// Shows a page that was loaded again in place of what is shown. The reader's own comments that it does not know yet
    /// stay.
    pub(crate) fn replace(&mut self, page: CommentUpdates) {
        let shown = std::mem::replace(&mut self.comments, page.comments);
        for own in shown.into_iter().filter(|shown| shown.mine && shown.status == Status::Pending) {
            let id = own.id.clone();
            merge(&mut self.comments, own);
            self.announce(&id);
        }
        (self.has_earlier, self.later) = (page.earlier.is_some(), page.later);
        self.is_trimmed = self.has_earlier;
        self.count = page.comment_count.unwrap_or(self.count);
    }

    /// Merges the answer to the reader's own new comment, and announces where that comment stands. The stream may have
    /// been faster and have delivered the verdict. Returns whether the comment is on this page.
    pub(crate) fn merge_sent(&mut self, comment: CommentView) -> bool {
        if !self.has_place_for(&comment) {
            return false;
        }
        let id = comment.id.clone();
        merge(&mut self.comments, CommentView { mine: true, ..comment });
        self.announce(&id);
        self.trim();
        true
    }

    /// Whether the comment is shown, or is one of those that follow: on the newest page all that are not older than its
    /// oldest one, on other pages none.
    fn has_place_for(&self, comment: &CommentView) -> bool {
        let is_shown = self.comments.iter().any(|shown| shown.id == comment.id);
        let oldest = self.comments.first().filter(|_| self.has_earlier);
        is_shown
            || self.later.is_none() && oldest.is_none_or(|oldest| oldest.created_at <= comment.created_at)
    }

    fn merge_comment(&mut self, update: CommentView) {
        let id = update.id.clone();
        if merge(&mut self.comments, update) {
            self.announce(&id);
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.comments.len() > MAX_SHOWN {
            self.comments.remove(0);
            (self.has_earlier, self.is_trimmed) = (true, true);
        }
    }

    fn announce(&mut self, id: &CommentId) {
        let Some(comment) = self.comments.iter().find(|comment| comment.id == *id) else { return };
        self.announcement = match comment.status {
            Status::Pending => "Your comment has been sent and is awaiting moderation.".to_owned(),
            Status::Approved => "Your comment is published.".to_owned(),
            Status::Rejected => with_reason("Your comment has been rejected", comment.reason.as_deref()),
        };
    }
}

/// Orders the states of one comment: one with a verdict comes after a pending one, otherwise by version. (Comments that
/// were read from the page have no version.)
fn progress(comment: &CommentView) -> (bool, u32) {
    (comment.status != Status::Pending, comment.version.unwrap_or_default())
}

/// Returns whether this update decides the reader's own comment.
fn merge(thread: &mut Vec<CommentView>, update: CommentView) -> bool {
    let Some(known) = thread.iter_mut().find(|c| c.id == update.id) else {
        // Comments with equal times stay in the order in which they arrive, which is that of the log.
        let at = thread.partition_point(|c| c.created_at <= update.created_at);
        thread.insert(at, update);
        return false;
    };
    // Public updates do not say who wrote a comment, and while it is pending they leave out its text.
    let mine = known.mine || update.mine;
    let mut decided = false;
    let (newer, older) = if progress(&update) > progress(known) {
        decided = mine && known.status != update.status;
        let older = std::mem::replace(known, update);
        (known, older)
    } else {
        (known, update)
    };
    // After the verdict, what is left out is gone: of a rejected comment neither text nor name remain.
    if newer.status == Status::Pending {
        if newer.content.is_empty() {
            newer.content = older.content;
        }
        if newer.author.is_empty() {
            newer.author = older.author;
        }
    }
    newer.created_at = newer.created_at.or(older.created_at);
    newer.mine = mine;
    decided
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
pub(crate) fn with_reason(sentence: &str, reason: Option<&str>) -> String {
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
    fn the_writer_keeps_the_text_until_the_verdict_and_is_told_once() {
        let mine = CommentView { mine: true, ..comment("a", Status::Pending, Some(1), "hello") };
        let mut thread = vec![mine];
        assert!(!merge(&mut thread, comment("a", Status::Pending, Some(1), "")));
        assert_eq!(thread[0].content, "hello");
        assert!(merge(&mut thread, comment("a", Status::Approved, Some(2), "hello")));
        assert!(!merge(&mut thread, comment("a", Status::Approved, Some(2), "hello")));
        assert!(thread[0].mine);
    }

    #[test]
    fn among_equal_times_a_comment_stands_where_the_log_has_it() {
        let mut thread = Vec::new();
        for id in ["m", "a", "z"] {
            let created_at = Some(Timestamp::from_unix_ms(7));
            merge(&mut thread, CommentView { created_at, ..comment(id, Status::Approved, Some(2), "hi") });
        }
        let earlier = Some(Timestamp::from_unix_ms(6));
        let late = CommentView { created_at: earlier, ..comment("y", Status::Approved, Some(2), "hi") };
        merge(&mut thread, late);
        assert_eq!(thread.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["y", "m", "a", "z"]);
    }

    #[test]
    fn rejected_text_is_gone() {
        let mine = CommentView { mine: true, ..comment("a", Status::Pending, Some(1), "orange") };
        let mut thread = vec![mine];
        let verdict =
            CommentView { reason: Some("no".into()), ..comment("a", Status::Rejected, Some(2), "") };
        assert!(merge(&mut thread, verdict));
        assert_eq!((thread[0].content.as_str(), thread[0].reason.as_deref()), ("", Some("no")));
    }

    #[test]
    fn the_name_under_a_rejected_comment_is_gone_too() {
        let mine = CommentView {
            mine: true,
            author: "Ada".into(),
            ..comment("a", Status::Pending, Some(1), "orange")
        };
        let verdict = comment("a", Status::Rejected, Some(2), "");
        for updates in [[mine.clone(), verdict.clone()], [verdict, mine]] {
            let mut thread = newest();
            for update in updates {
                thread.merge_comment(update);
            }
            assert_eq!((thread.comments[0].author.as_str(), thread.comments[0].content.as_str()), ("", ""));
        }
    }

    #[test]
    fn a_pending_comment_keeps_its_name_when_a_public_update_leaves_it_out() {
        let mine = CommentView {
            mine: true,
            author: "Ada".into(),
            ..comment("a", Status::Pending, Some(1), "hello")
        };
        let public = comment("a", Status::Pending, Some(1), "");
        for updates in [[mine.clone(), public.clone()], [public, mine]] {
            let mut thread = newest();
            for update in updates {
                thread.merge_comment(update);
            }
            assert_eq!(thread.comments[0].author, "Ada");
        }
    }

    #[test]
    fn what_is_announced_after_sending_is_where_the_comment_stands() {
        let sent = comment("a", Status::Pending, Some(1), "hello");
        let approved = comment("a", Status::Approved, Some(2), "hello");
        let rejected =
            CommentView { reason: Some("spam".into()), ..comment("a", Status::Rejected, Some(2), "") };
        for (verdict, announcement) in
            [(approved, "Your comment is published."), (rejected, "Your comment has been rejected: spam.")]
        {
            let mut thread = newest();
            thread.merge_sent(sent.clone());
            assert_eq!(thread.announcement, "Your comment has been sent and is awaiting moderation.");
            thread.merge_comment(verdict.clone());
            assert_eq!(thread.announcement, announcement);
            // The stream may be faster than the answer.
            let mut thread = newest();
            thread.merge_comment(verdict);
            assert_eq!(thread.announcement, "", "so far it may be anybody's");
            thread.merge_sent(sent.clone());
            assert_eq!(thread.announcement, announcement);
        }
    }

    #[test]
    fn the_answer_to_a_comment_may_come_after_its_verdict() {
        let mut thread = vec![];
        assert!(!merge(&mut thread, comment("a", Status::Approved, Some(2), "hello")));
        let answer = CommentView { mine: true, ..comment("a", Status::Pending, Some(1), "hello") };
        assert!(!merge(&mut thread, answer));
        assert_eq!((thread[0].status, thread[0].mine), (Status::Approved, true));
    }

    #[test]
    fn a_decided_comment_never_goes_back_without_versions_either() {
        let mut thread = vec![comment("a", Status::Approved, None, "hello")];
        merge(&mut thread, comment("a", Status::Pending, None, ""));
        assert_eq!(thread[0].status, Status::Approved);
    }

    fn newest() -> Thread {
        Thread::default()
    }

    /// The `n`-th comment of a thread.
    fn nth(n: i64) -> CommentView {
        let created_at = Some(Timestamp::from_unix_ms(n));
        CommentView { created_at, ..comment(&format!("c{n}"), Status::Approved, Some(2), "hello") }
    }

    fn update(comment: CommentView) -> CommentUpdates {
        CommentUpdates { comment: Some(comment), ..CommentUpdates::default() }
    }

    fn ids(thread: &Thread) -> Vec<&str> {
        thread.comments.iter().map(|comment| comment.id.as_str()).collect()
    }

    #[test]
    fn an_earlier_page_changes_what_it_shows_and_adds_nothing() {
        let pending = CommentView { status: Status::Pending, version: Some(1), ..nth(5) };
        let mut thread = Thread {
            comments: vec![nth(4), pending],
            count: 9,
            has_earlier: true,
            later: Some("6~6~c5".to_owned()),
            ..Thread::default()
        };
        thread.merge(CommentUpdates { comment_count: Some(10), ..update(nth(5)) });
        thread.merge(CommentUpdates { comment_count: Some(11), ..update(nth(6)) });
        assert_eq!((ids(&thread), thread.count), (vec!["c4", "c5"], 11));
        assert_eq!(thread.comments[1].status, Status::Approved);
        assert!(!thread.merge_sent(nth(7)), "it is on another page");
        assert_eq!((ids(&thread), thread.announcement.as_str()), (vec!["c4", "c5"], ""));
    }

    #[test]
    fn the_newest_page_adds_what_is_new_and_nothing_of_the_pages_before() {
        let mut thread = Thread { comments: vec![nth(4), nth(6)], has_earlier: true, ..newest() };
        for n in [3, 7, 5] {
            thread.merge(update(nth(n)));
        }
        assert!(thread.merge_sent(nth(8)));
        assert_eq!(ids(&thread), ["c4", "c5", "c6", "c7", "c8"]);
    }

    #[test]
    fn a_page_that_stays_open_is_bounded() {
        let mut thread = Thread { comments: vec![nth(0)], ..newest() };
        for n in 1..300 {
            thread.merge(update(nth(n)));
        }
        assert_eq!((thread.comments.len(), ids(&thread)[0]), (MAX_SHOWN, "c100"));
        assert!(thread.has_earlier && thread.is_trimmed);
        thread.merge(update(nth(99)));
        assert_eq!(ids(&thread)[0], "c100", "what has left does not come back");
    }

    #[test]
    fn a_page_that_is_loaded_again_shows_that_page_and_what_is_not_known_yet() {
        let waiting = CommentView { mine: true, status: Status::Pending, version: Some(1), ..nth(9) };
        let mut thread = Thread { comments: vec![nth(1), nth(2), waiting], ..Thread::default() };
        thread.replace(CommentUpdates {
            comments: vec![nth(2), nth(3)],
            earlier: Some("2~2~c2".to_owned()),
            comment_count: Some(3),
            ..CommentUpdates::default()
        });
        assert_eq!((ids(&thread), thread.count), (vec!["c2", "c3", "c9"], 3));
        assert!(thread.has_earlier && thread.is_trimmed && thread.later.is_none());
    }

    #[test]
    fn a_comment_read_from_the_page_has_no_version_and_every_update_counts() {
        let shown = CommentView { mine: true, version: None, ..comment("a", Status::Pending, None, "hello") };
        let mut thread = Thread { comments: vec![shown], ..Thread::default() };
        thread.merge_comment(comment("a", Status::Pending, Some(1), ""));
        assert_eq!(thread.comments[0].content, "hello");
        thread.merge_comment(comment("a", Status::Approved, Some(2), "hello"));
        assert_eq!(thread.announcement, "Your comment is published.");
        let decided = comment("b", Status::Rejected, None, "");
        let mut thread = Thread { comments: vec![decided], ..Thread::default() };
        thread.merge_comment(comment("b", Status::Pending, Some(1), ""));
        assert_eq!(thread.comments[0].status, Status::Rejected);
    }

    #[test]
    fn a_rejection_names_its_reason() {
        assert_eq!(with_reason("Rejected", None), "Rejected.");
        assert_eq!(with_reason("Rejected", Some("")), "Rejected.");
        assert_eq!(
            with_reason("Rejected", Some("contains a blocked word")),
            "Rejected: contains a blocked word."
        );
        assert_eq!(with_reason("Rejected", Some("It is spam.")), "Rejected: It is spam.");
    }

    #[test]
    fn counts_are_words() {
        assert_eq!([0, 1, 2].map(count_in_words), ["No comments", "1 comment", "2 comments"]);
    }

    proptest! {
        #[test]
        fn any_order_and_repetition_of_the_same_updates_gives_the_same_thread(
            order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle(),
            again in prop::collection::vec(0..6_usize, 0..6),
        ) {
            let updates = [
                comment("a", Status::Pending, Some(1), ""),
                comment("a", Status::Approved, Some(2), "first"),
                comment("b", Status::Pending, Some(1), ""),
                comment("b", Status::Rejected, Some(2), ""),
                comment("c", Status::Pending, Some(1), ""),
                CommentView { mine: true, author: "Ada".into(), ..comment("c", Status::Pending, Some(1), "mine") },
            ];
            let fold = |places: &[usize]| {
                let mut thread = Vec::new();
                for place in places {
                    merge(&mut thread, updates[*place].clone());
                }
                thread
            };
            let shuffled: Vec<usize> = order.iter().chain(&again).copied().collect();
            prop_assert_eq!(fold(&shuffled), fold(&[0, 1, 2, 3, 4, 5]));
        }
    }
}
