//! Deletes objects of the store that no row names any more ([`stray_objects`]).
//!
//! Every worker does it now and then; rows that one is at are locked and left alone by the others. An object goes before its row, so that a
//! crash in between costs one deletion more.

use std::time::Duration;

use millrace_shared::{
    db::{self, stray_objects},
    storage::Storage,
};
use rand::RngExt as _;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::handler::chain;

const ROUND: Duration = Duration::from_secs(10);
/// So many at a time: their rows stay locked until they are gone.
const BATCH: i64 = 50;

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
        let mut deleted = Vec::with_capacity(keys.len());
        for key in &keys {
            match storage.delete(key).await {
                Ok(()) => deleted.push(key.clone()),
                Err(error) => {
                    tracing::warn!(error = chain(&error), object = %key, "a stray object could not be deleted");
                    break;
                }
            }
        }
        stray_objects::forget(&mut transaction, &deleted).await?;
        transaction.commit().await?;
        if deleted.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
            return Ok(());
        }
    }
}
