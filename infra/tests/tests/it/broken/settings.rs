//! The settings of the programs.

use super::{CLIENT, DEPLOYMENT, Fault, POSTS, QUERY, container, plain};
use serde_json::{Value, json};

const BUS: &str = "event-bus-depl";

pub fn faults() -> Vec<Fault> {
    let (settings, own) = ("programs accept their settings", "each service gets its own secrets only");
    let (site, register) =
        ("programs know their site and its proxies", "only advertised addresses may register");
    let variable = |deployment, name: &str, value: Value, policy| {
        (DEPLOYMENT, deployment, container(&format!("/env/={name}/value")), value, policy)
    };
    vec![
        variable(POSTS, "SITE_URL", json!("http://blog.example"), site),
        variable(QUERY, "SITE_URL", json!("https://posts.com"), site),
        variable(CLIENT, "SITE_URL", json!("http://posts.com:8080"), site),
        variable("comments-depl", "TRUSTED_PROXIES", json!("2"), site),
        variable("moderation-depl", "TRUSTED_PROXIES", json!("0"), site),
        ("Ingress", "ingress-srv", plain("/spec/rules/0/host"), json!("blog.example"), site),
        (DEPLOYMENT, BUS, container("/env/-"), json!({"name": "TRUSTED_PROXIES", "value": "1"}), site),
        variable(BUS, "SUBSCRIBER_URLS", json!("posts=http://posts-clusterip-srv:4000"), register),
        (DEPLOYMENT, BUS, container("/env/=SUBSCRIBER_URLS"), Value::Null, register),
        variable(POSTS, "ADVERTISE_URL", json!("http://posts-srv:4000"), register),
        variable(QUERY, "ADVERTISE_URL", json!("http://query-srv:4002"), register),
        (DEPLOYMENT, POSTS, container("/env/=SITE_URL"), Value::Null, site),
        (DEPLOYMENT, POSTS, container("/env/-"), json!({"name": "EVENTBUS_URL", "value": "x"}), settings),
        (DEPLOYMENT, POSTS, container("/env/-"), json!({"name": "INSECURE", "value": "true"}), settings),
        (DEPLOYMENT, CLIENT, container("/env/-"), json!({"name": "DATA_DIR", "value": "/data"}), settings),
        (DEPLOYMENT, POSTS, container("/env/-"), json!({"name": "RULES", "value": "/rules"}), settings),
        (DEPLOYMENT, BUS, container("/env/-"), json!({"name": "SUBSCRIBE", "value": "nobody"}), settings),
        (DEPLOYMENT, POSTS, container("/ports/0/containerPort"), json!(4444), settings),
        ("Service", "event-bus-srv", plain("/metadata/name"), json!("bus"), "addresses lead to services"),
        ("Service", "event-bus-srv", plain("/spec/ports/0/port"), json!(80), "addresses lead to services"),
        (
            "Service",
            "query-deliveries-srv",
            plain("/spec/publishNotReadyAddresses"),
            Value::Null,
            "deliveries reach services that are not ready",
        ),
        (
            "Service",
            "query-srv",
            plain("/spec/publishNotReadyAddresses"),
            json!(true),
            "deliveries reach services that are not ready",
        ),
        (DEPLOYMENT, POSTS, container("/env/-"), json!({"name": "QUERY_SECRET", "valueFrom": {}}), own),
        (
            DEPLOYMENT,
            POSTS,
            container("/env/-"),
            json!({"name": "OPERATOR_TOKEN", "value": "in-plain"}),
            "no secret is in a manifest",
        ),
        (
            DEPLOYMENT,
            CLIENT,
            container("/env/-"),
            json!({"name": "LEPTOS_SITE_ROOT", "value": "target/site"}),
            settings,
        ),
    ]
}
