//! What a write waits for.

/// What a write waits for before it runs, where the engine has several writers. SQLite has one: there, all writes run one
/// after another, and none of these costs anything.
///
/// A write takes one guard. Only the consumer takes locks beside its own ([`super::Tx::lock`]), and nothing that holds a
/// key's lock waits for the consumer: no writes wait for each other in a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// Every write that changes what belongs to this key. The key of a command is its post, also for the command that
    /// creates the post: what one post's writes put into the outbox is numbered in the order in which they are committed.
    Key(String),
    /// Every other write of the consumer: it holds the row of the cursor. For deliveries, redrive and discard, in a store
    /// with the tables of a peer.
    Consumer,
    /// Nothing but the rows that its own statements change. For a write that is right whatever others do meanwhile: it
    /// changes rows without having read anything on which the change depends. Lazy writes are of this kind.
    None,
}
