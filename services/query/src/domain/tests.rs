use super::*;
use proptest::prelude::*;

fn status() -> impl Strategy<Value = Status> {
    prop::sample::select(vec![Status::Pending, Status::Approved, Status::Rejected])
}

/// An envelope of which only the place in the log matters.
fn at_place(sequence: Option<i64>) -> Envelope {
    Envelope {
        sequence: sequence.map(Sequence::new),
        ..serde_json::from_str(r#"{"type":"A","data":{}}"#).unwrap()
    }
}

fn comment_event() -> impl Strategy<Value = Comment> {
    let created = ("[ab]", prop::option::of(0..3_i64), "[xy]?", prop::option::of(1..4_i64));
    let created = created.prop_map(|(content, at, author, place)| {
        let event = CommentCreated {
            id: "c".parse().unwrap(),
            content,
            post_id: "p".parse().unwrap(),
            status: Status::Pending,
            author_key: Some(author.clone()),
            author,
            created_at: at.map(Timestamp::from_unix_ms),
            version: Some(1),
        };
        Comment::created(&event, &at_place(place))
    });
    let updated = ("[ab]", status(), prop::option::of(1..4_u32)).prop_map(|(content, status, version)| {
        Comment::updated(&CommentUpdated {
            id: "c".parse().unwrap(),
            content,
            post_id: "p".parse().unwrap(),
            status,
            reason: None,
            version,
        })
    });
    prop_oneof![created, updated]
}

fn post_event() -> impl Strategy<Value = Post> {
    let created = ("[ab]", "[xy]?", prop::option::of(0..3_i64), prop::option::of(1..4_i64));
    created.prop_map(|(title, body, at, place)| {
        let event = PostCreated {
            id: "p".parse().unwrap(),
            title,
            body,
            author: String::new(),
            created_at: at.map(Timestamp::from_unix_ms),
            version: None,
        };
        Post::created(&event, &at_place(place))
    })
}

proptest! {
    #[test]
    fn merging_comments_knows_neither_order_nor_repetition(a in comment_event(), b in comment_event(), c in comment_event()) {
        let ab = a.clone().merge(b.clone());
        prop_assert_eq!(&ab, &b.clone().merge(a.clone()));
        prop_assert_eq!(ab.clone().merge(c.clone()), a.clone().merge(b.clone().merge(c)));
        prop_assert_eq!(a.clone().merge(a.clone()), a);
        prop_assert_eq!(ab.clone().merge(b), ab);
    }

    #[test]
    fn merging_posts_knows_neither_order_nor_repetition(a in post_event(), b in post_event(), c in post_event()) {
        let ab = a.clone().merge(b.clone());
        prop_assert_eq!(&ab, &b.clone().merge(a.clone()));
        prop_assert_eq!(ab.merge(c.clone()), a.clone().merge(b.merge(c)));
        prop_assert_eq!(a.clone().merge(a.clone()), a);
    }

    #[test]
    fn a_late_creation_does_not_undo_a_verdict(status in status(), version in 2..9_u32) {
        let updated = CommentUpdated {
            id: "c".parse().unwrap(), content: "t".into(), post_id: "p".parse().unwrap(), status, reason: None,
            version: Some(version),
        };
        let created = CommentCreated {
            id: "c".parse().unwrap(), content: "t".into(), post_id: "p".parse().unwrap(), status: Status::Pending,
            author: "Ada".into(), author_key: None, created_at: None, version: Some(1),
        };
        let both = Comment::updated(&updated).merge(Comment::created(&created, &at_place(None)));
        prop_assert_eq!(both.status, status);
        prop_assert_eq!(both.origin.map(|o| o.author), Some("Ada".to_owned()));
    }

    #[test]
    fn an_excerpt_is_short(body in ".{0,600}") {
        prop_assert!(excerpt(&body).chars().count() <= excerpt::MOST_CHARS + 1);
    }
}

#[test]
fn a_creation_that_says_less_takes_nothing_away() {
    let ours = PostCreated {
        id: "p".parse().unwrap(),
        title: "T".into(),
        body: "text".into(),
        author: "Ada".into(),
        created_at: Some(Timestamp::from_unix_ms(9)),
        version: Some(1),
    };
    let bare = PostCreated { body: String::new(), author: String::new(), created_at: None, ..ours.clone() };
    let (ours, bare) = (Post::created(&ours, &at_place(None)), Post::created(&bare, &at_place(None)));
    assert_eq!(ours.clone().merge(bare.clone()), ours);
    assert_eq!(bare.merge(ours.clone()), ours);
}

#[test]
fn an_excerpt_is_plain_text() {
    assert_eq!(excerpt("# Hello\n\n**bold** and `code`\n\n---\n> quote"), "Hello bold and code quote");
    assert_eq!(excerpt("It **catches up**. See *this*, `that`: a_b"), "It catches up. See this, that: a_b");
    assert_eq!(
        excerpt("See [the docs](https://example.com/a_b) ![a cat](cat.png)\n- one\n- two"),
        "See the docs a cat one two"
    );
    assert_eq!(
        excerpt(
            "one<br>two <b>three</b>\n\n<script>\nalert(1)\n</script>\n\n| a | b |\n|---|---|\n| c | d |"
        ),
        "onetwo three a b c d"
    );
    assert_eq!(
        excerpt("    let x = 1;\n    x\n\nin**credible**, a * b, 2 > 1"),
        "let x = 1; x incredible, a * b, 2 > 1"
    );
    // 500 cells in each of 1,000 lines, were it read as a table: then the lines would be found.
    let wide = format!("|{}\n|{}\n{}", " |".repeat(500), "-|".repeat(500), "x\n".repeat(1_000));
    assert_eq!(excerpt(&wide), "");
    for nothing in ["", "  \n ", "---", "[](https://example.com)"] {
        assert_eq!(excerpt(nothing), "");
    }
}

#[test]
fn an_excerpt_is_cut_between_words_where_there_are_any() {
    assert!(excerpt(&"word ".repeat(100)).ends_with("word…"));
    let fits = "word ".repeat(48);
    assert_eq!(excerpt(&fits), fits.trim_end(), "240 characters and no more");
    assert_eq!(excerpt(&"雨".repeat(300)), "雨".repeat(240) + "…");
    let address = format!("[here](https://example.com/{}) it is", "x".repeat(1_000));
    assert_eq!(excerpt(&address), "here it is");
}
