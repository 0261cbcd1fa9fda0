//! `crm_records` and `crm_changes`: the copies of what is in CRMs, and what has changed in them.
//!
//! A record is written when it is new or has changed, and then only by a read that knows better: one that met a later `updated_at`, or the same one and
//! began later (`crm_reads` numbers reads in the order in which they begin). So whatever order answers arrive in, the newest stays.

mod reading;
mod writing;

pub use reading::{Change, ListRecords, changes, get, list};
pub use writing::{Written, live_between, mark_gone, next_read, store};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::FromRow;
use sqlx::types::Json;

use crate::crm::Object;
use crate::ids::{ConnectionId, RecordId};

/// What is asked of most records, under one name whatever the provider calls it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fields {
    /// A person's or firm's name, a deal's title, the text of a note.
    pub name: Option<String>,
    /// E-mail addresses, the main one first.
    pub emails: Vec<String>,
    /// Telephone numbers as they were written, the main one first.
    pub phones: Vec<String>,
    /// The name of a contact's firm, where the contact says it.
    pub company: Option<String>,
    /// What a deal is worth, as a decimal number.
    pub amount: Option<String>,
    /// The amount's currency (ISO 4217).
    pub currency: Option<String>,
    /// The provider's id of a deal's pipeline.
    pub pipeline: Option<String>,
    /// The provider's id of a deal's stage.
    pub stage: Option<String>,
    /// The provider's id of whoever is responsible.
    pub owner: Option<String>,
}

/// That a record belongs to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Association {
    /// The other's sort.
    pub object: Object,
    /// How the provider calls it.
    pub id: String,
}

/// A record as a read met it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// How the provider calls it.
    pub external_id: String,
    /// By the provider's clock.
    pub created_at: Option<DateTime<Utc>>,
    /// By the provider's clock.
    pub updated_at: DateTime<Utc>,
    /// The common fields.
    pub fields: Fields,
    /// What it belongs to, in order.
    pub associations: Vec<Association>,
    /// The provider's document, without what changes from read to read.
    pub raw: Value,
    /// Of all of the above.
    pub digest: [u8; 32],
}

/// The copy of a record.
#[derive(Debug, Clone, FromRow)]
pub struct Record {
    /// Our id.
    pub id: RecordId,
    /// Where it is from.
    pub connection_id: ConnectionId,
    /// The sort of record.
    pub object: String,
    /// How the provider calls it.
    pub external_id: String,
    /// See [`Fields`].
    pub name: Option<String>,
    /// See [`Fields`].
    pub emails: Vec<String>,
    /// See [`Fields`].
    pub phones: Vec<String>,
    /// See [`Fields`].
    pub company: Option<String>,
    /// See [`Fields`].
    pub amount: Option<String>,
    /// See [`Fields`].
    pub currency: Option<String>,
    /// See [`Fields`].
    pub pipeline: Option<String>,
    /// See [`Fields`].
    pub stage: Option<String>,
    /// See [`Fields`].
    pub owner: Option<String>,
    /// By the provider's clock.
    pub crm_created_at: Option<DateTime<Utc>>,
    /// By the provider's clock.
    pub crm_updated_at: DateTime<Utc>,
    /// When it was deleted there, or was found to be.
    pub deleted_at: Option<DateTime<Utc>>,
    /// What it belongs to.
    pub associations: Json<Vec<Association>>,
    /// The provider's document.
    pub raw: Value,
    /// Counts changes of this copy.
    pub version: i32,
    /// When this copy was made.
    pub created_at: DateTime<Utc>,
    /// When this copy changed last.
    pub updated_at: DateTime<Utc>,
}

macro_rules! record_columns {
    () => {
        "id, connection_id, object, external_id, name, emails, phones, company, amount::text AS amount, currency, pipeline, stage, owner, \
         crm_created_at, crm_updated_at, deleted_at, associations, raw, version, created_at, updated_at"
    };
}
pub(crate) use record_columns;
