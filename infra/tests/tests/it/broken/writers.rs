//! Which workloads may have several pods, and which must not.

use super::{CLIENT, DEPLOYMENT, Fault, POSTS, QUERY, container, plain, pod};
use serde_json::{Value, json};

pub fn faults() -> Vec<Fault> {
    let (alone, several) = ("a store has one writer", "replicated workloads survive a drain");
    let room = "claims fit any cluster";
    let (written, acts) = ("stores can be written", "the autoscaler can act");
    vec![
        (DEPLOYMENT, POSTS, pod("/volumes/0/persistentVolumeClaim/readOnly"), json!(true), written),
        (DEPLOYMENT, POSTS, container("/volumeMounts/0/readOnly"), json!(true), written),
        ("PersistentVolumeClaim", "posts-data", plain("/spec/storageClassName"), json!("fast"), room),
        ("PodDisruptionBudget", "client", plain("/spec/minAvailable"), json!(2), several),
        (DEPLOYMENT, CLIENT, pod("/topologySpreadConstraints/0/minDomains"), json!(9), several),
        (
            "HorizontalPodAutoscaler",
            "client",
            plain("/spec/behavior"),
            json!({"scaleUp": {"selectPolicy": "Disabled"}}),
            acts,
        ),
        (DEPLOYMENT, POSTS, plain("/spec/replicas"), json!(2), alone),
        (DEPLOYMENT, POSTS, plain("/spec/replicas"), Value::Null, alone),
        (DEPLOYMENT, POSTS, plain("/spec/strategy"), json!({"type": "RollingUpdate"}), alone),
        (DEPLOYMENT, POSTS, pod("/volumes/0/persistentVolumeClaim/claimName"), json!("query-data"), alone),
        (DEPLOYMENT, POSTS, pod("/volumes/0"), json!({"name": "data", "emptyDir": {}}), alone),
        (DEPLOYMENT, POSTS, container("/volumeMounts/0/mountPath"), json!("/var/data"), alone),
        ("PersistentVolumeClaim", "posts-data", plain("/spec/accessModes/0"), json!("ReadWriteOnce"), alone),
        ("HorizontalPodAutoscaler", "client", plain("/spec/scaleTargetRef/name"), json!(QUERY), alone),
        ("HorizontalPodAutoscaler", "client", plain("/spec/scaleTargetRef/name"), json!("nobody"), acts),
        (DEPLOYMENT, CLIENT, plain("/spec/replicas"), json!(3), several),
        (DEPLOYMENT, CLIENT, pod("/topologySpreadConstraints"), Value::Null, several),
        (DEPLOYMENT, CLIENT, plain("/spec/strategy/rollingUpdate/maxUnavailable"), json!(1), several),
        (
            "PodDisruptionBudget",
            "client",
            plain("/spec/selector/matchLabels"),
            json!({"app.kubernetes.io/name": "posts"}),
            several,
        ),
        ("PersistentVolumeClaim", "posts-data", plain("/spec/resources"), Value::Null, room),
        (
            "PersistentVolumeClaim",
            "posts-data",
            plain("/spec/resources/requests/storage"),
            json!("1Mi"),
            room,
        ),
        ("PodDisruptionBudget", "client", plain("/spec/maxUnavailable"), json!(0), several),
        ("PodDisruptionBudget", "client", plain("/spec/maxUnavailable"), json!("100%"), several),
        ("PodDisruptionBudget", "client", plain("/spec/maxUnavailable"), Value::Null, several),
        (DEPLOYMENT, CLIENT, plain("/spec/strategy/rollingUpdate/maxSurge"), json!(0), several),
        (
            DEPLOYMENT,
            CLIENT,
            pod("/topologySpreadConstraints/0/whenUnsatisfiable"),
            json!("DoNotSchedule"),
            several,
        ),
        ("HorizontalPodAutoscaler", "client", plain("/spec/minReplicas"), json!(7), acts),
        ("HorizontalPodAutoscaler", "client", plain("/spec/minReplicas"), json!(1), acts),
        ("HorizontalPodAutoscaler", "client", plain("/spec/maxReplicas"), json!(1), acts),
    ]
}
