//! The kinds that talk to CRMs.
//!
//! A CRM that is away, busy or closed to us is no fault of its jobs: these are put off, which uses up no attempt. So they may be put off far more often
//! than others.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Backoff, JobPayload, OnConflict, Policy, QUEUES, QueueName};
use crate::crm::{ConflictPolicy, Object, SyncMode};
use crate::ids::{ConnectionId, RecordId};

const QUEUE: QueueName = QUEUES[1];

/// How often a job may be put off: with a quarter of an hour between, about three months.
const MAX_SNOOZES: u32 = 10_000;

const BACKOFF: Backoff = Backoff { base: Duration::from_secs(2), cap: Duration::from_secs(300) };

/// Redeems what a connection was granted, and asks who it is connected to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrmConnect {
    /// The connection, which must be one of the organisation's.
    pub connection_id: ConnectionId,
}

impl JobPayload for CrmConnect {
    const KIND: &'static str = "crm.connect";
    const QUEUE: QueueName = QUEUE;
    const DESCRIPTION: &'static str =
        "Redeems a connection's grant, asks whose account it is, and begins the first sync.";
    const POLICY: Policy = Policy {
        timeout: Duration::from_secs(120),
        max_attempts: 8,
        backoff: BACKOFF,
        max_snoozes: MAX_SNOOZES,
        on_conflict: OnConflict::Replace,
        ..Policy::DEFAULT
    };

    fn unique_by(&self) -> Option<String> {
        Some(self.connection_id.to_string())
    }
}

/// Reads the records of an account.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrmSync {
    /// The connection, which must be one of the organisation's.
    pub connection_id: ConnectionId,
    /// How to go about it.
    #[serde(default)]
    pub mode: SyncMode,
    /// Which of the connection's objects; all of them where this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<Vec<Object>>,
}

impl JobPayload for CrmSync {
    const KIND: &'static str = "crm.sync";
    const QUEUE: QueueName = QUEUE;
    const DESCRIPTION: &'static str = "Brings the copy of a CRM account up to date.";
    // A sync that takes longer gives its slot back in between and goes on from its last page.
    const POLICY: Policy = Policy {
        timeout: Duration::from_secs(900),
        max_attempts: 20,
        backoff: BACKOFF,
        max_snoozes: MAX_SNOOZES,
        on_conflict: OnConflict::Keep,
        ..Policy::DEFAULT
    };

    fn unique_by(&self) -> Option<String> {
        // A whole sync does what an incremental one would, but the other way round is not so.
        Some(format!("{}:{}", self.connection_id, self.mode.as_str()))
    }
}

/// Reads one record.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrmSyncRecord {
    /// The connection, which must be one of the organisation's.
    pub connection_id: ConnectionId,
    /// The sort of record.
    pub object: Object,
    /// How the provider calls it.
    #[schemars(length(min = 1, max = 128))]
    pub external_id: String,
}

impl JobPayload for CrmSyncRecord {
    const KIND: &'static str = "crm.sync_record";
    const QUEUE: QueueName = QUEUE;
    const DESCRIPTION: &'static str = "Brings the copy of one record of a CRM up to date.";
    const POLICY: Policy = Policy {
        timeout: Duration::from_secs(120),
        max_attempts: 12,
        backoff: BACKOFF,
        max_snoozes: MAX_SNOOZES,
        // Whatever happened to the record while it waited, it is read once; what happens while it is read, once more.
        on_conflict: OnConflict::Replace,
        ..Policy::DEFAULT
    };

    fn unique_by(&self) -> Option<String> {
        Some(format!("{}:{}:{}", self.connection_id, self.object, self.external_id))
    }
}

/// Writes a change back to a CRM. `PATCH /v1/records/{id}` submits it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrmPushRecord {
    /// The copy of the record, which must be one of the organisation's.
    pub record_id: RecordId,
    /// By field, how the change knew it, and how it is to be.
    pub fields: BTreeMap<String, FieldChange>,
    /// When the change was made, in milliseconds since 1970.
    pub made_at_ms: i64,
    /// What becomes of it where the CRM's record has changed meanwhile; otherwise as the connection has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ConflictPolicy>,
}

/// A field that is to change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldChange {
    /// As the change knew it.
    pub from: serde_json::Value,
    /// As it is to be.
    pub to: serde_json::Value,
}

impl JobPayload for CrmPushRecord {
    const KIND: &'static str = "crm.push_record";
    const QUEUE: QueueName = QUEUE;
    const DESCRIPTION: &'static str = "Writes a change back to a CRM, unless the record has changed there meanwhile.";
    const POLICY: Policy = Policy {
        timeout: Duration::from_secs(120),
        max_attempts: 12,
        backoff: BACKOFF,
        max_snoozes: MAX_SNOOZES,
        ..Policy::DEFAULT
    };
}
