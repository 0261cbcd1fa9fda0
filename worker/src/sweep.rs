//! Deletes objects of the store that no row names any more ([`stray_objects`]).
//!
//! Every worker does it now and then; rows that one is at are locked and left alone by the others. An object goes before its row, so that a
//! crash in between costs one deletion more. One that cannot be deleted is put off, longer each time, and holds up no other.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use millrace_shared::{
    db::{self, stray_objects},
    storage::{ObjectKey, Storage},
};
use rand::RngExt as _;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::handler::chain;

const ROUND: Duration = Duration::from_secs(10);
/// So many at a time: their rows stay locked until they are gone.
const BATCH: i64 = 50;
const AT_ONCE: usize = 8;
/// How long the store may take for one of them. With all of a batch, that is less than Postgres lets a transaction wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sweeps until `end`.
pub(crate) async fn run(pool: PgPool, storage: Storage, end: CancellationToken) {
    loop {
        let pause = ROUND.mul_f64(rand::rng().random_range(0.5..1.5));
        if end.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        match end.run_until_cancelled(sweep(&pool, &storage)).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) if db::is_unavailable(&error) => {
                tracing::debug!(error = chain(&error), "sweeping is interrupted");
            }
            Some(Err(error)) => tracing::warn!(error = chain(&error), "stray objects could not be swept"),
        }
    }
}

async fn sweep(pool: &PgPool, storage: &Storage) -> sqlx::Result<()> {
    loop {
        let mut transaction = pool.begin().await?;
        let keys = stray_objects::lock_due(&mut transaction, BATCH).await?;
        let found = keys.len();
        let (mut deleted, mut failed) = (Vec::with_capacity(found), Vec::new());
        let mut deletions = stream::iter(keys).map(|key| delete(storage, key)).buffer_unordered(AT_ONCE);
        while let Some((key, is_deleted)) = deletions.next().await {
            if is_deleted { deleted.push(key) } else { failed.push(key) }
        }
        drop(deletions);
        stray_objects::forget(&mut transaction, &deleted).await?;
        stray_objects::postpone(&mut transaction, &failed).await?;
        transaction.commit().await?;
        // Where the store is away, so it is in a moment.
        if deleted.is_empty() || found < usize::try_from(BATCH).unwrap_or(usize::MAX) {
            return Ok(());
        }
    }
}

async fn delete(storage: &Storage, key: ObjectKey) -> (ObjectKey, bool) {
    let error = match tokio::time::timeout(PATIENCE, storage.delete(&key)).await {
        Ok(Ok(())) => return (key, true),
        Ok(Err(error)) => chain(&error),
        Err(_) => format!("the store gave no answer within {} s", PATIENCE.as_secs()),
    };
    tracing::warn!(error, object = %key, "a stray object could not be deleted; it is tried again later");
    (key, false)
}
