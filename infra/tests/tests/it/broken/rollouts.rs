//! How long a deployment may take.

use super::{CLIENT, DEPLOYMENT, Fault, POSTS, container, plain, pod};
use serde_json::{Value, json};

pub fn faults() -> Vec<Fault> {
    let waits = "a rollout waits as long as a start may take";
    vec![
        // Without it, Kubernetes waits 600 s, which the startup probe alone may take.
        (DEPLOYMENT, POSTS, plain("/spec/progressDeadlineSeconds"), Value::Null, waits),
        (DEPLOYMENT, POSTS, plain("/spec/progressDeadlineSeconds"), json!(650), waits),
        (DEPLOYMENT, POSTS, container("/startupProbe/failureThreshold"), json!(1200), waits),
        (DEPLOYMENT, POSTS, pod("/terminationGracePeriodSeconds"), json!(900), waits),
        (DEPLOYMENT, CLIENT, plain("/spec/progressDeadlineSeconds"), json!(30), waits),
        (DEPLOYMENT, POSTS, plain("/spec/paused"), json!(true), waits),
    ]
}
