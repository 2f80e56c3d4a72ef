//! `POST /events`.

use crate::{bare, insecure, log, publish, publish_posts, restart, seq, stored};
use serde_json::{Value, json};
use shared::ProblemKind;
use shared::envelope::{CLOUDEVENTS_BATCH_JSON, CLOUDEVENTS_JSON};
use testkit::checks::no_envelopes;
use testkit::post;

/// A complete event, as our services publish it.
fn full(id: &str, n: i64) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/posts", "type": "PostCreated", "subject": format!("p{n}"),
        "time": "2026-11-20T09:38:56.123Z", "datacontenttype": "application/json",
        "dataschema": "/schemas/PostCreated/1", "partitionkey": format!("p{n}"), "correlationid": "command",
        "causationid": "cause", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "data": {"id": format!("p{n}"), "title": "T"}
    })
}

#[tokio::test]
async fn the_courses_bare_event_gets_everything_else() {
    let (world, bus) = insecure().await;
    world.clock.advance_ms(42);
    let reply = publish(&bus, &bare(1)).await;
    assert_eq!(reply.ok(200), json!({"status": "OK", "sequence": seq(1)}));
    let [event] = &log(&world, &bus, "").await[..] else { panic!("one event") };
    let id = &event["id"];
    assert_eq!(id.as_str().unwrap().len(), 36);
    assert_eq!(
        *event,
        json!({
            "specversion": "1.0", "id": id, "source": "/posts", "type": "PostCreated", "subject": "p1",
            "time": "2027-01-15T08:00:00.042Z", "datacontenttype": "application/json",
            "dataschema": "/schemas/PostCreated/1", "sequence": seq(1), "partitionkey": "p1", "correlationid": id,
            "data": {"id": "p1", "title": "post 1"}
        })
    );
    // Said again it is another event: nothing tells that it is the same.
    assert_eq!(publish(&bus, &bare(1)).await.ok(200)["sequence"], seq(2));
    let foreign = json!({"type": "SomethingElse", "data": [1, null]});
    assert_eq!(publish(&bus, &foreign).await.ok(200)["sequence"], seq(3));
    let events = log(&world, &bus, "").await;
    assert_eq!((&events[2]["source"], &events[2]["data"]), (&json!("/unknown"), &json!([1, null])));
    assert_eq!(events[2].get("dataschema"), None);
}

#[tokio::test]
async fn a_complete_event_is_kept_as_it_came_but_for_its_sequence() {
    let (world, bus) = insecure().await;
    let mut event = full("e1", 1);
    event["sequence"] = json!(seq(999));
    event["somebodys-extension"] = json!("x");
    for content_type in [CLOUDEVENTS_JSON, "application/json"] {
        let reply = bus.send(post("/events").body(content_type, event.to_string())).await;
        assert_eq!(reply.ok(200), json!({"status": "OK", "sequence": seq(1)}));
    }
    let mut expected = full("e1", 1);
    expected["sequence"] = json!(seq(1));
    assert_eq!(log(&world, &bus, "").await, [expected]);
}

#[tokio::test]
async fn data_is_passed_on_byte_for_byte() {
    let (world, bus) = insecure().await;
    let data = "{ \"n\" : 1.000000000000000000010e-7,\n\t\"z\":1, \"a\":\"\\u00e4\\/ \u{2028}\",\"a\":2 }";
    let event = format!(r#"{{"data":{data},"type":"Any"}}"#);
    bus.send(post("/events").body("application/json", event)).await.ok(200);
    let reply = bus.send(testkit::get("/events").as_operator(&world)).await;
    assert!(reply.text().ends_with(&format!("\"data\":{data}}}]")), "{}", reply.text());
}

#[tokio::test]
async fn the_same_event_again_keeps_the_place_it_has() {
    let (world, bus) = insecure().await;
    publish_posts(&bus, 1, 3).await;
    assert_eq!(publish(&bus, &full("e1", 1)).await.ok(200)["sequence"], seq(4));
    let before = stored(&world);
    let mut later = full("e1", 1);
    later["time"] = json!("2027-01-01T00:00:00Z");
    for again in [full("e1", 1), later] {
        assert_eq!(publish(&bus, &again).await.ok(200), json!({"status": "OK", "sequence": seq(4)}));
    }
    // The source belongs to the name.
    let mut other = full("e1", 1);
    other["source"] = json!("/elsewhere");
    assert_eq!(publish(&bus, &other).await.ok(200)["sequence"], seq(5));
    let bus = restart(&world, bus).await;
    assert_eq!(publish(&bus, &full("e1", 1)).await.ok(200)["sequence"], seq(4));
    assert_eq!(stored(&world)[..4], before);
    assert_eq!(publish(&bus, &bare(9)).await.ok(200)["sequence"], seq(6), "and no place is left out");
}

#[tokio::test]
async fn another_event_under_a_known_id_is_refused_by_name() {
    let (world, bus) = insecure().await;
    publish(&bus, &json!([bare(1), full("e1", 1)])).await;
    let before = stored(&world);
    let mut titled = full("e1", 1);
    titled["data"]["title"] = json!("another title under the same id");
    for other in [titled, full("e1", 2)] {
        for body in [other.clone(), json!([bare(3), other])] {
            let reply = bus.post("/events", &body).await;
            let detail = reply.problem(ProblemKind::Conflict).detail.unwrap();
            assert!(detail.contains("another event of /posts with the id e1"), "{detail}");
            let problem: Value = reply.json();
            let named = (&problem["source"], &problem["id"], &problem["sequence"]);
            assert_eq!(named, (&json!("/posts"), &json!("e1"), &json!(seq(2))));
        }
    }
    assert_eq!(stored(&world), before, "nothing of a batch either");
}

#[tokio::test]
async fn a_post_is_named_by_the_data_alone() {
    let (world, bus) = insecure().await;
    for attribute in ["partitionkey", "subject"] {
        let mut forged = full("e1", 1);
        forged[attribute] = json!("p2");
        let pointer = format!("/{attribute}");
        assert_eq!(bus.post("/events", &forged).await.invalid_fields(), [pointer.as_str()]);
        let batch = json!([bare(3), forged]);
        assert_eq!(bus.post("/events", &batch).await.invalid_fields(), [pointer.as_str()]);
    }
    assert!(stored(&world).is_empty());
    // A member of the data that only looks like the key.
    let post = json!({"type": "PostCreated", "data": {"id": "p1", "title": "T", "postId": "p2"}});
    publish(&bus, &post).await;
    assert_eq!(log(&world, &bus, "").await[0]["partitionkey"], "p1");
}

#[tokio::test]
async fn a_batch_is_answered_with_all_its_places() {
    let (world, bus) = insecure().await;
    let batch = json!([bare(1), full("e1", 2), bare(3)]);
    let reply = publish(&bus, &batch).await;
    assert_eq!(reply.ok(200), json!({"status": "OK", "sequences": [seq(1), seq(2), seq(3)]}));
    let overlapping = json!([full("e2", 4), full("e1", 2), full("e2", 4), full("e3", 5)]);
    let reply = bus.send(post("/events").body(CLOUDEVENTS_BATCH_JSON, overlapping.to_string())).await;
    assert_eq!(reply.ok(200)["sequences"], json!([seq(4), seq(2), seq(4), seq(5)]));
    assert_eq!(publish(&bus, &json!([])).await.ok(200), json!({"status": "OK", "sequences": []}));
    assert_eq!(
        publish(&bus, &json!([bare(6)])).await.ok(200)["sequences"],
        json!([seq(6)]),
        "an array of one too"
    );
    assert_eq!(log(&world, &bus, "").await.len(), 6);
}

#[tokio::test]
async fn what_is_no_event_is_refused_and_appends_nothing() {
    let (world, bus) = insecure().await;
    publish(&bus, &bare(1)).await;
    let before = stored(&world);
    for body in no_envelopes() {
        bus.post("/events", &body).await.problem(ProblemKind::Invalid);
        bus.post("/events", &json!([bare(2), body])).await.problem(ProblemKind::Invalid);
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"] {
        let reply = bus.send(post("/events").body(content_type, bare(2).to_string())).await;
        reply.problem(ProblemKind::NotJson);
    }
    for (content_type, body) in
        [(CLOUDEVENTS_JSON, "[]"), (CLOUDEVENTS_BATCH_JSON, "{\"type\":\"A\",\"data\":1}")]
    {
        bus.send(post("/events").body(content_type, body)).await.problem(ProblemKind::Invalid);
    }
    let nested =
        |depth: usize| format!(r#"{{"type":"A","data":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
    for malformed in ["", "{", "[{", "{} {}", "[[[["] {
        bus.send(post("/events").body("application/json", malformed.to_owned()))
            .await
            .problem(ProblemKind::MalformedJson);
    }
    for deep in [33, 127, 5_000] {
        bus.send(post("/events").body("application/json", nested(deep))).await.problem(ProblemKind::Invalid);
    }
    assert_eq!(stored(&world), before);
    bus.send(post("/events").body("application/json", nested(32))).await.ok(200);
}

#[tokio::test]
async fn a_publication_has_its_limits() {
    let (world, bus) = insecure().await;
    let sized = |bytes: usize| format!(r#"{{"type":"A","data":"{}"}}"#, "x".repeat(bytes - 2));
    let send = async |body: String| bus.send(post("/events").body("application/json", body)).await;
    send(sized(1024 * 1024)).await.ok(200);
    let many = |n: usize| format!("[{}]", vec![r#"{"type":"A","data":1}"#; n].join(","));
    assert_eq!(send(many(4_096)).await.ok(200)["sequences"].as_array().unwrap().len(), 4_096);
    let before = stored(&world).len();
    send(sized(1024 * 1024 + 1)).await.problem(ProblemKind::TooLarge);
    send(many(4_097)).await.problem(ProblemKind::TooLarge);
    let padded = |bytes: usize| format!("{}{}", bare(1), " ".repeat(bytes - bare(1).to_string().len()));
    send(padded(8 * 1024 * 1024 + 1)).await.problem(ProblemKind::TooLarge);
    assert_eq!(stored(&world).len(), before);
    send(padded(8 * 1024 * 1024)).await.ok(200);
}
