//! Writes to the ledger that are repeated until Postgres takes them.

use std::{future::Future, time::Duration};

use millrace_shared::db;
use tokio_util::sync::CancellationToken;

use crate::handler::chain;

const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
/// So often an end is written again that Postgres stopped for another transaction or for its time. Effects that never get through must
/// not hold a slot for ever.
const MAX_CONTENTION: u32 = 10;

/// What became of a write.
pub(crate) enum Written<T> {
    /// It is in.
    Done(T),
    /// The worker must go, and Postgres did not come back in time.
    GaveUp,
    /// Postgres refuses it.
    Refused(sqlx::Error),
}

/// Repeats a write while Postgres is away, until `give_up`.
pub(crate) async fn persist<T, Fut>(give_up: &CancellationToken, write: impl Fn() -> Fut) -> Written<T>
where
    Fut: Future<Output = sqlx::Result<T>>,
{
    let mut wait = Duration::from_millis(50);
    let mut stopped = 0;
    loop {
        let Some(result) = give_up.run_until_cancelled(write()).await else { return Written::GaveUp };
        match result {
            Ok(value) => return Written::Done(value),
            Err(error) if db::is_unavailable(&error) && stopped < MAX_CONTENTION => {
                stopped += u32::from(db::is_contention(&error));
                tracing::debug!(error = chain(&error), "Postgres is away; the job's end waits for it");
                if give_up.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                    return Written::GaveUp;
                }
                wait = (wait * 2).min(LONGEST_BACKOFF);
            }
            Err(error) => return Written::Refused(error),
        }
    }
}
