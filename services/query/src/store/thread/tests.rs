use super::*;
use crate::store::tests::{database, plan};
use kit::store::Memory;
use proptest::prelude::*;

/// A thread of `count` comments, three of each moment, and another thread around it.
fn database_with(count: usize) -> Memory {
    let memory = database();
    let sql = "
        INSERT INTO comments (id, post_id, created, created_at, seq, author, version, status, content)
        VALUES ($1, $2, 1, $3, $4, '', 1, 'approved', '')";
    for n in 0..count {
        let (at, place) = (n as i64 / 3, (n % 3 != 0).then_some(n as i64));
        for (id, post) in [(format!("c{n:03}"), "p"), (format!("other{n}"), "q")] {
            memory.tx().execute(sql, values![&id, post, at, place]).unwrap();
        }
    }
    memory
}

fn ids(page: &Comments) -> Vec<String> {
    page.comments.iter().map(|comment| comment.id.to_string()).collect()
}

fn post() -> PostId {
    "p".parse().unwrap()
}

fn key(comment: &Comment) -> Key {
    comment.key().to_string().parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn from_any_page_the_cursors_lead_through_the_whole_thread(
        count in 0..40_usize,
        limit in 1..12_usize,
        begin in 0..41_usize,
    ) {
        let memory = database_with(count);
        let all: Vec<String> = (0..count).map(|n| format!("c{n:03}")).collect();
        let read = |page: &ThreadPage| thread(&memory.tx(), &post(), page, limit).unwrap();
        let first = match begin {
            0 => ThreadPage::Oldest,
            n if n <= count => ThreadPage::Around(format!("c{:03}", n - 1).parse().unwrap()),
            _ => ThreadPage::Newest,
        };
        let first = read(&first);
        prop_assert_eq!(first.comments.len(), count.min(limit), "a page is as full as the thread allows");
        if (1..=count).contains(&begin) {
            prop_assert!(ids(&first).contains(&all[begin - 1]));
        }
        let mut found = ids(&first);
        let mut page = first.clone();
        while page.has_earlier {
            page = read(&ThreadPage::Before(key(&page.comments[0])));
            prop_assert!(page.has_later && !page.comments.is_empty() && page.comments.len() <= limit);
            found.splice(..0, ids(&page));
        }
        let mut page = first;
        while page.has_later {
            page = read(&ThreadPage::After(key(page.comments.last().unwrap())));
            prop_assert!(page.has_earlier && !page.comments.is_empty() && page.comments.len() <= limit);
            found.extend(ids(&page));
        }
        prop_assert_eq!(found, all);
    }
}

#[test]
fn a_comment_stands_in_the_middle_of_its_page() {
    let memory = database_with(40);
    let page = thread(&memory.tx(), &post(), &ThreadPage::Around("c020".parse().unwrap()), 5).unwrap();
    assert_eq!(ids(&page), ["c018", "c019", "c020", "c021", "c022"]);
    assert!(page.has_earlier && page.has_later);
    // One of another post, and one that is not known: the newest page.
    for stranger in ["other20", "unknown"] {
        let page = thread(&memory.tx(), &post(), &ThreadPage::Around(stranger.parse().unwrap()), 2).unwrap();
        assert_eq!((ids(&page), page.has_later), (vec!["c038".to_owned(), "c039".to_owned()], false));
    }
}

#[test]
fn every_page_is_read_from_the_index() {
    for side in [Side::Before, Side::From, Side::After] {
        let plan = plan(&sql(side));
        assert_eq!(plan.len(), 1, "{plan:?}");
        assert!(
            plan[0].starts_with("SEARCH comments USING INDEX comments_of_post (post_id=? AND "),
            "{plan:?}"
        );
    }
}
