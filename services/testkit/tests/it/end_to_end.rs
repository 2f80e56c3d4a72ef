//! All services and the bus, while some of them stop, start, lose their stores or cannot be reached. The result is the
//! same as without any fault.

use proptest::prelude::*;
use serde_json::{Value, json};
use shared::ServiceName::{self, Comments, EventBus, Moderation, Posts, Query};
use std::collections::{BTreeMap, HashMap};
use testkit::{Running, World, eventually, get, post};

/// A write, or a fault.
#[derive(Debug, Clone)]
enum Step {
    Post,
    Comment { on: prop::sample::Index, orange: bool },
    StopOrStart(ServiceName),
    CutOffOrRejoin(ServiceName),
    LoseAnswers(ServiceName, usize),
    Wipe(ServiceName),
}

fn step() -> impl Strategy<Value = Step> {
    let part = || prop::sample::select(vec![EventBus, Posts, Comments, Moderation, Query]);
    let peer = prop::sample::select(ServiceName::PEERS.to_vec());
    prop_oneof![
        4 => Just(Step::Post),
        8 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(on, orange)| Step::Comment { on, orange }),
        3 => part().prop_map(Step::StopOrStart),
        2 => part().prop_map(Step::CutOffOrRejoin),
        3 => (part(), 1..4_usize).prop_map(|(name, count)| Step::LoseAnswers(name, count)),
        2 => peer.prop_map(Step::Wipe),
    ]
}

/// The system, and what it has acknowledged.
struct System {
    world: World,
    running: HashMap<ServiceName, Running>,
    cut_off: Vec<ServiceName>,
    /// Acknowledged posts, by id, with their titles.
    posts: BTreeMap<String, String>,
    /// Acknowledged comments, by id, with their text.
    comments: BTreeMap<String, String>,
}

impl System {
    async fn new() -> Self {
        let world = World::secure();
        let mut this = Self {
            world,
            running: HashMap::new(),
            cut_off: Vec::new(),
            posts: BTreeMap::new(),
            comments: BTreeMap::new(),
        };
        for name in [EventBus, Posts, Comments, Moderation, Query] {
            this.start(name).await;
        }
        this
    }

    async fn start(&mut self, name: ServiceName) {
        let running = crate::start(&self.world, name).await;
        self.running.insert(name, running);
    }

    async fn stop(&mut self, name: ServiceName) {
        if let Some(running) = self.running.remove(&name) {
            self.cut_off.retain(|other| *other != name);
            self.world.stop(running).await;
        }
    }

    async fn take(&mut self, step: Step) {
        self.world.clock.advance_ms(1);
        match step {
            Step::Post => {
                let Some(posts) = self.running.get(&Posts) else { return };
                let title = format!("post {}", self.posts.len());
                let created = posts.post("/posts/create", &json!({ "title": title })).await.ok(201);
                self.posts.insert(text(&created["id"]), title);
            }
            Step::Comment { on, orange } => self.comment(on, orange).await,
            Step::StopOrStart(name) if self.running.contains_key(&name) => self.stop(name).await,
            Step::StopOrStart(name) => self.start(name).await,
            Step::CutOffOrRejoin(name) => self.cut_off_or_rejoin(name),
            Step::LoseAnswers(name, count) => self.world.network.lose_answers(name, count),
            Step::Wipe(name) => {
                let was_running = self.running.contains_key(&name);
                self.stop(name).await;
                // The log cannot restore what was never published.
                if self.world.data_dir(name).exists() && self.outbox_is_empty(name) {
                    self.world.wipe(name);
                }
                if was_running {
                    self.start(name).await;
                }
            }
        }
    }

    /// Comments on a post that the service already knows.
    async fn comment(&mut self, on: prop::sample::Index, orange: bool) {
        let Some(comments) = self.running.get(&Comments) else { return };
        let known = self.world.rows(Comments, "SELECT id FROM posts ORDER BY id");
        if known.is_empty() {
            return;
        }
        let post_id = known[on.index(known.len())].trim_matches('"').to_owned();
        let content = format!("{} {}", if orange { "an orange" } else { "a pear" }, self.comments.len());
        let path = format!("/posts/{post_id}/comments");
        let all = comments.post(&path, &json!({ "content": content })).await.ok(201);
        let new = all.as_array().and_then(|all| all.last().cloned()).unwrap();
        self.comments.insert(text(&new["id"]), content);
    }

    fn cut_off_or_rejoin(&mut self, name: ServiceName) {
        let Some(running) = self.running.get(&name) else { return };
        if let Some(at) = self.cut_off.iter().position(|other| *other == name) {
            self.cut_off.remove(at);
            running.rejoin();
        } else {
            self.cut_off.push(name);
            running.cut_off();
        }
    }

    fn outbox_is_empty(&self, name: ServiceName) -> bool {
        self.world.rows(name, "SELECT seq FROM outbox LIMIT 1").is_empty()
    }

    /// Ends all faults and waits until every event is published and applied.
    async fn settles(&mut self) {
        for name in [EventBus, Posts, Comments, Moderation, Query] {
            match self.running.get(&name) {
                Some(running) => running.rejoin(),
                None => self.start(name).await,
            }
        }
        let head = || self.world.rows(EventBus, "SELECT coalesce(max(seq), 0) FROM events");
        let cursor = |name| self.world.rows(name, "SELECT coalesce(max(seq), 0) FROM cursor");
        eventually("every event is applied", async || {
            let before = head();
            // In this order: an applied event has its effects in the outbox or in the log.
            let applied = ServiceName::PEERS.into_iter().all(|name| cursor(name) == before);
            let published = ServiceName::PEERS.into_iter().all(|name| self.outbox_is_empty(name));
            (applied && published && head() == before).then_some(())
        })
        .await;
    }

    async fn operator(&self, name: ServiceName, path: &str) -> String {
        let reply = self.running[&name].send(get(path).as_operator(&self.world)).await;
        assert_eq!(reply.status, 200);
        reply.text().to_owned()
    }

    /// The log has every event once, and both sides show every write with its verdict.
    async fn is_right(&mut self) {
        for name in ServiceName::PEERS {
            assert_eq!(self.operator(name, "/dead-letters").await, "[]", "{name}");
        }
        let log: Vec<Value> = serde_json::from_str(&self.operator(EventBus, "/events").await).unwrap();
        let logged = |kind: &str| {
            let of_kind = log.iter().filter(|e| e["type"] == kind);
            let mut ids: Vec<_> = of_kind.map(|e| text(&e["data"]["id"])).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(logged("PostCreated"), self.posts.keys().cloned().collect::<Vec<_>>());
        for kind in ["CommentCreated", "CommentModerated", "CommentUpdated"] {
            assert_eq!(logged(kind), self.comments.keys().cloned().collect::<Vec<_>>(), "{kind}");
        }

        let shown = self.running[&Query].get("/posts").await.ok(200);
        let titles: BTreeMap<_, _> =
            shown.as_object().unwrap().iter().map(|(id, post)| (id.clone(), text(&post["title"]))).collect();
        assert_eq!(titles, self.posts);
        let mut verdicts = BTreeMap::new();
        for (id, post) in shown.as_object().unwrap() {
            let theirs = self.running[&Comments].get(&format!("/posts/{id}/comments")).await.ok(200);
            let brief = |all: &Value| -> BTreeMap<String, (String, String)> {
                let brief = |c: &Value| (text(&c["id"]), (text(&c["status"]), text(&c["content"])));
                all.as_array().unwrap().iter().map(brief).collect()
            };
            assert_eq!(brief(&theirs), brief(&post["comments"]), "both sides say the same");
            verdicts.extend(brief(&theirs));
        }
        let expected = self.comments.iter().map(|(id, content)| {
            let approved = !content.contains("orange");
            let verdict = if approved { ("approved", content.as_str()) } else { ("rejected", "") };
            (id.clone(), (verdict.0.to_owned(), verdict.1.to_owned()))
        });
        assert_eq!(verdicts, expected.collect());
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_fails_on_the_way_nothing_is_lost_and_nothing_is_told_twice(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut system = System::new().await;
            for step in steps {
                system.take(step).await;
            }
            system.settles().await;
            system.is_right().await;

            // A rebuilt read model is the same, byte for byte.
            let model = system.operator(Query, "/read-model").await;
            let posts = system.running[&Query].get("/posts").await.body;
            system.take(Step::Wipe(Query)).await;
            system.settles().await;
            assert_eq!(system.operator(Query, "/read-model").await, model);
            assert_eq!(system.running[&Query].get("/posts").await.body, posts);
        });
    }
}

#[test]
fn without_faults_every_comment_gets_its_verdict() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut system = System::new().await;
        system.take(Step::Post).await;
        eventually("comments knows the post", async || {
            (!system.world.rows(Comments, "SELECT id FROM posts").is_empty()).then_some(())
        })
        .await;
        let id = system.posts.keys().next().cloned().unwrap();
        let ask = post(format!("/posts/{id}/comments")).json(&json!({"content": "hi"}));
        let all = system.running[&Comments].send(ask).await.ok(201);
        system.comments.insert(text(&all[0]["id"]), "hi".to_owned());
        system.settles().await;
        system.is_right().await;
    });
}
