//! Work on the database that requests do together: what arrives while others are being worked on shares the next round.
//!
//! A request that comes alone is worked on at once, so nobody waits for a timer. Under load one look-up, or one commit that waits for the disk, takes
//! in hundreds of requests.

use std::fmt;
use std::sync::Arc;

use millrace_shared::batcher::{Batcher, Shape};
use millrace_shared::db;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::error::ApiError;

/// Has requests `T` worked on together, each of which gets an `R`.
pub(crate) struct Together<T, R>(Batcher<Asked<T, R>>);

struct Asked<T, R> {
    what: T,
    reply: oneshot::Sender<Result<R, ApiError>>,
}

impl<T, R> fmt::Debug for Together<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Together")
    }
}

impl<T, R> Together<T, R>
where
    T: Clone + Send + Sync + 'static,
    R: Send + 'static,
{
    /// `work` gives an answer for each of its items, in their order. Its tasks end with this; whoever waits for an answer holds it.
    pub(crate) fn new<F, Fut>(shape: Shape, work: F) -> Self
    where
        F: Fn(Arc<[T]>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = sqlx::Result<Vec<R>>> + Send,
    {
        Self(Batcher::new(&TaskTracker::new(), shape, move |asked: Vec<Asked<T, R>>| {
            let work = work.clone();
            async move { answer(&work, asked).await }
        }))
    }

    /// The answer to `what`.
    pub(crate) async fn ask(&self, what: T) -> Result<R, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Asked { what, reply });
        answer.await.map_err(ApiError::internal)?
    }
}

async fn answer<T, R, F, Fut>(work: &F, mut asked: Vec<Asked<T, R>>)
where
    T: Clone,
    F: Fn(Arc<[T]>) -> Fut,
    Fut: Future<Output = sqlx::Result<Vec<R>>>,
{
    match work(asked.iter().map(|asked| asked.what.clone()).collect()).await {
        Ok(answers) => {
            for (asked, answer) in asked.into_iter().zip(answers) {
                // Whoever asked may be gone; what was done is done all the same.
                let _ = asked.reply.send(Ok(answer));
            }
        }
        Err(error) if asked.len() == 1 || db::is_unavailable(&error) => {
            // The error itself is told, and logged, once.
            if let Some(first) = asked.pop() {
                let _ = first.reply.send(Err(error.into()));
            }
            for asked in asked {
                let _ = asked.reply.send(Err(ApiError::Unavailable("the database", None)));
            }
        }
        // One that Postgres refuses must not spoil the others.
        Err(_) => {
            for Asked { what, reply } in asked {
                let alone = work(Arc::from([what])).await;
                let _ = reply.send(alone.map_err(ApiError::from).and_then(|mut answers| {
                    answers.pop().ok_or_else(|| ApiError::Internal("nothing was answered".into()))
                }));
            }
        }
    }
}
