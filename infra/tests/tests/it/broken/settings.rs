//! The settings of the programs.

use super::{CLIENT, DEPLOYMENT, Fault, POSTS, container, plain};
use serde_json::{Value, json};

pub fn faults() -> Vec<Fault> {
    let (settings, own) = ("programs accept their settings", "each service gets its own secrets only");
    vec![
        (DEPLOYMENT, POSTS, container("/env/-"), json!({"name": "EVENTBUS_URL", "value": "x"}), settings),
        (DEPLOYMENT, POSTS, container("/env/-"), json!({"name": "INSECURE", "value": "true"}), settings),
        (DEPLOYMENT, CLIENT, container("/env/-"), json!({"name": "DATA_DIR", "value": "/data"}), settings),
        (DEPLOYMENT, POSTS, container("/env/-"), json!({"name": "RULES", "value": "/rules"}), settings),
        (
            DEPLOYMENT,
            "event-bus-depl",
            container("/env/-"),
            json!({"name": "SUBSCRIBE", "value": "nobody"}),
            settings,
        ),
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
