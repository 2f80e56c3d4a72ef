//! What a replica does that does not deliver: it notes in the table what the one that delivers has to know.

use super::{RegisterError, SEEN_STEP_MS, Subscriptions, has_room_for};
use crate::delivery::machine::Registration;
use crate::store::{Progress, SavedSubscription};
use shared::bus::SubscriptionView;
use shared::{Sequence, Timestamp};

impl Subscriptions {
    /// Notes a registration if it says more than that the consumer lives.
    pub(super) async fn note_registration(
        &self,
        name: String,
        new: Registration,
        now: Timestamp,
    ) -> Result<(), RegisterError> {
        let Some(found) = self.table.one(&name).await? else {
            let all: Vec<_> = self.table.all().await?.into_iter().map(|other| other.name).collect();
            has_room_for(&name, all.iter())?;
            let Registration { url, cursor, batch, .. } = new;
            tracing::info!(subscriber = name, url, cursor = cursor.get(), "a new subscriber");
            return Ok(self.table.insert(SavedSubscription::new(name, url, cursor, batch, now)).await?);
        };
        // What is saved of a cursor may lag: a consumer that is before it has lost something.
        let is_news = new.started
            || found.url != new.url
            || found.batch != new.batch
            || found.cursor > new.cursor
            || found.lost_tail.is_some();
        if !is_news && now.ms_since(found.seen_at) < SEEN_STEP_MS {
            return Ok(());
        }
        let change = move |saved: &mut SavedSubscription| {
            saved.seen_at = saved.seen_at.max(now);
            if is_news {
                let Registration { url, cursor, batch, started } = new.clone();
                (saved.url, saved.cursor, saved.batch, saved.started) = (url, cursor, batch, started);
                saved.lost_tail = None;
                saved.progress = Progress::default();
                saved.registration += 1;
            }
        };
        Ok(self.table.note(name, change).await?)
    }

    /// Notes that the log does not hold what a consumer has applied.
    pub(super) async fn note_lost_tail(&self, name: String, why: String) -> Result<(), RegisterError> {
        // A replica that delivers knows all that there are. Without a row nothing is delivered.
        if self.leads() || self.table.one(&name).await?.is_none_or(|found| found.lost_tail.is_some()) {
            return Ok(());
        }
        let change = move |saved: &mut SavedSubscription| {
            saved.lost_tail = Some(why.clone());
            saved.registration += 1;
        };
        Ok(self.table.note(name, change).await?)
    }
}

impl SavedSubscription {
    /// A row of `GET /subscriptions`, except the age of the oldest event that is not acknowledged.
    pub(super) fn view(self, head: Sequence) -> SubscriptionView {
        let Self { name, url, cursor, lost_tail, progress, .. } = self;
        let Progress { attempts, next_retry, last_error } = progress;
        let is_lost = lost_tail.is_some();
        SubscriptionView {
            name,
            url,
            cursor,
            lag: (head.get() - cursor.get()).max(0),
            attempts,
            next_retry,
            last_error: lost_tail.or(last_error),
            oldest_unacked_age_ms: 0,
            lost_tail: is_lost,
        }
    }
}
