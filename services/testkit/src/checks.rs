//! What the contract demands of every service, checked in the same way for each.

use crate::events::{comment_created, logged, post_created};
use crate::eventually;
use crate::http_calls::{Ask, get, post, request};
use crate::running::Running;
use crate::world::World;
use http::{HeaderName, HeaderValue, Method};
use kit::messaging::signature::{Direction, SigningKey};
use kit::runtime::deps::Clock;
use serde_json::{Value, json};
use shared::envelope::{CLOUDEVENTS_BATCH_JSON, CLOUDEVENTS_JSON};
use shared::{Envelope, EventType, ProblemKind, ServiceName};

/// The largest delivery that a consumer accepts.
const MAX_DELIVERY_BYTES: usize = 8 * 1024 * 1024;

/// Bodies that are not JSON.
fn malformed() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> =
        ["", " ", "{", "}", "{\"title\":", "{'a':1}", "{} {}", "nul", "\u{feff}{}", "{\"a\":\"\\ud800\"}"]
            .map(|text| text.as_bytes().to_vec())
            .into();
    bodies.push(b"{\"title\":\"\xff\xfe\"}".to_vec());
    bodies.push("[".repeat(20_000).into_bytes());
    bodies.push(format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000)).into_bytes());
    bodies
}

/// What a public route for JSON refuses, whatever its fields. `ask` is a request for the route without a body, `good` a
/// body that it accepts, and `limit` the largest body in bytes.
pub async fn json_route(world: &World, service: &Running, ask: &Ask, good: &Value, limit: usize) {
    let before = world.dump(service.name);
    let text = good.to_string();
    let ask = || ask.clone();

    let reply = service.send(Ask { body: text.clone().into(), ..ask() }).await;
    reply.problem(ProblemKind::NotJson);
    let wrong_types = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "text/json",
        "application/cloudevents+json",
        "json",
        "application/json+x",
    ];
    for content_type in wrong_types {
        service.send(ask().body(content_type, text.clone())).await.problem(ProblemKind::NotJson);
    }
    for body in malformed() {
        service.send(ask().body("application/json", body)).await.problem(ProblemKind::MalformedJson);
    }
    for not_an_object in [json!(null), json!(true), json!(5), json!("x"), json!([]), json!([good])] {
        let reply = service.send(ask().json(&not_an_object)).await;
        reply.problem(ProblemKind::Invalid);
    }
    for stranger in ["status", "id", "__proto__", "constructor", "", "a/b~c"] {
        let mut body = good.clone();
        body[stranger] = json!("approved");
        if good.get(stranger).is_none() {
            service.send(ask().json(&body)).await.problem(ProblemKind::Invalid);
        }
    }
    // One byte more than the limit, whether the length is announced or not.
    let over = format!("{text}{}", " ".repeat(limit + 1 - text.len()));
    service.send(ask().body("application/json", over.clone())).await.problem(ProblemKind::TooLarge);
    let announced =
        ask().body("application/json", over.clone()).header("content-length", over.len().to_string());
    service.send(announced).await.problem(ProblemKind::TooLarge);

    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        let reply = service.send(Ask { method, ..ask() }.json(good)).await;
        reply.problem(ProblemKind::MethodNotAllowed);
        assert!(reply.header("allow").contains("POST"), "{}", reply.header("allow"));
    }
    assert_eq!(world.dump(service.name), before, "a refused request changes nothing");

    // Exactly the limit is fine.
    let most = format!("{text}{}", " ".repeat(limit - text.len()));
    let reply = service.send(ask().body("application/json; charset=utf-8", most)).await;
    assert!(matches!(reply.status, 201 | 204), "{}", reply.text());
}

/// Routes and methods that do not exist.
pub async fn unknown_routes(service: &Running) {
    for path in ["/", "/nowhere", "/posts/a/b/c", "/events/", "/%ff", "/posts/create/x", "/..", "/.env"] {
        service.get(path).await.problem(ProblemKind::NotFound);
    }
    service.send(request(Method::DELETE, "/events")).await.problem(ProblemKind::MethodNotAllowed);
}

/// `POST /events` of a consumer in a world with secrets: it accepts only what the bus has just signed for it.
pub async fn signed_deliveries_only(world: &World, service: &Running) {
    let name = service.name;
    let before = world.dump(name);
    let body = serde_json::to_vec(&[logged(&post_created("p1", "T", 1), 1)]).expect("JSON");
    let ask = || post("/events").body(CLOUDEVENTS_BATCH_JSON, body.clone());
    let refused = async |ask: Ask, why: &str| {
        let problem = service.send(ask).await.problem(ProblemKind::Unauthorized);
        assert!(!problem.detail.unwrap_or_default().is_empty(), "{why}");
        assert_eq!(world.dump(name), before, "{why}");
    };

    refused(ask(), "unsigned").await;
    refused(ask().bearer(world.operator_token()), "an operator is not the bus").await;
    refused(ask().signed(world, name, Direction::Publish), "a publication played back as a delivery").await;
    for other in ServiceName::PEERS.into_iter().filter(|other| *other != name) {
        refused(ask().signed(world, other, Direction::Deliver), "a delivery to somebody else").await;
        refused(ask().signed(world, other, Direction::Publish), "a publication of somebody else").await;
    }
    let mut changed = ask().signed(world, name, Direction::Deliver);
    changed.body = [&body[..], b" "].concat().into();
    refused(changed, "a changed body").await;
    for header in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut without = ask().signed(world, name, Direction::Deliver);
        without.headers.remove(header);
        refused(without, "a header is missing").await;
        let mut garbage = ask().signed(world, name, Direction::Deliver);
        garbage.headers.insert(header, HeaderValue::from_bytes(b"v1,AAAA\xe9").expect("a header"));
        refused(garbage, "a header is garbage").await;
    }
    let secret = kit::runtime::secret::Secret::new("a-secret-that-nobody-knows").expect("a secret");
    let mut forged = ask();
    let key = SigningKey::derive(&secret, Direction::Deliver);
    forged
        .headers
        .extend(key.sign("msg_test", world.clock.now(), &body).map(|(n, v)| (HeaderName::from_static(n), v)));
    refused(forged, "forged").await;
    let (early, late) = (-301_000, 301_000);
    for away in [early, late] {
        let stale = ask().signed(world, name, Direction::Deliver);
        world.clock.advance_ms(away);
        refused(stale, "stale, or from the future").await;
        world.clock.advance_ms(-away);
    }
    // An unsigned request is refused before its body is read.
    refused(post("/events").body("text/plain", "{"), "unsigned garbage").await;

    let captured = ask().signed(world, name, Direction::Deliver);
    world.clock.advance_ms(300_000);
    assert_eq!(service.send(captured.clone()).await.ok(200), json!({}), "as old as is allowed");
    // Where it changes nothing but the cursor, that reaches the disk later than the answer.
    let after = eventually("it is applied", async || {
        let after = world.dump(name);
        (after != before).then_some(after)
    })
    .await;
    assert_eq!(service.send(captured).await.ok(200), json!({}), "delivered twice");
    assert_eq!(world.dump(name), after, "and applied once");
}

/// `POST /events` of a consumer: bodies that are not events are refused and change nothing.
pub async fn no_events(world: &World, service: &Running) {
    let name = service.name;
    let before = world.dump(name);
    let good = json!({"type": "PostCreated", "data": {"id": "p1", "title": "T"}});
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let reply = service.send(post("/events").body(content_type, good.to_string())).await;
        reply.problem(ProblemKind::NotJson);
    }
    service
        .send(Ask { body: good.to_string().into(), ..post("/events") })
        .await
        .problem(ProblemKind::NotJson);
    for body in malformed() {
        for content_type in ["application/json", CLOUDEVENTS_JSON, CLOUDEVENTS_BATCH_JSON] {
            let reply = service.send(post("/events").body(content_type, body.clone())).await;
            reply.problem(ProblemKind::MalformedJson);
        }
    }
    for body in no_envelopes() {
        service.post("/events", &body).await.problem(ProblemKind::Invalid);
        // A batch is accepted or refused as a whole.
        service.post("/events", &json!([good, body])).await.problem(ProblemKind::Invalid);
    }
    service.send(post("/events").body(CLOUDEVENTS_JSON, "[]")).await.problem(ProblemKind::Invalid);
    service
        .send(post("/events").body(CLOUDEVENTS_BATCH_JSON, good.to_string()))
        .await
        .problem(ProblemKind::Invalid);
    let over = format!("{good}{}", " ".repeat(MAX_DELIVERY_BYTES + 1 - good.to_string().len()));
    service.send(post("/events").body("application/json", over)).await.problem(ProblemKind::TooLarge);
    service.send(get("/events")).await.problem(ProblemKind::MethodNotAllowed);
    assert_eq!(world.dump(name), before, "a refused request changes nothing");
}

/// JSON that is no event.
pub fn no_envelopes() -> Vec<Value> {
    let with = |name: &str, value: Value| {
        let mut event = json!({"type": "PostCreated", "data": {"id": "p1", "title": "T"}});
        event[name] = value;
        event
    };
    vec![
        json!({}),
        json!(5),
        json!("PostCreated"),
        json!(null),
        json!({"type": "PostCreated"}),
        json!({"data": {}}),
        with("type", json!(5)),
        with("type", json!("")),
        with("type", json!("a\u{0}b")),
        with("type", json!("x".repeat(257))),
        with("specversion", json!("0.3")),
        with("specversion", json!(1.0)),
        with("id", json!("")),
        with("id", json!("x".repeat(257))),
        with("source", json!(["/posts"])),
        with("time", json!("yesterday")),
        with("time", json!(1)),
        with("sequence", json!(1)),
        with("sequence", json!("-1")),
        with("sequence", json!("99999999999999999999")),
        with("datacontenttype", json!("text/xml")),
        with("partitionkey", json!("a\nb")),
        with("traceparent", json!("x".repeat(10_000))),
        with("data", nested(33)),
        with("data", nested(100)),
    ]
}

/// An array in an array, so many levels deep.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

/// Deliveries to a consumer: each event is applied once and in order, a gap is reported, a poison event is parked with
/// the later events of its post and nothing else, and the operator can redrive or discard it.
pub async fn delivery(world: &World, service: &Running) {
    let name = service.name;
    // An event type that the service consumes; it skips all others.
    let kind =
        [EventType::PostCreated, EventType::CommentCreated].into_iter().find(|kind| kind.concerns(name));
    let kind = kind.expect("it consumes one of these");
    let ok = |sequence: i64, post: &str| match kind {
        EventType::PostCreated => logged(&post_created(post, "T", sequence), sequence),
        _ => logged(&comment_created(&format!("c{sequence}"), post, "T", sequence), sequence),
    };
    let poison = |sequence: i64, post: &str| -> Envelope {
        let mut envelope = ok(sequence, post);
        envelope.data = serde_json::value::RawValue::from_string("{\"id\":{\"$ne\":1},\"title\":[]}".into())
            .expect("JSON");
        envelope
    };

    // Out of order: nothing is applied, and the answer names the cursor.
    let reply = service.deliver(world, &[ok(3, "a")]).await;
    reply.problem(ProblemKind::Conflict);
    assert_eq!(reply.json::<Value>()["cursor"], "00000000000000000000");
    assert_eq!(service.deliver(world, &[ok(1, "a"), ok(2, "b")]).await.ok(200), json!({}));
    let after = world.dump(name);
    for duplicates in [vec![ok(1, "a")], vec![ok(1, "a"), ok(2, "b")], vec![ok(2, "b"), ok(1, "a")], vec![]] {
        assert_eq!(service.deliver(world, &duplicates).await.ok(200), json!({}));
        assert_eq!(world.dump(name), after, "a duplicate changes nothing");
    }
    let reply = service.deliver(world, &[ok(2, "b"), ok(3, "c"), ok(5, "c")]).await;
    assert_eq!(
        reply.json::<Value>()["cursor"],
        "00000000000000000003",
        "the events before the gap are applied"
    );

    // Unknown types are skipped.
    let mut unknown = ok(4, "a");
    unknown.kind = "PostArchived".into();
    assert_eq!(service.deliver(world, &[unknown]).await.ok(200), json!({}));
    assert_eq!(letters(world, service).await, json!([]));

    // Events from a wrong publisher and events with unreadable data are parked.
    let mut forged = ok(6, "f");
    forged.source = Some("/somebody".into());
    let batch = [poison(5, "a"), forged, ok(7, "a"), ok(8, "b"), ok(9, "a")];
    assert_eq!(service.deliver(world, &batch).await.ok(200), json!({}));
    let parked = letters(world, service).await;
    let rows: Vec<_> = parked
        .as_array()
        .expect("rows")
        .iter()
        .map(|r| (&r["key"], &r["sequence"], &r["attempts"]))
        .collect();
    let seq = |n: i64| json!(format!("{n:020}"));
    assert_eq!(
        rows,
        [
            (&json!("a"), &seq(5), &json!(1)),
            (&json!("f"), &seq(6), &json!(1)),
            (&json!("a"), &seq(7), &json!(0)),
            (&json!("a"), &seq(9), &json!(0)),
        ]
    );
    assert_eq!(parked[0]["event"]["data"], json!({"id": {"$ne": 1}, "title": []}), "as it came");
    assert!(
        parked[1]["error"]
            .as_str()
            .is_some_and(|e| e.contains(&format!("is published only by {}", kind.publisher())))
    );
    assert!(parked[0]["parkedAt"].is_string() && parked[0]["id"].is_i64());

    let id = parked[0]["id"].as_i64().expect("an id");
    let resolve = async |id: &str, how: &str| {
        service.send(post(format!("/dead-letters/{id}/{how}")).as_operator(world)).await
    };
    for unknown in ["0", "999", "-1", "x", "9223372036854775808", "1%20"] {
        for how in ["redrive", "discard"] {
            resolve(unknown, how).await.problem(ProblemKind::NotFound);
        }
    }
    let id = id.to_string();
    assert_eq!(
        resolve(&id, "redrive").await.ok(200),
        json!({"applied": 0, "remaining": 3}),
        "it is still poison"
    );
    assert_eq!(letters(world, service).await[0]["attempts"], 2);
    assert_eq!(resolve(&id, "discard").await.ok(200), json!({"applied": 2, "remaining": 0}));
    resolve(&id, "discard").await.problem(ProblemKind::NotFound);
    let left = letters(world, service).await;
    assert_eq!(
        (left.as_array().map(Vec::len), &left[0]["key"]),
        (Some(1), &json!("f")),
        "only the other key's"
    );
    let discarded = world.rows(name, "SELECT seq FROM dead_letters WHERE discarded_at IS NOT NULL");
    assert_eq!(discarded, ["5"], "a discarded event stays on record");
    let reply = service.send(get(format!("/dead-letters/{id}/redrive")).as_operator(world)).await;
    reply.problem(ProblemKind::MethodNotAllowed);
}

async fn letters(world: &World, service: &Running) -> Value {
    service.send(get("/dead-letters").as_operator(world)).await.ok(200)
}

/// Routes of the operator: without the token they answer 401 and change nothing.
pub async fn operator_only(world: &World, service: &Running, routes: &[(Method, &str)]) {
    let before = world.dump(service.name);
    for (method, path) in routes {
        let ask = || request(method.clone(), *path).json(&json!({"status": "approved"}));
        let wrong = [
            ask(),
            ask().bearer(""),
            ask().bearer("the-token-of-the-operatoR"),
            ask().bearer("the-token-of-the-operator-and-more"),
            ask().header("authorization", "Basic the-token-of-the-operator"),
            ask().header("authorization", world.operator_token()),
            ask().header("authorization", b"Bearer \xff"),
        ];
        for ask in wrong {
            service.send(ask).await.problem(ProblemKind::Unauthorized);
        }
    }
    assert_eq!(world.dump(service.name), before);
}
