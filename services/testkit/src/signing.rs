//! Requests with the secrets of a world: the operator's, and the signed ones of services and the bus.
//!
//! Here, so that neither requests nor running services have to know the world that holds the secrets.

use crate::http_calls::{Ask, Reply, post};
use crate::running::Running;
use crate::world::World;
use kit::messaging::signature::Direction;
use shared::envelope::CLOUDEVENTS_BATCH_JSON;
use shared::{Envelope, ServiceName};

impl Ask {
    /// Adds the operator's token of this world.
    pub fn as_operator(self, world: &World) -> Self {
        self.bearer(world.operator_token())
    }

    /// Signs the body as it is now, with the key of a service in one direction.
    pub fn signed(mut self, world: &World, service: ServiceName, direction: Direction) -> Self {
        for (name, value) in world.sign(service, direction, &self.body) {
            self.headers.insert(name, value);
        }
        self
    }
}

impl Running {
    /// Delivers events as the bus does: in a batch, signed if this world has secrets.
    pub async fn deliver(&self, world: &World, events: &[Envelope]) -> Reply {
        let body = serde_json::to_vec(events).expect("JSON");
        let mut ask = post("/events").body(CLOUDEVENTS_BATCH_JSON, body);
        if world.secret(self.name).is_some() {
            ask = ask.signed(world, self.name, Direction::Deliver);
        }
        self.send(ask).await
    }
}
