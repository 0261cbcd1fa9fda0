//! Writing one page.

use millrace_shared::crm::{Object, SyncMode};
use millrace_shared::db::crm::{records, syncs};
use millrace_shared::db::runs;
use millrace_shared::jobs::{CrmSyncRecord, JobPayload as _, JobRequest, NewJob};
use millrace_shared::ledger::{self, Accepted};
use sqlx::{Connection as _, PgConnection};

use super::progress::Progress;
use super::{Run, Stopped};
use crate::crm::{Covered, CrmError, Page, Pass};

/// More of what a page lacks than this is left to the next whole sync: each costs a call.
const MOST_LOOKED_FOR: usize = 500;

impl Run<'_> {
    /// Writes a page and the place after it, together. Gives the place.
    pub(super) async fn write(
        &self,
        (object, pass): (Object, Pass),
        read: i64,
        page: Page,
        place: &Progress,
    ) -> Result<Progress, Stopped> {
        let (org, id) = (self.job.org, self.api.connection().id);
        let of = (org, id, object);
        let mut place = place.clone();
        let mut connection = self.job.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let written = records::store(&mut transaction, of, read, &page.seen).await?;
        let mut deleted = 0;
        if !page.gone.is_empty() {
            deleted = records::mark_gone(&mut transaction, of, read, &page.gone).await?;
        }
        let mut follows = Vec::new();
        if pass == Pass::Live && place.since.is_none() {
            let met = place.carry(&page).map(<[String]>::to_vec);
            let lacking = self.lacking(&mut transaction, object, page.covered, met).await?;
            // Each is looked for by itself: a list that is empty because a right is missing must not empty the copy.
            let jobs = self.looked_for(object, &lacking)?;
            follows = ledger::accept(&mut transaction, org, &jobs).await?;
        }
        if !page.drift.is_empty() {
            syncs::note_drift(&mut transaction, of, &page.drift).await?;
        }
        place.count((page.seen.len() + page.gone.len()) as u64, &written, deleted);
        if place.is_through(object)
            && let Some(until) = place.read_until
        {
            let mode = if place.since.is_none() { SyncMode::Full } else { SyncMode::Incremental };
            syncs::set_watermark(&mut transaction, of, until, mode).await?;
        }
        let cursor = place.cursor.as_ref().map(|cursor| format!("{object} {cursor}"));
        syncs::note(&mut transaction, org, self.job.id, &place.counts(), cursor.as_deref()).await?;
        let kept = serde_json::to_value(&place).map_err(|error| CrmError::Setup(error.to_string()))?;
        runs::checkpoint(&mut transaction, self.job.id, &kept).await?;
        transaction.commit().await?;
        let follows: Vec<_> = follows.into_iter().map(Accepted::into_row).collect();
        ledger::publish(&self.job.queues, &follows).await;
        Ok(place)
    }

    /// Records that we have where the CRM's list has none.
    async fn lacking(
        &self,
        transaction: &mut PgConnection,
        object: Object,
        covered: Covered,
        met: Option<Vec<String>>,
    ) -> Result<Vec<String>, Stopped> {
        let (Covered::Updated(from, to), Some(met)) = (covered, met) else { return Ok(Vec::new()) };
        if from.is_some() && from == to {
            return Ok(Vec::new());
        }
        let of = (self.job.org, self.api.connection().id, object);
        Ok(records::live_between(transaction, of, (from, to), &met).await?)
    }

    /// Jobs that look whether records are gone, or have only changed meanwhile.
    fn looked_for(&self, object: Object, lacking: &[String]) -> Result<Vec<NewJob>, Stopped> {
        let connection_id = self.api.connection().id;
        let job = |id: &String| {
            let payload = CrmSyncRecord { connection_id, object, external_id: id.clone() };
            let payload = serde_json::to_value(payload).map_err(|error| CrmError::Setup(error.to_string()))?;
            let request = JobRequest::new(CrmSyncRecord::KIND, payload);
            request.check(self.kinds).map_err(|error| Stopped::Crm(CrmError::Setup(error.to_string())))
        };
        lacking.iter().take(MOST_LOOKED_FOR).map(job).collect()
    }
}
