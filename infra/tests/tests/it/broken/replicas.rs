//! Several pods of every service.

use super::{DEPLOYMENT, Fault, POSTS, container, plain, pod};
use serde_json::{Value, json};

const SET: &str = "StatefulSet";

pub fn faults() -> Vec<Fault> {
    let (names, files) = ("pods of query know their names", "files go with their pods");
    let (survive, alone) = ("replicated workloads survive a drain", "a store has one writer");
    let (register, settings) = ("only advertised addresses may register", "programs accept their settings");
    let query = |pointer: String, value, policy| (SET, "query", pointer, value, policy);
    let addresses = "=SUBSCRIBER_URLS/value";
    let listed = json!(
        "posts=http://posts-clusterip-srv:4000,comments=http://comments-srv:4001,\
         moderation=http://moderation-srv:4003,query=http://query-0.query-headless:4002"
    );
    vec![
        query(container("/env/=INSTANCE"), Value::Null, names),
        query(container("/env/=INSTANCE"), json!({"name": "INSTANCE", "value": "query"}), names),
        query(container("/env/=INSTANCE/valueFrom/fieldRef/fieldPath"), json!("metadata.uid"), names),
        // What comes later is not known.
        query(container("/env/0"), json!({"name": "LOG_FORMAT", "value": "json"}), names),
        query(container("/env/=ALLOWED_HOSTS"), Value::Null, names),
        query(container("/env/=ADVERTISE_URL/value"), json!("http://query-0.query-srv:4002"), names),
        query(plain("/spec/serviceName"), json!("query-srv"), names),
        ("Service", "query-headless", plain("/spec/clusterIP"), Value::Null, names),
        (
            DEPLOYMENT,
            POSTS,
            container("/env/-"),
            json!({"name": "INSTANCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
            settings,
        ),
        (
            "Service",
            "query-headless",
            plain("/spec/publishNotReadyAddresses"),
            Value::Null,
            "deliveries reach services that are not ready",
        ),
        (DEPLOYMENT, "event-bus-depl", container(&format!("/env/{addresses}")), listed, register),
        query(plain("/spec/persistentVolumeClaimRetentionPolicy"), Value::Null, files),
        query(plain("/spec/persistentVolumeClaimRetentionPolicy/whenScaled"), json!("Retain"), files),
        query(plain("/spec/podManagementPolicy"), Value::Null, files),
        query(plain("/spec/volumeClaimTemplates"), Value::Null, files),
        query(plain("/spec/volumeClaimTemplates/0/spec/accessModes"), json!(["ReadWriteOnce"]), alone),
        query(container("/volumeMounts/0/mountPath"), json!("/elsewhere"), alone),
        query(
            plain("/spec/volumeClaimTemplates/0/spec/resources/requests/storage"),
            json!("1Mi"),
            "claims fit any cluster",
        ),
        query(plain("/spec/updateStrategy"), json!({"type": "OnDelete"}), survive),
        query(pod("/topologySpreadConstraints/0"), Value::Null, survive),
        (DEPLOYMENT, POSTS, pod("/topologySpreadConstraints/0"), Value::Null, survive),
        (DEPLOYMENT, POSTS, plain("/spec/strategy/rollingUpdate/maxUnavailable"), json!(1), survive),
        (DEPLOYMENT, POSTS, plain("/spec/strategy"), json!({"type": "Recreate"}), survive),
        (DEPLOYMENT, POSTS, plain("/spec/replicas"), json!(2), survive),
        ("PodDisruptionBudget", "event-bus", plain("/spec/maxUnavailable"), json!(2), survive),
        (DEPLOYMENT, "moderation-depl", plain("/spec/replicas"), json!(1), survive),
        (
            "HorizontalPodAutoscaler",
            "query",
            plain("/spec/scaleTargetRef/name"),
            json!("client-depl"),
            "what readers use is scaled",
        ),
        (
            "HorizontalPodAutoscaler",
            "query",
            plain("/spec/scaleTargetRef/kind"),
            json!(DEPLOYMENT),
            "the autoscaler can act",
        ),
        query(plain("/metadata/name"), json!("query-depl"), "names are the course's"),
    ]
}
