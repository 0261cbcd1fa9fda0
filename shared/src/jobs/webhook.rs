//! `webhook.deliver`: makes of what a source delivered the job that the source is for.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{JobPayload, Policy, QUEUES, QueueName, SubmittedBy};
use crate::ids::EventId;

/// Which delivery. The API submits it when it takes one in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookDeliver {
    /// The delivery, which must be one of the organisation's.
    pub event_id: EventId,
}

impl JobPayload for WebhookDeliver {
    const KIND: &'static str = "webhook.deliver";
    const QUEUE: QueueName = QUEUES[1];
    const DESCRIPTION: &'static str = "Makes of a verified delivery of a webhook the job that its source is for.";
    const POLICY: Policy = Policy { timeout: Duration::from_secs(30), max_attempts: 10, ..Policy::DEFAULT };
    const SUBMITTED_BY: SubmittedBy = SubmittedBy::Millrace;
}
