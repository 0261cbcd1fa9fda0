//! `crm.sync_record`: reads one record as it is now, whatever it was that told of it.

use std::sync::Arc;

use async_trait::async_trait;
use millrace_shared::crm::Object;
use millrace_shared::db::crm::records::{self, Record, Seen};
use millrace_shared::ids::ConnectionId;
use millrace_shared::jobs::CrmSyncRecord;
use serde_json::json;
use sqlx::PgConnection;

use crate::crm::{Clients, open};
use crate::handler::{Effects, Handler, JobContext, JobError, Write};

pub(crate) struct SyncRecordHandler {
    pub(crate) clients: Arc<Clients>,
}

/// What a read has found of a record.
pub(super) struct Found {
    of: (ConnectionId, Object),
    read: i64,
    external_id: String,
    seen: Option<Seen>,
}

impl Found {
    /// What a read has found of a record that we have a copy of.
    pub(super) fn of(copy: &Record, object: Object, read: i64, seen: Option<Seen>) -> Self {
        Self { of: (copy.connection_id, object), read, external_id: copy.external_id.clone(), seen }
    }
}

#[async_trait]
impl Write for Found {
    async fn apply(&self, connection: &mut PgConnection, job: &JobContext) -> sqlx::Result<()> {
        let of = (job.org, self.of.0, self.of.1);
        match &self.seen {
            Some(seen) => records::store(connection, of, self.read, std::slice::from_ref(seen)).await.map(drop),
            None => records::mark_gone(connection, of, self.read, &[(self.external_id.clone(), None)]).await.map(drop),
        }
    }
}

#[async_trait]
impl Handler for SyncRecordHandler {
    type Payload = CrmSyncRecord;

    async fn run(&self, job: &JobContext, payload: CrmSyncRecord) -> Result<Effects, JobError> {
        let CrmSyncRecord { connection_id, object, external_id } = payload;
        let api = open(job, &self.clients, connection_id).await?;
        if !api.connection().objects().contains(&object) {
            return Ok(Effects { result: Some(json!({ "outcome": "not_synced" })), ..Effects::default() });
        }
        // Before the CRM is asked: of two jobs that read the same state, the one that began later is right.
        let read = async { records::next_read(&mut *job.pool.acquire().await?).await };
        let read = read.await.map_err(|error| job.database(error))?;
        let found = api.provider().record(&api, object, &external_id).await;
        let seen = found.map_err(|error| error.of_job(job))?;
        let outcome = if seen.is_some() { "read" } else { "gone" };
        Ok(Effects {
            result: Some(json!({ "outcome": outcome })),
            writes: vec![Box::new(Found { of: (connection_id, object), read, external_id, seen })],
            ..Effects::default()
        })
    }
}
