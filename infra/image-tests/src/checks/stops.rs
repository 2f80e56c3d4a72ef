//! How containers stop on SIGTERM.

use shared::ServiceName;
use std::collections::BTreeMap;
use std::time::Duration;
use system_tests::LIMIT;
use system_tests::containers::deployment::Deployment;
use system_tests::sse::Reader;

/// How many readers have a stream open during the stop.
const READERS: usize = 20;

/// SIGTERM ends each with exit code 0 within its grace period, although readers have streams open; the streams end
/// properly. Returns how long each took. Afterwards all run again.
pub async fn are_clean_and_in_time(deployment: &Deployment) -> BTreeMap<ServiceName, Duration> {
    let (door, query) = (deployment.front_door(), deployment.service(ServiceName::Query));
    let bus = deployment.service(ServiceName::EventBus);
    let token = &deployment.manifests[&ServiceName::EventBus].environment["OPERATOR_TOKEN"];
    // Near the end of the log: reading all of it again and again would not test streams.
    let subscriptions = bus.get("/subscriptions").token(token).send().await.expect(200).json();
    let near_the_end = subscriptions[0]["cursor"].as_str().expect("a cursor").to_owned();
    // The website first, while the streams through it are open.
    let mut took = BTreeMap::new();
    for service in ServiceName::ALL.into_iter().rev() {
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let request = match service {
                ServiceName::Frontend => door.get("/live"),
                ServiceName::Query => query.get("/live"),
                ServiceName::EventBus => {
                    bus.get("/events/stream").token(token).header("last-event-id", &near_the_end)
                }
                _ => break,
            };
            let mut reader = Reader::open(request).await.unwrap_or_else(|e| panic!("{service}: {e}"));
            // The readers keep reading: an unread answer delays the stop, and would not test streams.
            readers.push(tokio::spawn(async move { while reader.next().await.is_some() {} }));
        }
        let grace = Duration::from_secs(deployment.manifests[&service].grace);
        let ended = deployment.stop(service).await;
        let log = deployment.logs(&deployment.name(service));
        assert_eq!(ended.code, 0, "{service} ends with {} after {:?}:\n{log}", ended.code, ended.took);
        assert!(ended.took < grace, "{service} took {:?} of its {grace:?}:\n{log}", ended.took);
        assert!(log.contains("\"stopped\""), "{service} does not say that it has stopped:\n{log}");
        for reader in readers {
            let end = tokio::time::timeout(LIMIT, reader).await;
            end.expect("the stream ends").expect("its reader reads to the end");
        }
        took.insert(service, ended.took);
    }
    deployment.start_all().await;
    took
}
