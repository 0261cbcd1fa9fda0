//! The records of an account in a form that is the same for all vendors, who render it each in their own.
//!
//! Times are kept in milliseconds and rounded to what the vendor knows. An empty text is a field without a value. Links point one way
//! (a contact at its companies, a deal at its contacts and companies, a note at what it is about); the other way is looked up.

mod edit;
mod ids;
mod store;
mod table;
mod truth;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

pub(crate) use edit::{EditError, set};
pub(crate) use ids::{read_id, salesforce_id, shown_id};
pub(crate) use store::{Change, ChangeKind, Selected, Store};
pub(crate) use table::Table;
pub(crate) use truth::{pipelines, truth};

/// A record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) created_at_ms: i64,
    pub(crate) updated_at_ms: i64,
    pub(crate) deleted_at_ms: Option<i64>,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    /// Of a company or a deal. A contact's is made of the two above.
    pub(crate) name: String,
    pub(crate) emails: Vec<String>,
    pub(crate) phones: Vec<String>,
    pub(crate) company_name: String,
    pub(crate) job_title: String,
    pub(crate) website: String,
    /// In hundredths of the currency.
    pub(crate) amount: Option<i64>,
    pub(crate) currency: String,
    pub(crate) pipeline: String,
    pub(crate) stage: String,
    /// Open, won or lost, where that is not said by the stage (Pipedrive).
    pub(crate) status: String,
    pub(crate) owner: Option<u64>,
    pub(crate) contacts: Vec<u64>,
    pub(crate) companies: Vec<u64>,
    pub(crate) deals: Vec<u64>,
    pub(crate) text: String,
    /// By the key that the client sees.
    pub(crate) custom: BTreeMap<String, Value>,
}

impl Row {
    pub(crate) fn is_live(&self) -> bool {
        self.deleted_at_ms.is_none()
    }

    /// What a person is called, else the name.
    pub(crate) fn shown_name(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        [self.first_name.as_str(), self.last_name.as_str()].join(" ").trim().to_owned()
    }

    /// The amount as a decimal without trailing zeros.
    pub(crate) fn decimal_amount(&self) -> Option<String> {
        let amount = self.amount?;
        let (sign, whole, rest) = (if amount < 0 { "-" } else { "" }, amount.abs() / 100, amount.abs() % 100);
        Some(match (rest, rest % 10) {
            (0, _) => format!("{sign}{whole}"),
            (_, 0) => format!("{sign}{whole}.{}", rest / 10),
            _ => format!("{sign}{whole}.{rest:02}"),
        })
    }

    /// The amount as a JSON number.
    pub(crate) fn amount_number(&self) -> Value {
        let number = self.decimal_amount().and_then(|text| serde_json::from_str(&text).ok());
        number.map_or(Value::Null, Value::Number)
    }

    pub(crate) fn links(&self, to: crate::provider::Object) -> &[u64] {
        match to {
            crate::provider::Object::Contacts => &self.contacts,
            crate::provider::Object::Companies => &self.companies,
            crate::provider::Object::Deals => &self.deals,
            _ => &[],
        }
    }
}

/// A text as JSON: null where it is empty.
pub(crate) fn text_or_null(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { Value::from(text) }
}

/// Where deals move through stages.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pipeline {
    /// As the client sees it.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) stages: Vec<Stage>,
}

/// A stage of a pipeline.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Stage {
    /// As the client sees it. Kommo's last two are the same in all pipelines.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
}

/// What it means to be in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Open,
    Won,
    Lost,
}

/// What a custom field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FieldKind {
    Text,
    Number,
    Date,
    Flag,
    Choice,
    Choices,
}

/// A custom field of a kind of record.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CustomField {
    pub(crate) object: crate::provider::Object,
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) kind: FieldKind,
    pub(crate) options: Vec<&'static str>,
}
