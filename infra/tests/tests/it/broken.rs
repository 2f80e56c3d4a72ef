//! Each policy says so where it is broken: a copy of the real objects with one thing changed.

use manifest_tests::object::Cluster;
use manifest_tests::policy::POLICIES;
use manifest_tests::render;
use serde_json::{Value, json};

/// What is changed (kind, name, pointer, new value; null removes), and the policy that must notice.
fn faults() -> Vec<(&'static str, &'static str, String, Value, &'static str)> {
    let pod = |rest: &str| format!("/spec/template/spec{rest}");
    let container = |rest: &str| pod(&format!("/containers/0{rest}"));
    let plain = |rest: &str| rest.to_owned();
    let privileges = "pods run with nothing that they do not need";
    let (probed, limits, stop) =
        ("pods are probed", "pods have limits", "pods have the time that their stop takes");
    let (selectors, ports) = ("selectors match", "every port of a Service leads to a port of a container");
    let (course, opened) =
        ("everything has the names of the course", "nothing but the NodePort component opens a port");
    let (alone, several) = ("whoever keeps data is alone", "what runs more than once survives a drain");
    let (settings, own) = ("the programs take the settings", "each is given its own secrets and no other");
    let (ingress, route) = ("the Ingress has the public routes", "the HTTPRoute has the public routes");
    let first = "exact paths come first with Traefik";
    let (ends, denied, through) =
        ("edges have two ends", "whatever is not allowed is denied", "whoever calls another is let through");
    let (posts, query, client) = ("posts-depl", "query-depl", "client-depl");
    let deployment = "Deployment";
    vec![
        (deployment, posts, pod("/securityContext/runAsNonRoot"), Value::Null, privileges),
        (deployment, posts, pod("/securityContext/seccompProfile"), Value::Null, privileges),
        (deployment, posts, pod("/securityContext/runAsUser"), json!(0), privileges),
        (deployment, posts, pod("/automountServiceAccountToken"), Value::Null, privileges),
        (deployment, posts, pod("/enableServiceLinks"), Value::Null, privileges),
        (deployment, posts, pod("/hostNetwork"), json!(true), privileges),
        (deployment, client, container("/securityContext/readOnlyRootFilesystem"), json!(false), privileges),
        (deployment, client, container("/securityContext/allowPrivilegeEscalation"), Value::Null, privileges),
        (deployment, client, container("/securityContext/capabilities/drop"), json!(["NET_RAW"]), privileges),
        (
            deployment,
            client,
            container("/securityContext/capabilities/add"),
            json!(["NET_ADMIN"]),
            privileges,
        ),
        (deployment, client, container("/securityContext/privileged"), json!(true), privileges),
        (deployment, client, pod("/initContainers"), json!([{"name": "late"}]), privileges),
        (deployment, posts, container("/startupProbe"), Value::Null, probed),
        (deployment, posts, container("/livenessProbe/httpGet/path"), json!("/readyz"), probed),
        (deployment, client, container("/readinessProbe/httpGet/port"), json!("metrics"), probed),
        (deployment, posts, container("/resources/limits/memory"), Value::Null, limits),
        (deployment, posts, container("/resources/requests"), Value::Null, limits),
        (deployment, posts, pod("/terminationGracePeriodSeconds"), json!(16), stop),
        (deployment, posts, container("/lifecycle"), Value::Null, stop),
        (
            deployment,
            client,
            plain("/spec/template/metadata/annotations/prometheus.io~1port"),
            json!("3000"),
            "what is scraped is there",
        ),
        (
            deployment,
            posts,
            plain("/spec/selector/matchLabels/app.kubernetes.io~1name"),
            json!("post"),
            selectors,
        ),
        ("Service", "posts-clusterip-srv", plain("/spec/selector/tier"), json!("back"), selectors),
        ("Service", "posts-clusterip-srv", plain("/spec/selector"), Value::Null, selectors),
        ("PodDisruptionBudget", "client", plain("/spec/selector/matchLabels/x"), json!("y"), selectors),
        ("Service", "query-srv", plain("/spec/ports/0/targetPort"), json!("web"), ports),
        ("Service", "query-srv", plain("/spec/ports/0/targetPort"), json!(4002), ports),
        ("Service", "query-srv", plain("/spec/ports/0/port"), json!(80), ports),
        ("Service", "client-srv", plain("/spec/ports/0/targetPort"), json!("admin"), ports),
        ("Service", "comments-srv", plain("/metadata/name"), json!("comments"), course),
        (deployment, posts, plain("/metadata/name"), json!("posts"), course),
        ("Service", "comments-srv", plain("/spec/ports/0/port"), json!(4000), course),
        ("Service", "query-srv", plain("/spec/type"), json!("LoadBalancer"), opened),
        ("Service", "query-srv", plain("/spec/externalIPs"), json!(["192.0.2.1"]), opened),
        ("Service", "posts-srv", plain("/spec/type"), json!("LoadBalancer"), opened),
        (deployment, posts, container("/ports/0/hostPort"), json!(4000), opened),
        ("Service", "query-srv", plain("/metadata/namespace"), Value::Null, "everything is in one namespace"),
        (
            "Namespace",
            "mini-blog",
            plain("/metadata/labels/pod-security.kubernetes.io~1enforce"),
            json!("baseline"),
            "everything is in one namespace",
        ),
        (deployment, posts, plain("/spec/replicas"), json!(2), alone),
        (deployment, posts, plain("/spec/replicas"), Value::Null, alone),
        (deployment, posts, plain("/spec/strategy"), json!({"type": "RollingUpdate"}), alone),
        (deployment, posts, pod("/volumes/0/persistentVolumeClaim/claimName"), json!("query-data"), alone),
        (deployment, posts, pod("/volumes/0"), json!({"name": "data", "emptyDir": {}}), alone),
        (deployment, posts, container("/volumeMounts/0/mountPath"), json!("/var/data"), alone),
        ("PersistentVolumeClaim", "posts-data", plain("/spec/accessModes/0"), json!("ReadWriteOnce"), alone),
        ("HorizontalPodAutoscaler", "client", plain("/spec/scaleTargetRef/name"), json!(query), alone),
        ("HorizontalPodAutoscaler", "client", plain("/spec/scaleTargetRef/name"), json!("nobody"), several),
        (deployment, client, plain("/spec/replicas"), json!(3), several),
        (deployment, client, pod("/topologySpreadConstraints"), Value::Null, several),
        (deployment, client, plain("/spec/strategy/rollingUpdate/maxUnavailable"), json!(1), several),
        (
            "PodDisruptionBudget",
            "client",
            plain("/spec/selector/matchLabels"),
            json!({"app.kubernetes.io/name": "posts"}),
            several,
        ),
        (deployment, posts, container("/env/-"), json!({"name": "EVENTBUS_URL", "value": "x"}), settings),
        (deployment, posts, container("/env/-"), json!({"name": "INSECURE", "value": "true"}), settings),
        (deployment, client, container("/env/-"), json!({"name": "DATA_DIR", "value": "/data"}), settings),
        (deployment, posts, container("/env/-"), json!({"name": "RULES", "value": "/rules"}), settings),
        (
            deployment,
            "event-bus-depl",
            container("/env/-"),
            json!({"name": "SUBSCRIBE", "value": "nobody"}),
            settings,
        ),
        (deployment, posts, container("/ports/0/containerPort"), json!(4444), settings),
        ("Service", "event-bus-srv", plain("/metadata/name"), json!("bus"), "addresses lead to services"),
        ("Service", "event-bus-srv", plain("/spec/ports/0/port"), json!(80), "addresses lead to services"),
        (
            "Service",
            "query-deliveries-srv",
            plain("/spec/publishNotReadyAddresses"),
            Value::Null,
            "deliveries reach who is not ready",
        ),
        (
            "Service",
            "query-srv",
            plain("/spec/publishNotReadyAddresses"),
            json!(true),
            "deliveries reach who is not ready",
        ),
        ("Ingress", "ingress-srv", plain("/spec/rules/0/http/paths/2/path"), json!("/posts/"), ingress),
        ("Ingress", "ingress-srv", plain("/spec/rules/0/http/paths/1"), Value::Null, ingress),
        (
            "Ingress",
            "ingress-srv",
            plain("/spec/rules/0/http/paths/1/pathType"),
            json!("ImplementationSpecific"),
            ingress,
        ),
        (
            "Ingress",
            "ingress-srv",
            plain("/spec/rules/0/http/paths/6/backend/service/port/name"),
            json!("web"),
            ingress,
        ),
        ("Ingress", "ingress-srv", plain("/metadata/annotations"), json!({"rewrite": "/"}), first),
        ("Ingress", "ingress-exact-srv", plain("/metadata/annotations/rewrite"), json!("/"), first),
        ("Ingress", "ingress-exact-srv", plain("/spec/rules/0/http/paths/2"), Value::Null, first),
        ("Ingress", "ingress-exact-srv", plain("/spec/ingressClassName"), json!("nginx"), first),
        (
            "Ingress",
            "ingress-exact-srv",
            plain("/metadata/annotations/traefik.ingress.kubernetes.io~1router.priority"),
            json!("15"),
            first,
        ),
        (
            "Ingress",
            "ingress-exact-srv",
            plain("/metadata/annotations"),
            Value::Null,
            "Traefik reads every path as the front door does",
        ),
        ("Ingress", "ingress-srv", plain("/spec/defaultBackend"), json!({}), ingress),
        ("HTTPRoute", "mini-blog", plain("/spec/rules/4/timeouts/request"), json!("10s"), route),
        ("HTTPRoute", "mini-blog", plain("/spec/rules/3/timeouts/request"), json!("5s"), route),
        ("HTTPRoute", "mini-blog", plain("/spec/rules/0/backendRefs/0/port"), json!(4001), route),
        (
            "HTTPRoute",
            "mini-blog",
            plain("/spec/rules/0/matches/0/path/type"),
            json!("RegularExpression"),
            route,
        ),
        ("HTTPRoute", "mini-blog", plain("/spec/rules/0/matches/0/method"), json!("GET"), route),
        (
            "HTTPRoute",
            "mini-blog",
            plain("/spec/rules/2"),
            Value::Null,
            "every path is read as the front door reads it",
        ),
        (
            "Ingress",
            "ingress-srv",
            plain("/spec/rules/0/http/paths/2/path"),
            json!("/posts/"),
            "every path is read as the front door reads it",
        ),
        ("Ingress", "ingress-srv", plain("/spec/rules/0/host"), json!("post.com"), "the host is one"),
        ("HTTPRoute", "mini-blog", plain("/spec/hostnames"), Value::Null, "the host is one"),
        ("Gateway", "mini-blog", plain("/spec/listeners/0/hostname"), Value::Null, "the host is one"),
        ("NetworkPolicy", "posts", plain("/spec/ingress/0/from/0"), Value::Null, through),
        ("NetworkPolicy", "posts", plain("/spec/ingress/0/from/1"), Value::Null, ends),
        (
            "NetworkPolicy",
            "posts",
            plain("/spec/egress/-"),
            json!({"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}),
            ends,
        ),
        ("NetworkPolicy", "posts", plain("/spec/egress/-"), json!({}), ends),
        ("NetworkPolicy", "posts", plain("/spec/egress/0/ports"), Value::Null, ends),
        ("NetworkPolicy", "posts", plain("/spec/ingress/0/ports/0/port"), json!(4001), ends),
        ("NetworkPolicy", "posts", plain("/spec/ingress/0/ports/0/endPort"), json!(5000), ends),
        ("NetworkPolicy", "posts", plain("/spec/ingress/0/from/-"), json!({"namespaceSelector": {}}), ends),
        ("NetworkPolicy", "dns", plain("/spec/egress/0/to/-"), json!({"podSelector": {}}), denied),
        ("NetworkPolicy", "default-deny", plain("/spec/policyTypes"), json!(["Ingress"]), denied),
        ("NetworkPolicy", "default-deny", plain("/spec/ingress"), json!([{}]), denied),
        (deployment, posts, container("/env/-"), json!({"name": "QUERY_SECRET", "valueFrom": {}}), own),
        (
            deployment,
            posts,
            container("/env/-"),
            json!({"name": "OPERATOR_TOKEN", "value": "in-plain"}),
            "no secret is written down",
        ),
    ]
}

fn complaints(cluster: &Cluster, policy: &str) -> Vec<String> {
    let (_, policy) = POLICIES.iter().find(|(name, _)| *name == policy).expect("a policy of that name");
    policy(cluster)
}

#[test]
fn every_fault_is_noticed_by_its_policy() {
    let Some(all) = render::one(render::ALL) else { return };
    let faults = faults();
    for (kind, name, pointer, value, policy) in &faults {
        let broken = all.with(kind, name, pointer, value.clone());
        assert!(
            !complaints(&broken, policy).is_empty(),
            "{policy:?} does not notice {kind} {name} {pointer} {value}"
        );
    }
    for (policy, _) in POLICIES {
        assert!(faults.iter().any(|(.., noticing)| noticing == policy), "{policy:?} is not tried");
    }
}

#[test]
fn what_is_missing_altogether_is_noticed() {
    let Some(all) = render::one(render::ALL) else { return };
    for (kind, name, policy) in [
        ("NetworkPolicy", "default-deny", "whatever is not allowed is denied"),
        ("NetworkPolicy", "dns", "whatever is not allowed is denied"),
        ("NetworkPolicy", "client", "edges have two ends"),
        ("PodDisruptionBudget", "client", "what runs more than once survives a drain"),
        ("PersistentVolumeClaim", "posts-data", "whoever keeps data is alone"),
        ("Service", "query-deliveries-srv", "deliveries reach who is not ready"),
        ("Ingress", "ingress-srv", "the Ingress has the public routes"),
        ("Ingress", "ingress-exact-srv", "exact paths come first with Traefik"),
        ("HTTPRoute", "mini-blog", "the HTTPRoute has the public routes"),
        ("Namespace", "mini-blog", "everything is in one namespace"),
        ("Deployment", "moderation-depl", "everything has the names of the course"),
    ] {
        assert!(
            !complaints(&all.without(kind, name), policy).is_empty(),
            "{policy:?} does not miss {kind} {name}"
        );
    }
}

#[test]
fn a_setting_that_is_left_out_or_a_secret_that_is_not_there_is_noticed() {
    let Some(dev) = render::one("dev") else { return };
    let variables =
        dev.find("Deployment", "comments-depl").expect("comments").at("/spec/template/spec/containers/0/env");
    for (index, variable) in variables.as_array().expect("a list").iter().enumerate() {
        if variable["name"] == "LOG_FORMAT" {
            continue;
        }
        let pointer = format!("/spec/template/spec/containers/0/env/{index}");
        let broken = dev.with("Deployment", "comments-depl", &pointer, Value::Null);
        let noticed: usize = POLICIES.iter().map(|(_, policy)| policy(&broken).len()).sum();
        assert!(noticed > 0, "nobody misses {variable}");
    }
    let own = "each is given its own secrets and no other";
    let secret = dev.of_kind("Secret").next().expect("the laptop's").name();
    assert!(!complaints(&dev.with("Secret", secret, "/metadata/name", json!("other")), own).is_empty());
    let production = Cluster { name: "production".to_owned(), ..dev.clone() };
    assert!(!complaints(&production, "no secret is written down").is_empty(), "production renders no Secret");
}
