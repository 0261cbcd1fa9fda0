//! Housekeeping: the ledger gets partitions ahead, and loses what is over.
//!
//! One worker at a time does it, under an advisory lock of its own, on a connection of its own: copying what survives a partition may take
//! minutes, in which the reconciler must not wait. A worker that is killed takes the lock with it, and whatever it was at is as if it had not begun.

use std::time::Duration;

use chrono::TimeDelta;
use millrace_shared::{
    config::RetentionConfig,
    db::{self, jobs},
    ledger::keeping::{self, Kept},
};
use rand::RngExt as _;
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::handler::chain;

const ROUND: Duration = Duration::from_secs(300);
/// After a round that somebody's lock or the server's absence has ended.
const AGAIN: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug)]
pub(crate) struct Housekeeper {
    pub(crate) pool: PgPool,
    pub(crate) retention: RetentionConfig,
}

impl Housekeeper {
    /// Does a round now and then, until `end`.
    pub(crate) async fn run(self, end: CancellationToken) {
        loop {
            let Some(done) = end.run_until_cancelled(self.round()).await else { return };
            let pause = match done {
                Ok(()) => ROUND,
                Err(error) => {
                    metrics::counter!("millrace_housekeeping_failures_total").increment(1);
                    if db::is_unavailable(&error) {
                        tracing::debug!(error = chain(&error), "housekeeping is interrupted");
                    } else {
                        tracing::warn!(error = chain(&error), "housekeeping failed");
                    }
                    AGAIN
                }
            };
            let jittered = pause.mul_f64(rand::rng().random_range(0.8..1.2));
            if end.run_until_cancelled(tokio::time::sleep(jittered)).await.is_none() {
                return;
            }
        }
    }

    async fn round(&self) -> sqlx::Result<()> {
        // Taken out of the pool: closing it, by whatever way this ends, is what frees the lock.
        let mut connection = self.pool.acquire().await?.detach();
        if !keeping::lead(&mut connection).await? {
            return Ok(());
        }
        let done = self.keep(&mut connection).await;
        tell(&keeping::look(&mut connection).await?, &self.retention);
        done
    }

    async fn keep(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let now = jobs::now(connection).await?;
        let made = keeping::make_ahead(connection, &self.retention, now).await?;
        if made.made > 0 {
            tracing::info!(partitions = made.made, "the ledger has partitions ahead");
        }
        metrics::counter!("millrace_ledger_moved_total").increment(made.moved);
        keeping::forget_expired(connection, &self.retention, now).await?;
        while let Some(dropped) = keeping::drop_expired(connection, &self.retention, now).await? {
            tracing::info!(
                partition = dropped.partition.suffix,
                until = %dropped.partition.to.time(),
                jobs.survivors = dropped.survivors,
                "a partition of the ledger was over and is dropped"
            );
            metrics::counter!("millrace_ledger_partitions_dropped_total").increment(1);
            #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
            metrics::gauge!("millrace_ledger_survivors").set(dropped.survivors as f64);
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and seconds are far below 2^52")]
fn tell(kept: &Kept, retention: &RetentionConfig) {
    let seconds = |time: TimeDelta| time.num_seconds() as f64;
    metrics::gauge!("millrace_ledger_partitions").set(kept.partitions as f64);
    metrics::gauge!("millrace_ledger_default_rows").set(kept.in_default as f64);
    metrics::gauge!("millrace_ledger_ahead_seconds").set(kept.until.map_or(0.0, |until| seconds(until - kept.now)));
    metrics::gauge!("millrace_ledger_retention_lag_seconds").set(kept.lag(retention).map_or(0.0, seconds));
}
