//! `webhook.deliver`: makes jobs of what was delivered.
//!
//! What belongs to a CRM tells which records have changed, each of which is read by a job of its own; two that are of one record become one. Anything else
//! is the payload of the source's kind.
//!
//! The API takes in raw bytes and asks nothing of them. Here they are parsed and checked; what does not fit is a dead letter that says why, with
//! the delivery kept for a replay. When the job is in the ledger the delivery's body is forgotten, in the same transaction.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use millrace_shared::{
    db::{crm::connections, webhooks},
    ids::{ConnectionId, EventId},
    jobs::{CrmSyncRecord, JobPayload as _, JobRequest, Kinds, NewJob, SubmitError, WebhookDeliver},
};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::crm::Clients;
use crate::handler::{Effects, Handler, JobContext, JobError, Quoting, Write};

pub(crate) struct WebhookHandler {
    pub(crate) clients: Arc<Clients>,
    pub(crate) kinds: Arc<Kinds>,
}

impl WebhookHandler {
    /// The job that a delivery becomes.
    fn job(&self, kind: &str, body: &[u8]) -> Result<NewJob, JobError> {
        // Where the parser stopped is told, and nothing of what it read.
        let payload: Value = serde_json::from_slice(body).map_err(|error| {
            JobError::fail("webhook_not_json", format!("line {}, column {}", error.line(), error.column()))
        })?;
        if kind == WebhookDeliver::KIND {
            return Err(JobError::fail("webhook_kind", "a delivery cannot become a delivery"));
        }
        JobRequest::new(kind, payload).check(&self.kinds).map_err(|SubmitError(fields)| {
            let wrong: Vec<String> = fields.iter().map(ToString::to_string).collect();
            // Names of fields, and what a parser tells of a value, are the sender's words.
            let logged = format!("{} fields of the delivery do not fit its kind", wrong.len());
            JobError::fail("webhook_payload", Quoting { quoting: wrong.join("; "), logged })
        })
    }
}

impl WebhookHandler {
    /// A job for each record that a CRM's delivery is about.
    async fn jobs_of_crm(
        &self,
        job: &JobContext,
        id: ConnectionId,
        body: &[u8],
    ) -> Result<(Vec<NewJob>, Value), JobError> {
        let found = async { connections::get(&mut *job.pool.acquire().await?, job.org, id).await };
        let Some(connection) = found.await.map_err(|error| job.database(error))? else {
            return Err(JobError::fail("webhook_event_gone", "the connection was deleted"));
        };
        let crm = self.clients.crms().get(connection.provider());
        let delivered = crm.delivered(body).map_err(|error| JobError::fail("webhook_not_read", error))?;
        // Where nothing is signed, this is all that says that a delivery is meant for this account.
        if delivered.account_id.is_some()
            && connection.account_id.is_some()
            && delivered.account_id != connection.account_id
        {
            return Ok((Vec::new(), json!({ "outcome": "other_account" })));
        }
        let wanted = connection.objects();
        let events = delivered.touched.len() + delivered.ignored;
        let records: BTreeSet<_> =
            delivered.touched.into_iter().filter(|touched| wanted.contains(&touched.object)).collect();
        let jobs: Result<Vec<NewJob>, JobError> = records
            .into_iter()
            .map(|touched| {
                let payload = CrmSyncRecord { connection_id: id, object: touched.object, external_id: touched.id };
                let payload =
                    serde_json::to_value(payload).map_err(|error| JobError::fail("webhook_payload", error))?;
                // An id that cannot be one would be a name for nothing.
                let checked = JobRequest::new(CrmSyncRecord::KIND, payload).check(&self.kinds);
                checked.map_err(|_| JobError::fail("webhook_payload", "it names a record by no id"))
            })
            .collect();
        let jobs = jobs?;
        let result = json!({ "events": events, "records": jobs.len() });
        Ok((jobs, result))
    }
}

/// Forgets what a delivery said.
struct ForgetBody(EventId);

#[async_trait]
impl Write for ForgetBody {
    async fn apply(&self, connection: &mut PgConnection, job: &JobContext) -> sqlx::Result<()> {
        webhooks::forget_body(connection, job.org, self.0).await
    }
}

#[async_trait]
impl Handler for WebhookHandler {
    type Payload = WebhookDeliver;

    async fn run(&self, job: &JobContext, payload: WebhookDeliver) -> Result<Effects, JobError> {
        let found = async { webhooks::event(&mut *job.pool.acquire().await?, job.org, payload.event_id).await };
        let Some(event) = found.await.map_err(|error| job.database(error))? else {
            return Err(JobError::fail("webhook_event_gone", "the delivery was forgotten, or its source deleted"));
        };
        let Some(body) = event.body else {
            return Err(JobError::fail("webhook_event_done", "the delivery has become a job before"));
        };
        let (jobs, result) = match event.connection_id {
            Some(connection) => self.jobs_of_crm(job, connection, &body).await?,
            None => {
                let follows = self.job(&event.kind, &body)?;
                let result = json!({ "source_id": event.source_id, "job_id": follows.id });
                (vec![follows], result)
            }
        };
        Ok(Effects {
            result: Some(result),
            jobs,
            writes: vec![Box::new(ForgetBody(payload.event_id))],
            ..Effects::default()
        })
    }
}
