//! How containers end when they are asked to.

use crate::deployment::Deployment;
use shared::ServiceName;
use std::collections::BTreeMap;
use std::time::Duration;
use system_tests::sse::Stream;

/// How many readers have a stream open while everything is told to stop.
const READERS: usize = 20;

/// SIGTERM ends each with exit code 0 inside its grace period, though readers have streams open; the streams end
/// properly. Gives back how long each took. Afterwards all run again.
pub async fn are_clean_and_in_time(deployment: &Deployment) -> BTreeMap<ServiceName, Duration> {
    let (door, query) = (deployment.front_door(), deployment.service(ServiceName::Query).await);
    let bus = deployment.service(ServiceName::EventBus).await;
    let token = &deployment.manifests[&ServiceName::EventBus].environment["OPERATOR_TOKEN"];
    // The website first: the streams that pass through it are still open then.
    let mut took = BTreeMap::new();
    for service in ServiceName::ALL.into_iter().rev() {
        let mut streams = Vec::new();
        for _ in 0..READERS {
            match service {
                ServiceName::Frontend => streams.push(Stream::open(door.get("/live")).await),
                ServiceName::Query => streams.push(Stream::open(query.get("/live")).await),
                ServiceName::EventBus => {
                    streams.push(Stream::open(bus.get("/events/stream").token(token)).await);
                }
                _ => {}
            }
        }
        let grace = Duration::from_secs(deployment.manifests[&service].grace);
        let ended = deployment.stop(service).await;
        let log = deployment.logs(&deployment.name(service)).await;
        assert_eq!(ended.code, 0, "{service} ends with {} after {:?}:\n{log}", ended.code, ended.took);
        assert!(ended.took < grace, "{service} took {:?} of its {grace:?}:\n{log}", ended.took);
        assert!(log.contains("\"stopped\""), "{service} does not say that it has stopped:\n{log}");
        for stream in &mut streams {
            while stream.next().await.is_some() {}
        }
        took.insert(service, ended.took);
    }
    for service in ServiceName::ALL {
        deployment.start(service).await;
    }
    took
}
