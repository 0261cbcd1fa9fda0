use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_shared::crm::{self, Object, Provider};
use millrace_shared::db::crm::conflicts;
use millrace_shared::db::crm::records::{self, Association, Fields};
use millrace_shared::ids::{ConflictId, ConnectionId, JobId, RecordId};
use millrace_shared::jobs::{CrmPushRecord, FieldChange, FieldError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::ApiError;

/// The copy of a record in a CRM.
#[derive(Serialize, ToSchema)]
pub struct Record {
    /// Our id.
    #[schema(value_type = uuid::Uuid)]
    id: RecordId,
    /// Where it is from.
    #[schema(value_type = uuid::Uuid)]
    connection_id: ConnectionId,
    /// `contacts`, `companies`, `deals`, `notes`, `owners` or `pipelines`.
    object: String,
    /// The CRM's id.
    external_id: String,
    /// A person's or firm's name, a deal's title, the text of a note.
    name: Option<String>,
    /// E-mail addresses, the main one first.
    emails: Vec<String>,
    /// Telephone numbers, the main one first.
    phones: Vec<String>,
    /// The name of a contact's firm, where the contact says it.
    company: Option<String>,
    /// What a deal is worth: a decimal number, as text, because it may have more digits than a JSON number keeps.
    amount: Option<String>,
    /// The amount's currency.
    currency: Option<String>,
    /// The CRM's id of the pipeline.
    pipeline: Option<String>,
    /// The CRM's id of the stage.
    stage: Option<String>,
    /// The CRM's id of whoever is responsible.
    owner: Option<String>,
    /// What it belongs to.
    associations: Vec<Association>,
    /// When it was made there.
    crm_created_at: Option<DateTime<Utc>>,
    /// When it changed there last.
    crm_updated_at: DateTime<Utc>,
    /// When it was deleted there, or was found to be.
    deleted_at: Option<DateTime<Utc>>,
    /// Counts changes of the copy.
    version: i32,
    /// When the copy was made.
    created_at: DateTime<Utc>,
    /// When the copy changed last.
    updated_at: DateTime<Utc>,
    /// The CRM's own document, custom fields and all. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    raw: Option<Value>,
    /// What has changed, the newest first, 100 at most. Only where one record is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<Change>>,
}

/// A change that is to be written back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "fields": { "amount": "1250.50", "raw.closedate": "2026-12-31" }, "version": 3 }))]
pub struct RecordChange {
    /// By field, as it is to be: common fields by their names, those of the CRM's own document as `raw.` and theirs.
    #[schema(value_type = Object)]
    fields: BTreeMap<String, Value>,
    /// The version that the change was made to. Absent: the present one.
    version: Option<i32>,
}

impl RecordChange {
    /// The job's payload.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn check(self, row: &records::Record, provider: Provider) -> Result<CrmPushRecord, ApiError> {
        if self.version.is_some_and(|version| version != row.version) {
            return Err(ApiError::Conflict {
                code: "record_changed",
                detail: format!("the record is at version {} by now; look at it again", row.version),
            });
        }
        let object: Object = row.object.parse().map_err(|known: &str| ApiError::invalid("object", known))?;
        if self.fields.is_empty() {
            return Err(ApiError::invalid("fields", "names no field"));
        }
        let mut wrong = Vec::new();
        let mut fields = BTreeMap::new();
        for (name, value) in self.fields {
            match crm::check_field(provider, object, &name, value) {
                Ok(to) => {
                    let from = row.fields.value(&name, provider, &row.raw);
                    fields.insert(name, FieldChange { from, to });
                }
                Err(problem) => wrong.push(FieldError::new(format!("fields.{name}"), problem)),
            }
        }
        if !wrong.is_empty() {
            return Err(ApiError::Invalid(wrong));
        }
        let made_at_ms = Utc::now().timestamp_millis();
        Ok(CrmPushRecord { record_id: row.id, fields, made_at_ms, policy: None })
    }
}

/// A change is on its way.
#[derive(Serialize, ToSchema)]
pub struct ChangeAccepted {
    /// The job that writes it. Its `result.outcome` is `written`, `already`, `crm_won` or `conflict`.
    #[schema(value_type = uuid::Uuid)]
    pub job_id: JobId,
}

/// A change of ours that met one of the CRM's.
#[derive(Serialize, ToSchema)]
pub struct Conflict {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: ConflictId,
    /// What it is about.
    #[schema(value_type = uuid::Uuid)]
    record_id: RecordId,
    /// The job that met it.
    #[schema(value_type = uuid::Uuid)]
    job_id: JobId,
    /// By field: as the change knew it, as it is there, as the change has it.
    #[schema(value_type = Object)]
    fields: Value,
    /// When it was met.
    created_at: DateTime<Utc>,
    /// When somebody said which side stays.
    resolved_at: Option<DateTime<Utc>>,
    /// Which one: `crm` or `local`.
    taken: Option<String>,
}

impl From<conflicts::Conflict> for Conflict {
    fn from(row: conflicts::Conflict) -> Self {
        Self {
            id: row.id,
            record_id: row.record_id,
            job_id: row.job_id,
            fields: row.fields,
            created_at: row.created_at,
            resolved_at: row.resolved_at,
            taken: row.taken,
        }
    }
}

/// Which side of a conflict stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "take": "local" }))]
pub struct Resolution {
    /// `crm`: the change is dropped; `local`: it is written all the same.
    pub take: Side,
}

/// See [`Resolution`].
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// What is in the CRM.
    Crm,
    /// Our change.
    Local,
}

impl Side {
    /// Its name in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crm => "crm",
            Self::Local => "local",
        }
    }
}

/// What a version changed.
#[derive(Serialize, ToSchema)]
pub struct Change {
    /// The version that came of it.
    version: i32,
    /// When.
    changed_at: DateTime<Utc>,
    /// By field, what was before and what is after; fields of the CRM's own document begin with `raw.`.
    #[schema(value_type = Object)]
    changes: Value,
}

impl Record {
    /// A record in a list.
    pub fn brief(row: records::Record) -> Self {
        Self { raw: None, ..Self::whole(row) }
    }

    /// A record with the CRM's document.
    pub fn whole(row: records::Record) -> Self {
        let Fields { name, emails, phones, company, amount, currency, pipeline, stage, owner } = row.fields;
        Self {
            id: row.id,
            connection_id: row.connection_id,
            object: row.object,
            external_id: row.external_id,
            name,
            emails,
            phones,
            company,
            amount,
            currency,
            pipeline,
            stage,
            owner,
            associations: row.associations.0,
            crm_created_at: row.crm_created_at,
            crm_updated_at: row.crm_updated_at,
            deleted_at: row.deleted_at,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            raw: Some(row.raw),
            changes: None,
        }
    }

    /// A record with its history.
    pub fn with_changes(row: records::Record, changes: Vec<records::Change>) -> Self {
        let shown = |change: records::Change| Change {
            version: change.version,
            changed_at: change.changed_at,
            changes: change.changes,
        };
        Self { changes: Some(changes.into_iter().map(shown).collect()), ..Self::whole(row) }
    }
}
