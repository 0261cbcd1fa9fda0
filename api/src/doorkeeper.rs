//! Who calls: API keys, looked up together.
//!
//! Every request asks the ledger anew, so that a revoked key is refused from the next request on. Requests that arrive while a look-up is on
//! its way share the next one, which starts after them.

use std::sync::Arc;

use millrace_shared::auth::{KeyHash, Principal};
use millrace_shared::batcher::Shape;
use millrace_shared::db::api_keys;
use sqlx::PgPool;

use crate::together::Together;

/// How many keys are looked up together at most, and how many look-ups are on their way at once.
const SHAPE: Shape = Shape { size: 250, at_once: 2 };

/// Tells who holds a key now, if anybody does.
pub(crate) type Doorkeeper = Together<KeyHash, Option<Principal>>;

pub(crate) fn doorkeeper(database: &PgPool) -> Doorkeeper {
    let database = database.clone();
    Together::new(SHAPE, move |hashes: Arc<[KeyHash]>| {
        let database = database.clone();
        async move { api_keys::authenticate(&mut *database.acquire().await?, &hashes).await }
    })
}
