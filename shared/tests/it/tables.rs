//! The contract's tables, written out once more, so that neither copy changes alone.

use shared::ServiceName::{Comments, EventBus, Frontend, Moderation, Posts, Query};
use shared::routes::{HOST, NEVER_PUBLIC, PUBLIC_ROUTES, PathMatch, find};
use shared::{EventType, ServiceName};

#[test]
fn who_publishes_and_who_consumes() {
    let table: [(&str, ServiceName, &[ServiceName]); 4] = [
        ("PostCreated", Posts, &[Query, Comments]),
        ("CommentCreated", Comments, &[Query, Moderation]),
        ("CommentModerated", Moderation, &[Comments]),
        ("CommentUpdated", Comments, &[Query]),
    ];
    assert_eq!(EventType::ALL.len(), table.len());
    for (&event_type, (name, publisher, consumers)) in EventType::ALL.iter().zip(table) {
        assert_eq!(event_type.as_str(), name);
        assert_eq!(name.parse(), Ok(event_type));
        assert_eq!(event_type.publisher(), publisher, "{name}");
        assert_eq!(event_type.consumers(), consumers, "{name}");
        assert_eq!(event_type.schema(), format!("/schemas/{name}/1"));
    }
    for wrong in ["", "postCreated", "PostCreated ", "Postcreated"] {
        assert!(wrong.parse::<EventType>().is_err(), "{wrong:?}");
    }
}

#[test]
fn which_path_is_whose() {
    let exact = PathMatch::Exact;
    let prefix = PathMatch::Prefix;
    let table = [
        ("/posts/create", exact, Posts),
        ("/posts", exact, Query),
        ("/posts", prefix, Comments),
        ("/query", prefix, Query),
        ("/live", exact, Query),
        ("/moderation", prefix, Moderation),
        ("/", prefix, Frontend),
    ];
    let ours: Vec<_> = PUBLIC_ROUTES.iter().map(|r| (r.path, r.path_match, r.service)).collect();
    assert_eq!(ours, table);
    let streams: Vec<_> = PUBLIC_ROUTES.iter().filter(|r| r.stream).map(|r| r.path).collect();
    assert_eq!(streams, ["/live"]);
    assert_eq!(HOST, "posts.com");
}

#[test]
fn what_is_never_public_reaches_no_service() {
    assert_eq!(NEVER_PUBLIC, ["events", "metrics", "livez", "readyz", "subscriptions", "dead-letters"]);
    for private in NEVER_PUBLIC {
        for path in [format!("/{private}"), format!("/{private}/"), format!("/{private}/1/redrive")] {
            assert_eq!(find(&path).map(|r| r.service), Ok(Frontend), "{path}");
        }
    }
}

#[test]
fn every_route_of_the_contract_reaches_its_service() {
    for (path, service) in [
        ("/posts/create", Posts),
        ("/posts", Query),
        ("/posts/0197a2c4/comments", Comments),
        ("/posts/__proto__/comments", Comments),
        ("/query/posts/0197a2c4", Query),
        ("/live", Query),
        ("/moderation/queue", Moderation),
        ("/", Frontend),
        ("/p/0197a2c4", Frontend),
    ] {
        assert_eq!(find(path).map(|r| r.service), Ok(service), "{path}");
    }
}

#[test]
fn ports_are_the_courses() {
    let table = [
        (EventBus, 4005),
        (Posts, 4000),
        (Comments, 4001),
        (Moderation, 4003),
        (Query, 4002),
        (Frontend, 3000),
    ];
    assert_eq!(ServiceName::ALL.map(|s| (s, s.default_port())), table);
}
