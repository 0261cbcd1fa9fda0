//! Changing what holds for queues and organisations: first in the ledger, then in Redis.

use redis::RedisError;
use sqlx::{Connection as _, PgConnection};

use crate::db::{self, org_settings::OrgSetting};
use crate::ids::OrgId;
use crate::intake::within_patience;
use crate::jobs::{QUEUES, QueueName};
use crate::queue::{MAX_BATCH, OrgSettings, Queues, Settings};

/// So often a caller that others were faster than tries again. Each time somebody has got further.
const MAX_TURNS: u32 = 20;

/// Why Redis was not brought what the ledger says.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Redis is away.
    #[error("Redis")]
    Redis(#[from] RedisError),
    /// Postgres is away.
    #[error("Postgres")]
    Postgres(#[from] sqlx::Error),
}

/// Changes a queue's settings and gives them back. If Redis is away the change is stored all the same, and workers bring it to
/// Redis when it is back.
///
/// # Errors
/// Those of the database.
pub async fn change_settings(
    connection: &mut PgConnection,
    queues: &Queues,
    queue: QueueName,
    change: impl FnOnce(&mut Settings) + Send,
) -> Result<Settings, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // One change after another: each is a read and a write of all settings, and of a row that may not exist yet.
    sqlx::query("LOCK TABLE queue_settings IN SHARE ROW EXCLUSIVE MODE").execute(&mut *transaction).await?;
    let mut settings = db::queues::settings(&mut transaction, queue).await?;
    change(&mut settings);
    db::queues::set(&mut transaction, queue, settings).await?;
    transaction.commit().await?;
    within_patience(async {
        if let Err(error) = restore(connection, queues, queue).await {
            tracing::warn!(queue = %queue, error = &error as &dyn std::error::Error, "the queue's settings are stored but Redis did not take them yet");
        }
    })
    .await;
    Ok(settings)
}

/// Changes what holds for an organisation that exists, in one queue or (`None`) in all, and gives back what was made of it. If Redis is
/// away the change is stored all the same, and workers bring it to Redis when it is back.
///
/// # Errors
/// Those of the database.
pub async fn change_org_settings(
    connection: &mut PgConnection,
    queues: &Queues,
    (org, queue): (OrgId, Option<QueueName>),
    change: impl FnOnce(&mut OrgSettings) + Send,
) -> Result<OrgSettings, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    db::org_settings::lock(&mut transaction).await?;
    let mut settings = db::org_settings::get(&mut transaction, org, queue).await?;
    change(&mut settings);
    db::org_settings::set(&mut transaction, &OrgSetting { org, queue, settings }).await?;
    transaction.commit().await?;
    within_patience(async {
        for queue in QUEUES.into_iter().filter(|one| queue.is_none_or(|queue| queue == *one)) {
            if let Err(error) = restore_organisations(connection, queues, queue).await {
                tracing::warn!(queue = %queue, error = &error as &dyn std::error::Error, "the organisation's settings are stored but Redis did not take them yet");
                break;
            }
        }
    })
    .await;
    Ok(settings)
}

/// Brings a queue's settings, and those of organisations in it, from the ledger to Redis. A Redis that had lost them serves the queue
/// when this is done, and not before.
///
/// # Errors
/// Redis or Postgres is away.
pub async fn restore(connection: &mut PgConnection, queues: &Queues, queue: QueueName) -> Result<(), RestoreError> {
    restore_organisations(connection, queues, queue).await?;
    let settings = db::queues::settings(connection, queue).await?;
    Ok(queues.apply_settings(queue, settings).await?)
}

/// Brings Redis what has changed for organisations since it was last told.
async fn restore_organisations(
    connection: &mut PgConnection,
    queues: &Queues,
    queue: QueueName,
) -> Result<(), RestoreError> {
    for _ in 0..MAX_TURNS {
        let latest = db::org_settings::version(connection).await?;
        let known = queues.organisations_version(queue).await?;
        if known == Some(latest) || bring(connection, queues, queue, (known, latest)).await? {
            break;
        }
    }
    Ok(())
}

/// Gives whether nobody else was faster.
async fn bring(
    connection: &mut PgConnection,
    queues: &Queues,
    queue: QueueName,
    (mut known, latest): (Option<i64>, i64),
) -> Result<bool, RestoreError> {
    let since = known.filter(|known| *known <= latest).unwrap_or(0);
    let changed = db::org_settings::changed_since(connection, queue, since).await?;
    for batch in changed.chunks(MAX_BATCH) {
        let version = batch.last().map_or(latest, |last| last.version);
        if !queues.apply_organisations(queue, known, version, batch).await? {
            return Ok(false);
        }
        known = Some(version);
    }
    // The last changes may have been for other queues.
    if known.is_none_or(|known| known < latest) || changed.is_empty() {
        return Ok(queues.apply_organisations(queue, known, latest, &[]).await?);
    }
    Ok(true)
}
