//! The posts and comments of `mini-blog seed`: the same numbers and the same seed are the same events.

use fastrand::Rng;
use shared::events::{CommentCreated, PostCreated, Status};
use shared::{CommentId, Envelope, Event, PostId, ServiceName, Timestamp};
use std::fmt::Write as _;
use uuid::Uuid;

/// The beginning of 2024, in milliseconds since 1970. Everything is dated in that year, before what anybody writes now.
const BEGIN_MS: u64 = 1_704_067_200_000;
const YEAR_MS: u64 = 366 * 86_400_000;
/// How many posts are published before the comments that were written meanwhile.
const POSTS_IN_ROUND: u64 = 200;
/// The most events in one publication: below the limits of the bus for their number and their bytes.
const BATCH: u64 = 1_000;

const NAMES: [&str; 12] =
    ["Ada", "Bob", "Chiara", "Dragoş", "Emine", "Farid", "Grace", "Hélène", "Ivo", "Jun", "Kwame", "Lucía"];
const WORDS: [&str; 64] = [
    "the",
    "a",
    "of",
    "and",
    "in",
    "it",
    "to",
    "is",
    "that",
    "was",
    "for",
    "on",
    "with",
    "as",
    "at",
    "by",
    "an",
    "from",
    "which",
    "apple",
    "garden",
    "bread",
    "river",
    "evening",
    "kitchen",
    "winter",
    "letter",
    "harbour",
    "morning",
    "window",
    "recipe",
    "mountain",
    "bicycle",
    "library",
    "neighbour",
    "station",
    "old",
    "green",
    "quiet",
    "small",
    "warm",
    "early",
    "late",
    "better",
    "simple",
    "forgotten",
    "bakes",
    "walks",
    "remembers",
    "finds",
    "writes",
    "grows",
    "keeps",
    "leaves",
    "slowly",
    "again",
    "never",
    "always",
    "perhaps",
    "almost",
    "together",
    "outside",
    "yesterday",
    "soon",
];
/// Moderation's rules reject a comment with this word, unless an operator has set others.
const BLOCKED: &str = "orange";
/// Every so many comments have the blocked word.
const BLOCKED_EVERY: u64 = 50;

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    pub posts: u64,
    pub comments: u64,
    pub seed: u64,
}

/// Events of one publisher, for one publication.
#[derive(Debug)]
pub struct Batch {
    pub publisher: ServiceName,
    pub events: Vec<Envelope>,
}

/// Makes the batches in the order in which they are published: each comment after its post.
#[derive(Debug)]
pub struct Content {
    amount: Amount,
    rng: Rng,
    /// The ids of the posts so far.
    posts: Vec<PostId>,
    comments: u64,
}

impl Content {
    pub fn new(amount: Amount) -> Self {
        Self { amount, rng: Rng::with_seed(amount.seed), posts: Vec::new(), comments: 0 }
    }

    /// The next batch; none at the end.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, serde_json::Error> {
        let posts = self.posts.len() as u64;
        let due = match self.amount.posts {
            0 => 0,
            all => u128::from(self.amount.comments) * u128::from(posts) / u128::from(all),
        };
        let due = due as u64 - self.comments;
        if due > 0 {
            let events = (0..due.min(BATCH)).map(|_| self.comment()).collect::<Result<_, _>>()?;
            return Ok(Some(Batch { publisher: ServiceName::Comments, events }));
        }
        let left = (self.amount.posts - posts).min(POSTS_IN_ROUND);
        if left == 0 {
            return Ok(None);
        }
        let events = (0..left).map(|_| self.post()).collect::<Result<_, _>>()?;
        Ok(Some(Batch { publisher: ServiceName::Posts, events }))
    }

    fn post(&mut self) -> Result<Envelope, serde_json::Error> {
        let (now, id) = self.moment_and_id();
        let id = PostId::try_from(id).map_err(serde::de::Error::custom)?;
        let rng = &mut self.rng;
        let title = capitalised(&words(rng, 3..9));
        let body = body(rng);
        let author = author(rng);
        self.posts.push(id.clone());
        let post = PostCreated { id, title, body, author, created_at: Some(now), version: Some(1) };
        self.envelope(post.into(), now)
    }

    fn comment(&mut self) -> Result<Envelope, serde_json::Error> {
        let (now, id) = self.moment_and_id();
        let id = CommentId::try_from(id).map_err(serde::de::Error::custom)?;
        let rng = &mut self.rng;
        // A few posts have long threads, most have some comments, and some have none.
        let place = rng.f64().powi(2) * self.posts.len() as f64;
        let post_id = self.posts[(place as usize).min(self.posts.len() - 1)].clone();
        let mut content = sentences(rng, 1..4);
        if self.comments.is_multiple_of(BLOCKED_EVERY) {
            let _ = write!(content, " An {BLOCKED}!");
        }
        let comment = CommentCreated {
            id,
            content,
            post_id,
            status: Status::Pending,
            author: author(rng),
            author_key: Some(format!("{:032x}", rng.u128(..))),
            created_at: Some(now),
            version: Some(1),
        };
        self.comments += 1;
        self.envelope(comment.into(), now)
    }

    /// The time of the next post or comment, and an id of this time.
    fn moment_and_id(&mut self) -> (Timestamp, String) {
        let made = self.posts.len() as u64 + self.comments;
        let all = self.amount.posts + self.amount.comments;
        let ms = BEGIN_MS + (u128::from(YEAR_MS) * u128::from(made) / u128::from(all.max(1))) as u64;
        (Timestamp::from_unix_ms(ms.cast_signed()), self.id(ms).to_string())
    }

    /// A UUID in the form of version 7.
    fn id(&mut self, ms: u64) -> Uuid {
        let mut random = [0; 10];
        self.rng.fill(&mut random);
        uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
    }

    fn envelope(&mut self, event: Event, now: Timestamp) -> Result<Envelope, serde_json::Error> {
        let id = self.id(now.unix_ms().unsigned_abs()).to_string();
        let mut envelope = Envelope::new(&event, id.clone(), now)?;
        envelope.correlationid = Some(id);
        Ok(envelope)
    }
}

fn author(rng: &mut Rng) -> String {
    rng.choice(NAMES).unwrap_or_default().to_owned()
}

fn words(rng: &mut Rng, count: std::ops::Range<usize>) -> String {
    let count = rng.usize(count);
    let words: Vec<_> = (0..count).filter_map(|_| rng.choice(WORDS)).collect();
    words.join(" ")
}

fn capitalised(text: &str) -> String {
    let (first, rest) = text.split_at(text.len().min(1));
    first.to_ascii_uppercase() + rest
}

fn sentences(rng: &mut Rng, count: std::ops::Range<usize>) -> String {
    let count = rng.usize(count);
    let sentences: Vec<_> = (0..count).map(|_| capitalised(&words(rng, 5..16)) + ".").collect();
    sentences.join(" ")
}

/// Two to five paragraphs of Markdown.
fn body(rng: &mut Rng) -> String {
    let mut text = sentences(rng, 2..6);
    for _ in 0..rng.usize(1..5) {
        let paragraph = sentences(rng, 2..6);
        let _ = match rng.u8(0..4) {
            0 => write!(text, "\n\n**{}** {paragraph}", capitalised(&words(rng, 2..5))),
            1 => write!(text, "\n\n- {}\n- {}", words(rng, 3..8), words(rng, 3..8)),
            2 => write!(text, "\n\n## {}\n\n{paragraph}", capitalised(&words(rng, 2..6))),
            _ => write!(text, "\n\n{paragraph}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::commands::{CreateComment, CreatePost};
    use std::collections::BTreeSet;

    fn events(amount: Amount) -> Vec<Envelope> {
        let mut content = Content::new(amount);
        let batches = std::iter::from_fn(|| content.next_batch().unwrap());
        batches.flat_map(|batch| batch.events).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_events_and_another_seed_others() {
        let json = |seed| serde_json::to_string(&events(Amount { posts: 3, comments: 20, seed })).unwrap();
        assert_eq!(json(1), json(1));
        assert_ne!(json(1), json(2));
    }

    #[test]
    fn what_is_made_is_what_a_person_could_write_each_comment_after_its_post() {
        let mut posts = BTreeSet::new();
        let mut comments = 0;
        for envelope in events(Amount { posts: 450, comments: 2_600, seed: 7 }) {
            match envelope.event().unwrap().unwrap() {
                Event::PostCreated(post) => {
                    let valid = CreatePost::new(&post.title, &post.body, &post.author).unwrap();
                    assert_eq!((valid.title, valid.body), (post.title, post.body));
                    assert!(posts.insert(post.id));
                }
                Event::CommentCreated(comment) => {
                    let valid = CreateComment::new(&comment.content, &comment.author).unwrap();
                    assert_eq!(valid.content, comment.content);
                    assert!(posts.contains(&comment.post_id));
                    comments += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((posts.len(), comments), (450, 2_600));
        assert!(events(Amount { posts: 0, comments: 5, seed: 7 }).is_empty());
    }
}
