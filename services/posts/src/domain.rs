//! How a post is created and shown. Pure: no I/O, no clock.

use shared::commands::CreatePost;
use shared::events::PostCreated;
use shared::views::PostView;
use shared::{PostId, Timestamp};

pub fn create(command: CreatePost, id: PostId, now: Timestamp) -> PostCreated {
    PostCreated {
        id,
        title: command.title,
        body: command.body,
        author: command.author,
        created_at: Some(now),
        version: Some(1),
    }
}

pub fn view(post: &PostCreated) -> PostView {
    PostView {
        id: post.id.clone(),
        title: post.title.clone(),
        body: post.body.clone(),
        author: post.author.clone(),
        created_at: post.created_at,
        version: post.version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_becomes_an_event_with_the_same_text() {
        let command = CreatePost::new(" Title ", "**body**", "Ada").unwrap();
        let event = create(command, "p1".parse().unwrap(), Timestamp::from_unix_ms(9));
        assert_eq!(
            (event.title.as_str(), event.body.as_str(), event.author.as_str()),
            ("Title", "**body**", "Ada")
        );
        assert_eq!(event.created_at, Some(Timestamp::from_unix_ms(9)));
        let json = serde_json::to_value(view(&event)).unwrap();
        assert_eq!(json["id"], "p1");
        assert_eq!(json["createdAt"], "1970-01-01T00:00:00.009Z");
    }
}
