//! Waiting for jobs to end, for long polls.
//!
//! One statement asks for all jobs that somebody waits for, ten times a second, and none is asked while nobody waits: the cost for
//! Postgres does not grow with the number of waiting clients.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use millrace_shared::db::jobs;
use millrace_shared::ids::JobId;
use sqlx::PgPool;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_millis(100);

/// Who waits for what.
#[derive(Debug, Default)]
pub struct Waiter {
    waiting: Mutex<HashMap<JobId, Vec<oneshot::Sender<()>>>>,
    somebody_waits: Notify,
}

impl Waiter {
    /// Resolves once the job has ended. Needs [`Waiter::run`].
    pub async fn ended(&self, id: JobId) {
        let (sender, receiver) = oneshot::channel();
        self.lock().entry(id).or_default().push(sender);
        self.somebody_waits.notify_one();
        // The sender is dropped only after it has sent, or with the whole process.
        let _ = receiver.await;
    }

    /// Asks Postgres on behalf of all who wait, until it is told to stop.
    pub async fn run(&self, database: &PgPool, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.somebody_waits.notified() => {}
            }
            loop {
                let ids = self.wanted();
                if ids.is_empty() {
                    break;
                }
                match ask(database, &ids).await {
                    Ok(ended) => self.wake(&ended),
                    Err(error) => {
                        tracing::debug!(error = &error as &dyn std::error::Error, "waiting jobs were not asked for");
                    }
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(INTERVAL) => {}
                }
            }
        }
    }

    /// The jobs that somebody still waits for; whoever gave up is forgotten.
    fn wanted(&self) -> Vec<JobId> {
        let mut waiting = self.lock();
        waiting.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        waiting.keys().copied().collect()
    }

    fn wake(&self, ended: &[JobId]) {
        let mut waiting = self.lock();
        for sender in ended.iter().filter_map(|id| waiting.remove(id)).flatten() {
            // Nobody minds if the client has just left.
            let _ = sender.send(());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Vec<oneshot::Sender<()>>>> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

async fn ask(database: &PgPool, ids: &[JobId]) -> Result<Vec<JobId>, sqlx::Error> {
    let mut connection = database.acquire().await?;
    jobs::ended(&mut connection, ids).await
}
