//! `crm.sync`: reads an account page by page, each page written with the place to go on from in one transaction.
//!
//! While one page is written the next one is fetched. What ends a run, a deploy, a kill, a CRM that is busy, costs at most the page that was under way.

mod page;
mod progress;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_shared::crm::{Object, SyncMode};
use millrace_shared::db::crm::{records, syncs};
use millrace_shared::jobs::{CrmSync, Kinds};
use rand::RngExt as _;
use serde_json::Value;
use sqlx::PgConnection;
use tokio::time::Instant;

use crate::crm::{Api, Clients, CrmError, Page, Pass, Scan, open};
use crate::handler::{Effects, Handler, JobContext, JobError, Write, chain};
use progress::Progress;

/// A sync that takes longer lets others have its slot, and goes on after them.
const SLICE: Duration = Duration::from_secs(600);
const BETWEEN_SLICES: Duration = Duration::from_millis(100);
/// How long a sync waits, about, that came some way and then met trouble.
const AFTER_TROUBLE: Duration = Duration::from_secs(1);

pub(crate) struct SyncHandler {
    pub(crate) clients: Arc<Clients>,
    pub(crate) kinds: Arc<Kinds>,
}

/// The sync has ended well.
struct Finished(Value);

#[async_trait]
impl Write for Finished {
    async fn apply(&self, connection: &mut PgConnection, job: &JobContext) -> sqlx::Result<()> {
        syncs::finish(connection, job.org, job.id, &self.0).await
    }
}

/// Why a sync goes no further for now.
enum Stopped {
    Crm(CrmError),
    SliceOver,
}

impl From<CrmError> for Stopped {
    fn from(error: CrmError) -> Self {
        Self::Crm(error)
    }
}

impl From<sqlx::Error> for Stopped {
    fn from(error: sqlx::Error) -> Self {
        Self::Crm(error.into())
    }
}

/// A sync that is under way.
struct Run<'a> {
    job: &'a JobContext,
    api: &'a Api<'a>,
    kinds: &'a Kinds,
    mode: SyncMode,
    /// How far an incremental sync goes back behind the last one.
    overlap: chrono::TimeDelta,
    until: Instant,
}

#[async_trait]
impl Handler for SyncHandler {
    type Payload = CrmSync;

    async fn run(&self, job: &JobContext, payload: CrmSync) -> Result<Effects, JobError> {
        let api = open(job, &self.clients, payload.connection_id).await?;
        let of = (job.org, payload.connection_id);
        let begun = async { syncs::begin(&mut *job.pool.acquire().await?, of, job.id, payload.mode).await };
        begun.await.map_err(|error| job.database(error))?;
        let mut objects = api.connection().objects();
        objects.retain(|object| payload.objects.as_ref().is_none_or(|wanted| wanted.contains(object)));
        let run = Run {
            job,
            api: &api,
            kinds: &self.kinds,
            mode: payload.mode,
            overlap: self.clients.overlap(),
            until: Instant::now() + SLICE,
        };
        let mut progress: Progress = job.saved().unwrap_or_default();
        let before = progress.pages;
        match run.go(&objects, &mut progress).await {
            Ok(()) => {}
            Err(Stopped::SliceOver) => {
                return Err(JobError::Snooze { after: BETWEEN_SLICES, source: "others have their turn".into() });
            }
            Err(Stopped::Crm(error)) => {
                let text = chain(&error);
                let noted = async { syncs::note_error(&mut *job.pool.acquire().await?, job.org, job.id, &text).await };
                noted.await.map_err(|error| job.database(error))?;
                // What comes and goes in a long sync must not add up to its end; what stays does.
                return Err(match error {
                    CrmError::Broken(_) if progress.pages > before => {
                        let after = AFTER_TROUBLE.mul_f64(rand::rng().random_range(0.5..1.5));
                        JobError::Snooze { after, source: error.into() }
                    }
                    error => error.of_job(job),
                });
            }
        }
        let counts = progress.counts();
        if let Some(refused) = progress.refused() {
            let noted = async { syncs::note_error(&mut *job.pool.acquire().await?, job.org, job.id, &refused).await };
            noted.await.map_err(|error| job.database(error))?;
            return Err(JobError::fail("crm_refused", refused));
        }
        Ok(Effects { result: Some(counts.clone()), writes: vec![Box::new(Finished(counts))], ..Effects::default() })
    }
}

impl Run<'_> {
    async fn go(&self, objects: &[Object], progress: &mut Progress) -> Result<(), Stopped> {
        for object in objects {
            if progress.is_through(*object) {
                continue;
            }
            if progress.object != Some(*object) {
                let since = self.since(*object).await?;
                progress.begin(*object, since);
            }
            match self.object(*object, progress).await {
                // The others may be allowed.
                Err(Stopped::Crm(error @ (CrmError::Refused { .. } | CrmError::Missing))) => {
                    progress.refuse(*object, &chain(&error));
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// From when on what has changed is read; nothing: everything.
    async fn since(&self, object: Object) -> Result<Option<chrono::DateTime<chrono::Utc>>, Stopped> {
        if self.mode == SyncMode::Full {
            return Ok(None);
        }
        let mut connection = self.job.pool.acquire().await?;
        let read_until = syncs::watermark(&mut connection, self.job.org, self.api.connection().id, object).await?;
        Ok(read_until.map(|until| until - self.overlap))
    }

    async fn object(&self, object: Object, progress: &mut Progress) -> Result<(), Stopped> {
        let passes = self.api.provider().passes(object, progress.since.is_none());
        while let Some(pass) = passes.get(progress.pass).copied() {
            let mut fetched = Some(self.fetch(object, pass, progress.since, progress.cursor.clone()).await?);
            while let Some((read, page)) = fetched.take() {
                let next = page.next.clone();
                progress.met(&page, pass);
                let is_last = next.is_none() && progress.pass + 1 == passes.len();
                let place = progress.place(next.clone(), is_last);
                let following = async {
                    match next {
                        Some(cursor) => self.fetch(object, pass, progress.since, Some(cursor)).await.map(Some),
                        None => Ok(None),
                    }
                };
                let (written, following) = tokio::join!(self.write((object, pass), read, page, &place), following);
                *progress = written?;
                fetched = following?;
                if Instant::now() > self.until && !progress.is_through(object) {
                    return Err(Stopped::SliceOver);
                }
            }
        }
        Ok(())
    }

    async fn fetch(
        &self,
        object: Object,
        pass: Pass,
        since: Option<chrono::DateTime<chrono::Utc>>,
        cursor: Option<String>,
    ) -> Result<(i64, Page), Stopped> {
        // Numbered before it begins, so that it counts for no newer than it is.
        let read = records::next_read(&mut *self.job.pool.acquire().await?).await?;
        let scan = Scan { object, pass, since, cursor: cursor.as_deref() };
        Ok((read, self.api.provider().page(self.api, &scan).await?))
    }
}
