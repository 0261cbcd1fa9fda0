//! Whether workers still have all their slots after whatever happened to them.

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use crate::{Line, PATIENCE, forgotten, probe, submit_all, until};

/// Requests under way at once: fewer than the API has connections to Postgres.
const CLIENTS: usize = 6;

/// Asserts that every live worker has all of its `each` slots for probes: as many jobs that never end run at once. They are cancelled
/// after it, and everything must be forgotten again.
///
/// # Errors
/// When fewer run, or something of them stays.
pub async fn all_slots_are_free(line: &Line, each: usize) -> Result<()> {
    let slots = each * line.live_workers().count();
    let ids = submit_all(line.client(), &vec![probe(&json!({ "outcome": "hang" })); slots]).await?;
    let mut running = 0;
    let all = until("all slots are taken", PATIENCE, async || {
        running = line.redis.leased().await?;
        Ok(running == slots)
    });
    all.await.with_context(|| format!("slots leaked: {running} of {slots} jobs run"))?;
    let cancel = |id: String| async move {
        line.client().post_empty(&format!("/v1/jobs/{id}/cancel")).await?.expect(200).map(drop)
    };
    stream::iter(ids).map(cancel).buffer_unordered(CLIENTS).try_collect::<()>().await?;
    forgotten(line, PATIENCE).await
}
