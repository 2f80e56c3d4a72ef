//! Two real replicas of query behind frontends: a reader notices nothing of them.

use crate::world::{Behind, Frontend, Reply};
use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use kit::app::config::PeerConfig;
use shared::events::Status;
use shared::{Event, ServiceName};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use testkit::events::{comment_created, comment_updated, post_created, published};
use testkit::{Running, World, eventually};
use tower::ServiceExt;

/// In front of two replicas.
#[derive(Default)]
struct Balancer {
    /// Which one gets the next request.
    next: AtomicUsize,
    /// How many requests have named what their reader has seen.
    minimums: AtomicUsize,
}

impl Balancer {
    fn to(replica: usize) -> Arc<Self> {
        Arc::new(Self { next: AtomicUsize::new(replica), ..Self::default() })
    }
}

async fn publish(bus: &Running, event: &Event) {
    let id = kit::runtime::digest::sha256_hex(event.data_json().unwrap().as_bytes());
    bus.post("/events", &published(event, &id)).await.ok(200);
}

/// A post with a comment, in the first three places of the log.
async fn publish_post(bus: &Running) {
    publish(bus, &post_created("p1", "The post", 1)).await;
    publish(bus, &comment_created("c0", "p1", "A first one", 2)).await;
    publish(bus, &comment_updated("c0", "p1", "A first one", Status::Approved)).await;
}

/// A bus, and two replicas behind one address.
struct Replicas {
    _world: World,
    bus: Running,
    a: Running,
    b: Running,
}

impl Replicas {
    async fn start() -> Self {
        let world = World::new();
        let bus = world.start_bus().await;
        let start = async |instance: &str| {
            let peer: PeerConfig = world.config_of_replica(ServiceName::Query, instance);
            let config = query::Config { peer, instance: Some(instance.to_owned()) };
            let running = world.start_replica(instance, config, query::build).await;
            running.becomes_ready().await;
            running
        };
        let (a, b) = (start("a").await, start("b").await);
        publish_post(&bus).await;
        let replicas = Self { _world: world, bus, a, b };
        replicas.reach(&[&replicas.a, &replicas.b], "3").await;
        replicas
    }

    /// From now on the second one receives nothing.
    async fn leave_b_behind(&self) {
        self.b.cut_off();
        publish(&self.bus, &comment_created("c1", "p1", "The comment", 4)).await;
        publish(&self.bus, &comment_updated("c1", "p1", "The comment", Status::Approved)).await;
        self.reach(&[&self.a], "5").await;
    }

    async fn reach(&self, replicas: &[&Running], place: &str) {
        for replica in replicas {
            eventually("the replica is as far", async || {
                replica.get("/posts?limit=1").await.header("x-sequence").ends_with(place).then_some(())
            })
            .await;
        }
    }

    /// A frontend in front of both.
    async fn frontend(&self, balancer: &Arc<Balancer>) -> Frontend {
        let (routers, balancer) = ([self.a.router(), self.b.router()], Arc::clone(balancer));
        let forward = async move |request: Request| {
            if request.headers().contains_key("x-min-sequence") {
                balancer.minimums.fetch_add(1, Ordering::SeqCst);
            }
            let router = routers[balancer.next.load(Ordering::SeqCst)].clone();
            router.oneshot(request).await
        };
        Behind { query: Some(Router::new().fallback(any(forward))), ..Behind::default() }.start().await
    }
}

/// A browser's cookie for a site.
#[derive(Default)]
struct Reader {
    cookie: String,
}

impl Reader {
    async fn get(&mut self, frontend: &Frontend, path: &str) -> Reply {
        let headers = [("cookie", self.cookie.as_str())];
        let headers = if self.cookie.is_empty() { &[][..] } else { &headers[..] };
        let reply = frontend.send("GET", path, headers, "").await;
        let set = reply.header("set-cookie");
        if let Some((cookie, attributes)) = set.split_once("; ") {
            let expires = if cookie.ends_with('!') { "Max-Age=30; " } else { "" };
            assert_eq!(attributes, format!("{expires}Path=/; HttpOnly; SameSite=Lax"));
            cookie.clone_into(&mut self.cookie);
        }
        reply
    }
}

const PAGES: [&str; 4] = ["/", "/p/p1", "/p/p1?comments=oldest", "/p/p1?comment=c1"];
const FORWARDED: [&str; 3] = ["/posts", "/posts?limit=5", "/query/posts/p1"];

/// Whether an answer shows the comment, or counts it.
fn is_newest(reply: &Reply) -> bool {
    ["The comment", "2 comments<", "\"commentCount\":2"].iter().any(|text| reply.body.contains(text))
}

#[tokio::test]
async fn a_reader_of_two_frontends_never_goes_back() {
    let replicas = Replicas::start().await;
    replicas.leave_b_behind().await;
    let (to_a, to_b) = (Balancer::to(0), Balancer::to(1));
    let (first, second) = (replicas.frontend(&to_a).await, replicas.frontend(&to_b).await);
    for path in PAGES.into_iter().chain(FORWARDED) {
        let mut reader = Reader::default();
        let seen = reader.get(&first, path).await;
        assert!(seen.status == 200 && is_newest(&seen), "{path}: {seen:?}");
        assert_eq!(reader.cookie, "seen=5", "{path}");
        assert_eq!(reader.get(&first, path).await.header("set-cookie"), "", "{path}: the browser has it");
        let mut other = Reader::default();
        let stale = other.get(&second, path).await;
        assert!(stale.status == 200 && !is_newest(&stale), "{path}: nobody else has to wait");
        assert_eq!(other.cookie, "seen=3", "{path}");
        let moved = other.get(&first, path).await;
        assert!(is_newest(&moved) && other.cookie == "seen=5", "{path}");
    }

    // Both frontends have older pages, and all who have seen more wait for newer ones.
    assert_eq!(to_b.minimums.load(Ordering::SeqCst), 0);
    let mut readers: Vec<_> = PAGES
        .into_iter()
        .chain(FORWARDED)
        .map(|path| (path, Reader { cookie: "seen=5".to_owned() }))
        .collect();
    let all = readers.iter_mut().map(async |(path, reader)| (*path, reader.get(&second, path).await));
    let (answers, ()) = tokio::join!(futures_util::future::join_all(all), async {
        eventually("all of them wait", async || {
            (to_b.minimums.load(Ordering::SeqCst) == PAGES.len() + FORWARDED.len()).then_some(())
        })
        .await;
        replicas.b.rejoin();
        publish(&replicas.bus, &post_created("p2", "Another post", 6)).await;
    });
    for (path, answer) in answers {
        assert!(answer.status == 200 && is_newest(&answer), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_post_that_was_seen_is_not_missing_on_another_replica() {
    let replicas = Replicas::start().await;
    replicas.b.cut_off();
    publish(&replicas.bus, &post_created("p2", "Another post", 4)).await;
    replicas.reach(&[&replicas.a], "4").await;
    let (to_a, to_b) = (Balancer::to(0), Balancer::to(1));
    let (first, second) = (replicas.frontend(&to_a).await, replicas.frontend(&to_b).await);
    let paths = ["/p/p2", "/query/posts/p2"];
    for path in paths {
        assert_eq!(second.get(path).await.status, 404, "{path}: nobody knows it there");
    }
    let mut reader = Reader::default();
    assert!(reader.get(&first, "/").await.body.contains("Another post"));
    let mut readers = paths.map(|path| (path, Reader { cookie: reader.cookie.clone() }));
    let all = readers.iter_mut().map(async |(path, reader)| (*path, reader.get(&second, path).await));
    let (answers, ()) = tokio::join!(futures_util::future::join_all(all), async {
        let wait = async || (to_b.minimums.load(Ordering::SeqCst) == paths.len()).then_some(());
        eventually("all of them wait", wait).await;
        replicas.b.rejoin();
        publish(&replicas.bus, &post_created("p3", "A third one", 5)).await;
    });
    for (path, answer) in answers {
        assert!(answer.status == 200 && answer.body.contains("Another post"), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn what_no_replica_has_is_said_and_not_waited_for_ever() {
    let replicas = Replicas::start().await;
    let frontend = replicas.frontend(&Balancer::to(0)).await;
    let paths = ["/", "/p/p1", "/posts"];
    let mut readers = paths.map(|path| (path, Reader { cookie: "seen=9000".to_owned() }));
    let all = readers.iter_mut().map(async |(path, reader)| {
        let begun = Instant::now();
        let lost = reader.get(&frontend, path).await;
        assert_eq!(lost.status, 503, "{path}");
        assert_ne!(lost.header("retry-after"), "", "{path}");
        assert!(begun.elapsed() >= Duration::from_secs(2), "{path}");
        // The log may have been replaced by an older one: the browser forgets the cookie soon.
        assert_eq!(reader.cookie, "seen=9000!", "{path}");
        let again = reader.get(&frontend, path).await;
        assert_eq!((again.status, again.header("set-cookie")), (503, ""), "{path}: it is not made to last");
    });
    let others = async {
        // They do not wait for what somebody has made up.
        let begun = Instant::now();
        for _ in 0..10 {
            assert_eq!(Reader::default().get(&frontend, "/").await.status, 200);
            assert_eq!(Reader { cookie: "seen=3".to_owned() }.get(&frontend, "/posts").await.status, 200);
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    };
    tokio::join!(futures_util::future::join_all(all), others);
}

#[tokio::test]
async fn the_next_replica_is_asked_where_one_is_behind() {
    let replicas = Replicas::start().await;
    replicas.leave_b_behind().await;
    let turns = Arc::new(AtomicUsize::new(1));
    let routers = [replicas.a.router(), replicas.b.router()];
    let counted = Arc::clone(&turns);
    let forward = async move |request: Request| {
        let router = routers[counted.fetch_add(1, Ordering::SeqCst) % 2].clone();
        router.oneshot(request).await
    };
    let query = Some(Router::new().fallback(any(forward)));
    let frontend = Behind { query, ..Behind::default() }.start().await;
    let mut reader = Reader { cookie: "seen=5".to_owned() };
    let page = reader.get(&frontend, "/p/p1?comments=oldest").await;
    assert!(page.status == 200 && is_newest(&page), "{page:?}");
    assert_eq!(turns.load(Ordering::SeqCst), 3, "two requests");

    // What is only forwarded is refused, and the next answer of a replica that is as far keeps the place.
    let refused = reader.get(&frontend, "/query/posts/p1?wait=1").await;
    assert_eq!((refused.status, reader.cookie.as_str()), (503, "seen=5!"));
    let answered = reader.get(&frontend, "/query/posts/p1?wait=1").await;
    assert!(is_newest(&answered) && reader.cookie == "seen=5", "{answered:?}");
}

#[tokio::test]
async fn pages_stay_shared_among_readers_with_that_cookie() {
    let replicas = Replicas::start().await;
    replicas.leave_b_behind().await;
    let balancer = Balancer::to(0);
    let frontend = replicas.frontend(&balancer).await;
    for path in ["/", "/p/p1"] {
        balancer.next.store(0, Ordering::SeqCst);
        let mut reader = Reader::default();
        let first = reader.get(&frontend, path).await;
        let tag = first.header("etag").to_owned();
        assert_ne!(tag, "", "{path}: it is the page for all");
        assert_eq!(first.header("cache-control"), "private, no-cache", "{path}");
        let headers = [("cookie", reader.cookie.as_str()), ("if-none-match", &tag)];
        assert_eq!(frontend.send("GET", path, &headers, "").await.status, 304, "{path}");
        // A replica that is behind does not take the page back, for nobody.
        balancer.next.store(1, Ordering::SeqCst);
        for mut reader in [reader, Reader::default(), Reader { cookie: "seen=4".to_owned() }] {
            let page = reader.get(&frontend, path).await;
            assert_eq!((page.status, page.header("etag")), (200, tag.as_str()), "{path}");
            assert_eq!(reader.cookie, "seen=5", "{path}");
        }
    }
}

#[tokio::test]
async fn who_has_seen_different_states_shares_an_answer_that_is_new_enough() {
    let replicas = Replicas::start().await;
    replicas.leave_b_behind().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let held = Arc::new(tokio::sync::Semaphore::new(0));
    let (router, counted, permits) = (replicas.a.router(), Arc::clone(&asked), Arc::clone(&held));
    let forward = async move |request: Request| {
        counted.fetch_add(1, Ordering::SeqCst);
        permits.acquire().await.unwrap().forget();
        router.clone().oneshot(request).await
    };
    let query = Some(Router::new().fallback(any(forward)));
    let frontend = Arc::new(Behind { query, ..Behind::default() }.start().await);
    let ask = |seen: usize| {
        let frontend = Arc::clone(&frontend);
        tokio::spawn(async move {
            let mut reader = Reader { cookie: format!("seen={seen}") };
            (reader.get(&frontend, "/posts").await, reader.cookie)
        })
    };
    let mut readers = vec![ask(1)];
    eventually("query is asked", async || (asked.load(Ordering::SeqCst) == 1).then_some(())).await;
    readers.extend((0..20).map(|n| ask(n % 6)));
    // Connections are served in their order: with this answer, those requests have arrived.
    frontend.get("/pkg/nothing").await;
    held.add_permits(100);
    let mut cookies = BTreeSet::new();
    for reader in readers {
        let (answer, cookie) = reader.await.unwrap();
        assert!(answer.status == 200 && is_newest(&answer) || answer.body.contains("The comment"));
        cookies.insert(cookie);
    }
    assert_eq!(cookies, ["seen=5".to_owned()].into());
    assert!(asked.load(Ordering::SeqCst) < 20, "they share: {asked:?}");
}

#[tokio::test]
async fn where_query_is_alone_nobody_gets_a_cookie() {
    let world = World::new();
    let bus = world.start_bus().await;
    let config = world.config(ServiceName::Query).into();
    let alone = world.start(config, query::build).await;
    publish_post(&bus).await;
    let known = async || (alone.get("/query/posts/p1").await.text().contains("approved")).then_some(());
    eventually("the post is known", known).await;
    let frontend = Behind { query: Some(alone.router()), ..Behind::default() }.start().await;
    for path in PAGES.into_iter().chain(FORWARDED) {
        let reply = frontend.get(path).await;
        assert_eq!((reply.status, reply.header("set-cookie")), (200, ""), "{path}");
    }
    let named = [("x-min-sequence", "1")];
    assert_eq!(frontend.send("GET", "/posts?limit=5", &named, "").await.status, 200);
    let bad = [("x-min-sequence", "one")];
    frontend.send("GET", "/posts", &bad, "").await.is_problem(400);
}
