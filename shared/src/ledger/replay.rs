//! Dead letters come back, or are put away.

use std::{collections::HashSet, time::Duration};

use serde_json::Value;
use sqlx::PgConnection;

use super::end::asset_of;
use crate::{
    db::{
        assets,
        dead_letters::{self, DeadLetterFilter},
        jobs::JobRow,
        uniques::{self, UniqueKey},
    },
    ids::{JobId, OrgId},
    jobs::{AssetProcess, FieldError, JobPayload as _, JobRequest, Kinds, MAX_DELAY},
};

/// Why a dead letter was not replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no such dead letter.
    #[error("no such dead letter")]
    NotFound,
    /// Another job holds its unique key.
    #[error("another job with the same unique key is waiting or running: {0}")]
    UniqueKeyTaken(JobId),
    /// The edited payload misses the kind's schema.
    #[error("the payload does not fit the kind")]
    Payload(Vec<FieldError>),
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Puts one dead letter back into work, optionally with another payload. It keeps its id and its history.
///
/// # Errors
/// See [`ReplayError`].
pub async fn replay(
    connection: &mut PgConnection,
    kinds: &Kinds,
    org: Option<OrgId>,
    id: JobId,
    payload: Option<Value>,
) -> Result<JobRow, ReplayError> {
    let row = dead_letters::lock(connection, org, id).await?.ok_or(ReplayError::NotFound)?;
    if let Some(payload) = &payload {
        JobRequest::new(&row.kind, payload.clone()).check(kinds).map_err(|error| ReplayError::Payload(error.0))?;
    }
    take_key(connection, &row).await?;
    replay_locked(connection, &row, payload.as_ref(), Duration::ZERO).await?.ok_or(ReplayError::NotFound)
}

/// Takes a locked dead letter's unique key, if it has one.
async fn take_key(connection: &mut PgConnection, dead: &JobRow) -> Result<(), ReplayError> {
    let Some(key) = dead.unique_key.as_deref() else { return Ok(()) };
    let name = UniqueKey { org: dead.org_id, kind: &dead.kind, key };
    if uniques::take(connection, name, dead.id).await? {
        return Ok(());
    }
    let holder = uniques::holder(connection, name).await?;
    Err(ReplayError::UniqueKeyTaken(holder.map_or(dead.id, |holder| holder.job_id)))
}

/// Replays a dead letter that is locked and has its key.
async fn replay_locked(
    connection: &mut PgConnection,
    dead: &JobRow,
    payload: Option<&Value>,
    delay: Duration,
) -> sqlx::Result<Option<JobRow>> {
    let Some(row) = dead_letters::replay(connection, dead.id, payload, delay).await? else { return Ok(None) };
    if row.kind == AssetProcess::KIND
        && let Some(asset) = asset_of(&row)
    {
        assets::reset_pending(connection, row.org_id, asset, row.id).await?;
    }
    Ok(Some(row))
}

/// A page of a bulk replay.
#[derive(Debug, Default)]
pub struct ReplayPage {
    /// The jobs that are queued again, to be pushed after the commit.
    pub replayed: Vec<JobRow>,
    /// Those that were left alone, because another job holds their unique key.
    pub skipped: u64,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<JobId>,
}

/// Replays the next dead letters that match, oldest first, `limit` at most. With `rate_per_s` the jobs become due one after another at
/// that rate, the first one after `already` others; no process has to stay up for that, because the times are in the ledger.
///
/// # Errors
/// Those of the database.
pub async fn replay_page(
    connection: &mut PgConnection,
    filter: &DeadLetterFilter,
    after: Option<JobId>,
    limit: u32,
    pace: Pace,
) -> sqlx::Result<ReplayPage> {
    let ids = dead_letters::page(connection, filter, after, limit).await?;
    let mut page = ReplayPage {
        next: (ids.len() >= limit as usize).then(|| ids.last().copied()).flatten(),
        ..ReplayPage::default()
    };
    let mut dead = Vec::with_capacity(ids.len());
    for id in ids {
        // Who is not dead any more was replayed or discarded by somebody else meanwhile.
        dead.extend(dead_letters::lock(connection, filter.org, id).await?);
    }
    let without_key = take_keys(connection, &dead).await?;
    page.skipped = without_key.len() as u64;
    for row in dead.iter().filter(|row| !without_key.contains(&row.id)) {
        let delay = pace.delay(page.replayed.len() as u64);
        page.replayed.extend(replay_locked(connection, row, None, delay).await?);
    }
    Ok(page)
}

/// Takes the unique keys of locked dead letters, in the order of the keys, as everybody does. Gives the jobs that did not get theirs.
async fn take_keys(connection: &mut PgConnection, dead: &[JobRow]) -> sqlx::Result<HashSet<JobId>> {
    let mut by_key: Vec<&JobRow> = dead.iter().filter(|row| row.unique_key.is_some()).collect();
    by_key.sort_by_key(|row| (row.org_id, &row.kind, &row.unique_key));
    let mut without_key = HashSet::new();
    for row in by_key {
        match take_key(connection, row).await {
            Ok(()) => {}
            Err(ReplayError::Database(error)) => return Err(error),
            Err(_) => drop(without_key.insert(row.id)),
        }
    }
    Ok(without_key)
}

/// How fast replayed jobs become due.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Jobs a second; `None` is all at once.
    pub rate_per_s: Option<f64>,
    /// How many earlier pages have replayed.
    pub already: u64,
}

impl Pace {
    fn delay(self, index: u64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let position = (self.already + index) as f64;
        self.rate_per_s
            .map_or(Duration::ZERO, |rate| Duration::try_from_secs_f64(position / rate).unwrap_or(MAX_DELAY))
            .min(MAX_DELAY)
    }
}

/// Takes one dead letter out of the list. Its row and history stay in the ledger. False where there is none.
///
/// # Errors
/// Those of the database.
pub async fn discard(connection: &mut PgConnection, org: Option<OrgId>, id: JobId) -> sqlx::Result<bool> {
    let filter = DeadLetterFilter { org, ids: Some(vec![id]), ..DeadLetterFilter::default() };
    let ids = dead_letters::page(connection, &filter, None, 1).await?;
    Ok(dead_letters::discard(connection, &ids).await? == 1)
}

/// Discards the next dead letters that match, `limit` at most. Gives how many; fewer than `limit` means that none are left.
///
/// # Errors
/// Those of the database.
pub async fn discard_page(connection: &mut PgConnection, filter: &DeadLetterFilter, limit: u32) -> sqlx::Result<u64> {
    let (mut discarded, mut after) = (0, None);
    while discarded < u64::from(limit) {
        let ids = dead_letters::page(connection, filter, after, limit).await?;
        let Some(last) = ids.last() else { break };
        after = Some(*last);
        let room = usize::try_from(u64::from(limit) - discarded).unwrap_or(usize::MAX);
        // Fewer are discarded than were found where somebody else was quicker.
        discarded += dead_letters::discard(connection, &ids[..ids.len().min(room)]).await?;
    }
    Ok(discarded)
}
