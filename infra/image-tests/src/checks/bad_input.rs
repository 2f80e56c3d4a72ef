//! Containers with wrong settings, or in an environment in which they cannot work.

use crate::another;
use shared::ServiceName::{self, Comments, EventBus, Frontend, Moderation, Posts, Query};
use system_tests::containers::deployment::Deployment;
use system_tests::{LIMIT, eventually};

/// The exit code of wrong settings, and of an environment in which the service cannot start.
const WRONG_SETTINGS: i64 = 2;
const CANNOT_START: i64 = 1;

/// A container that must end by itself.
struct Wrong {
    service: ServiceName,
    variables: &'static [(&'static str, Option<&'static str>)],
    flags: &'static [&'static str],
    code: i64,
    /// What its error line must name.
    names: &'static [&'static str],
}

const fn setting(
    service: ServiceName,
    variables: &'static [(&'static str, Option<&'static str>)],
    names: &'static [&'static str],
) -> Wrong {
    Wrong { service, variables, flags: &[], code: WRONG_SETTINGS, names }
}

const WRONG: [Wrong; 15] = [
    setting(Posts, &[("POSTS_SECRET", None)], &["POSTS_SECRET", "missing"]),
    setting(Comments, &[("COMMENTS_SECRET", None)], &["COMMENTS_SECRET", "missing"]),
    setting(Moderation, &[("MODERATION_SECRET", None)], &["MODERATION_SECRET", "missing"]),
    setting(Query, &[("QUERY_SECRET", Some(""))], &["QUERY_SECRET", "missing"]),
    setting(EventBus, &[("MODERATION_SECRET", None)], &["MODERATION_SECRET", "missing"]),
    setting(EventBus, &[("OPERATOR_TOKEN", None)], &["OPERATOR_TOKEN", "missing"]),
    setting(Posts, &[("OPERATOR_TOKEN", Some(""))], &["OPERATOR_TOKEN", "missing"]),
    setting(Posts, &[("POSTS_SECRET", Some("too-short"))], &["secret", "at least 16 bytes"]),
    setting(Posts, &[("EVENT_BUS_URL", Some("event-bus-srv:4005"))], &["EVENT_BUS_URL", "http://HOST:PORT"]),
    setting(
        Query,
        &[("EVENT_BUS_URL", Some("https://event-bus-srv"))],
        &["EVENT_BUS_URL", "http://HOST:PORT"],
    ),
    setting(Comments, &[("ADVERTISE_URL", Some("comments-srv"))], &["ADVERTISE_URL", "http://HOST:PORT"]),
    setting(Frontend, &[("QUERY_URL", Some("query-srv:4002"))], &["QUERY_URL", "http://HOST:PORT"]),
    setting(Posts, &[("LISTEN", Some("everywhere"))], &["everywhere"]),
    // The root file system: only the volume can be written.
    Wrong {
        service: Posts,
        variables: &[("DATA_DIR", Some("/elsewhere"))],
        flags: &[],
        code: CANNOT_START,
        names: &["/elsewhere", "Read-only"],
    },
    // A volume that belongs to root, as in a cluster without fsGroup.
    Wrong {
        service: EventBus,
        variables: &[],
        flags: &["--mount=type=volume,destination=/data,volume-nocopy"],
        code: CANNOT_START,
        names: &["/data", "Permission denied"],
    },
];

/// Each ends at once with its exit code and one line that names the fault and no secret.
pub async fn is_named_in_one_line(deployment: &Deployment) {
    for Wrong { service, variables, flags, code, names } in WRONG {
        let container = another::launch(deployment, service, variables, flags).await;
        let ended = another::until_ended(deployment, &container).await;
        let log = deployment.logs(&container);
        let what = format!("{service} with {variables:?} {flags:?} ends with {ended} and says:\n{log}");
        assert_eq!(ended, code, "{what}");
        let line = log.lines().find(|line| names.iter().all(|name| line.contains(name)));
        assert!(line.is_some(), "no line has all of {names:?}: {what}");
        assert!(!log.contains("panicked"), "{what}");
        for (name, secret) in &deployment.manifests[&service].environment {
            let private = name.ends_with("_SECRET") || name == "OPERATOR_TOKEN";
            assert!(!private || !log.contains(secret.as_str()), "{name} is nobody's business: {what}");
        }
        deployment.engine.run(&["rm", "--force", "--volumes", &container]).await;
    }
}

/// Without a bus no service ends: posts and comments are ready and accept writes; a query that has never caught up is not
/// ready.
pub async fn is_survived_where_only_the_bus_is_missing(deployment: &Deployment) {
    let nowhere = [("EVENT_BUS_URL", Some("http://nobody-here:4005"))];
    for (service, ready) in [(Posts, 200), (Comments, 200), (Query, 503)] {
        let flags = ["--volume=/data"];
        let container = another::launch(deployment, service, &nowhere, &flags).await;
        let place =
            another::place(deployment, &container, deployment.manifests[&service].ports["http"]).await;
        let what = format!("{service} says that the bus cannot be reached");
        eventually(LIMIT, &what, async || {
            let log = deployment.logs(&container);
            if log.contains("the bus cannot be reached: cannot connect") { Ok(()) } else { Err(log) }
        })
        .await;
        place.get("/livez").send().await.expect(200);
        place.get("/readyz").send().await.expect(ready);
        if service == Posts {
            let new = serde_json::json!({ "title": "Kept until there is a bus" });
            place.post("/posts/create").json(&new).send().await.expect(201);
        }
        assert_eq!(deployment.state(&container).await["Running"], true);
        deployment.engine.run(&["rm", "--force", "--volumes", &container]).await;
    }
}
