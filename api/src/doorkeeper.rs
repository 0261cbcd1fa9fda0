//! Who calls: API keys, looked up together.
//!
//! Every request asks the ledger anew, so that a revoked key is refused from the next request on. Requests that arrive while a look-up is on
//! its way share the next one, which starts after them: under load hundreds of requests cost one.

use std::fmt;

use millrace_shared::auth::{KeyHash, Principal};
use millrace_shared::batcher::{Batcher, Shape};
use millrace_shared::db::{self, api_keys};
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::error::ApiError;

/// How many keys are looked up together at most, and how many look-ups are on their way at once.
const SHAPE: Shape = Shape { size: 250, at_once: 2 };

/// Looks up API keys.
#[derive(Clone)]
pub(crate) struct Doorkeeper(Batcher<Knock>);

struct Knock {
    hash: KeyHash,
    reply: oneshot::Sender<Result<Option<Principal>, ApiError>>,
}

impl fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Doorkeeper")
    }
}

impl Doorkeeper {
    /// Its tasks end with its last clone; whoever waits for an answer holds one.
    pub(crate) fn new(database: &PgPool) -> Self {
        let database = database.clone();
        Self(Batcher::new(&TaskTracker::new(), SHAPE, move |knocks| {
            let database = database.clone();
            async move { answer(&database, knocks).await }
        }))
    }

    /// Who holds the key with this hash now, if anybody does.
    pub(crate) async fn holder(&self, hash: KeyHash) -> Result<Option<Principal>, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Knock { hash, reply });
        answer.await.map_err(ApiError::internal)?
    }
}

async fn answer(database: &PgPool, mut knocks: Vec<Knock>) {
    let hashes: Vec<KeyHash> = knocks.iter().map(|knock| knock.hash).collect();
    let found = async { api_keys::authenticate(&mut *database.acquire().await?, &hashes).await };
    match found.await {
        Ok(holders) => {
            for (knock, holder) in knocks.into_iter().zip(holders) {
                // Whoever asked may be gone.
                let _ = knock.reply.send(Ok(holder));
            }
        }
        Err(error) => {
            let is_away = db::is_unavailable(&error);
            // The error itself is told, and logged, once.
            if let Some(first) = knocks.pop() {
                let _ = first.reply.send(Err(error.into()));
            }
            for knock in knocks {
                let _ = knock.reply.send(Err(if is_away {
                    ApiError::Unavailable("the database", None)
                } else {
                    ApiError::Internal("the look-up of keys failed".into())
                }));
            }
        }
    }
}
