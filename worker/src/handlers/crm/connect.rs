//! `crm.connect`: redeems what was granted, asks whose account it is, and begins the first sync.

use std::sync::Arc;

use async_trait::async_trait;
use millrace_shared::crm::SyncMode;
use millrace_shared::db::crm::connections;
use millrace_shared::db::crm::syncs;
use millrace_shared::ids::ConnectionId;
use millrace_shared::jobs::{CrmConnect, CrmSync, JobPayload as _, JobRequest, Kinds, NewJob};
use serde_json::json;
use sqlx::PgConnection;

use crate::crm::{Account, Clients, CrmError, open_in_any_state};
use crate::handler::{Effects, Handler, JobContext, JobError, Write};

pub(crate) struct ConnectHandler {
    pub(crate) clients: Arc<Clients>,
    pub(crate) kinds: Arc<Kinds>,
}

/// The connection serves.
struct Connected {
    id: ConnectionId,
    account: Account,
}

#[async_trait]
impl Write for Connected {
    async fn apply(&self, connection: &mut PgConnection, job: &JobContext) -> sqlx::Result<()> {
        let of = (job.org, self.id);
        connections::set_account(connection, of, &self.account.id, self.account.name.as_deref()).await?;
        connections::note_success(connection, job.org, self.id).await?;
        connections::activate(connection, job.org, self.id).await
    }
}

impl ConnectHandler {
    async fn first_sync(&self, job: &JobContext, id: ConnectionId) -> Result<NewJob, JobError> {
        let known = async { syncs::has_watermark(&mut *job.pool.acquire().await?, job.org, id).await };
        let known = known.await.map_err(|error| job.database(error))?;
        let mode = if known { SyncMode::Incremental } else { SyncMode::Full };
        let payload = CrmSync { connection_id: id, mode, objects: None };
        let payload = serde_json::to_value(payload).map_err(|error| JobError::fail("payload", error))?;
        JobRequest::new(CrmSync::KIND, payload).check(&self.kinds).map_err(|error| JobError::fail("payload", error))
    }
}

#[async_trait]
impl Handler for ConnectHandler {
    type Payload = CrmConnect;

    async fn run(&self, job: &JobContext, payload: CrmConnect) -> Result<Effects, JobError> {
        let api = open_in_any_state(job, &self.clients, payload.connection_id).await?;
        // Nothing to wait for: whoever grants access again submits another job like this one.
        let failed = |error: CrmError| match error {
            CrmError::Unauthorized(_) => JobError::fail("crm_unauthorized", error),
            error => error.of_job(job),
        };
        api.redeem().await.map_err(failed)?;
        let account = api.provider().account(&api).await.map_err(failed)?;
        let known = api.connection().account_id.as_deref();
        if known.is_some_and(|known| known != account.id) {
            let reason = "access was granted to another account than before; connect that one anew";
            api.revoked(reason).await.map_err(|error| error.of_job(job))?;
            return Err(JobError::fail("crm_other_account", reason));
        }
        Ok(Effects {
            result: Some(json!({ "account_id": account.id })),
            jobs: vec![self.first_sync(job, payload.connection_id).await?],
            writes: vec![Box::new(Connected { id: payload.connection_id, account })],
            ..Effects::default()
        })
    }
}
