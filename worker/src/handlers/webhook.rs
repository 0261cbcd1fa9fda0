//! `webhook.deliver`: reads what was delivered as the payload of the source's kind, and submits that job.
//!
//! The API takes in raw bytes and asks nothing of them. Here they are parsed and checked; what does not fit is a dead letter that says why, with
//! the delivery kept for a replay. When the job is in the ledger the delivery's body is forgotten, in the same transaction.

use async_trait::async_trait;
use millrace_shared::{
    db::webhooks,
    ids::EventId,
    jobs::{JobPayload as _, JobRequest, KindSet, Kinds, NewJob, SubmitError, WebhookDeliver},
};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::handler::{Effects, Handler, JobContext, JobError, Quoting, Write};

pub(crate) struct WebhookHandler {
    kinds: Kinds,
}

impl WebhookHandler {
    pub(crate) fn new(set: KindSet) -> Self {
        Self { kinds: Kinds::new(set) }
    }

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
        let follows = self.job(&event.kind, &body)?;
        Ok(Effects {
            result: Some(json!({ "source_id": event.source_id, "job_id": follows.id })),
            jobs: vec![follows],
            writes: vec![Box::new(ForgetBody(payload.event_id))],
            ..Effects::default()
        })
    }
}
