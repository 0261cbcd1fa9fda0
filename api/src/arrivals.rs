//! Deliveries of webhooks: who may make them, and how they get into the ledger. Both are done together for requests that come together.

use std::sync::Arc;

use millrace_shared::batcher::Shape;
use millrace_shared::db::webhooks::{self, Arrival, SecretRecord, Source};
use millrace_shared::ids::{OrgId, SourceId};
use millrace_shared::intake;
use millrace_shared::jobs::NewJob;
use millrace_shared::queue::Queues;
use sqlx::{Acquire as _, PgPool};

use crate::together::Together;

const LOOK_UPS: Shape = Shape { size: 250, at_once: 2 };
const COMMITS: Shape = Shape { size: 250, at_once: 3 };

/// A source with the secrets that verify now, asked anew for every delivery: one that is replaced or deleted is refused from the next delivery on.
pub(crate) type Keyholders = Together<SourceId, Option<Arc<(Source, Vec<SecretRecord>)>>>;

/// Stores verified deliveries with their jobs.
pub(crate) type Arrivals = Together<Delivered, Seen>;

/// A verified delivery, and the job that it becomes.
#[derive(Clone)]
pub(crate) struct Delivered {
    pub(crate) arrival: Arrival,
    pub(crate) job: Arc<NewJob>,
}

/// Whether a delivery has come before, or its source was deleted since it was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    First,
    Before,
    Refused,
}

pub(crate) fn keyholders(database: &PgPool) -> Keyholders {
    let database = database.clone();
    Together::new(LOOK_UPS, move |ids: Arc<[SourceId]>| {
        let database = database.clone();
        async move {
            let found = webhooks::keyholders(&mut *database.acquire().await?, &ids).await?;
            let found: std::collections::HashMap<_, _> =
                found.into_iter().map(|(id, holder)| (id, Arc::new(holder))).collect();
            Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
        }
    })
}

pub(crate) fn arrivals(database: &PgPool, queues: &Queues) -> Arrivals {
    let (database, queues) = (database.clone(), queues.clone());
    Together::new(COMMITS, move |batch: Arc<[Delivered]>| {
        let (database, queues) = (database.clone(), queues.clone());
        async move { take_in(&database, &queues, &batch).await }
    })
}

async fn take_in(database: &PgPool, queues: &Queues, batch: &[Delivered]) -> sqlx::Result<Vec<Seen>> {
    let mut connection = database.acquire().await?;
    let mut transaction = connection.begin().await?;
    let sources: Vec<SourceId> = batch.iter().map(|delivered| delivered.arrival.source).collect();
    let held = webhooks::hold(&mut transaction, &sources).await?;
    let arrivals: Vec<&Arrival> =
        batch.iter().map(|delivered| &delivered.arrival).filter(|arrival| held.contains(&arrival.source)).collect();
    let new = webhooks::insert_new(&mut transaction, &arrivals).await?;
    #[cfg(feature = "failpoints")]
    crate::failpoint::reach("stored");
    let jobs: Vec<(OrgId, &NewJob)> = batch
        .iter()
        .filter(|delivered| new.contains(&delivered.arrival.id))
        .map(|delivered| (delivered.arrival.org, &*delivered.job))
        .collect();
    let rows = if jobs.is_empty() { Vec::new() } else { intake::accept_plain(&mut transaction, &jobs).await? };
    transaction.commit().await?;
    drop(connection);
    #[cfg(feature = "failpoints")]
    crate::failpoint::reach("committed");
    intake::publish_rows(queues, &rows).await;
    let seen = |Delivered { arrival, .. }: &Delivered| match () {
        () if !held.contains(&arrival.source) => Seen::Refused,
        () if new.contains(&arrival.id) => Seen::First,
        () => Seen::Before,
    };
    Ok(batch.iter().map(seen).collect())
}
