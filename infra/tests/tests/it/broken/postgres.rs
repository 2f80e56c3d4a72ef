//! PostgreSQL and the services that keep their state in it.

use super::{DEPLOYMENT, Fault, POSTS, container, plain, pod};
use serde_json::{Value, json};

pub fn faults() -> Vec<Fault> {
    let (two, bytes) = ("commits are on two nodes", "texts compare by bytes");
    let (own, mounted) = ("each service has its own database", "addresses of databases are mounted");
    let (connections, room) = ("connections suffice", "instances of the database have room");
    let (sessions, ends) = ("dead sessions end", "network edges are allowed at both ends");
    let through = "the network allows every call";
    let cluster = |pointer, value, policy| ("Cluster", "postgres", plain(pointer), value, policy);
    let source = |rest: &str| pod(&format!("/volumes/0/projected/{rest}"));
    vec![
        cluster("/spec/instances", json!(2), two),
        cluster("/spec/postgresql/synchronous", Value::Null, two),
        cluster("/spec/postgresql/synchronous/dataDurability", json!("preferred"), two),
        cluster("/spec/postgresql/synchronous/failoverQuorum", Value::Null, two),
        cluster("/spec/postgresql/parameters/synchronous_commit", json!("off"), two),
        cluster("/spec/affinity/podAntiAffinityType", json!("preferred"), two),
        cluster("/spec/enablePDB", json!(false), two),
        cluster("/spec/bootstrap/initdb/localeCollate", json!("en_US.utf8"), bytes),
        cluster("/spec/bootstrap/initdb/encoding", Value::Null, bytes),
        ("Database", "comments", plain("/spec/localeCType"), Value::Null, bytes),
        ("Database", "comments", plain("/spec/owner"), json!("posts"), own),
        ("Database", "comments", plain("/spec/name"), json!("posts"), own),
        ("Database", "comments", plain("/spec/cluster/name"), json!("other"), own),
        ("Database", "comments", plain("/spec/databaseReclaimPolicy"), json!("delete"), own),
        ("DatabaseRole", "comments", plain("/spec/superuser"), json!(true), own),
        ("DatabaseRole", "comments", plain("/spec/inRoles"), json!(["posts"]), own),
        ("DatabaseRole", "comments", plain("/spec/passwordSecret/name"), json!("postgres-posts"), own),
        cluster("/spec/postgresql/pg_hba/0", json!("hostssl all all all scram-sha-256"), own),
        cluster("/spec/postgresql/pg_hba/1", Value::Null, own),
        cluster("/spec/enableSuperuserAccess", json!(true), own),
        (DEPLOYMENT, POSTS, container("/env/=DATABASE_URL_FILE"), Value::Null, own),
        (DEPLOYMENT, POSTS, source("sources/0/secret/name"), json!("postgres-comments"), mounted),
        (DEPLOYMENT, POSTS, source("sources/1/secret/items"), Value::Null, mounted),
        (DEPLOYMENT, POSTS, source("sources/1/secret/items/0/key"), json!("ca.key"), mounted),
        (DEPLOYMENT, POSTS, source("sources/0/secret/optional"), json!(true), mounted),
        (DEPLOYMENT, POSTS, source("defaultMode"), json!(0o644), mounted),
        (DEPLOYMENT, POSTS, container("/volumeMounts/0/subPath"), json!("url"), mounted),
        (DEPLOYMENT, POSTS, container("/volumeMounts/0/mountPath"), json!("/elsewhere"), mounted),
        (DEPLOYMENT, POSTS, pod("/volumes/-"), json!({"name": "x", "secret": {"secretName": "y"}}), mounted),
        cluster("/spec/postgresql/parameters/max_connections", json!("100"), connections),
        cluster("/spec/postgresql/parameters/max_connections", Value::Null, connections),
        ("HorizontalPodAutoscaler", "posts", plain("/spec/maxReplicas"), json!(20), connections),
        cluster("/spec/postgresql/parameters/tcp_keepalives_idle", Value::Null, sessions),
        cluster("/kind", json!("Pooler"), "no pooler stands before the database"),
        cluster("/spec/imageName", Value::Null, room),
        cluster("/spec/imageName", json!("ghcr.io/cloudnative-pg/postgresql:18"), room),
        cluster("/spec/walStorage", Value::Null, room),
        cluster("/spec/storage/size", json!("10Mi"), room),
        cluster("/spec/resources/limits/memory", json!("2Gi"), room),
        cluster("/spec/resources", Value::Null, room),
        ("NetworkPolicy", "postgres", plain("/spec/ingress/0/from/0"), Value::Null, ends),
        ("NetworkPolicy", "posts", plain("/spec/egress/1"), Value::Null, ends),
        ("NetworkPolicy", "postgres", plain("/spec/egress/1/ports"), Value::Null, ends),
        (
            "NetworkPolicy",
            "posts",
            plain("/spec/egress/-"),
            json!({"ports": [{"port": 443}, {"port": 6443}]}),
            ends,
        ),
        ("NetworkPolicy", "postgres", plain("/spec/egress/1"), Value::Null, through),
        ("NetworkPolicy", "postgres", plain("/spec/ingress/0"), Value::Null, through),
        ("NetworkPolicy", "postgres", plain("/spec/ingress/1/from/0"), Value::Null, through),
        ("NetworkPolicy", "postgres", plain("/spec/ingress/1/from/1"), Value::Null, through),
        (
            DEPLOYMENT,
            POSTS,
            container("/env/-"),
            json!({"name": "DATABASE_URL", "value": "postgres://posts:in-plain@postgres-rw/posts"}),
            "no secret is in a manifest",
        ),
        (
            DEPLOYMENT,
            "event-bus-depl",
            container("/env/-"),
            json!({"name": "EVENT_LOG_URL", "value": "nats://bus:in-plain@nats:4222/log"}),
            "no secret is in a manifest",
        ),
        (
            DEPLOYMENT,
            POSTS,
            container("/env/-"),
            json!({"name": "DATA_DIR", "value": "/data"}),
            "a store has one writer",
        ),
    ]
}
