//! `GET /events/stream`: the log as it grows.

use crate::{insecure, log, publish_posts, seq};
use shared::ProblemKind;
use std::time::Duration;
use testkit::{Sse, get, in_time};

async fn ids(stream: &mut Sse, count: usize) -> Vec<String> {
    stream.take(count).await.into_iter().map(|e| e.id).collect()
}

fn places(from: i64, to: i64) -> Vec<String> {
    (from..=to).map(seq).collect()
}

#[tokio::test]
async fn what_is_there_comes_first_and_then_what_is_appended() {
    let (world, bus) = insecure().await;
    publish_posts(&bus, 1, 3).await;
    let mut stream = bus.open(get("/events/stream")).await;
    assert_eq!(stream.headers["x-accel-buffering"], "no");
    let first = stream.take(3).await;
    let events = log(&world, &bus, "").await;
    assert_eq!(first.iter().map(testkit::SseEvent::json).collect::<Vec<_>>(), events);
    assert_eq!(first.iter().map(|e| e.id.clone()).collect::<Vec<_>>(), places(1, 3));
    assert!(stream.is_silent_for(Duration::from_millis(30)).await);
    publish_posts(&bus, 4, 6).await;
    assert_eq!(ids(&mut stream, 3).await, places(4, 6));
}

#[tokio::test]
async fn it_is_resumed_without_loss_or_repetition() {
    let (_world, bus) = insecure().await;
    publish_posts(&bus, 1, 10).await;
    let mut stream = bus.open(get("/events/stream")).await;
    let mut heard = ids(&mut stream, 4).await;
    drop(stream);
    publish_posts(&bus, 11, 12).await;
    let again = get("/events/stream?after=11").header("last-event-id", heard.last().unwrap());
    let mut stream = bus.open(again).await;
    publish_posts(&bus, 13, 14).await;
    heard.extend(ids(&mut stream, 10).await);
    assert_eq!(heard, places(1, 14), "what was heard last counts, not where the reader once began");
    let mut later = bus.open(get("/events/stream?after=12")).await;
    assert_eq!(ids(&mut later, 2).await, places(13, 14));
    let mut beyond = bus.open(get("/events/stream?after=14")).await;
    assert!(beyond.is_silent_for(Duration::from_millis(30)).await);
    publish_posts(&bus, 15, 15).await;
    assert_eq!(ids(&mut beyond, 1).await, places(15, 15));
}

#[tokio::test]
async fn a_reader_who_takes_their_time_misses_nothing() {
    let (_world, bus) = insecure().await;
    let mut stream = bus.open(get("/events/stream")).await;
    for first in (1..=4_000).step_by(1_000) {
        publish_posts(&bus, first, first + 999).await;
    }
    assert_eq!(ids(&mut stream, 4_000).await, places(1, 4_000));
}

#[tokio::test]
async fn the_stop_ends_it_and_bad_places_are_refused() {
    let (_world, bus) = insecure().await;
    for bad in ["after=x", "after=-1", "after="] {
        bus.get(&format!("/events/stream?{bad}")).await.problem(ProblemKind::BadRequest);
    }
    for bad in ["x", "", "-1", "1 2"] {
        bus.send(get("/events/stream").header("last-event-id", bad)).await.problem(ProblemKind::BadRequest);
    }
    let mut stream = bus.open(get("/events/stream")).await;
    bus.lifecycle.stop();
    assert_eq!(in_time("the end of the stream", stream.next()).await, None);
}
