//! Changing a queue's settings: first in the ledger, then in Redis.

use sqlx::{Connection as _, PgConnection};

use crate::db;
use crate::intake::within_patience;
use crate::jobs::QueueName;
use crate::queue::{Queues, Settings};

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
        if let Err(error) = queues.apply_settings(queue, settings).await {
            tracing::warn!(queue = %queue, error = %error, "the queue's settings are stored but Redis did not take them yet");
        }
    })
    .await;
    Ok(settings)
}
