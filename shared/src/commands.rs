//! The requests that create or decide something, and their validation.
//!
//! The JSON is read field by field instead of by serde, so that one answer names every invalid field, with a
//! human-readable message for each.

use crate::events::Status;
use crate::problem::FieldError;
use crate::text::{self, Limits};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The body of `POST /posts/create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatePost {
    /// See [`text::TITLE`].
    pub title: String,
    /// Markdown; see [`text::BODY`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// See [`text::AUTHOR`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
}

/// The body of `POST /posts/{id}/comments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateComment {
    /// See [`text::CONTENT`].
    pub content: String,
    /// See [`text::AUTHOR`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
}

/// A moderator's verdict on a comment on hold, the body of `POST /moderation/comments/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecideComment {
    /// Approved or rejected, never pending.
    pub status: Status,
    /// Public, if the comment is rejected; see [`text::REASON`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl CreatePost {
    /// From the fields of a form. Returns every invalid field.
    pub fn new(title: &str, body: &str, author: &str) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::default();
        let command = Self {
            title: fields.check(text::TITLE, title),
            body: fields.check(text::BODY, body),
            author: fields.check(text::AUTHOR, author),
        };
        fields.finish(command)
    }

    /// From the JSON body of a request. Returns every invalid field, also those that are unknown.
    pub fn from_json(value: &Value) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::default();
        let object = fields.object(value, &["title", "body", "author"]);
        let command = Self {
            title: fields.text(text::TITLE, object),
            body: fields.text(text::BODY, object),
            author: fields.text(text::AUTHOR, object),
        };
        fields.finish(command)
    }
}

impl CreateComment {
    /// From the fields of a form. Returns every invalid field.
    pub fn new(content: &str, author: &str) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::default();
        let command = Self {
            content: fields.check(text::CONTENT, content),
            author: fields.check(text::AUTHOR, author),
        };
        fields.finish(command)
    }

    /// From the JSON body of a request. Returns every invalid field, also those that are unknown.
    pub fn from_json(value: &Value) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::default();
        let object = fields.object(value, &["content", "author"]);
        let command =
            Self { content: fields.text(text::CONTENT, object), author: fields.text(text::AUTHOR, object) };
        fields.finish(command)
    }
}

impl DecideComment {
    /// From the JSON body of a request. Returns every invalid field, also those that are unknown.
    pub fn from_json(value: &Value) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::default();
        let object = fields.object(value, &["status", text::REASON.field]);
        let command = Self { status: fields.verdict(object), reason: fields.text(text::REASON, object) };
        fields.finish(command)
    }
}

/// Collects all errors instead of stopping at the first.
#[derive(Default)]
struct Fields {
    errors: Vec<FieldError>,
}

impl Fields {
    fn object<'a>(&mut self, value: &'a Value, known: &[&str]) -> Option<&'a Map<String, Value>> {
        let Value::Object(object) = value else {
            self.errors.push(FieldError { pointer: String::new(), detail: "must be an object".to_owned() });
            return None;
        };
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            let escaped: String =
                name.chars().take(64).collect::<String>().replace('~', "~0").replace('/', "~1");
            self.errors.push(FieldError::new(&escaped, "is not a field of this request"));
        }
        Some(object)
    }

    fn text(&mut self, limits: Limits, object: Option<&Map<String, Value>>) -> String {
        let Some(object) = object else { return String::new() };
        match object.get(limits.field) {
            Some(Value::String(text)) => self.check(limits, text),
            None | Some(Value::Null) if limits.min == 0 => String::new(),
            None => {
                self.errors.push(FieldError::new(limits.field, "is missing"));
                String::new()
            }
            Some(_) => {
                self.errors.push(FieldError::new(limits.field, "must be a string"));
                String::new()
            }
        }
    }

    fn verdict(&mut self, object: Option<&Map<String, Value>>) -> Status {
        let Some(object) = object else { return Status::Pending };
        let status = object.get("status").and_then(Value::as_str).map(str::parse);
        if let Some(Ok(status @ (Status::Approved | Status::Rejected))) = status {
            return status;
        }
        self.errors.push(FieldError::new("status", "must be approved or rejected"));
        Status::Pending
    }

    fn check(&mut self, limits: Limits, text: &str) -> String {
        limits.check(text).unwrap_or_else(|error| {
            self.errors.push(error);
            String::new()
        })
    }

    fn finish<T>(self, command: T) -> Result<T, Vec<FieldError>> {
        if self.errors.is_empty() { Ok(command) } else { Err(self.errors) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointers(errors: Vec<FieldError>) -> Vec<String> {
        errors.into_iter().map(|e| e.pointer).collect()
    }

    #[test]
    fn the_course_client_sends_only_a_title() {
        let post = CreatePost::from_json(&json!({"title": " Hello "})).unwrap();
        assert_eq!(post, CreatePost { title: "Hello".into(), body: String::new(), author: String::new() });
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let bad =
            json!({"title": {"a": 1}, "body": 5, "author": "x".repeat(81), "status": "approved", "a/b~": 1});
        let found = pointers(CreatePost::from_json(&bad).unwrap_err());
        assert_eq!(found, ["/a~1b~0", "/status", "/title", "/body", "/author"]);
    }

    #[test]
    fn wrong_types_are_errors_of_their_field() {
        for wrong in [json!(5), json!(null), json!([]), json!({}), json!(true)] {
            let errors = CreateComment::from_json(&json!({"content": wrong})).unwrap_err();
            assert_eq!(pointers(errors), ["/content"]);
        }
        assert_eq!(pointers(CreateComment::from_json(&json!({})).unwrap_err()), ["/content"]);
        assert_eq!(pointers(CreateComment::from_json(&json!([1])).unwrap_err()), [""]);
        assert_eq!(pointers(CreateComment::from_json(&json!("x")).unwrap_err()), [""]);
    }

    #[test]
    fn a_form_is_held_to_the_same_limits() {
        assert_eq!(pointers(CreatePost::new("", "", "").unwrap_err()), ["/title"]);
        assert_eq!(pointers(CreateComment::new(" ", "a\u{202E}b").unwrap_err()), ["/content", "/author"]);
        assert!(CreateComment::new("hi", "").is_ok());
    }
}
