//! The event bus, for an operator and for a service with its secret.

use crate::http::{Answer, Request, Server};
use crate::signature::{self, Direction};
use crate::stack::Stack;
use serde_json::{Value, json};
use shared::ServiceName;
use test_support::{LIMIT, eventually, holds};

impl Stack {
    /// `GET` with the operator's token.
    pub async fn operator_get(&self, service: ServiceName, path: &str) -> Answer {
        self.at(service).get(path).token(&self.secret("OPERATOR_TOKEN")).send().await
    }

    /// `POST` with the operator's token.
    pub async fn operator_post(&self, service: ServiceName, path: &str) -> Answer {
        self.at(service).post(path).token(&self.secret("OPERATOR_TOKEN")).send().await
    }

    /// The whole log, byte for byte.
    pub async fn log_bytes(&self) -> String {
        self.operator_get(ServiceName::EventBus, "/events").await.expect(200).text()
    }

    /// The whole log, event by event.
    pub async fn log(&self) -> Vec<Value> {
        let Value::Array(events) =
            self.operator_get(ServiceName::EventBus, "/events").await.expect(200).json()
        else {
            panic!("the log is not an array")
        };
        events
    }

    /// The row of a subscriber in `GET /subscriptions`; null if there is none.
    pub async fn subscription(&self, name: &str) -> Value {
        let rows = self.operator_get(ServiceName::EventBus, "/subscriptions").await.expect(200).json();
        let row = rows.as_array().and_then(|rows| rows.iter().find(|row| row["name"] == name));
        row.cloned().unwrap_or(Value::Null)
    }

    /// Waits until a subscriber has acknowledged the whole log.
    pub async fn until_caught_up(&self, service: ServiceName) {
        eventually(LIMIT, &format!("{service} has caught up"), async || {
            holds(self.subscription(service.as_str()).await, |row| row["lag"] == 0)
        })
        .await;
    }

    /// The dead letters of a service.
    pub async fn dead_letters(&self, service: ServiceName) -> Vec<Value> {
        let letters = self.operator_get(service, "/dead-letters").await.expect(200).json();
        letters.as_array().cloned().unwrap_or_default()
    }

    /// A request that publishes an event, signed with the secret of a service.
    pub fn publication(&self, publisher: ServiceName, event: &Value) -> Request {
        let secret = self.secret(&format!("{}_SECRET", publisher.as_str().to_uppercase()));
        signed(self.at(ServiceName::EventBus), &secret, Direction::Publish, 0, event)
    }

    /// Publishes an event as a service; returns its sequence.
    pub async fn publish(&self, publisher: ServiceName, event: &Value) -> String {
        let answer = self.publication(publisher, event).send().await.expect(200);
        let json = answer.json();
        assert_eq!(json["status"], "OK", "{answer}");
        json["sequence"].as_str().unwrap_or_else(|| panic!("no sequence: {answer}")).to_owned()
    }
}

/// `POST /events` with a signature.
pub fn signed(to: &Server, secret: &str, direction: Direction, seconds_ago: i64, event: &Value) -> Request {
    let body = event.to_string();
    let request = to.post("/events").body("application/json", body.clone());
    let headers = signature::headers(secret, direction, seconds_ago, body.as_bytes());
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

/// A `PostCreated` in the course's form.
pub fn post_created(id: &str, title: &str) -> Value {
    json!({ "type": "PostCreated", "data": { "id": id, "title": title } })
}

/// A `CommentCreated` in the course's form.
pub fn comment_created(id: &str, post: &str, content: &str) -> Value {
    let data = json!({ "id": id, "content": content, "postId": post, "status": "pending" });
    json!({ "type": "CommentCreated", "data": data })
}
