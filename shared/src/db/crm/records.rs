//! `crm_records` and `crm_changes`: the copies of what is in CRMs, and what has changed in them.
//!
//! A record is written when it is new or has changed, and then only by a read that knows better: one that met a later `updated_at`, or the same one and
//! began later (`crm_reads` numbers reads in the order in which they begin). So whatever order answers arrive in, the newest stays.

mod reading;
mod writing;

pub use reading::{Change, ListRecords, changes, get, list};
pub use writing::{Written, delete_some, live_between, mark_gone, next_read, store};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::FromRow;
use sqlx::types::Json;

use crate::crm::{Object, Provider, raw_field};
use crate::ids::{ConnectionId, RecordId};

/// What is asked of most records, under one name whatever the provider calls it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, FromRow)]
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

impl Fields {
    /// All of them, by the names that changes have for them.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Value); 9] {
        [
            ("name", json!(self.name)),
            ("emails", json!(self.emails)),
            ("phones", json!(self.phones)),
            ("company", json!(self.company)),
            ("amount", json!(self.amount)),
            ("currency", json!(self.currency)),
            ("pipeline", json!(self.pipeline)),
            ("stage", json!(self.stage)),
            ("owner", json!(self.owner)),
        ]
    }

    /// What a change calls `name`: one of these, or else `raw.` and a field of the provider's `document`; null where there is none.
    #[must_use]
    pub fn value(&self, name: &str, provider: Provider, document: &Value) -> Value {
        let common = self.named().into_iter().find(|(known, _)| *known == name);
        common.map_or_else(
            || raw_field(provider, document, name.strip_prefix("raw.").unwrap_or(name)),
            |(_, value)| value,
        )
    }
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
    /// The common fields.
    #[sqlx(flatten)]
    pub fields: Fields,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_finds_common_fields_and_those_of_the_document() {
        let fields = Fields { name: Some("Weir".to_owned()), emails: vec!["a".to_owned()], ..Fields::default() };
        let document = json!({ "name": "raw", "properties": { "closedate": "2026-12-31" } });
        let value = |name: &str, provider: Provider| fields.value(name, provider, &document);
        assert_eq!(value("name", Provider::Kommo), "Weir");
        assert_eq!(value("emails", Provider::Kommo), json!(["a"]));
        assert_eq!(value("stage", Provider::Kommo), Value::Null);
        assert_eq!(value("raw.name", Provider::Kommo), "raw");
        assert_eq!(value("raw.closedate", Provider::Hubspot), "2026-12-31");
        assert_eq!(value("raw.stage", Provider::Kommo), Value::Null);
    }
}
