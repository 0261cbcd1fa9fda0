//! Pausing queues and limiting what runs in them.

use std::num::NonZeroU32;

use redis::RedisResult;
use sqlx::PgConnection;

use crate::{
    db::queues as table,
    jobs::QueueName,
    queue::{Queues, Settings},
};

/// What to change in a queue's settings; absent fields stay as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SettingsChange {
    /// Whether nothing is claimed.
    pub paused: Option<bool>,
    /// How many jobs may run at once; `Some(None)` lifts the limit.
    pub concurrency: Option<Option<NonZeroU32>>,
    /// How many of each organisation may; `Some(None)` lifts the limit.
    pub org_concurrency: Option<Option<NonZeroU32>>,
}

impl SettingsChange {
    /// Nothing is claimed any more; what runs goes on.
    pub const PAUSE: Self = Self { paused: Some(true), concurrency: None, org_concurrency: None };
    /// Jobs are claimed again.
    pub const RESUME: Self = Self { paused: Some(false), concurrency: None, org_concurrency: None };
}

/// Changes a queue's settings and gives what they are now, to be sent by [`publish_settings`] after the commit.
///
/// # Errors
/// Those of the database.
pub async fn set_settings(
    connection: &mut PgConnection,
    queue: QueueName,
    change: SettingsChange,
) -> sqlx::Result<Settings> {
    let number = |limit: Option<NonZeroU32>| limit.map(NonZeroU32::get);
    let before = table::lock(connection, queue).await?;
    let after = Settings {
        paused: change.paused.unwrap_or(before.paused),
        concurrency: change.concurrency.map_or(before.concurrency, number),
        org_concurrency: change.org_concurrency.map_or(before.org_concurrency, number),
    };
    if after != before {
        table::set(connection, queue, after).await?;
    }
    Ok(after)
}

/// Brings committed settings to Redis, where they take effect with the next claim.
///
/// # Errors
/// Redis is away. The settings are kept: they come to Redis with the next time that the ledger's are restored.
pub async fn publish_settings(queues: &Queues, queue: QueueName, settings: Settings) -> RedisResult<()> {
    queues.apply_settings(queue, settings).await
}
